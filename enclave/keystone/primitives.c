/* `_primitives`: what `schannel.provider_linked` needs, of pycryptodome's C sources. Everything is bytes. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>

#include "pycryptodome.h"

#define BLOCK 16
#define NONCE 12
#define KEY 32
#define FIELD 32 /* bytes of an element of the field of 2^255 - 19 */
#define P384 48
#define STRETCH (BLOCK * 64)

static PyObject *refuse(const char *why) {
    PyErr_SetString(PyExc_ValueError, why);
    return NULL;
}

static uint64_t blinding(void) {
    uint64_t seed = 0;
    getrandom(&seed, sizeof seed, 0);
    return seed;
}

/* Galois/counter mode (NIST SP 800-38D), with nonces of 96 bits. */
typedef struct {
    BlockBase *cipher;
    GhashKey *ghash;
    uint8_t first[BLOCK]; /* J0 */
} Gcm;

static int gcm_open(Gcm *gcm, const uint8_t *key, const uint8_t *nonce) {
    uint8_t h[BLOCK] = {0};
    memset(gcm, 0, sizeof *gcm);
    if (AES_start_operation(key, KEY, &gcm->cipher)) return -1;
    gcm->cipher->encrypt(gcm->cipher, h, h, BLOCK);
    memcpy(gcm->first, nonce, NONCE);
    gcm->first[BLOCK - 1] = 1;
    return ghash_expand_portable(h, &gcm->ghash);
}

static void gcm_close(Gcm *gcm) {
    if (gcm->cipher) AES_stop_operation(gcm->cipher);
    if (gcm->ghash) ghash_destroy_portable(gcm->ghash);
}

static void count(uint8_t *block) {
    for (int at = BLOCK - 1; at >= NONCE && !++block[at]; at--) {}
}

/* Encrypts as it decrypts; no message is long enough to use up the 32 bits of the counter. */
static void gcm_stream(const Gcm *gcm, const uint8_t *in, uint8_t *out, size_t size) {
    uint8_t counters[STRETCH], stream[STRETCH], next[BLOCK];
    memcpy(next, gcm->first, BLOCK);
    while (size) {
        size_t now = size < STRETCH ? size : STRETCH, whole = (now + BLOCK - 1) / BLOCK * BLOCK;
        for (size_t at = 0; at < whole; at += BLOCK) {
            count(next);
            memcpy(counters + at, next, BLOCK);
        }
        gcm->cipher->encrypt(gcm->cipher, counters, stream, whole);
        for (size_t at = 0; at < now; at++) out[at] = in[at] ^ stream[at];
        in += now;
        out += now;
        size -= now;
    }
}

static void gcm_absorb(const Gcm *gcm, uint8_t *state, const uint8_t *data, size_t size) {
    uint8_t last[BLOCK] = {0};
    size_t whole = size / BLOCK * BLOCK;
    if (whole) ghash_portable(state, data, whole, state, gcm->ghash);
    if (size == whole) return;
    memcpy(last, data + whole, size - whole);
    ghash_portable(state, last, BLOCK, state, gcm->ghash);
}

static void gcm_tag(const Gcm *gcm, const Py_buffer *ad, const uint8_t *data, size_t size, uint8_t *tag) {
    uint8_t state[BLOCK] = {0}, lengths[BLOCK], mask[BLOCK];
    gcm_absorb(gcm, state, ad->buf, (size_t)ad->len);
    gcm_absorb(gcm, state, data, size);
    for (int at = 0; at < 8; at++) {
        lengths[at] = (uint8_t)((uint64_t)ad->len * 8 >> (56 - 8 * at));
        lengths[8 + at] = (uint8_t)((uint64_t)size * 8 >> (56 - 8 * at));
    }
    gcm_absorb(gcm, state, lengths, BLOCK);
    gcm->cipher->encrypt(gcm->cipher, gcm->first, mask, BLOCK);
    for (int at = 0; at < BLOCK; at++) tag[at] = state[at] ^ mask[at];
}

