"""What goes wrong, for the person who reads it."""

from __future__ import annotations

import shutil


class RiscvError(Exception):
    """The machine cannot be built, or started. The text is one line: what failed, why, where more is said."""


def told(error: OSError) -> str:
    """What failed, and where."""
    if isinstance(error, shutil.Error):
        # Of a folder that was copied: each file, its copy, and what was wrong.
        _, copy, reason = error.args[0][0]
        return f"{copy}: {reason}"
    where = f"{error.filename}: " if error.filename else ""
    return where + (error.strerror or str(error)).lower()
