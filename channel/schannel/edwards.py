"""What every provider's point of edwards25519 has in common (RFC 8032, section 5.1)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

from .errors import InvalidKey

ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493
"""L, the order of the base point (RFC 8032, section 5.1)."""

_SIZE = 32
_IDENTITY = (1).to_bytes(_SIZE, "little")
_BASE_POINT = bytes.fromhex("58" + "66" * 31)


class Point(ABC):
    """A point of edwards25519; a library says how it is read, written and reckoned with."""

    __slots__ = ()

    @classmethod
    @abstractmethod
    def _read(cls, encoded: bytes) -> Self:
        """The point of 32 bytes, in whatever encoding the library takes; ValueError where there is none."""

    @abstractmethod
    def encode(self) -> bytes:
        """The canonical 32-byte encoding (RFC 8032, section 5.1.2)."""

    @abstractmethod
    def __mul__(self, scalar: int) -> Self: ...

    @abstractmethod
    def __sub__(self, other: Self) -> Self: ...

    @classmethod
    def base_multiple(cls, scalar: int) -> Self:
        """`scalar` times the base point."""
        return cls._read(_BASE_POINT) * (scalar % ED25519_ORDER)

    @classmethod
    def decode(cls, encoded: bytes) -> Self:
        """A point from its canonical 32-byte encoding (RFC 8032, section 5.1.3).

        Raises:
            InvalidKey: wrong length, not on the curve, or another encoding than the canonical one.
        """
        if len(encoded) != _SIZE:
            raise InvalidKey(f"a point of edwards25519 has {_SIZE} bytes, not {len(encoded)}")
        try:
            point = cls._read(bytes(encoded))
        except ValueError as error:
            raise InvalidKey("not a point of edwards25519") from error
        if point.encode() != encoded:
            raise InvalidKey("not the canonical encoding of a point of edwards25519")
        return point

    def is_low_order(self) -> bool:
        """Whether the order divides 8, the cofactor."""
        return (self * 8).encode() == _IDENTITY
