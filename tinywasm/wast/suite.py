"""The official test suite's folders and what the scripts in each need."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from tinywasm.config import Config
from tinywasm.instructions import Feature

# A folder, or scripts where they lie flat.
_LEGACY = ("exceptions", "rethrow.wast", "throw.wast", "try_catch.wast", "try_delegate.wast")


def unsupported(path: Path) -> str | None:
    """Why the scripts at `path` are beyond us, or None where they are not.

    The suite keeps the exception handling of old in `legacy/exceptions`, its mirror in `legacy`, and each
    proposal in a folder of its own below `proposals`.
    """
    parts = path.resolve().parts
    for parent, part in pairwise(parts):
        if parent == "legacy" and part in _LEGACY:
            return "legacy exception handling is not part of WebAssembly 3.0"
        if parent == "proposals" and part not in {feature.value for feature in Feature}:
            return f"the proposal {part} is not implemented"
    return None


def config_for(path: Path, features: Iterable[Feature] = ()) -> Config:
    """The configuration that the script at `path` needs: `features`, and those that a folder names."""
    parts = path.resolve().parts
    chosen = {*features, *(feature for feature in Feature if feature.value in parts)}
    return Config(
        wide_arithmetic=Feature.WIDE_ARITHMETIC in chosen,
        custom_page_sizes=Feature.CUSTOM_PAGE_SIZES in chosen,
    )


def scripts(paths: Iterable[Path]) -> list[Path]:
    """The `.wast` files among `paths` and in the folders among them, sorted within each folder.

    Raises `FileNotFoundError` for a path that is not there.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found.extend(sorted(path.rglob("*.wast")))
        elif path.exists():
            found.append(path)
        else:
            raise FileNotFoundError(f"{path}: no such file")
    return found