static PyObject *gcm_seal(const Py_buffer *key, const Py_buffer *nonce, const Py_buffer *text, const Py_buffer *ad) {
    PyObject *sealed = PyBytes_FromStringAndSize(NULL, text->len + BLOCK);
    if (!sealed) return NULL;
    uint8_t *out = (uint8_t *)PyBytes_AS_STRING(sealed);
    Gcm gcm;
    if (gcm_open(&gcm, key->buf, nonce->buf)) {
        Py_CLEAR(sealed);
        PyErr_NoMemory();
    } else {
        gcm_stream(&gcm, text->buf, out, (size_t)text->len);
        gcm_tag(&gcm, ad, out, (size_t)text->len, out + text->len);
    }
    gcm_close(&gcm);
    return sealed;
}

static PyObject *gcm_unseal(const Py_buffer *key, const Py_buffer *nonce, const Py_buffer *text, const Py_buffer *ad) {
    if (text->len < BLOCK) return refuse("a ciphertext is shorter than its tag");
    size_t size = (size_t)text->len - BLOCK;
    PyObject *plain = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (!plain) return NULL;
    const uint8_t *in = text->buf;
    uint8_t tag[BLOCK], differ = 0;
    Gcm gcm;
    if (gcm_open(&gcm, key->buf, nonce->buf)) {
        Py_CLEAR(plain);
        PyErr_NoMemory();
    } else {
        gcm_tag(&gcm, ad, in, size, tag);
        for (int at = 0; at < BLOCK; at++) differ |= tag[at] ^ in[size + (size_t)at];
        if (!differ) gcm_stream(&gcm, in, (uint8_t *)PyBytes_AS_STRING(plain), size);
    }
    gcm_close(&gcm);
    if (differ) {
        Py_CLEAR(plain);
        return refuse("a ciphertext failed authentication");
    }
    return plain;
}

typedef PyObject *(*GcmWork)(const Py_buffer *, const Py_buffer *, const Py_buffer *, const Py_buffer *);

static PyObject *gcm(PyObject *args, GcmWork work) {
    Py_buffer key, nonce, text, ad;
    if (!PyArg_ParseTuple(args, "y*y*y*y*", &key, &nonce, &text, &ad)) return NULL;
    PyObject *result = key.len == KEY && nonce.len == NONCE
                           ? work(&key, &nonce, &text, &ad)
                           : refuse("AES-256-GCM takes a key of 32 bytes and a nonce of 12");
    PyBuffer_Release(&key);
    PyBuffer_Release(&nonce);
    PyBuffer_Release(&text);
    PyBuffer_Release(&ad);
    return result;
}

static PyObject *gcm_encrypt(PyObject *module, PyObject *args) { return gcm(args, gcm_seal); }
static PyObject *gcm_decrypt(PyObject *module, PyObject *args) { return gcm(args, gcm_unseal); }

/* Two arguments of known sizes; false, with an error set, where they are something else. */
static int sized(PyObject *args, const uint8_t **first, Py_ssize_t first_size, const uint8_t **second,
                 Py_ssize_t second_size) {
    Py_ssize_t sizes[2];
    if (!PyArg_ParseTuple(args, "y#y#", first, &sizes[0], second, &sizes[1])) return 0;
    if (sizes[0] == first_size && sizes[1] == second_size) return 1;
    refuse("a scalar or a point of a wrong size");
    return 0;
}

/* The x coordinate of `scalar` times the point with that x coordinate. */
static PyObject *x25519(PyObject *module, PyObject *args) {
    const uint8_t *scalar, *x;
    uint8_t out[FIELD];
    Montgomery *point = NULL;
    if (!sized(args, &scalar, FIELD, &x, FIELD)) return NULL;
    int status = curve25519_new_point(&point, x, FIELD, NULL);
    if (!status) status = curve25519_scalar(point, scalar, FIELD, blinding());
    if (!status) status = curve25519_get_x(out, FIELD, point);
    curve25519_free_point(point);
    return status ? refuse("no result on Curve25519") : PyBytes_FromStringAndSize((char *)out, sizeof out);
}

