/* n rounds of memory.fill and memory.copy, of 16 to 4111 bytes, overlapping and not. */
#include "kernel.h"

#define SIZE 65536

static uint8_t buffer[SIZE];

EXPORT uint32_t run(uint32_t n)
{
    uint32_t state = 5, checksum = n;
    if (n == 0)
        return 0;
    __builtin_memset(buffer, 1, SIZE);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t length = next_random(&state) % 4096 + 16;
        uint32_t from = next_random(&state) % (SIZE - 4112), to = next_random(&state) % (SIZE - 4112);
        __builtin_memset(buffer + from, (int)(i & 255), length / 2);
        __builtin_memmove(buffer + to, buffer + from, length);
        __builtin_memmove(buffer + from + 8, buffer + from, length);
        checksum = mix(checksum, buffer[to + length / 3] + 256u * buffer[from + length - 1]);
    }
    for (uint32_t i = 0; i < SIZE; i += 64)
        checksum = mix(checksum, buffer[i]);
    return checksum;
}
