// Clocks, sleeping, waiting for descriptors and randomness; prints only what is always so.
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static long long nanoseconds(clockid_t clock) {
    struct timespec now;
    if (clock_gettime(clock, &now) != 0) {
        return -1;
    }
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

int main(void) {
    long long start = nanoseconds(CLOCK_MONOTONIC);
    struct timespec pause = {0, 20000000};
    printf("sleep %d\n", nanosleep(&pause, NULL));
    long long slept = nanoseconds(CLOCK_MONOTONIC) - start;
    printf("slept long enough %d, not for ever %d\n", slept >= 20000000, slept < 20000000000LL);
    printf("after 2020 %d\n", nanoseconds(CLOCK_REALTIME) > 1577836800LL * 1000000000LL);
    struct timespec resolution;
    printf("resolution %d\n", clock_getres(CLOCK_MONOTONIC, &resolution) == 0);
    struct pollfd output = {.fd = 1, .events = POLLOUT};
    int ready = poll(&output, 1, 1000);
    printf("poll %d %d\n", ready, (output.revents & POLLOUT) != 0);
    unsigned char first[32] = {0}, second[32] = {0};
    printf("random %d %d\n", getentropy(first, sizeof first), getentropy(second, sizeof second));
    printf("different %d\n", memcmp(first, second, sizeof first) != 0);
    return 0;
}
