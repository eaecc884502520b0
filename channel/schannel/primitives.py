"""Every cryptographic primitive of the package, each under one name.

Hashes, HMAC and randomness come from the standard library, AES-GCM and X25519 from the package
``cryptography`` where it is installed and from pycryptodome elsewhere (`PROVIDER` says which), P-384 and the
arithmetic of edwards25519 from pycryptodome. Where pycryptodome's C code is linked in, all of these come from
there. Failures leave as `DecryptError` or `InvalidKey`, never as a
library's own exceptions; only `Aead.decrypt`, which every record passes through, raises its `Aead.INVALID`.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import sys

from . import extra
from .dh import DhFunction, DhKey
from .edwards import ED25519_ORDER
from .errors import DecryptError

if "_primitives" in sys.builtin_module_names:
    from .provider_linked import P384, X25519, Aead, EdwardsPoint

    PROVIDER = "linked"
    """The library behind `Aead` and `X25519`."""
else:
    try:
        from . import provider_pycryptodome
        from .provider_pycryptodome import P384, EdwardsPoint  # type: ignore[assignment]
    except ModuleNotFoundError as error:
        raise extra.explained(error) from error

    try:
        from .provider_cryptography import X25519, Aead  # type: ignore[assignment]

        PROVIDER = "cryptography"
    except ImportError:
        PROVIDER = "pycryptodome"
        Aead = provider_pycryptodome.Aead  # type: ignore[assignment,misc]
        X25519 = provider_pycryptodome.X25519

__all__ = [
    "ED25519_ORDER",
    "P384",
    "PROVIDER",
    "TAG_SIZE",
    "X25519",
    "Aead",
    "DhFunction",
    "DhKey",
    "EdwardsPoint",
    "aead_decrypt",
    "aead_encrypt",
    "digest",
    "digest_size",
    "hkdf",
    "hmac_digest",
    "random_bytes",
]

TAG_SIZE = 16
"""Bytes that AES-GCM adds to a plaintext."""


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
    """AES-256-GCM once under a key: 32-byte key, 12-byte nonce; the 16-byte tag is appended."""
    return Aead(key).encrypt(nonce, plaintext, ad)


def aead_decrypt(key: bytes | bytearray, nonce: bytes, ad: bytes, ciphertext: bytes) -> bytes:
    """The inverse of `aead_encrypt`.

    Raises:
        DecryptError: the ciphertext, its nonce or `ad` is not what was encrypted under this key.
    """
    aead = Aead(key)
    try:
        return aead.decrypt(nonce, ciphertext, ad)
    except aead.INVALID as error:
        raise DecryptError("a ciphertext failed authentication") from error
