"""The serialized form of a module: five lines that say what made it, an engine's code, the binary format.

The lines keep an old or damaged file from being loaded. They keep nobody from forging one, so the module
is decoded and validated as any other, and an engine verifies its code.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib.util import source_hash

from tinywasm.errors import WasmError
from tinywasm.instructions import Feature
from tinywasm.records import record
from tinywasm.version import VERSION

_MAGIC = b"tinywasm module"


@record(frozen=True)
class Code:
    """What an engine made of a module, and which version of the engine: only that reads it."""

    engine: str
    maker: str
    packed: bytes | memoryview


def pack(binary: bytes | memoryview, features: Collection[Feature], code: Code | None = None) -> bytes:
    """`binary`, a valid module where `features` are on, in serialized form."""
    kept = f"{code.engine} {code.maker} {len(code.packed)}" if code else ""
    body = b"".join([kept.encode(), b"\n", code.packed if code else b"", binary])
    return b"\n".join([_MAGIC, *_maker(features), _digest(body), body])


def unpack(artifact: bytes, features: Collection[Feature]) -> tuple[bytes, Code | None]:
    """The module and the code that `pack` was given.

    Raises `WasmError` where that was done by another version of tinywasm or for other features, or where
    the bytes were changed since.
    """
    magic, *lines = artifact[:_LONGEST].split(b"\n", 5)
    if magic != _MAGIC or len(lines) != 5:
        raise WasmError("this is not a serialized module")
    *maker, digest, kept, _ = lines
    for what, then, now in zip(("tinywasm version", "features"), maker, _maker(features), strict=True):
        if then != now:
            shown = then[:40].decode("ascii", "backslashreplace")
            raise WasmError(
                f"the module was serialized for another {what} ({shown!r}, here {now.decode()!r}): "
                "serialize it again from its source"
            )
    start = sum(len(line) + 1 for line in (magic, *maker, digest))
    body = memoryview(artifact)[start:]
    if _digest(body) != digest:
        raise WasmError("the serialized module was changed or cut off")
    return _parts(body[len(kept) + 1 :], kept)


# The lines have no more bytes than this.
_LONGEST = 4096


def _parts(body: memoryview, kept: bytes) -> tuple[bytes, Code | None]:
    """Raises `WasmError` where the line that tells of the code is forged."""
    if not kept:
        return bytes(body), None
    try:
        engine, maker, length = kept.decode("ascii").split(" ")
        size = int(length)
    except ValueError as error:
        raise WasmError("this is not a serialized module") from error
    if not 0 <= size <= len(body):
        raise WasmError("this is not a serialized module")
    return bytes(body[size:]), Code(engine, maker, body[:size])


def _digest(body: bytes | memoryview) -> bytes:
    # What Python keeps pyc files by: it tells of accidents, as a cryptographic one does, in half the time,
    # and OpenSSL need not be loaded for it.
    return source_hash(body).hex().encode()


def _maker(features: Collection[Feature]) -> list[bytes]:
    names = " ".join(sorted(feature.value for feature in features))
    return [text.encode() for text in (VERSION, names)]
