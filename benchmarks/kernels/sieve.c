/* The sieve of Eratosthenes below 8192, n times: byte stores and counted loops. */
#include "kernel.h"

#define LIMIT 8192

static uint8_t composite[LIMIT];

static uint32_t primes(void)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < LIMIT; i++)
        composite[i] = 0;
    for (uint32_t i = 2; i < LIMIT; i++) {
        if (composite[i])
            continue;
        count++;
        for (uint32_t j = i * i; j < LIMIT; j += i)
            composite[j] = 1;
    }
    return count;
}

EXPORT uint32_t run(uint32_t n)
{
    uint32_t total = 0;
    for (uint32_t i = 0; i < n; i++)
        total += primes();
    return total;
}
