/* Vector instructions (sections 4.3.2 to 4.3.6), twins of `numerics.vectors*` and `numerics.relaxed`.

   Lane immediates come last: one `unsigned lane`, or sixteen bytes for `i8x16.shuffle`; validation has
   bounded them. What a vector extension expresses is written with it and becomes SIMD on every
   processor, the rest is a loop over lanes that the compiler may turn into SIMD. The rules for
   NaNs and the compiler's flags are those of numerics.h. */

#ifndef TINYWASM_VECTORS_H
#define TINYWASM_VECTORS_H

#include <stdint.h>
#include <string.h>

#include "numerics.h"

typedef uint8_t u8x16_t __attribute__((vector_size(16)));
typedef int8_t i8x16_t __attribute__((vector_size(16)));
typedef uint16_t u16x8_t __attribute__((vector_size(16)));
typedef int16_t i16x8_t __attribute__((vector_size(16)));
typedef uint32_t u32x4_t __attribute__((vector_size(16)));
typedef int32_t i32x4_t __attribute__((vector_size(16)));
typedef uint64_t u64x2_t __attribute__((vector_size(16)));
typedef int64_t i64x2_t __attribute__((vector_size(16)));
typedef float f32x4_t __attribute__((vector_size(16)));
typedef double f64x2_t __attribute__((vector_size(16)));

/* Aligned to 16 bytes: copy one from and to memory of less alignment with memcpy. */
typedef union v128 {
    uint8_t u8[16];
    int8_t i8[16];
    uint16_t u16[8];
    int16_t i16[8];
    uint32_t u32[4];
    int32_t i32[4];
    uint64_t u64[2];
    int64_t i64[2];
    float f32[4];
    double f64[2];
    u8x16_t u8x16;
    i8x16_t i8x16;
    u16x8_t u16x8;
    i16x8_t i16x8;
    u32x4_t u32x4;
    i32x4_t i32x4;
    u64x2_t u64x2;
    i64x2_t i64x2;
    f32x4_t f32x4;
    f64x2_t f64x2;
} v128;

#define UNARY (v128 a)
#define BINARY (v128 a, v128 b)
#define TERNARY (v128 a, v128 b, v128 c)

/* `name` computes `expression` at once, as the member `shape` of the result. */
#define WHOLE(name, params, shape, expression)                                                              \
    static inline v128 name params { return (v128){.shape = (expression)}; }

/* `name` computes `expression` for each lane `i` of the `count` in member `lanes` of the result. */
#define LANEWISE(name, params, lanes, count, expression)                                                    \
    static inline v128 name params {                                                                        \
        v128 r;                                                                                             \
        for (int i = 0; i < (count); i++) r.lanes[i] = (expression);                                        \
        return r;                                                                                           \
    }

/* Bitwise operators. */

WHOLE(v128_not, UNARY, u64x2, ~a.u64x2)
WHOLE(v128_and, BINARY, u64x2, a.u64x2 & b.u64x2)
WHOLE(v128_andnot, BINARY, u64x2, a.u64x2 & ~b.u64x2)
WHOLE(v128_or, BINARY, u64x2, a.u64x2 | b.u64x2)
WHOLE(v128_xor, BINARY, u64x2, a.u64x2 ^ b.u64x2)
WHOLE(v128_bitselect, TERNARY, u64x2, (a.u64x2 & c.u64x2) | (b.u64x2 & ~c.u64x2))
WHOLE(i8x16_relaxed_laneselect, TERNARY, u64x2, v128_bitselect(a, b, c).u64x2)
WHOLE(i16x8_relaxed_laneselect, TERNARY, u64x2, v128_bitselect(a, b, c).u64x2)
WHOLE(i32x4_relaxed_laneselect, TERNARY, u64x2, v128_bitselect(a, b, c).u64x2)
WHOLE(i64x2_relaxed_laneselect, TERNARY, u64x2, v128_bitselect(a, b, c).u64x2)

static inline uint32_t v128_any_true(v128 a) { return (a.u64[0] | a.u64[1]) != 0; }

/* Lane access. A lane of a float moves through registers that keep the bits of a signalling NaN. */

LANEWISE(i8x16_splat, (uint32_t x), u8, 16, (uint8_t)x)
LANEWISE(i16x8_splat, (uint32_t x), u16, 8, (uint16_t)x)
LANEWISE(i32x4_splat, (uint32_t x), u32, 4, x)
LANEWISE(i64x2_splat, (uint64_t x), u64, 2, x)
LANEWISE(f32x4_splat, (float x), f32, 4, x)
LANEWISE(f64x2_splat, (double x), f64, 2, x)

