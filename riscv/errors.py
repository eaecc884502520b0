"""What goes wrong, for the person who reads it."""

from __future__ import annotations


class RiscvError(Exception):
    """The machine cannot be built, or started. The text is one line: what failed, why, where more is said."""
