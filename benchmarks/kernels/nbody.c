/* n steps of five bodies under gravity: f64 arithmetic on structures in memory, square roots, divisions. */
#include "kernel.h"

#define BODIES 5

typedef struct {
    double x, y, z, vx, vy, vz, mass;
} Body;

static const Body start[BODIES] = {
    { 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 40.0 },
    { 5.0, -1.25, -0.125, 0.5, 2.75, -0.0625, 0.0375 },
    { 8.25, 4.125, -0.5, -1.0, 1.875, 0.0078125, 0.01125 },
    { 12.875, -15.125, -0.25, 1.0625, 0.875, -0.0109375, 0.00175 },
    { 15.375, -25.875, 0.1875, 0.984375, 0.59375, -0.03515625, 0.002 },
};
static Body bodies[BODIES];

static void advance(double step)
{
    for (int i = 0; i < BODIES; i++)
        for (int j = i + 1; j < BODIES; j++) {
            Body *a = &bodies[i], *b = &bodies[j];
            double dx = a->x - b->x, dy = a->y - b->y, dz = a->z - b->z;
            double square = dx * dx + dy * dy + dz * dz;
            double force = step / (square * __builtin_sqrt(square));
            a->vx -= dx * b->mass * force;
            a->vy -= dy * b->mass * force;
            a->vz -= dz * b->mass * force;
            b->vx += dx * a->mass * force;
            b->vy += dy * a->mass * force;
            b->vz += dz * a->mass * force;
        }
    for (int i = 0; i < BODIES; i++) {
        bodies[i].x += step * bodies[i].vx;
        bodies[i].y += step * bodies[i].vy;
        bodies[i].z += step * bodies[i].vz;
    }
}

EXPORT uint32_t run(uint32_t n)
{
    uint32_t checksum = n;
    for (int i = 0; i < BODIES; i++)
        bodies[i] = start[i];
    for (uint32_t i = 0; i < n; i++)
        advance(0.01);
    for (int i = 0; i < BODIES; i++)
        checksum = mix_double(mix_double(mix_double(checksum, bodies[i].x), bodies[i].y), bodies[i].z);
    return checksum;
}
