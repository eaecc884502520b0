"""AES-GCM, Diffie-Hellman and the arithmetic of edwards25519 from pycryptodome, which is always installed."""

from __future__ import annotations

import os
from typing import Any, ClassVar

from Crypto.Cipher import AES
from Crypto.Protocol.DH import import_x25519_private_key, import_x25519_public_key, key_agreement
from Crypto.PublicKey import ECC
from Crypto.PublicKey.ECC import EccKey
from Crypto.Signature import eddsa

from .dh import DhFunction
from .edwards import Point
from .wire import Buffer

_TAG_SIZE = 16
_UNCOMPRESSED = 0x04
"""First byte of an uncompressed point (SEC 1, section 2.3.3)."""


class Aead:
    """AES-256-GCM under one key of 32 bytes; the library sets the cipher up for every message."""

    INVALID: ClassVar[type[Exception]] = ValueError

    def __init__(self, key: bytes | bytearray) -> None:
        # Not a copy: whoever overwrites the key overwrites it here.
        self._key = key

    def encrypt(self, nonce: bytes, plaintext: Buffer, ad: bytes) -> bytes:
        """The ciphertext with its 16-byte tag; the nonce has 12 bytes."""
        cipher = AES.new(self._key, AES.MODE_GCM, nonce=nonce)
        if ad:
            cipher.update(ad)
        ciphertext, tag = cipher.encrypt_and_digest(plaintext)
        return ciphertext + tag

    def decrypt(self, nonce: bytes, ciphertext: bytes, ad: bytes) -> bytes:
        """The inverse of `encrypt`; INVALID if it is not what was encrypted under this key."""
        if len(ciphertext) < _TAG_SIZE:
            raise ValueError("a ciphertext is shorter than its tag")
        cipher = AES.new(self._key, AES.MODE_GCM, nonce=nonce)
        if ad:
            cipher.update(ad)
        return cipher.decrypt_and_verify(ciphertext[:-_TAG_SIZE], ciphertext[-_TAG_SIZE:])


def _exchange_x25519(private: EccKey, public: bytes) -> bytes:
    return key_agreement(static_priv=private, static_pub=import_x25519_public_key(public), kdf=bytes)


X25519 = DhFunction(
    "X25519",
    32,
    import_x25519_private_key,
    lambda key: key.public_key().export_key(format="raw"),
    lambda: ECC.generate(curve="Curve25519", randfunc=os.urandom),
    _exchange_x25519,
)
"""Curve25519 (RFC 7748)."""


def _load_p384(private: bytes) -> EccKey:
    return ECC.construct(curve="p384", d=int.from_bytes(private, "big"))


def _exchange_p384(private: EccKey, public: bytes) -> bytes:
    if public[0] != _UNCOMPRESSED:
        raise ValueError("only uncompressed points are allowed")
    peer = ECC.import_key(public, curve_name="p384")
    return key_agreement(static_priv=private, static_pub=peer, kdf=bytes)


P384 = DhFunction(
    "P-384",
    97,
    _load_p384,
    lambda key: key.public_key().export_key(format="SEC1"),
    lambda: ECC.generate(curve="p384", randfunc=os.urandom),
    _exchange_p384,
)
"""NIST P-384: public keys as uncompressed points, the secret is the 48-byte x coordinate (SP 800-56A)."""


class EdwardsPoint(Point):
    """A point of edwards25519, as the library has it."""

    __slots__ = ("_point",)

    def __init__(self, point: Any) -> None:
        self._point = point

    @classmethod
    def _read(cls, encoded: bytes) -> EdwardsPoint:
        return cls(eddsa.import_public_key(encoded).pointQ)

    def encode(self) -> bytes:
        """The canonical 32-byte encoding (RFC 8032, section 5.1.2)."""
        x, y = self._point.xy
        return (int(y) | (int(x) & 1) << 255).to_bytes(32, "little")

    def __mul__(self, scalar: int) -> EdwardsPoint:
        return EdwardsPoint(self._point * scalar)

    def __sub__(self, other: EdwardsPoint) -> EdwardsPoint:
        return EdwardsPoint(self._point + -other._point)
