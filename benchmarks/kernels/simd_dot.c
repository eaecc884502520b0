/* The dot product of two vectors of 1024 f32, n times, four lanes at a time. */
#include "kernel.h"

#define LENGTH 1024

typedef float Lanes __attribute__((vector_size(16)));

static Lanes a[LENGTH / 4], b[LENGTH / 4];

static float dot(void)
{
    Lanes sum = { 0, 0, 0, 0 };
    for (uint32_t i = 0; i < LENGTH / 4; i++)
        sum += a[i] * b[i];
    return sum[0] + sum[1] + sum[2] + sum[3];
}

EXPORT uint32_t run(uint32_t n)
{
    uint32_t state = 11, checksum = n;
    if (n == 0)
        return 0;
    for (uint32_t i = 0; i < LENGTH; i++) {
        a[i / 4][i % 4] = (float)(next_random(&state) & 4095) / 1024.0f - 2.0f;
        b[i / 4][i % 4] = (float)(next_random(&state) & 4095) / 1024.0f - 2.0f;
    }
    for (uint32_t i = 0; i < n; i++) {
        union { float number; uint32_t bits; } product = { dot() };
        checksum = mix(checksum, product.bits);
        /* Another vector each time, or the compiler would move the product out of the loop. */
        b[i % (LENGTH / 4)] += (Lanes){ 0.25f, -0.5f, 0.125f, 1.0f };
    }
    return checksum;
}
