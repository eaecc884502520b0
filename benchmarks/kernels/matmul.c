/* The product of two n by n matrices of f64, n at most 256. */
#include "kernel.h"

#define MAX 256

static double a[MAX * MAX], b[MAX * MAX], c[MAX * MAX];

EXPORT uint32_t run(uint32_t n)
{
    uint32_t state = 42, checksum = n;
    for (uint32_t i = 0; i < n * n; i++) {
        a[i] = next_random(&state) / 65536.0 - 128.0;
        b[i] = next_random(&state) / 65536.0 - 128.0;
    }
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < n; j++) {
            double sum = 0;
            for (uint32_t k = 0; k < n; k++)
                sum += a[i * n + k] * b[k * n + j];
            c[i * n + j] = sum;
        }
    for (uint32_t i = 0; i < n * n; i++)
        checksum = mix_double(checksum, c[i]);
    return checksum;
}
