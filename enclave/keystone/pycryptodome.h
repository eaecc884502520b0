/* What is used of pycryptodome's C sources, which declare most of it in no header. */

#ifndef PYCRYPTODOME_H
#define PYCRYPTODOME_H

#include "block_base.h"

typedef struct Hash Hash;
typedef struct GhashKey GhashKey;
typedef struct Montgomery Montgomery; /* a point of Curve25519 */
typedef struct Edwards Edwards;       /* a point of edwards25519 */
typedef struct Curve Curve;           /* a short Weierstrass curve, and a point of one */
typedef struct Weierstrass Weierstrass;

int SHA512_init(Hash **hash, size_t digest_size);
int SHA512_update(Hash *hash, const uint8_t *data, size_t size);
int SHA512_digest(const Hash *hash, uint8_t *digest, size_t digest_size);
int SHA512_destroy(Hash *hash);

int AES_start_operation(const uint8_t *key, size_t size, BlockBase **cipher);
int AES_stop_operation(BlockBase *cipher);

int ghash_expand_portable(const uint8_t *h, GhashKey **key);
int ghash_portable(uint8_t *out, const uint8_t *data, size_t size, const uint8_t *in, const GhashKey *key);
int ghash_destroy_portable(GhashKey *key);

/* Coordinates are big-endian, and so are scalars; `seed` blinds those that are secret. */
int curve25519_new_point(Montgomery **point, const uint8_t *x, size_t size, const void *context);
int curve25519_scalar(Montgomery *point, const uint8_t *scalar, size_t size, uint64_t seed);
int curve25519_get_x(uint8_t *x, size_t size, const Montgomery *point);
void curve25519_free_point(Montgomery *point);

int ed25519_new_point(Edwards **point, const uint8_t *x, const uint8_t *y, size_t size, void *context);
int ed25519_decode_point(Edwards **point, const uint8_t *encoded, size_t size, void *context);
int ed25519_scalar(Edwards *point, const uint8_t *scalar, size_t size, uint64_t seed);
int ed25519_add(Edwards *point, const Edwards *other);
int ed25519_get_xy(uint8_t *x, uint8_t *y, size_t size, Edwards *point);
void ed25519_free_point(Edwards *point);

int ec_nat_new_curve(Curve **curve, const uint8_t *p, const uint8_t *b, const uint8_t *order, const uint8_t *x,
                     const uint8_t *y, size_t size);
int ec_nat_new_point(Weierstrass **point, const uint8_t *x, const uint8_t *y, size_t size, const Curve *curve);
int ec_nat_scalar(Weierstrass *point, const uint8_t *scalar, size_t size, uint64_t seed);
int ec_nat_get_xy(uint8_t *x, uint8_t *y, size_t size, const Weierstrass *point);
void ec_nat_free_point(Weierstrass *point);

#endif
