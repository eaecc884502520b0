"""The binary format (chapter 5): `decode` and `encode`."""

from tinywasm.binary.decoder import decode
from tinywasm.binary.encoder import encode

__all__ = ["decode", "encode"]
