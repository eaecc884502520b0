"""Translations in the folder of `Config(cache=)`, so that the next process need not make them.

A module has a file there, which is read before its first instance is made, and written when the module is
freed or Python ends. Python's code is machine code to others: see `kept_folder` for who may have written it.
"""

from __future__ import annotations

import marshal
import os
import weakref
from functools import cache
from glob import glob
from importlib.util import MAGIC_NUMBER, source_hash
from types import CodeType
from typing import Any

from tinywasm import kept_folder
from tinywasm.engine.ir.form import Record
from tinywasm.engine.source.translate import Source
from tinywasm.validation import Context
from tinywasm.version import VERSION

# A function, whether it is metered, the imports that are host functions, the memories that end early, and the
# block where it is entered, None for its beginning.
Key = tuple[int, bool, frozenset[int], frozenset[int], int | None]
Made = tuple[Source, CodeType]
_DIGEST = 8


class Folder:
    """What a folder has of a module's functions."""

    def __init__(self, folder: str, context: Context) -> None:
        """Raises as `kept_folder.find`."""
        self.folder = folder
        self.name = _name(context)
        self.packed: dict[Key, bytes] = self._read() if self.name else {}
        self.fresh = False

    def _read(self) -> dict[Key, bytes]:
        file = kept_folder.find(self.folder, self.name)
        if file is None:
            return {}
        with file:
            content = memoryview(file.read())
        if source_hash(content[_DIGEST:]) != content[:_DIGEST]:
            # Cut off or damaged: all is made anew.
            return {}
        packed: dict[Key, bytes] = marshal.loads(content[_DIGEST:])
        return packed

    def find(self, key: Key) -> Made | None:
        packed = self.packed.get(key)
        if packed is None:
            return None
        text, takes, names, slots, code = marshal.loads(packed)
        for name, (kind, *what) in names.items():
            if kind == "step":
                names[name] = kind, Record._make(what[0])
        return Source(text, takes, names, slots), code

    def add(self, key: Key, made: Made) -> None:
        source, code = made
        names: dict[str, Any] = {
            name: (kind, tuple(what[0])) if kind == "step" else (kind, *what)
            for name, (kind, *what) in source.names.items()
        }
        self.packed[key] = marshal.dumps((source.text, source.takes, names, source.slots, code))
        self.fresh = True

    def keep(self) -> None:
        """Write what was added."""
        if self.fresh and self.name:
            self.fresh = False
            body = marshal.dumps(self.packed)
            kept_folder.keep(self.folder, self.name, source_hash(body) + body)


class _Kept:
    """Goes with the module, and has the folder written then."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        weakref.finalize(self, folder.keep)


def of(folder: str, context: Context) -> Folder:
    """The folder's part of a module. Raises as `kept_folder.find` where it was not asked for before."""
    found: _Kept | None = context.compiled.get("source, kept")
    if found is None:
        found = context.compiled.setdefault("source, kept", _Kept(Folder(folder, context)))
    return found.folder


def _name(context: Context) -> str:
    """Of the file for a module that was read from its binary format, else ""."""
    if context.source is None:
        return ""
    # What belongs to another file must not be taken for this one's, whoever made the module.
    from hashlib import blake2b

    digest = blake2b(_maker(), digest_size=32)
    digest.update(context.source)
    return f"{digest.hexdigest()}.python"


@cache
def _maker() -> bytes:
    """Names what translates, and the Python whose code it is."""
    parts = [f"{VERSION} {MAGIC_NUMBER!r}".encode()]
    here = os.path.dirname(__file__)
    # Without sources, the version has to do.
    for path in sorted(glob(os.path.join(here, "*.py")) + glob(os.path.join(here, "..", "ir", "*.py"))):
        with open(path, "rb") as file:
            parts.append(file.read())
    return source_hash(b"\0".join(parts))
