/* Scalar numeric instructions (section 4.3 of the specification), twins of the package `numerics`.

   A function is named as its instruction, with `_` for `.`. An i32 is a uint32_t, an i64 a uint64_t;
   only signed operators reinterpret. A function that may trap takes `trap` last: where it traps it
   sets the code and returns 0, otherwise it leaves the code alone. Results of wide arithmetic go
   through the pointers that follow the operands.

   A float operator that computes a NaN gives the positive canonical one, as in Python. That, and
   every rounding, is wrong under -ffast-math and under contraction of a * b + c, which GCC does by
   default where the processor can: build with -ffp-contract=off. With -fno-math-errno and
   -fno-trapping-math (errno and the exception flags are never read) square roots and roundings
   become one machine instruction, with the same results. */

#ifndef TINYWASM_NUMERICS_H
#define TINYWASM_NUMERICS_H

#include <float.h>
#include <stdint.h>
#include <string.h>

#include "trap.h"

#ifdef __FAST_MATH__
#error "tinywasm needs the arithmetic of IEEE 754: build without -ffast-math"
#endif
#if FLT_EVAL_METHOD != 0
#error "tinywasm needs a processor mode that computes float in single and double in double precision"
#endif
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "tinywasm's native engine reads little-endian memory in place"
#endif
#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

/* Bits. */

static inline uint32_t i32_reinterpret_f32(float a) { uint32_t bits; memcpy(&bits, &a, 4); return bits; }
static inline uint64_t i64_reinterpret_f64(double a) { uint64_t bits; memcpy(&bits, &a, 8); return bits; }
static inline float f32_reinterpret_i32(uint32_t bits) { float a; memcpy(&a, &bits, 4); return a; }
static inline double f64_reinterpret_i64(uint64_t bits) { double a; memcpy(&a, &bits, 8); return a; }

#define F32_CANONICAL_NAN 0x7FC00000u
#define F64_CANONICAL_NAN 0x7FF8000000000000u
#define F32_SIGN 0x80000000u
#define F64_SIGN 0x8000000000000000u

/* Empty assembly that takes a float in its register and gives it back: to the compiler another value. */
#if defined(__x86_64__)
#define OPAQUE(value) __asm__("" : "+x"(value))
#elif defined(__aarch64__)
#define OPAQUE(value) __asm__("" : "+w"(value))
#else
#define OPAQUE(value) __asm__("" : "+m"(value))
#endif

/* With a plain constant, Clang takes `a < 0 ? NaN : sqrt(a)` for `sqrt(a)`, whose NaN is negative on
   x86-64, and GCC makes a conditional move by way of an integer register out of the branch. */
static inline float f32_canonical(float a) {
    if (__builtin_expect(a != a, 0)) {
        a = f32_reinterpret_i32(F32_CANONICAL_NAN);
        OPAQUE(a);
    }
    return a;
}
static inline double f64_canonical(double a) {
    if (__builtin_expect(a != a, 0)) {
        a = f64_reinterpret_i64(F64_CANONICAL_NAN);
        OPAQUE(a);
    }
    return a;
}

/* Integer comparisons. */

static inline uint32_t i32_eqz(uint32_t a) { return a == 0; }
static inline uint32_t i32_eq(uint32_t a, uint32_t b) { return a == b; }
static inline uint32_t i32_ne(uint32_t a, uint32_t b) { return a != b; }
static inline uint32_t i32_lt_s(uint32_t a, uint32_t b) { return (int32_t)a < (int32_t)b; }
static inline uint32_t i32_lt_u(uint32_t a, uint32_t b) { return a < b; }
static inline uint32_t i32_gt_s(uint32_t a, uint32_t b) { return (int32_t)a > (int32_t)b; }
static inline uint32_t i32_gt_u(uint32_t a, uint32_t b) { return a > b; }
static inline uint32_t i32_le_s(uint32_t a, uint32_t b) { return (int32_t)a <= (int32_t)b; }
static inline uint32_t i32_le_u(uint32_t a, uint32_t b) { return a <= b; }
static inline uint32_t i32_ge_s(uint32_t a, uint32_t b) { return (int32_t)a >= (int32_t)b; }
static inline uint32_t i32_ge_u(uint32_t a, uint32_t b) { return a >= b; }

