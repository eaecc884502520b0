"""Ed25519 (RFC 8032) with a choice of hash: SHA-512 as standardised, SHA3-512 as Keystone has it.

Keystone's firmware replaces SHA-512 by SHA3-512 in key expansion, nonce and challenge, so a standard Ed25519
refuses its signatures. Verification here is stricter than Keystone's: S below the group order, canonical
encodings, no point of low order.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import InvalidKey, LocalError
from .primitives import ED25519_ORDER, EdwardsPoint, digest

SEED_SIZE = 32
PUBLIC_KEY_SIZE = 32
SECRET_SIZE = 64
SIGNATURE_SIZE = 64


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An expanded key pair, as Keystone stores it.

    `secret` is 64 bytes, scalar (little-endian) and prefix; `public` is the 32-byte point that signatures
    commit to. Whoever gives a `public` of their own choice must know that it belongs to `secret`: two
    signatures of one message under different public keys give the secret away.

    Raises:
        LocalError: a part has the wrong size.
    """

    secret: bytes
    public: bytes

    def __post_init__(self) -> None:
        if len(self.secret) != SECRET_SIZE or len(self.public) != PUBLIC_KEY_SIZE:
            raise LocalError("a signing key is a 64-byte secret and a 32-byte public key")

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public.hex()})"

    @classmethod
    def from_secret(cls, secret: bytes) -> SigningKey:
        """The key pair of a 64-byte expanded secret."""
        if len(secret) != SECRET_SIZE:
            raise LocalError(f"an expanded secret has {SECRET_SIZE} bytes, not {len(secret)}")
        return cls(bytes(secret), EdwardsPoint.base_multiple(_scalar(secret)).encode())


@dataclass(frozen=True, slots=True)
class Ed25519:
    """The signature scheme over one hash function with 64-byte digests, named as in `primitives.digest`."""

    hash_name: str

    def key_from_seed(self, seed: bytes) -> SigningKey:
        """The key pair of a 32-byte seed (RFC 8032, section 5.1.5)."""
        if len(seed) != SEED_SIZE:
            raise LocalError(f"a seed has {SEED_SIZE} bytes, not {len(seed)}")
        expanded = bytearray(digest(self.hash_name, seed))
        expanded[0] &= 248
        expanded[31] = expanded[31] & 63 | 64
        return SigningKey.from_secret(bytes(expanded))

    def sign(self, key: SigningKey, message: bytes) -> bytes:
        """The 64-byte signature of `message` (RFC 8032, section 5.1.6)."""
        nonce = self._challenge(key.secret[32:], message)
        commitment = EdwardsPoint.base_multiple(nonce).encode()
        challenge = self._challenge(commitment, key.public, message)
        response = (nonce + challenge * _scalar(key.secret)) % ED25519_ORDER
        return commitment + response.to_bytes(32, "little")

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        """Whether `signature` is one that the owner of `public_key` made of `message`; never raises."""
        if len(signature) != SIGNATURE_SIZE:
            return False
        response = int.from_bytes(signature[32:], "little")
        if response >= ED25519_ORDER:
            return False
        try:
            owner = EdwardsPoint.decode(public_key)
            commitment = EdwardsPoint.decode(signature[:32])
        except InvalidKey:
            return False
        if owner.is_low_order() or commitment.is_low_order():
            return False
        challenge = self._challenge(signature[:32], public_key, message)
        expected = EdwardsPoint.base_multiple(response) - owner * challenge
        return expected.encode() == signature[:32]

    def _challenge(self, *parts: bytes) -> int:
        return int.from_bytes(digest(self.hash_name, *parts), "little") % ED25519_ORDER


def _scalar(secret: bytes) -> int:
    return int.from_bytes(secret[:32], "little")


ED25519 = Ed25519("SHA512")
"""The standard scheme, for a client's identity."""

ED25519_SHA3 = Ed25519("SHA3-512")
"""Keystone's variant, for everything that a monitor signs."""
