"""Diffie-Hellman functions as the Noise specification wants them, over keys of some cryptographic library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .errors import InvalidKey, LocalError


@dataclass(frozen=True, slots=True)
class DhKey:
    """A Diffie-Hellman key pair; `public` is its wire encoding, `private` the library's own key object."""

    public: bytes
    private: Any

    def __repr__(self) -> str:
        return f"DhKey(public={self.public.hex()})"


@dataclass(frozen=True, slots=True)
class DhFunction:
    """GENERATE_KEYPAIR and DH of the Noise specification, section 4.1.

    `public_size` is the size of an encoded public key in bytes, DHLEN where the two are equal. The functions
    are a library's; those that load and exchange raise ValueError for what is no key.
    """

    name: str
    public_size: int
    load_private: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]
    new: Callable[[], Any]
    exchange: Callable[[Any, bytes], bytes]

    def generate(self) -> DhKey:
        """A fresh key pair from the operating system's randomness."""
        key = self.new()
        return DhKey(self.encode(key), key)

    def from_private(self, private: bytes) -> DhKey:
        """The key pair of a given private key; LocalError if it is none."""
        try:
            key = self.load_private(private)
        except ValueError as error:
            raise LocalError(f"not a {self.name} private key") from error
        return DhKey(self.encode(key), key)

    def agree(self, own: DhKey, public: bytes) -> bytes:
        """The shared secret.

        Raises:
            InvalidKey: `public` is no point of the curve, or of low order, or the secret is all zero.
        """
        if len(public) != self.public_size:
            raise InvalidKey(f"a {self.name} public key has {self.public_size} bytes, not {len(public)}")
        try:
            secret = self.exchange(own.private, public)
        except ValueError as error:
            raise InvalidKey(f"unusable {self.name} public key") from error
        if not any(secret):
            raise InvalidKey(f"unusable {self.name} public key")
        return secret
