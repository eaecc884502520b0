/* n calls through a table of 16 functions, the next one chosen by the last one's result: call_indirect. */
#include "kernel.h"

typedef uint32_t Operation(uint32_t, uint32_t);

static uint32_t add(uint32_t x, uint32_t y) { return x + y; }
static uint32_t subtract(uint32_t x, uint32_t y) { return x - y; }
static uint32_t multiply(uint32_t x, uint32_t y) { return x * (y | 1); }
static uint32_t exclusive(uint32_t x, uint32_t y) { return x ^ y; }
static uint32_t rotate_left(uint32_t x, uint32_t y) { return x << 5 | (x + y) >> 27; }
static uint32_t rotate_right(uint32_t x, uint32_t y) { return x >> 7 | (x ^ y) << 25; }
static uint32_t negate(uint32_t x, uint32_t y) { return y - ~x; }
static uint32_t smaller(uint32_t x, uint32_t y) { return x < y ? y : x + 3; }
static uint32_t scramble(uint32_t x, uint32_t y) { return x * 2654435761u + y; }
static uint32_t fold(uint32_t x, uint32_t y) { return (x ^ x >> 16) + y; }
static uint32_t swap(uint32_t x, uint32_t y) { return (x << 16 | x >> 16) ^ y; }
static uint32_t spread(uint32_t x, uint32_t y) { return (x & 0x00ff00ffu) * 257 + y; }
static uint32_t square(uint32_t x, uint32_t y) { return x * x + y; }
static uint32_t odd(uint32_t x, uint32_t y) { return (x | 1) * 5 - y; }
static uint32_t lower(uint32_t x, uint32_t y) { return (x & y) + (x >> 3); }
static uint32_t gray(uint32_t x, uint32_t y) { return (x ^ x >> 1) + y * 3; }

static Operation *const operations[16] = {
    add, subtract, multiply, exclusive, rotate_left, rotate_right, negate, smaller,
    scramble, fold, swap, spread, square, odd, lower, gray,
};

EXPORT uint32_t run(uint32_t n)
{
    uint32_t x = n;
    for (uint32_t i = 0; i < n; i++)
        x = operations[(x ^ x >> 11 ^ i) & 15](x, i);
    return x;
}
