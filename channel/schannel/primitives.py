"""Every cryptographic primitive of the package; the only module that imports a cryptographic library.

Hashes, HMAC and randomness come from the standard library, everything else from pycryptodome. Failures leave
as `DecryptError` or `InvalidKey`, never as the library's own exceptions.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from Crypto.Cipher import AES
from Crypto.Protocol.DH import import_x25519_private_key, import_x25519_public_key, key_agreement
from Crypto.PublicKey import ECC
from Crypto.PublicKey.ECC import EccKey
from Crypto.Signature import eddsa

from .errors import DecryptError, InvalidKey, LocalError

TAG_SIZE = 16
"""Bytes that AES-GCM adds to a plaintext."""

ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493
"""L, the order of the base point (RFC 8032, section 5.1)."""

_EDWARDS_SIZE = 32
_UNCOMPRESSED = 0x04
"""First byte of an uncompressed point (SEC 1, section 2.3.3)."""

_HASH_NAMES = {
    "SHA256": "sha256",
    "SHA384": "sha384",
    "SHA512": "sha512",
    "SHA3-512": "sha3_512",
    "BLAKE2s": "blake2s",
    "BLAKE2b": "blake2b",
}


def random_bytes(size: int) -> bytes:
    """`size` bytes from the operating system; raises OSError where it has none to give."""
    return os.urandom(size)


def digest(hash_name: str, *parts: bytes) -> bytes:
    """Hash the concatenation of `parts`; `hash_name` as in Noise protocol names, or ``SHA3-512``."""
    state = hashlib.new(_HASH_NAMES[hash_name])
    for part in parts:
        state.update(part)
    return state.digest()


def digest_size(hash_name: str) -> int:
    """Bytes of a digest: HASHLEN in the Noise specification."""
    return hashlib.new(_HASH_NAMES[hash_name]).digest_size


def hmac_digest(hash_name: str, key: bytes, data: bytes) -> bytes:
    """HMAC (RFC 2104)."""
    return hmac.digest(key, data, _HASH_NAMES[hash_name])


def hkdf(hash_name: str, salt: bytes, key_material: bytes, info: bytes, size: int) -> bytes:
    """HKDF (RFC 5869), extract and expand; an empty salt stands for HASHLEN zero bytes."""
    key = hmac_digest(hash_name, salt or bytes(digest_size(hash_name)), key_material)
    block, output, counter = b"", b"", 1
    while len(output) < size:
        block = hmac_digest(hash_name, key, block + info + bytes([counter]))
        output += block
        counter += 1
    return output[:size]


def aead_encrypt(key: bytes | bytearray, nonce: bytes, ad: bytes, plaintext: bytes) -> bytes:
    """AES-256-GCM: 32-byte key, 12-byte nonce; the 16-byte tag is appended."""
    cipher = AES.new(key, AES.MODE_GCM, nonce=nonce)
    cipher.update(ad)
    ciphertext, tag = cipher.encrypt_and_digest(plaintext)
    return ciphertext + tag


def aead_decrypt(key: bytes | bytearray, nonce: bytes, ad: bytes, ciphertext: bytes) -> bytes:
    """The inverse of `aead_encrypt`.

    Raises:
        DecryptError: the ciphertext, its nonce or `ad` is not what was encrypted under this key.
    """
    if len(ciphertext) < TAG_SIZE:
        raise DecryptError("a ciphertext is shorter than its tag")
    cipher = AES.new(key, AES.MODE_GCM, nonce=nonce)
    cipher.update(ad)
    try:
        return cipher.decrypt_and_verify(ciphertext[:-TAG_SIZE], ciphertext[-TAG_SIZE:])
    except ValueError as error:
        raise DecryptError("a ciphertext failed authentication") from error


@dataclass(frozen=True, slots=True)
class DhKey:
    """A Diffie-Hellman key pair; `public` is its wire encoding."""

    public: bytes
    private: EccKey

    def __repr__(self) -> str:
        return f"DhKey(public={self.public.hex()})"


@dataclass(frozen=True, slots=True)
class DhFunction:
    """GENERATE_KEYPAIR and DH of the Noise specification, section 4.1.

    `public_size` is the size of an encoded public key in bytes, DHLEN where the two are equal.
    """

    name: str
    public_size: int
    _load_private: Callable[[bytes], EccKey]
    _load_public: Callable[[bytes], EccKey]
    _encode: Callable[[EccKey], bytes]
    _generate: Callable[[], EccKey]

    def generate(self) -> DhKey:
        """A fresh key pair from the operating system's randomness."""
        key = self._generate()
        return DhKey(self._encode(key), key)

    def from_private(self, private: bytes) -> DhKey:
        """The key pair of a given private key; LocalError if it is none."""
        try:
            key = self._load_private(private)
        except ValueError as error:
            raise LocalError(f"not a {self.name} private key") from error
        return DhKey(self._encode(key), key)

    def agree(self, own: DhKey, public: bytes) -> bytes:
        """The shared secret.

        Raises:
            InvalidKey: `public` is no point of the curve, or of low order, or the secret is all zero.
        """
        if len(public) != self.public_size:
            raise InvalidKey(f"a {self.name} public key has {self.public_size} bytes, not {len(public)}")
        try:
            peer = self._load_public(public)
            secret = key_agreement(static_priv=own.private, static_pub=peer, kdf=bytes)
        except ValueError as error:
            raise InvalidKey(f"unusable {self.name} public key") from error
        if not any(secret):
            raise InvalidKey(f"unusable {self.name} public key")
        return secret


