"""What is tried in a process of its own, so that a crash ends nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable

_LONGEST = 4096


def words_of(attempt: Callable[[], str]) -> tuple[str, int]:
    """What `attempt` returns in a child, its first 4,096 bytes, and its status as `waitpid` has it."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        os.write(writer, attempt().encode()[:_LONGEST])
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        words = pipe.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    return words, status
