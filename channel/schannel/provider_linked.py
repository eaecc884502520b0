"""AES-GCM, Diffie-Hellman and the arithmetic of edwards25519 where pycryptodome's C code is linked in.

The module `_primitives` is in `enclave/keystone`: an enclave on Keystone loads no libraries.
"""

from __future__ import annotations

import os
from functools import partial
from typing import ClassVar

import _primitives

from .dh import DhFunction
from .edwards import Point
from .wire import Buffer

_SIZE = 32
_FIELD = 2**255 - 19


class Aead:
    """AES-256-GCM under one key of 32 bytes; the cipher is set up for every message."""

    INVALID: ClassVar[type[Exception]] = ValueError

    def __init__(self, key: bytes | bytearray) -> None:
        # Not a copy: whoever overwrites the key overwrites it here.
        self._key = key

    def encrypt(self, nonce: bytes, plaintext: Buffer, ad: bytes) -> bytes:
        """The ciphertext with its 16-byte tag; the nonce has 12 bytes."""
        return _primitives.gcm_encrypt(self._key, nonce, plaintext, ad)

    def decrypt(self, nonce: bytes, ciphertext: bytes, ad: bytes) -> bytes:
        """The inverse of `encrypt`; INVALID if it is not what was encrypted under this key."""
        return _primitives.gcm_decrypt(self._key, nonce, ciphertext, ad)


_BASE_X = (9).to_bytes(_SIZE, "little")


def _load_x25519(private: bytes) -> bytes:
    if len(private) != _SIZE:
        raise ValueError("an X25519 private key has 32 bytes")
    return private


def _multiply_x25519(private: bytes, public: bytes) -> bytes:
    """X25519 of RFC 7748, section 5: all zero for a public key of low order."""
    scalar = bytearray(private)
    scalar[0] &= 248
    scalar[31] = scalar[31] & 127 | 64
    coordinate = (int.from_bytes(public, "little") & (1 << 255) - 1) % _FIELD
    product = _primitives.x25519(bytes(reversed(scalar)), coordinate.to_bytes(_SIZE, "big"))
    return product[::-1]


X25519 = DhFunction(
    "X25519",
    _SIZE,
    _load_x25519,
    lambda key: _multiply_x25519(key, _BASE_X),
    lambda: os.urandom(_SIZE),
    _multiply_x25519,
)
"""Curve25519 (RFC 7748)."""

_P384_SIZE = 48
_UNCOMPRESSED = b"\4"
"""First byte of an uncompressed point (SEC 1, section 2.3.3)."""

_P384_ORDER = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16
)
_P384_BASE = bytes.fromhex(
    "aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7"
    "3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f"
)
_P384_PARAMETERS = (
    bytes.fromhex(
        "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffff"
        "b3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aef"
    )
    + _P384_ORDER.to_bytes(_P384_SIZE, "big")
    + _P384_BASE
)
"""p, b, order and base point (SP 800-186, section 3.2.1.4)."""

_multiply_p384 = partial(_primitives.p384_multiply, _P384_PARAMETERS)


def _load_p384(private: bytes) -> bytes:
    if not 0 < int.from_bytes(private, "big") < _P384_ORDER:
        raise ValueError("a P-384 private key is a number between 0 and the curve's order")
    return private.rjust(_P384_SIZE, b"\0")[-_P384_SIZE:]


def _new_p384() -> bytes:
    # So many bits more than the order has that no private key is likelier than another (FIPS 186-5, A.2.1).
    number = int.from_bytes(os.urandom(_P384_SIZE + 16), "big") % (_P384_ORDER - 1) + 1
    return number.to_bytes(_P384_SIZE, "big")


def _exchange_p384(private: bytes, public: bytes) -> bytes:
    if public[:1] != _UNCOMPRESSED:
        raise ValueError("only uncompressed points are allowed")
    point = public[1:]
    if not any(point):
        raise ValueError("the point at infinity")
    return _multiply_p384(private, point)[:_P384_SIZE]


P384 = DhFunction(
    "P-384",
    1 + 2 * _P384_SIZE,
    _load_p384,
    lambda key: _UNCOMPRESSED + _multiply_p384(key, _P384_BASE),
    _new_p384,
    _exchange_p384,
)
"""NIST P-384: public keys as uncompressed points, the secret is the 48-byte x coordinate (SP 800-56A)."""


class EdwardsPoint(Point):
    """A point of edwards25519, as its big-endian coordinates."""

    __slots__ = ("_point",)

    def __init__(self, point: bytes) -> None:
        self._point = point

    @classmethod
    def _read(cls, encoded: bytes) -> EdwardsPoint:
        return cls(_primitives.edwards_decode(encoded))

    def encode(self) -> bytes:
        """The canonical 32-byte encoding (RFC 8032, section 5.1.2)."""
        x, y = self._point[:_SIZE], self._point[_SIZE:]
        encoded = bytearray(reversed(y))
        encoded[-1] |= (x[-1] & 1) << 7
        return bytes(encoded)

    def __mul__(self, scalar: int) -> EdwardsPoint:
        return EdwardsPoint(_primitives.edwards_multiply(scalar.to_bytes(_SIZE, "big"), self._point))

    def __sub__(self, other: EdwardsPoint) -> EdwardsPoint:
        x, y = other._point[:_SIZE], other._point[_SIZE:]
        negated = (-int.from_bytes(x, "big") % _FIELD).to_bytes(_SIZE, "big") + y
        return EdwardsPoint(_primitives.edwards_add(self._point, negated))
