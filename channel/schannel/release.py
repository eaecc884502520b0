"""Which release is installed: the one thing that every command says alike."""

from __future__ import annotations

import importlib.metadata


def installed_version() -> str:
    """The version of the installed distribution, or a note where there is none."""
    try:
        return importlib.metadata.version("tinywasm")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"