static inline uint32_t i64_eqz(uint64_t a) { return a == 0; }
static inline uint32_t i64_eq(uint64_t a, uint64_t b) { return a == b; }
static inline uint32_t i64_ne(uint64_t a, uint64_t b) { return a != b; }
static inline uint32_t i64_lt_s(uint64_t a, uint64_t b) { return (int64_t)a < (int64_t)b; }
static inline uint32_t i64_lt_u(uint64_t a, uint64_t b) { return a < b; }
static inline uint32_t i64_gt_s(uint64_t a, uint64_t b) { return (int64_t)a > (int64_t)b; }
static inline uint32_t i64_gt_u(uint64_t a, uint64_t b) { return a > b; }
static inline uint32_t i64_le_s(uint64_t a, uint64_t b) { return (int64_t)a <= (int64_t)b; }
static inline uint32_t i64_le_u(uint64_t a, uint64_t b) { return a <= b; }
static inline uint32_t i64_ge_s(uint64_t a, uint64_t b) { return (int64_t)a >= (int64_t)b; }
static inline uint32_t i64_ge_u(uint64_t a, uint64_t b) { return a >= b; }

/* Integer arithmetic. */

static inline uint32_t i32_add(uint32_t a, uint32_t b) { return a + b; }
static inline uint32_t i32_sub(uint32_t a, uint32_t b) { return a - b; }
static inline uint32_t i32_mul(uint32_t a, uint32_t b) { return a * b; }
static inline uint32_t i32_and(uint32_t a, uint32_t b) { return a & b; }
static inline uint32_t i32_or(uint32_t a, uint32_t b) { return a | b; }
static inline uint32_t i32_xor(uint32_t a, uint32_t b) { return a ^ b; }
static inline uint32_t i32_shl(uint32_t a, uint32_t b) { return a << (b & 31); }
static inline uint32_t i32_shr_s(uint32_t a, uint32_t b) { return (uint32_t)((int32_t)a >> (b & 31)); }
static inline uint32_t i32_shr_u(uint32_t a, uint32_t b) { return a >> (b & 31); }
static inline uint32_t i32_rotl(uint32_t a, uint32_t b) { return a << (b & 31) | a >> (-b & 31); }
static inline uint32_t i32_rotr(uint32_t a, uint32_t b) { return a >> (b & 31) | a << (-b & 31); }
static inline uint32_t i32_clz(uint32_t a) { return a ? (uint32_t)__builtin_clz(a) : 32; }
static inline uint32_t i32_ctz(uint32_t a) { return a ? (uint32_t)__builtin_ctz(a) : 32; }

static inline uint64_t i64_add(uint64_t a, uint64_t b) { return a + b; }
static inline uint64_t i64_sub(uint64_t a, uint64_t b) { return a - b; }
static inline uint64_t i64_mul(uint64_t a, uint64_t b) { return a * b; }
static inline uint64_t i64_and(uint64_t a, uint64_t b) { return a & b; }
static inline uint64_t i64_or(uint64_t a, uint64_t b) { return a | b; }
static inline uint64_t i64_xor(uint64_t a, uint64_t b) { return a ^ b; }
static inline uint64_t i64_shl(uint64_t a, uint64_t b) { return a << (b & 63); }
static inline uint64_t i64_shr_s(uint64_t a, uint64_t b) { return (uint64_t)((int64_t)a >> (b & 63)); }
static inline uint64_t i64_shr_u(uint64_t a, uint64_t b) { return a >> (b & 63); }
static inline uint64_t i64_rotl(uint64_t a, uint64_t b) { return a << (b & 63) | a >> (-b & 63); }
static inline uint64_t i64_rotr(uint64_t a, uint64_t b) { return a >> (b & 63) | a << (-b & 63); }
static inline uint64_t i64_clz(uint64_t a) { return a ? (uint64_t)__builtin_clzll(a) : 64; }
static inline uint64_t i64_ctz(uint64_t a) { return a ? (uint64_t)__builtin_ctzll(a) : 64; }

