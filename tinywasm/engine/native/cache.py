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


def find(folder: str, context: Context, metered: bool) -> Precompiled | None:
    """What is kept of a module, if it is there, and is whole. Raises as `kept_folder.find`."""
    name = _name(context, metered)
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


def keep(folder: str, context: Context, metered: bool, head: bytes, text: bytes) -> None:
    """Raises as `kept_folder.keep`."""
    name = _name(context, metered)
    if name:
        body = b"".join([len(head).to_bytes(8, "little"), head, bytes(_padding(len(head))), text])
        kept_folder.keep(folder, name, source_hash(body) + body)


def _padding(length: int) -> int:
    return -(_START.size + length) % PAGE


def _name(context: Context, metered: bool) -> str:
    """Of the file for a module that was read from its binary format, else ""."""
    if context.source is None:
        return ""
    # What belongs to another file must not be taken for this one's, whoever made the module.
    from hashlib import blake2b

    told = f"{ahead.maker()} {processor.here()} {metered} "
    digest = blake2b(told.encode(), digest_size=32)
    digest.update(context.source)
    return f"{digest.hexdigest()}.code"
