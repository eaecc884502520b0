/* The Mandelbrot set on an n by n grid, at most 100 iterations a point: f64 arithmetic in registers. */
#include "kernel.h"

static uint32_t iterations(double cr, double ci)
{
    double zr = 0, zi = 0;
    uint32_t count = 0;
    while (count < 100 && zr * zr + zi * zi <= 4.0) {
        double next = zr * zr - zi * zi + cr;
        zi = 2.0 * zr * zi + ci;
        zr = next;
        count++;
    }
    return count;
}

EXPORT uint32_t run(uint32_t n)
{
    uint32_t checksum = n;
    for (uint32_t y = 0; y < n; y++)
        for (uint32_t x = 0; x < n; x++)
            checksum = mix(checksum, iterations(x * 3.0 / n - 2.0, y * 2.0 / n - 1.0));
    return checksum;
}