/* Summed pairwise, in place: compilers know this form and take the processor's instruction where they
   may; where they may not, the builtin would call a function of the compiler's library. */
static inline uint64_t i64_popcnt(uint64_t a) {
    a -= a >> 1 & 0x5555555555555555u;
    a = (a & 0x3333333333333333u) + (a >> 2 & 0x3333333333333333u);
    a = (a + (a >> 4)) & 0x0F0F0F0F0F0F0F0Fu;
    return a * 0x0101010101010101u >> 56;
}
static inline uint32_t i32_popcnt(uint32_t a) {
    a -= a >> 1 & 0x55555555u;
    a = (a & 0x33333333u) + (a >> 2 & 0x33333333u);
    a = (a + (a >> 4)) & 0x0F0F0F0Fu;
    return a * 0x01010101u >> 24;
}

/* The processor's quotient of the least integer and -1 is out of range, and so is its remainder. */
#define DIVISION(type, bits, signed_type, least)                                                            \
    static inline type i##bits##_div_s(type a, type b, int *trap) {                                         \
        if (__builtin_expect(b == 0, 0)) { *trap = TRAP_INTEGER_DIVISION_BY_ZERO; return 0; }                 \
        if (__builtin_expect(a == (least) && b == (type)-1, 0)) { *trap = TRAP_INTEGER_OVERFLOW; return 0; } \
        return (type)((signed_type)a / (signed_type)b);                                                     \
    }                                                                                                       \
    static inline type i##bits##_div_u(type a, type b, int *trap) {                                         \
        if (__builtin_expect(b == 0, 0)) { *trap = TRAP_INTEGER_DIVISION_BY_ZERO; return 0; }                 \
        return a / b;                                                                                       \
    }                                                                                                       \
    static inline type i##bits##_rem_s(type a, type b, int *trap) {                                         \
        if (__builtin_expect(b == 0, 0)) { *trap = TRAP_INTEGER_DIVISION_BY_ZERO; return 0; }                 \
        return b == (type)-1 ? 0 : (type)((signed_type)a % (signed_type)b);                                 \
    }                                                                                                       \
    static inline type i##bits##_rem_u(type a, type b, int *trap) {                                         \
        if (__builtin_expect(b == 0, 0)) { *trap = TRAP_INTEGER_DIVISION_BY_ZERO; return 0; }                 \
        return a % b;                                                                                       \
    }

DIVISION(uint32_t, 32, int32_t, 0x80000000u)
DIVISION(uint64_t, 64, int64_t, 0x8000000000000000u)
#undef DIVISION

/* Wide arithmetic (proposal). */

__extension__ typedef unsigned __int128 u128;
__extension__ typedef __int128 i128;

static inline void i64_halves(u128 value, uint64_t *low, uint64_t *high) {
    *low = (uint64_t)value;
    *high = (uint64_t)(value >> 64);
}
static inline void i64_add128(uint64_t a_low, uint64_t a_high, uint64_t b_low, uint64_t b_high,
                              uint64_t *low, uint64_t *high) {
    i64_halves(((u128)a_high << 64 | a_low) + ((u128)b_high << 64 | b_low), low, high);
}
static inline void i64_sub128(uint64_t a_low, uint64_t a_high, uint64_t b_low, uint64_t b_high,
                              uint64_t *low, uint64_t *high) {
    i64_halves(((u128)a_high << 64 | a_low) - ((u128)b_high << 64 | b_low), low, high);
}
static inline void i64_mul_wide_s(uint64_t a, uint64_t b, uint64_t *low, uint64_t *high) {
    i64_halves((u128)((i128)(int64_t)a * (int64_t)b), low, high);
}
static inline void i64_mul_wide_u(uint64_t a, uint64_t b, uint64_t *low, uint64_t *high) {
    i64_halves((u128)a * b, low, high);
}

/* Float comparisons. */

static inline uint32_t f32_eq(float a, float b) { return a == b; }
static inline uint32_t f32_ne(float a, float b) { return a != b; }
static inline uint32_t f32_lt(float a, float b) { return a < b; }
static inline uint32_t f32_gt(float a, float b) { return a > b; }
static inline uint32_t f32_le(float a, float b) { return a <= b; }
static inline uint32_t f32_ge(float a, float b) { return a >= b; }

