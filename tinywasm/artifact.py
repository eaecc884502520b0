"""The serialized form of a module: four lines that say what made it, then the binary format.

The lines keep an old or damaged file from being loaded. They keep nobody from forging one, so the module
is decoded and validated as any other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from tinywasm.errors import WasmError
from tinywasm.instructions import Feature
from tinywasm.version import VERSION

_MAGIC = b"tinywasm module"


def pack(binary: bytes | memoryview, features: Collection[Feature]) -> bytes:
    """`binary`, a valid module where `features` are on, in serialized form."""
    lines = [_MAGIC, *_maker(features), hashlib.sha256(binary).hexdigest().encode()]
    return b"\n".join([*lines, binary])


def unpack(artifact: bytes, features: Collection[Feature]) -> bytes:
    """The module that `pack` was given.

    Raises `WasmError` where that was done by another version of tinywasm or for other features, or where
    the bytes were changed since.
    """
    magic, *rest = artifact.split(b"\n", 4)
    if magic != _MAGIC or len(rest) != 4:
        raise WasmError("this is not a serialized module")
    *maker, digest, binary = rest
    for what, then, now in zip(("tinywasm version", "features"), maker, _maker(features), strict=True):
        if then != now:
            shown = then[:40].decode("ascii", "backslashreplace")
            raise WasmError(
                f"the module was serialized for another {what} ({shown!r}, here {now.decode()!r}): "
                "serialize it again from its source"
            )
    if hashlib.sha256(binary).hexdigest().encode() != digest:
        raise WasmError("the serialized module was changed or cut off")
    return binary


def _maker(features: Collection[Feature]) -> list[bytes]:
    names = " ".join(sorted(feature.value for feature in features))
    return [text.encode() for text in (VERSION, names)]
