"""Machine code in the folder of `Config(cache=)`, so that the next process need not make it."""

from __future__ import annotations

import struct
from importlib.util import source_hash
from mmap import ACCESS_READ, mmap

from tinywasm import kept_folder
from tinywasm.engine.native import ahead, processor
from tinywasm.engine.native.ahead import Precompiled
from tinywasm.errors import WasmError
from tinywasm.validation import Context
from tinywasm.whole_files import PAGE, runnable

# The digest of what follows, and how long that is which tells of the code. The code begins where a page does.
_START = struct.Struct("<8sQ")


def find(folder: str, name: str, context: Context) -> Precompiled | None:
    """What is kept of a module under a name, if it is there, and is whole. Raises as `kept_folder.find`."""
    file = kept_folder.find(folder, name) if name else None
    if file is None:
        return None
    with file:
        content = memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))
        try:
            digest, length = _START.unpack_from(content)
            if source_hash(content[len(digest) :]) != digest:
                return None
            head = content[_START.size : _START.size + length]
            at = _START.size + length + _padding(length)
            found = Precompiled(context, head, runnable(file, at, content[at:]))
        except (struct.error, WasmError):
            # Cut off or damaged: it is made anew.
            return None
    found.origin = "read from the cache"
    return found


def keep(folder: str, name: str, head: bytes, text: bytes) -> None:
    """As `kept_folder.keep`."""
    if name:
        body = b"".join([len(head).to_bytes(8, "little"), head, bytes(_padding(len(head))), text])
        kept_folder.keep(folder, name, source_hash(body) + body)


def _padding(length: int) -> int:
    return -(_START.size + length) % PAGE


def name(context: Context, metered: bool, kind: str) -> str:
    """Of the file with one kind of machine code of a module that was read from its binary format, else ""."""
    if context.source is None:
        return ""
    # What belongs to another file must not be taken for this one's, whoever made the module.
    from hashlib import blake2b

    told = f"{ahead.maker()} {processor.here()} {metered} {kind} "
    digest = blake2b(told.encode(), digest_size=32)
    digest.update(context.source)
    return f"{digest.hexdigest()}.code"