def _encode_x25519(key: EccKey) -> bytes:
    return key.public_key().export_key(format="raw")


def _encode_p384(key: EccKey) -> bytes:
    return key.public_key().export_key(format="SEC1")


def _load_p384_private(private: bytes) -> EccKey:
    return ECC.construct(curve="p384", d=int.from_bytes(private, "big"))


def _load_p384_public(public: bytes) -> EccKey:
    if public[0] != _UNCOMPRESSED:
        raise ValueError("only uncompressed points are allowed")
    return ECC.import_key(public, curve_name="p384")


X25519 = DhFunction(
    "X25519",
    32,
    import_x25519_private_key,
    import_x25519_public_key,
    _encode_x25519,
    lambda: ECC.generate(curve="Curve25519", randfunc=random_bytes),
)
"""Curve25519 (RFC 7748)."""

P384 = DhFunction(
    "P-384",
    97,
    _load_p384_private,
    _load_p384_public,
    _encode_p384,
    lambda: ECC.generate(curve="p384", randfunc=random_bytes),
)
"""NIST P-384: public keys as uncompressed points, the secret is the 48-byte x coordinate (SP 800-56A)."""


class EdwardsPoint:
    """A point of edwards25519 (RFC 8032, section 5.1)."""

    __slots__ = ("_point",)

    def __init__(self, point: Any) -> None:
        self._point = point

    @classmethod
    def base_multiple(cls, scalar: int) -> EdwardsPoint:
        """`scalar` times the base point."""
        return cls(eddsa.import_public_key(_BASE_POINT).pointQ * (scalar % ED25519_ORDER))

    @classmethod
    def decode(cls, encoded: bytes) -> EdwardsPoint:
        """A point from its canonical 32-byte encoding (RFC 8032, section 5.1.3).

        Raises:
            InvalidKey: wrong length, not on the curve, or another encoding than the canonical one.
        """
        if len(encoded) != _EDWARDS_SIZE:
            raise InvalidKey(f"a point of edwards25519 has {_EDWARDS_SIZE} bytes, not {len(encoded)}")
        try:
            point = cls(eddsa.import_public_key(encoded).pointQ)
        except ValueError as error:
            raise InvalidKey("not a point of edwards25519") from error
        if point.encode() != encoded:
            raise InvalidKey("not the canonical encoding of a point of edwards25519")
        return point

    def encode(self) -> bytes:
        """The canonical 32-byte encoding (RFC 8032, section 5.1.2)."""
        x, y = self._point.xy
        return (int(y) | (int(x) & 1) << 255).to_bytes(32, "little")

    def __mul__(self, scalar: int) -> EdwardsPoint:
        return EdwardsPoint(self._point * scalar)

    def __sub__(self, other: EdwardsPoint) -> EdwardsPoint:
        return EdwardsPoint(self._point + -other._point)

    def is_low_order(self) -> bool:
        """Whether the order divides 8, the cofactor."""
        return (self * 8).encode() == _IDENTITY


_IDENTITY = (1).to_bytes(32, "little")
_BASE_POINT = bytes.fromhex("58" + "66" * 31)
