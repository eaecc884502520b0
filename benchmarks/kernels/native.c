/* The floor: the same kernels compiled for this machine.
   Usage: native SIZE CALLS; prints the checksum and the processor time of all calls in nanoseconds. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "kernel.h"

static long long nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s SIZE CALLS\n", argv[0]);
        return 2;
    }
    uint32_t size = (uint32_t)strtoul(argv[1], NULL, 10), result = 0;
    long calls = strtol(argv[2], NULL, 10);
    long long start = nanoseconds();
    for (long i = 0; i < calls; i++)
        result = run(size);
    printf("%u %lld\n", result, nanoseconds() - start);
    return 0;
}