/* Of edwards25519, points are x and y. */
static PyObject *edwards_xy(Edwards *point, int status) {
    uint8_t xy[2 * FIELD];
    if (!status) status = ed25519_get_xy(xy, xy + FIELD, FIELD, point);
    ed25519_free_point(point);
    return status ? refuse("not a point of edwards25519") : PyBytes_FromStringAndSize((char *)xy, sizeof xy);
}

static PyObject *edwards_multiply(PyObject *module, PyObject *args) {
    const uint8_t *scalar, *xy;
    Edwards *point = NULL;
    if (!sized(args, &scalar, FIELD, &xy, 2 * FIELD)) return NULL;
    int status = ed25519_new_point(&point, xy, xy + FIELD, FIELD, NULL);
    if (!status) status = ed25519_scalar(point, scalar, FIELD, blinding());
    return edwards_xy(point, status);
}

static PyObject *edwards_add(PyObject *module, PyObject *args) {
    const uint8_t *first, *second;
    Edwards *point = NULL, *other = NULL;
    if (!sized(args, &first, 2 * FIELD, &second, 2 * FIELD)) return NULL;
    int status = ed25519_new_point(&point, first, first + FIELD, FIELD, NULL);
    if (!status) status = ed25519_new_point(&other, second, second + FIELD, FIELD, NULL);
    if (!status) status = ed25519_add(point, other);
    ed25519_free_point(other);
    return edwards_xy(point, status);
}

static PyObject *edwards_decode(PyObject *module, PyObject *encoded) {
    Edwards *point = NULL;
    if (!PyBytes_Check(encoded) || PyBytes_GET_SIZE(encoded) != FIELD) return refuse("an encoded point has 32 bytes");
    int status = ed25519_decode_point(&point, (uint8_t *)PyBytes_AS_STRING(encoded), FIELD, NULL);
    return edwards_xy(point, status);
}

/* `scalar` times a point; the curve is made once, of its p, b, order, and its base point's x and y. */
static PyObject *p384_multiply(PyObject *module, PyObject *args) {
    static Curve *curve;
    const uint8_t *parameters, *scalar, *xy;
    Py_ssize_t sizes[3];
    Weierstrass *point = NULL;
    uint8_t out[2 * P384];
    if (!PyArg_ParseTuple(args, "y#y#y#", &parameters, &sizes[0], &scalar, &sizes[1], &xy, &sizes[2])) return NULL;
    if (sizes[0] != 5 * P384 || sizes[1] != P384 || sizes[2] != 2 * P384) return refuse("a wrong size");
    int status = 0;
    if (!curve)
        status = ec_nat_new_curve(&curve, parameters, parameters + P384, parameters + 2 * P384,
                                  parameters + 3 * P384, parameters + 4 * P384, P384);
    if (!status) status = ec_nat_new_point(&point, xy, xy + P384, P384, curve);
    if (!status) status = ec_nat_scalar(point, scalar, P384, blinding());
    if (!status) status = ec_nat_get_xy(out, out + P384, P384, point);
    ec_nat_free_point(point);
    return status ? refuse("not a point of P-384") : PyBytes_FromStringAndSize((char *)out, sizeof out);
}

static PyMethodDef methods[] = {
    {"gcm_encrypt", gcm_encrypt, METH_VARARGS, NULL},
    {"gcm_decrypt", gcm_decrypt, METH_VARARGS, NULL},
    {"x25519", x25519, METH_VARARGS, NULL},
    {"edwards_multiply", edwards_multiply, METH_VARARGS, NULL},
    {"edwards_add", edwards_add, METH_VARARGS, NULL},
    {"edwards_decode", edwards_decode, METH_O, NULL},
    {"p384_multiply", p384_multiply, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_primitives", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__primitives(void) { return PyModule_Create(&definition); }
