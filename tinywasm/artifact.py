"""The serialized form of a module: lines that say what made it, an engine's code, the binary format.

The lines keep an old or damaged file from being loaded. They keep nobody from forging one, so the module
is decoded and validated as any other, and an engine verifies its code. Machine code, which may follow, is the
exception: nothing verifies it, so it is there for those alone who trust the file.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib.util import source_hash

from tinywasm.errors import WasmError
from tinywasm.instructions import Feature
from tinywasm.records import record
from tinywasm.version import VERSION
from tinywasm.whole_files import PAGE

_MAGIC = b"tinywasm module"


SUFFIX = ".twasm"
"""How the names of files with machine code end."""


@record(frozen=True)
class Code:
    """What an engine made of a module, and which version of the engine: only that reads it."""

    engine: str
    maker: str
    packed: bytes | memoryview


@record(frozen=True)
class MachineCode:
    """Machine code that an engine made besides, in the same way: what tells of it, and the code itself.

    `at` is where in the artifact the code begins: at a multiple of `PAGE`.
    """

    maker: str
    head: bytes | memoryview
    text: bytes | memoryview
    at: int = 0


def is_artifact(content: bytes | str) -> bool:
    """Whether this is a serialized module, as far as its beginning tells."""
    start = _MAGIC + b"\n"
    return content[: len(start)] in (start, start.decode())


def pack(
    binary: bytes | memoryview,
    features: Collection[Feature],
    code: Code | None = None,
    machine: MachineCode | None = None,
) -> bytes:
    """`binary`, a valid module where `features` are on, in serialized form; machine code goes with code."""
    kept = f"{code.engine} {code.maker} {len(code.packed)}" if code else ""
    parts = [code.packed if code else b"", binary]
    if machine is not None:
        kept += f" {machine.maker} %012d {len(machine.text)}"
        before = b"\n".join([_MAGIC, *_maker(features), bytes(_DIGEST_SIZE), (kept % 0).encode(), b""])
        length = len(machine.head)
        # So that the machine code begins where a page does; what tells of it says itself where it ends.
        length += -(len(before) + length + sum(map(len, parts))) % PAGE
        kept %= length
        parts = [parts[0], bytes(machine.head).ljust(length, b"\0"), binary, machine.text]
    body = b"".join([kept.encode(), b"\n", *parts])
    return b"\n".join([_MAGIC, *_maker(features), _digest(body), body])


def unpack(
    artifact: bytes | memoryview, features: Collection[Feature]
) -> tuple[bytes, Code | None, MachineCode | None]:
    """The module and the code that `pack` was given.

    Raises `WasmError` where that was done by another version of tinywasm or for other features, or where
    the bytes were changed since.
    """
    magic, *lines = bytes(artifact[:_LONGEST]).split(b"\n", 5)
    if magic != _MAGIC or len(lines) != 5:
        raise WasmError("this is not a serialized module")
    *maker, digest, kept, _ = lines
    for what, then, now in zip(
        ("another tinywasm version", "other features"), maker, _maker(features), strict=True
    ):
        if then != now:
            shown = then[:40].decode("ascii", "backslashreplace")
            raise WasmError(
                f"the module was serialized for {what} ({shown!r}, here {now.decode()!r}): "
                "serialize it again from its source"
            )
    start = sum(len(line) + 1 for line in (magic, *maker, digest))
    body = memoryview(artifact)[start:]
    if _digest(body) != digest:
        raise WasmError("the serialized module was changed or cut off")
    return _parts(body[len(kept) + 1 :], kept, start + len(kept) + 1)


_DIGEST_SIZE = 16
# The lines have no more bytes than this.
_LONGEST = 4096


def _parts(body: memoryview, kept: bytes, start: int) -> tuple[bytes, Code | None, MachineCode | None]:
    """What the line that tells of the code says. Raises `WasmError` where it is forged."""
    if not kept:
        return bytes(body), None, None
    forged = WasmError("this is not a serialized module")
    try:
        engine, maker, length, *more = kept.decode("ascii").split(" ")
        machine, *lengths = more or ["", "0", "0"]
        size, head, text = map(int, (length, *lengths))
    except ValueError as error:
        raise forged from error
    if min(size, head, text) < 0 or size + head + text > len(body):
        raise forged
    code, end = Code(engine, maker, body[:size]), len(body) - text
    if not more:
        return bytes(body[size:]), code, None
    made = MachineCode(machine, body[size : size + head], body[end:], start + end)
    return bytes(body[size + head : end]), code, made


def _digest(body: bytes | memoryview) -> bytes:
    # What Python keeps pyc files by: it tells of accidents, as a cryptographic one does, in half the time,
    # and OpenSSL need not be loaded for it.
    return source_hash(body).hex().encode()


def _maker(features: Collection[Feature]) -> list[bytes]:
    names = " ".join(sorted(feature.value for feature in features))
    return [text.encode() for text in (VERSION, names)]