static inline uint32_t i8x16_extract_lane_s(v128 a, unsigned lane) { return (uint32_t)a.i8[lane]; }
static inline uint32_t i8x16_extract_lane_u(v128 a, unsigned lane) { return a.u8[lane]; }
static inline uint32_t i16x8_extract_lane_s(v128 a, unsigned lane) { return (uint32_t)a.i16[lane]; }
static inline uint32_t i16x8_extract_lane_u(v128 a, unsigned lane) { return a.u16[lane]; }
static inline uint32_t i32x4_extract_lane(v128 a, unsigned lane) { return a.u32[lane]; }
static inline uint64_t i64x2_extract_lane(v128 a, unsigned lane) { return a.u64[lane]; }
static inline float f32x4_extract_lane(v128 a, unsigned lane) { return a.f32[lane]; }
static inline double f64x2_extract_lane(v128 a, unsigned lane) { return a.f64[lane]; }

#define REPLACE_LANE(name, type, lanes)                                                                     \
    static inline v128 name(v128 a, type x, unsigned lane) {                                                \
        a.lanes[lane] = x;                                                                                  \
        return a;                                                                                           \
    }

REPLACE_LANE(i8x16_replace_lane, uint32_t, u8)
REPLACE_LANE(i16x8_replace_lane, uint32_t, u16)
REPLACE_LANE(i32x4_replace_lane, uint32_t, u32)
REPLACE_LANE(i64x2_replace_lane, uint64_t, u64)
REPLACE_LANE(f32x4_replace_lane, float, f32)
REPLACE_LANE(f64x2_replace_lane, double, f64)
#undef REPLACE_LANE

static inline v128 i8x16_shuffle(v128 a, v128 b, const uint8_t *lanes) {
    uint8_t both[32];
    v128 r;
    memcpy(both, &a, 16);
    memcpy(both + 16, &b, 16);
    for (int i = 0; i < 16; i++) r.u8[i] = both[lanes[i]];
    return r;
}

LANEWISE(i8x16_swizzle, BINARY, u8, 16, b.u8[i] < 16 ? a.u8[b.u8[i]] : 0)
WHOLE(i8x16_relaxed_swizzle, BINARY, u8x16, i8x16_swizzle(a, b).u8x16)

/* Integer arithmetic, modulo the lane: on unsigned lanes, since signed overflow is undefined in C. */

WHOLE(i8x16_add, BINARY, u8x16, a.u8x16 + b.u8x16)
WHOLE(i8x16_sub, BINARY, u8x16, a.u8x16 - b.u8x16)
WHOLE(i8x16_neg, UNARY, u8x16, -a.u8x16)
WHOLE(i16x8_add, BINARY, u16x8, a.u16x8 + b.u16x8)
WHOLE(i16x8_sub, BINARY, u16x8, a.u16x8 - b.u16x8)
WHOLE(i16x8_neg, UNARY, u16x8, -a.u16x8)
WHOLE(i16x8_mul, BINARY, u16x8, a.u16x8 * b.u16x8)
WHOLE(i32x4_add, BINARY, u32x4, a.u32x4 + b.u32x4)
WHOLE(i32x4_sub, BINARY, u32x4, a.u32x4 - b.u32x4)
WHOLE(i32x4_neg, UNARY, u32x4, -a.u32x4)
WHOLE(i32x4_mul, BINARY, u32x4, a.u32x4 * b.u32x4)
WHOLE(i64x2_add, BINARY, u64x2, a.u64x2 + b.u64x2)
WHOLE(i64x2_sub, BINARY, u64x2, a.u64x2 - b.u64x2)
WHOLE(i64x2_neg, UNARY, u64x2, -a.u64x2)
WHOLE(i64x2_mul, BINARY, u64x2, a.u64x2 * b.u64x2)

LANEWISE(i8x16_abs, UNARY, u8, 16, (uint8_t)(a.i8[i] < 0 ? -a.i8[i] : a.i8[i]))
LANEWISE(i16x8_abs, UNARY, u16, 8, (uint16_t)(a.i16[i] < 0 ? -a.i16[i] : a.i16[i]))
LANEWISE(i32x4_abs, UNARY, u32, 4, a.i32[i] < 0 ? -a.u32[i] : a.u32[i])
LANEWISE(i64x2_abs, UNARY, u64, 2, a.i64[i] < 0 ? -a.u64[i] : a.u64[i])

