/* What every kernel shares: `run(n)` does work that grows with n and returns a checksum; run(0) returns
   at once. No kernel needs a C library. */
#include <stdint.h>

#ifdef __wasm__
#define EXPORT __attribute__((export_name("run")))
#else
#define EXPORT
#endif
#define NOINLINE __attribute__((noinline))

uint32_t run(uint32_t n);

static inline uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static inline uint32_t mix(uint32_t checksum, uint32_t value)
{
    return (checksum ^ value) * 16777619u;
}

/* The checksum of a number is one of its bits: every engine must agree on the last of them. */
static inline uint32_t mix_double(uint32_t checksum, double value)
{
    union { double number; uint64_t bits; } both = { value };
    return mix(mix(checksum, (uint32_t)both.bits), (uint32_t)(both.bits >> 32));
}
