"""A progress bar for large transfers, where a person watches."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from .operations import Progress

_WORTH_IT = 4 << 20
"""Bytes from which on a bar is shown."""


@contextmanager
def bar(what: str, size: int | None) -> Iterator[Progress | None]:
    """A bar on standard error while something of `size` bytes is transferred; None where nobody watches.

    A `size` of None is not known before the transfer.
    """
    if (size is not None and size < _WORTH_IT) or not sys.stderr.isatty():
        yield None
        return
    # Only people at a terminal wait for this import.
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=size)
        yield lambda done, total: shown.update(task, completed=done, total=total)
