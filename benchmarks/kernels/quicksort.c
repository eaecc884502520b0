/* Sort n pseudo-random integers, n at most 2^20, in place. Returns 0 when they do not come out sorted. */
#include "kernel.h"

#define MAX (1 << 20)

static uint32_t items[MAX];

static void sort(int32_t low, int32_t high)
{
    while (low < high) {
        uint32_t pivot = items[low + (high - low) / 2];
        int32_t i = low, j = high;
        while (i <= j) {
            while (items[i] < pivot)
                i++;
            while (items[j] > pivot)
                j--;
            if (i <= j) {
                uint32_t item = items[i];
                items[i++] = items[j];
                items[j--] = item;
            }
        }
        sort(low, j);
        low = i;
    }
}

EXPORT uint32_t run(uint32_t n)
{
    uint32_t state = 1, checksum = n;
    for (uint32_t i = 0; i < n; i++)
        items[i] = next_random(&state);
    sort(0, (int32_t)n - 1);
    for (uint32_t i = 0; i < n; i++) {
        if (i && items[i - 1] > items[i])
            return 0;
        checksum = mix(checksum, items[i]);
    }
    return checksum;
}
