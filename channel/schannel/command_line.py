"""What the commands of host and client have in common."""

from __future__ import annotations

DEFAULT_ADDRESS = "127.0.0.1:3333"
"""Where the host listens, and where the client looks for it."""


def printable(text: str) -> str:
    """Text that somebody else chose, without what could steer a terminal or pass for another line."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