/* Shifts, by a count modulo the width of the lane. */

#define SHIFT (v128 a, uint32_t count)
WHOLE(i8x16_shl, SHIFT, u8x16, a.u8x16 << (uint8_t)(count & 7))
WHOLE(i8x16_shr_s, SHIFT, i8x16, a.i8x16 >> (int8_t)(count & 7))
WHOLE(i8x16_shr_u, SHIFT, u8x16, a.u8x16 >> (uint8_t)(count & 7))
WHOLE(i16x8_shl, SHIFT, u16x8, a.u16x8 << (uint16_t)(count & 15))
WHOLE(i16x8_shr_s, SHIFT, i16x8, a.i16x8 >> (int16_t)(count & 15))
WHOLE(i16x8_shr_u, SHIFT, u16x8, a.u16x8 >> (uint16_t)(count & 15))
WHOLE(i32x4_shl, SHIFT, u32x4, a.u32x4 << (count & 31))
WHOLE(i32x4_shr_s, SHIFT, i32x4, a.i32x4 >> (int32_t)(count & 31))
WHOLE(i32x4_shr_u, SHIFT, u32x4, a.u32x4 >> (count & 31))
WHOLE(i64x2_shl, SHIFT, u64x2, a.u64x2 << (uint64_t)(count & 63))
WHOLE(i64x2_shr_s, SHIFT, i64x2, a.i64x2 >> (int64_t)(count & 63))
WHOLE(i64x2_shr_u, SHIFT, u64x2, a.u64x2 >> (uint64_t)(count & 63))
#undef SHIFT

/* Saturating and rounding arithmetic: C computes on int, wide enough for every intermediate value. */

static inline int32_t clamp(int32_t x, int32_t lowest, int32_t highest) {
    return x < lowest ? lowest : x > highest ? highest : x;
}

LANEWISE(i8x16_add_sat_s, BINARY, i8, 16, (int8_t)clamp(a.i8[i] + b.i8[i], INT8_MIN, INT8_MAX))
LANEWISE(i8x16_add_sat_u, BINARY, u8, 16, (uint8_t)clamp(a.u8[i] + b.u8[i], 0, UINT8_MAX))
LANEWISE(i8x16_sub_sat_s, BINARY, i8, 16, (int8_t)clamp(a.i8[i] - b.i8[i], INT8_MIN, INT8_MAX))
LANEWISE(i8x16_sub_sat_u, BINARY, u8, 16, (uint8_t)clamp(a.u8[i] - b.u8[i], 0, UINT8_MAX))
LANEWISE(i16x8_add_sat_s, BINARY, i16, 8, (int16_t)clamp(a.i16[i] + b.i16[i], INT16_MIN, INT16_MAX))
LANEWISE(i16x8_add_sat_u, BINARY, u16, 8, (uint16_t)clamp(a.u16[i] + b.u16[i], 0, UINT16_MAX))
LANEWISE(i16x8_sub_sat_s, BINARY, i16, 8, (int16_t)clamp(a.i16[i] - b.i16[i], INT16_MIN, INT16_MAX))
LANEWISE(i16x8_sub_sat_u, BINARY, u16, 8, (uint16_t)clamp(a.u16[i] - b.u16[i], 0, UINT16_MAX))
LANEWISE(i16x8_q15mulr_sat_s, BINARY, i16, 8,
         (int16_t)clamp((a.i16[i] * b.i16[i] + 0x4000) >> 15, INT16_MIN, INT16_MAX))
WHOLE(i16x8_relaxed_q15mulr_s, BINARY, i16x8, i16x8_q15mulr_sat_s(a, b).i16x8)
LANEWISE(i8x16_avgr_u, BINARY, u8, 16, (uint8_t)((a.u8[i] + b.u8[i] + 1) >> 1))
LANEWISE(i16x8_avgr_u, BINARY, u16, 8, (uint16_t)((a.u16[i] + b.u16[i] + 1) >> 1))

/* Minimum, maximum, population count. */

