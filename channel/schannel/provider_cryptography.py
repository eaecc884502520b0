"""AES-GCM and X25519 from the package ``cryptography``: a hundred times faster on small records."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import ClassVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .dh import DhFunction
from .wire import Buffer

_KEY_SIZE = 32


class Aead:
    """AES-256-GCM under one key of 32 bytes, set up once."""

    INVALID: ClassVar[type[Exception]] = InvalidTag

    def __init__(self, key: bytes | bytearray) -> None:
        cipher = AESGCM(key)
        self.encrypt: Callable[[bytes, Buffer, bytes], bytes] = cipher.encrypt
        """The ciphertext with its 16-byte tag, from nonce (12 bytes), plaintext and associated data."""

        self.decrypt: Callable[[bytes, Buffer, bytes], bytes] = cipher.decrypt
        """The inverse of `encrypt`; INVALID if it is not what was encrypted under this key."""


X25519 = DhFunction(
    "X25519",
    _KEY_SIZE,
    X25519PrivateKey.from_private_bytes,
    lambda key: key.public_key().public_bytes_raw(),
    # The operating system's randomness: a generator in the process's memory would be forked with it.
    lambda: X25519PrivateKey.from_private_bytes(os.urandom(_KEY_SIZE)),
    lambda private, public: private.exchange(X25519PublicKey.from_public_bytes(public)),
)
"""Curve25519 (RFC 7748)."""
