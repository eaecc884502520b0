"""What was built stays for the next run, below one folder; what was built half is never found there."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "riscv"


@contextmanager
def locked(path: Path, busy: Callable[[], None]) -> Iterator[None]:
    """Nobody else has the lock on a file meanwhile; `busy` is called before waiting for who has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def kept(folder: Path, name: str, inputs: object, make: Callable[[Path], None]) -> Path:
    """What `make` makes of `inputs`, made once.

    Args:
        folder: where it is kept; older ones of that name are removed.
        name: what it is called there.
        inputs: all that it depends on; its `repr` says what that is.
        make: gets a path that does not exist, and leaves a file or a folder there.
    """
    digest = hashlib.sha256(repr(inputs).encode()).hexdigest()[:16]
    path = folder / f"{name}-{digest}"
    if not path.exists():
        # First, so that the disk never holds both; among them what a run that was killed has left.
        for older in folder.glob(f"{name}-*"):
            remove(older)
        made_aside(path, make)
    return path


def made_aside(path: Path, make: Callable[[Path], None]) -> None:
    """Have a file or a folder made beside its place, where it gets whole or not at all."""
    draft = path.with_name(f"{path.name}.draft")
    remove(draft)
    try:
        make(draft)
        draft.rename(path)
    finally:
        remove(draft)


def remove(path: Path) -> None:
    """Remove a file or a folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