LANEWISE(i8x16_min_s, BINARY, i8, 16, a.i8[i] < b.i8[i] ? a.i8[i] : b.i8[i])
LANEWISE(i8x16_min_u, BINARY, u8, 16, a.u8[i] < b.u8[i] ? a.u8[i] : b.u8[i])
LANEWISE(i8x16_max_s, BINARY, i8, 16, a.i8[i] > b.i8[i] ? a.i8[i] : b.i8[i])
LANEWISE(i8x16_max_u, BINARY, u8, 16, a.u8[i] > b.u8[i] ? a.u8[i] : b.u8[i])
LANEWISE(i16x8_min_s, BINARY, i16, 8, a.i16[i] < b.i16[i] ? a.i16[i] : b.i16[i])
LANEWISE(i16x8_min_u, BINARY, u16, 8, a.u16[i] < b.u16[i] ? a.u16[i] : b.u16[i])
LANEWISE(i16x8_max_s, BINARY, i16, 8, a.i16[i] > b.i16[i] ? a.i16[i] : b.i16[i])
LANEWISE(i16x8_max_u, BINARY, u16, 8, a.u16[i] > b.u16[i] ? a.u16[i] : b.u16[i])
LANEWISE(i32x4_min_s, BINARY, i32, 4, a.i32[i] < b.i32[i] ? a.i32[i] : b.i32[i])
LANEWISE(i32x4_min_u, BINARY, u32, 4, a.u32[i] < b.u32[i] ? a.u32[i] : b.u32[i])
LANEWISE(i32x4_max_s, BINARY, i32, 4, a.i32[i] > b.i32[i] ? a.i32[i] : b.i32[i])
LANEWISE(i32x4_max_u, BINARY, u32, 4, a.u32[i] > b.u32[i] ? a.u32[i] : b.u32[i])

static inline v128 i8x16_popcnt(v128 a) {
    a.u8x16 -= a.u8x16 >> 1 & 0x55;
    a.u8x16 = (a.u8x16 & 0x33) + (a.u8x16 >> 2 & 0x33);
    a.u8x16 = (a.u8x16 + (a.u8x16 >> 4)) & 0x0F;
    return a;
}

/* Comparisons: a vector extension fills the lane with ones where the relation holds. */