static inline uint32_t f64_eq(double a, double b) { return a == b; }
static inline uint32_t f64_ne(double a, double b) { return a != b; }
static inline uint32_t f64_lt(double a, double b) { return a < b; }
static inline uint32_t f64_gt(double a, double b) { return a > b; }
static inline uint32_t f64_le(double a, double b) { return a <= b; }
static inline uint32_t f64_ge(double a, double b) { return a >= b; }

/* Float arithmetic. The builtins round as the processor is set to, to nearest, ties to even. */

static inline float f32_add(float a, float b) { return f32_canonical(a + b); }
static inline float f32_sub(float a, float b) { return f32_canonical(a - b); }
static inline float f32_mul(float a, float b) { return f32_canonical(a * b); }
static inline float f32_div(float a, float b) { return f32_canonical(a / b); }
static inline float f32_sqrt(float a) { return f32_canonical(__builtin_sqrtf(a)); }
static inline float f32_ceil(float a) { return f32_canonical(__builtin_ceilf(a)); }
static inline float f32_floor(float a) { return f32_canonical(__builtin_floorf(a)); }
static inline float f32_trunc(float a) { return f32_canonical(__builtin_truncf(a)); }
static inline float f32_nearest(float a) { return f32_canonical(__builtin_rintf(a)); }

static inline double f64_add(double a, double b) { return f64_canonical(a + b); }
static inline double f64_sub(double a, double b) { return f64_canonical(a - b); }
static inline double f64_mul(double a, double b) { return f64_canonical(a * b); }
static inline double f64_div(double a, double b) { return f64_canonical(a / b); }
static inline double f64_sqrt(double a) { return f64_canonical(__builtin_sqrt(a)); }
static inline double f64_ceil(double a) { return f64_canonical(__builtin_ceil(a)); }
static inline double f64_floor(double a) { return f64_canonical(__builtin_floor(a)); }
static inline double f64_trunc(double a) { return f64_canonical(__builtin_trunc(a)); }
static inline double f64_nearest(double a) { return f64_canonical(__builtin_rint(a)); }

/* Equal operands have equal bits, unless they are zeros, which differ in the sign at most. */
static inline float f32_min(float a, float b) {
    if (a < b) return a;
    if (b < a) return b;
    return f32_reinterpret_i32(a == b ? i32_reinterpret_f32(a) | i32_reinterpret_f32(b) : F32_CANONICAL_NAN);
}
static inline float f32_max(float a, float b) {
    if (a > b) return a;
    if (b > a) return b;
    return f32_reinterpret_i32(a == b ? i32_reinterpret_f32(a) & i32_reinterpret_f32(b) : F32_CANONICAL_NAN);
}
static inline double f64_min(double a, double b) {
    if (a < b) return a;
    if (b < a) return b;
    return f64_reinterpret_i64(a == b ? i64_reinterpret_f64(a) | i64_reinterpret_f64(b) : F64_CANONICAL_NAN);
}
static inline double f64_max(double a, double b) {
    if (a > b) return a;
    if (b > a) return b;
    return f64_reinterpret_i64(a == b ? i64_reinterpret_f64(a) & i64_reinterpret_f64(b) : F64_CANONICAL_NAN);
}

/* Signs: every other bit stays, that of a signalling NaN included. */

static inline float f32_neg(float a) { return f32_reinterpret_i32(i32_reinterpret_f32(a) ^ F32_SIGN); }
static inline float f32_abs(float a) { return f32_reinterpret_i32(i32_reinterpret_f32(a) & ~F32_SIGN); }
static inline float f32_copysign(float a, float b) {
    return f32_reinterpret_i32((i32_reinterpret_f32(a) & ~F32_SIGN) | (i32_reinterpret_f32(b) & F32_SIGN));
}
static inline double f64_neg(double a) { return f64_reinterpret_i64(i64_reinterpret_f64(a) ^ F64_SIGN); }
static inline double f64_abs(double a) { return f64_reinterpret_i64(i64_reinterpret_f64(a) & ~F64_SIGN); }
static inline double f64_copysign(double a, double b) {
    return f64_reinterpret_i64((i64_reinterpret_f64(a) & ~F64_SIGN) | (i64_reinterpret_f64(b) & F64_SIGN));
}

/* From floats to integers. `in_range` holds where the truncated operand fits; C converts only those. */

#define TRUNCATION(suffix, type, bits, integer, float_type, in_range, least, greatest)                      \
    static inline type i##bits##_trunc_##suffix(float_type a, int *trap) {                                  \
        if (__builtin_expect(in_range, 1)) return (type)(integer)a;                                         \
        *trap = a != a ? TRAP_BAD_CONVERSION_TO_INTEGER : TRAP_INTEGER_OVERFLOW;                                   \
        return 0;                                                                                           \
    }                                                                                                       \
    static inline type i##bits##_trunc_sat_##suffix(float_type a) {                                         \
        if (__builtin_expect(in_range, 1)) return (type)(integer)a;                                         \
        return a != a ? 0 : a < 0 ? (least) : (greatest);                                                   \
    }

/* -2^31 - 1 is a double but no float; -2^31 and -2^63 are both; what lies next below them is out of range. */
TRUNCATION(f32_s, uint32_t, 32, int32_t, float, a >= -0x1p31f && a < 0x1p31f, 0x80000000u, 0x7FFFFFFFu)
TRUNCATION(f32_u, uint32_t, 32, uint32_t, float, a > -1.0f && a < 0x1p32f, 0, UINT32_MAX)
TRUNCATION(f64_s, uint32_t, 32, int32_t, double, a > -2147483649.0 && a < 0x1p31, 0x80000000u, 0x7FFFFFFFu)
TRUNCATION(f64_u, uint32_t, 32, uint32_t, double, a > -1.0 && a < 0x1p32, 0, UINT32_MAX)
TRUNCATION(f32_s, uint64_t, 64, int64_t, float, a >= -0x1p63f && a < 0x1p63f, 1ull << 63, (uint64_t)INT64_MAX)
TRUNCATION(f32_u, uint64_t, 64, uint64_t, float, a > -1.0f && a < 0x1p64f, 0, UINT64_MAX)
TRUNCATION(f64_s, uint64_t, 64, int64_t, double, a >= -0x1p63 && a < 0x1p63, 1ull << 63, (uint64_t)INT64_MAX)
TRUNCATION(f64_u, uint64_t, 64, uint64_t, double, a > -1.0 && a < 0x1p64, 0, UINT64_MAX)
#undef TRUNCATION

/* Other conversions. */

static inline uint32_t i32_wrap_i64(uint64_t a) { return (uint32_t)a; }
static inline uint64_t i64_extend_i32_s(uint32_t a) { return (uint64_t)(int32_t)a; }
static inline uint64_t i64_extend_i32_u(uint32_t a) { return a; }
static inline uint32_t i32_extend8_s(uint32_t a) { return (uint32_t)(int8_t)a; }
static inline uint32_t i32_extend16_s(uint32_t a) { return (uint32_t)(int16_t)a; }
static inline uint64_t i64_extend8_s(uint64_t a) { return (uint64_t)(int8_t)a; }
static inline uint64_t i64_extend16_s(uint64_t a) { return (uint64_t)(int16_t)a; }
static inline uint64_t i64_extend32_s(uint64_t a) { return (uint64_t)(int32_t)a; }

static inline float f32_convert_i32_s(uint32_t a) { return (float)(int32_t)a; }
static inline float f32_convert_i32_u(uint32_t a) { return (float)a; }
static inline float f32_convert_i64_s(uint64_t a) { return (float)(int64_t)a; }
static inline float f32_convert_i64_u(uint64_t a) { return (float)a; }
static inline double f64_convert_i32_s(uint32_t a) { return (double)(int32_t)a; }
static inline double f64_convert_i32_u(uint32_t a) { return (double)a; }
static inline double f64_convert_i64_s(uint64_t a) { return (double)(int64_t)a; }
static inline double f64_convert_i64_u(uint64_t a) { return (double)a; }
static inline float f32_demote_f64(double a) { return f32_canonical((float)a); }
static inline double f64_promote_f32(float a) { return f64_canonical((double)a); }

#endif