#define COMPARISON(name, operands, result, relation)                                                        \
    WHOLE(name, BINARY, result, (result##_t)(a.operands relation b.operands))

COMPARISON(i8x16_eq, i8x16, i8x16, ==)
COMPARISON(i8x16_ne, i8x16, i8x16, !=)
COMPARISON(i8x16_lt_s, i8x16, i8x16, <)
COMPARISON(i8x16_lt_u, u8x16, i8x16, <)
COMPARISON(i8x16_gt_s, i8x16, i8x16, >)
COMPARISON(i8x16_gt_u, u8x16, i8x16, >)
COMPARISON(i8x16_le_s, i8x16, i8x16, <=)
COMPARISON(i8x16_le_u, u8x16, i8x16, <=)
COMPARISON(i8x16_ge_s, i8x16, i8x16, >=)
COMPARISON(i8x16_ge_u, u8x16, i8x16, >=)
COMPARISON(i16x8_eq, i16x8, i16x8, ==)
COMPARISON(i16x8_ne, i16x8, i16x8, !=)
COMPARISON(i16x8_lt_s, i16x8, i16x8, <)
COMPARISON(i16x8_lt_u, u16x8, i16x8, <)
COMPARISON(i16x8_gt_s, i16x8, i16x8, >)
COMPARISON(i16x8_gt_u, u16x8, i16x8, >)
COMPARISON(i16x8_le_s, i16x8, i16x8, <=)
COMPARISON(i16x8_le_u, u16x8, i16x8, <=)
COMPARISON(i16x8_ge_s, i16x8, i16x8, >=)
COMPARISON(i16x8_ge_u, u16x8, i16x8, >=)
COMPARISON(i32x4_eq, i32x4, i32x4, ==)
COMPARISON(i32x4_ne, i32x4, i32x4, !=)
COMPARISON(i32x4_lt_s, i32x4, i32x4, <)
COMPARISON(i32x4_lt_u, u32x4, i32x4, <)
COMPARISON(i32x4_gt_s, i32x4, i32x4, >)
COMPARISON(i32x4_gt_u, u32x4, i32x4, >)
COMPARISON(i32x4_le_s, i32x4, i32x4, <=)
COMPARISON(i32x4_le_u, u32x4, i32x4, <=)
COMPARISON(i32x4_ge_s, i32x4, i32x4, >=)
COMPARISON(i32x4_ge_u, u32x4, i32x4, >=)
COMPARISON(i64x2_eq, i64x2, i64x2, ==)
COMPARISON(i64x2_ne, i64x2, i64x2, !=)
COMPARISON(i64x2_lt_s, i64x2, i64x2, <)
COMPARISON(i64x2_gt_s, i64x2, i64x2, >)
COMPARISON(i64x2_le_s, i64x2, i64x2, <=)
COMPARISON(i64x2_ge_s, i64x2, i64x2, >=)
COMPARISON(f32x4_eq, f32x4, i32x4, ==)
COMPARISON(f32x4_ne, f32x4, i32x4, !=)
COMPARISON(f32x4_lt, f32x4, i32x4, <)
COMPARISON(f32x4_gt, f32x4, i32x4, >)
COMPARISON(f32x4_le, f32x4, i32x4, <=)
COMPARISON(f32x4_ge, f32x4, i32x4, >=)
COMPARISON(f64x2_eq, f64x2, i64x2, ==)
COMPARISON(f64x2_ne, f64x2, i64x2, !=)
COMPARISON(f64x2_lt, f64x2, i64x2, <)
COMPARISON(f64x2_gt, f64x2, i64x2, >)
COMPARISON(f64x2_le, f64x2, i64x2, <=)
COMPARISON(f64x2_ge, f64x2, i64x2, >=)
#undef COMPARISON

/* Tests. */

static inline uint32_t i8x16_all_true(v128 a) { return !v128_any_true(i8x16_eq(a, (v128){.u64 = {0, 0}})); }
static inline uint32_t i16x8_all_true(v128 a) { return !v128_any_true(i16x8_eq(a, (v128){.u64 = {0, 0}})); }
static inline uint32_t i32x4_all_true(v128 a) { return !v128_any_true(i32x4_eq(a, (v128){.u64 = {0, 0}})); }
static inline uint32_t i64x2_all_true(v128 a) { return !v128_any_true(i64x2_eq(a, (v128){.u64 = {0, 0}})); }

/* The product moves bit 8 * i to 56 + i. */
static inline uint32_t i8x16_bitmask(v128 a) {
    u64x2_t signs = a.u64x2 >> 7 & 0x0101010101010101u;
    return (uint32_t)(signs[0] * 0x0102040810204080u >> 56 | signs[1] * 0x0102040810204080u >> 56 << 8);
}

#define BITMASK(name, lanes, count)                                                                         \
    static inline uint32_t name(v128 a) {                                                                   \
        uint32_t r = 0;                                                                                     \
        for (int i = 0; i < (count); i++) r |= (uint32_t)(a.lanes[i] < 0) << i;                             \
        return r;                                                                                           \
    }

BITMASK(i16x8_bitmask, i16, 8)
BITMASK(i32x4_bitmask, i32, 4)
BITMASK(i64x2_bitmask, i64, 2)
#undef BITMASK

/* Between widths of integers. */

#define NARROW(name, wide, narrow, count, lowest, highest)                                                  \
    static inline v128 name(v128 a, v128 b) {                                                               \
        v128 r;                                                                                             \
        for (int i = 0; i < (count); i++) r.narrow[i] = clamp(a.wide[i], lowest, highest);                  \
        for (int i = 0; i < (count); i++) r.narrow[i + (count)] = clamp(b.wide[i], lowest, highest);        \
        return r;                                                                                           \
    }

NARROW(i8x16_narrow_i16x8_s, i16, i8, 8, INT8_MIN, INT8_MAX)
NARROW(i8x16_narrow_i16x8_u, i16, u8, 8, 0, UINT8_MAX)
NARROW(i16x8_narrow_i32x4_s, i32, i16, 4, INT16_MIN, INT16_MAX)
NARROW(i16x8_narrow_i32x4_u, i32, u16, 4, 0, UINT16_MAX)
#undef NARROW

LANEWISE(i16x8_extend_low_i8x16_s, UNARY, i16, 8, a.i8[i])
LANEWISE(i16x8_extend_high_i8x16_s, UNARY, i16, 8, a.i8[i + 8])
LANEWISE(i16x8_extend_low_i8x16_u, UNARY, u16, 8, a.u8[i])
LANEWISE(i16x8_extend_high_i8x16_u, UNARY, u16, 8, a.u8[i + 8])
LANEWISE(i32x4_extend_low_i16x8_s, UNARY, i32, 4, a.i16[i])
LANEWISE(i32x4_extend_high_i16x8_s, UNARY, i32, 4, a.i16[i + 4])
LANEWISE(i32x4_extend_low_i16x8_u, UNARY, u32, 4, a.u16[i])
LANEWISE(i32x4_extend_high_i16x8_u, UNARY, u32, 4, a.u16[i + 4])
LANEWISE(i64x2_extend_low_i32x4_s, UNARY, i64, 2, a.i32[i])
LANEWISE(i64x2_extend_high_i32x4_s, UNARY, i64, 2, a.i32[i + 2])
LANEWISE(i64x2_extend_low_i32x4_u, UNARY, u64, 2, a.u32[i])
LANEWISE(i64x2_extend_high_i32x4_u, UNARY, u64, 2, a.u32[i + 2])

/* The product of two u16 leaves the range of int, that of two i16 does not. */
LANEWISE(i16x8_extmul_low_i8x16_s, BINARY, i16, 8, (int16_t)(a.i8[i] * b.i8[i]))
LANEWISE(i16x8_extmul_high_i8x16_s, BINARY, i16, 8, (int16_t)(a.i8[i + 8] * b.i8[i + 8]))
LANEWISE(i16x8_extmul_low_i8x16_u, BINARY, u16, 8, (uint16_t)(a.u8[i] * b.u8[i]))
LANEWISE(i16x8_extmul_high_i8x16_u, BINARY, u16, 8, (uint16_t)(a.u8[i + 8] * b.u8[i + 8]))
LANEWISE(i32x4_extmul_low_i16x8_s, BINARY, i32, 4, a.i16[i] * b.i16[i])
LANEWISE(i32x4_extmul_high_i16x8_s, BINARY, i32, 4, a.i16[i + 4] * b.i16[i + 4])
LANEWISE(i32x4_extmul_low_i16x8_u, BINARY, u32, 4, (uint32_t)a.u16[i] * b.u16[i])
LANEWISE(i32x4_extmul_high_i16x8_u, BINARY, u32, 4, (uint32_t)a.u16[i + 4] * b.u16[i + 4])
LANEWISE(i64x2_extmul_low_i32x4_s, BINARY, i64, 2, (int64_t)a.i32[i] * b.i32[i])
LANEWISE(i64x2_extmul_high_i32x4_s, BINARY, i64, 2, (int64_t)a.i32[i + 2] * b.i32[i + 2])
LANEWISE(i64x2_extmul_low_i32x4_u, BINARY, u64, 2, (uint64_t)a.u32[i] * b.u32[i])
LANEWISE(i64x2_extmul_high_i32x4_u, BINARY, u64, 2, (uint64_t)a.u32[i + 2] * b.u32[i + 2])

LANEWISE(i16x8_extadd_pairwise_i8x16_s, UNARY, i16, 8, (int16_t)(a.i8[2 * i] + a.i8[2 * i + 1]))
LANEWISE(i16x8_extadd_pairwise_i8x16_u, UNARY, u16, 8, (uint16_t)(a.u8[2 * i] + a.u8[2 * i + 1]))
LANEWISE(i32x4_extadd_pairwise_i16x8_s, UNARY, i32, 4, a.i16[2 * i] + a.i16[2 * i + 1])
LANEWISE(i32x4_extadd_pairwise_i16x8_u, UNARY, u32, 4, (uint32_t)(a.u16[2 * i] + a.u16[2 * i + 1]))

/* Dot products. Only 2 * (-2^15)^2 leaves the range of i32, where it wraps, and only 2 * (-2^7)^2 that
   of i16, where the sum saturates. */
LANEWISE(i32x4_dot_i16x8_s, BINARY, u32, 4,
         (uint32_t)(a.i16[2 * i] * b.i16[2 * i]) + (uint32_t)(a.i16[2 * i + 1] * b.i16[2 * i + 1]))
LANEWISE(i16x8_relaxed_dot_i8x16_i7x16_s, BINARY, i16, 8,
         (int16_t)clamp(a.i8[2 * i] * b.i8[2 * i] + a.i8[2 * i + 1] * b.i8[2 * i + 1], INT16_MIN, INT16_MAX))
WHOLE(i32x4_relaxed_dot_i8x16_i7x16_add_s, TERNARY, u32x4,
      i32x4_extadd_pairwise_i16x8_s(i16x8_relaxed_dot_i8x16_i7x16_s(a, b)).u32x4 + c.u32x4)

/* Float arithmetic. `x` where the bits of `mask` are set, else `y`. */

#define CHOOSE(mask, x, y) (((x) & (mask)) | ((y) & ~(mask)))

static inline v128 f32x4_canonical(f32x4_t r) {
    OPAQUE(r);
    u32x4_t nan = (u32x4_t)(r != r);
    return (v128){.u32x4 = CHOOSE(nan, F32_CANONICAL_NAN, (u32x4_t)r)};
}
static inline v128 f64x2_canonical(f64x2_t r) {
    OPAQUE(r);
    u64x2_t nan = (u64x2_t)(r != r);
    return (v128){.u64x2 = CHOOSE(nan, F64_CANONICAL_NAN, (u64x2_t)r)};
}

WHOLE(f32x4_add, BINARY, u32x4, f32x4_canonical(a.f32x4 + b.f32x4).u32x4)
WHOLE(f32x4_sub, BINARY, u32x4, f32x4_canonical(a.f32x4 - b.f32x4).u32x4)
WHOLE(f32x4_mul, BINARY, u32x4, f32x4_canonical(a.f32x4 * b.f32x4).u32x4)
WHOLE(f32x4_div, BINARY, u32x4, f32x4_canonical(a.f32x4 / b.f32x4).u32x4)
WHOLE(f64x2_add, BINARY, u64x2, f64x2_canonical(a.f64x2 + b.f64x2).u64x2)
WHOLE(f64x2_sub, BINARY, u64x2, f64x2_canonical(a.f64x2 - b.f64x2).u64x2)
WHOLE(f64x2_mul, BINARY, u64x2, f64x2_canonical(a.f64x2 * b.f64x2).u64x2)
WHOLE(f64x2_div, BINARY, u64x2, f64x2_canonical(a.f64x2 / b.f64x2).u64x2)

#define ARITHMETIC(name, shape, lanes, count, expression)                                                   \
    static inline v128 name(v128 a) {                                                                       \
        v128 r;                                                                                             \
        for (int i = 0; i < (count); i++) r.lanes[i] = (expression);                                        \
        return shape##_canonical(r.shape);                                                                  \
    }

ARITHMETIC(f32x4_sqrt, f32x4, f32, 4, __builtin_sqrtf(a.f32[i]))
ARITHMETIC(f32x4_ceil, f32x4, f32, 4, __builtin_ceilf(a.f32[i]))
ARITHMETIC(f32x4_floor, f32x4, f32, 4, __builtin_floorf(a.f32[i]))
ARITHMETIC(f32x4_trunc, f32x4, f32, 4, __builtin_truncf(a.f32[i]))
ARITHMETIC(f32x4_nearest, f32x4, f32, 4, __builtin_rintf(a.f32[i]))
ARITHMETIC(f32x4_demote_f64x2_zero, f32x4, f32, 4, i < 2 ? (float)a.f64[i] : 0)
ARITHMETIC(f64x2_sqrt, f64x2, f64, 2, __builtin_sqrt(a.f64[i]))
ARITHMETIC(f64x2_ceil, f64x2, f64, 2, __builtin_ceil(a.f64[i]))
ARITHMETIC(f64x2_floor, f64x2, f64, 2, __builtin_floor(a.f64[i]))
ARITHMETIC(f64x2_trunc, f64x2, f64, 2, __builtin_trunc(a.f64[i]))
ARITHMETIC(f64x2_nearest, f64x2, f64, 2, __builtin_rint(a.f64[i]))
ARITHMETIC(f64x2_promote_low_f32x4, f64x2, f64, 2, (double)a.f32[i])
#undef ARITHMETIC

/* As the scalar twins: `either` is for equal operands, or for a NaN among them. */
#define EXTREMUM(name, shape, bits, nan, first, second, equal)                                              \
    static inline v128 name(v128 a, v128 b) {                                                               \
        bits##_t a_wins = (bits##_t)(a.shape first b.shape), b_wins = (bits##_t)(a.shape second b.shape);   \
        bits##_t same = (bits##_t)(a.shape == b.shape);                                                     \
        bits##_t either = CHOOSE(same, a.bits equal b.bits, (bits##_t){0} + (nan));                         \
        return (v128){.bits = CHOOSE(a_wins, a.bits, CHOOSE(b_wins, b.bits, either))};                      \
    }

EXTREMUM(f32x4_min, f32x4, u32x4, F32_CANONICAL_NAN, <, >, |)
EXTREMUM(f32x4_max, f32x4, u32x4, F32_CANONICAL_NAN, >, <, &)
EXTREMUM(f64x2_min, f64x2, u64x2, F64_CANONICAL_NAN, <, >, |)
EXTREMUM(f64x2_max, f64x2, u64x2, F64_CANONICAL_NAN, >, <, &)
#undef EXTREMUM
WHOLE(f32x4_relaxed_min, BINARY, u32x4, f32x4_min(a, b).u32x4)
WHOLE(f32x4_relaxed_max, BINARY, u32x4, f32x4_max(a, b).u32x4)
WHOLE(f64x2_relaxed_min, BINARY, u64x2, f64x2_min(a, b).u64x2)
WHOLE(f64x2_relaxed_max, BINARY, u64x2, f64x2_max(a, b).u64x2)

/* Instructions that keep bits. */

WHOLE(f32x4_neg, UNARY, u32x4, a.u32x4 ^ F32_SIGN)
WHOLE(f32x4_abs, UNARY, u32x4, a.u32x4 & ~F32_SIGN)
WHOLE(f64x2_neg, UNARY, u64x2, a.u64x2 ^ F64_SIGN)
WHOLE(f64x2_abs, UNARY, u64x2, a.u64x2 & ~F64_SIGN)
WHOLE(f32x4_pmin, BINARY, u32x4, CHOOSE((u32x4_t)(b.f32x4 < a.f32x4), b.u32x4, a.u32x4))
WHOLE(f32x4_pmax, BINARY, u32x4, CHOOSE((u32x4_t)(a.f32x4 < b.f32x4), b.u32x4, a.u32x4))
WHOLE(f64x2_pmin, BINARY, u64x2, CHOOSE((u64x2_t)(b.f64x2 < a.f64x2), b.u64x2, a.u64x2))
WHOLE(f64x2_pmax, BINARY, u64x2, CHOOSE((u64x2_t)(a.f64x2 < b.f64x2), b.u64x2, a.u64x2))
#undef CHOOSE

/* Products, then sums, each rounded: never one fused operation, not even without -ffp-contract=off. */

#define MULTIPLY_ADD(name, shape, product)                                                                  \
    static inline v128 name(v128 a, v128 b, v128 c) {                                                       \
        shape##_t rounded = (product);                                                                      \
        OPAQUE(rounded);                                                                                    \
        return shape##_canonical(rounded + c.shape);                                                        \
    }

MULTIPLY_ADD(f32x4_relaxed_madd, f32x4, a.f32x4 * b.f32x4)
MULTIPLY_ADD(f32x4_relaxed_nmadd, f32x4, f32x4_neg(a).f32x4 * b.f32x4)
MULTIPLY_ADD(f64x2_relaxed_madd, f64x2, a.f64x2 * b.f64x2)
MULTIPLY_ADD(f64x2_relaxed_nmadd, f64x2, f64x2_neg(a).f64x2 * b.f64x2)
#undef MULTIPLY_ADD

/* Conversions between integers and floats. `name` computes the low two lanes, the others are zero. */

#define ZERO_HIGH(name, lanes, expression)                                                                  \
    static inline v128 name(v128 a) {                                                                       \
        v128 r = {.u64 = {0, 0}};                                                                           \
        for (int i = 0; i < 2; i++) r.lanes[i] = (expression);                                              \
        return r;                                                                                           \
    }

LANEWISE(i32x4_trunc_sat_f32x4_s, UNARY, u32, 4, i32_trunc_sat_f32_s(a.f32[i]))
LANEWISE(i32x4_trunc_sat_f32x4_u, UNARY, u32, 4, i32_trunc_sat_f32_u(a.f32[i]))
ZERO_HIGH(i32x4_trunc_sat_f64x2_s_zero, u32, i32_trunc_sat_f64_s(a.f64[i]))
ZERO_HIGH(i32x4_trunc_sat_f64x2_u_zero, u32, i32_trunc_sat_f64_u(a.f64[i]))
WHOLE(i32x4_relaxed_trunc_f32x4_s, UNARY, u32x4, i32x4_trunc_sat_f32x4_s(a).u32x4)
WHOLE(i32x4_relaxed_trunc_f32x4_u, UNARY, u32x4, i32x4_trunc_sat_f32x4_u(a).u32x4)
WHOLE(i32x4_relaxed_trunc_f64x2_s_zero, UNARY, u32x4, i32x4_trunc_sat_f64x2_s_zero(a).u32x4)
WHOLE(i32x4_relaxed_trunc_f64x2_u_zero, UNARY, u32x4, i32x4_trunc_sat_f64x2_u_zero(a).u32x4)
LANEWISE(f32x4_convert_i32x4_s, UNARY, f32, 4, (float)a.i32[i])
LANEWISE(f32x4_convert_i32x4_u, UNARY, f32, 4, (float)a.u32[i])
LANEWISE(f64x2_convert_low_i32x4_s, UNARY, f64, 2, (double)a.i32[i])
LANEWISE(f64x2_convert_low_i32x4_u, UNARY, f64, 2, (double)a.u32[i])
#undef ZERO_HIGH

#undef UNARY
#undef BINARY
#undef TERNARY
#undef WHOLE
#undef LANEWISE

#endif
