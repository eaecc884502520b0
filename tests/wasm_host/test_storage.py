"""What the host keeps of sealed programs: how much, for how long, and beside another host."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from schannel.storage import MAX_PIECE, Answer, Operation, Request, Status
from tests.processes import put_something_else
from tests.wasm_host.fakes import run
from wasm_host.storage import BLOCK, Allowance, SealedStore, StoreLimits, serve_storage

OWNER, OTHER = b"\1" * 16, b"\2" * 16
NAME = bytes(32)


def name(owner: bytes, label: int = 0) -> bytes:
    return owner + bytes([label]) * 16


def store_program(store: SealedStore, name: bytes, size: int) -> Status:
    draft = store.begin(name)
    assert draft is not None
    try:
        for offset in range(0, size, MAX_PIECE):
            status = store.append(draft, bytes(min(MAX_PIECE, size - offset)))
            if status is not Status.DONE:
                return status
        return store.keep(draft)
    finally:
        draft.drop()


def files(folder: Path) -> list[str]:
    return sorted(path.suffix for path in folder.iterdir())


def test_quota_of_one_client(tmp_path: Path) -> None:
    store = SealedStore(tmp_path, StoreLimits(per_client=2 * MAX_PIECE))
    assert store_program(store, name(OWNER), 3 * MAX_PIECE) is Status.QUOTA
    assert store_program(store, name(OWNER), MAX_PIECE) is Status.DONE
    assert store_program(store, name(OWNER, 1), 2 * MAX_PIECE) is Status.QUOTA
    assert store_program(store, name(OWNER), 2 * MAX_PIECE) is Status.DONE, "in the old one's place"
    assert store_program(store, name(OWNER, 1), 1) is Status.QUOTA
    assert store_program(store, name(OTHER), 2 * MAX_PIECE) is Status.DONE, "others have their own"
    assert store.forget(name(OWNER)) is Status.DONE
    assert store.forget(name(OWNER)) is Status.MISSING
    assert store_program(store, name(OWNER, 1), MAX_PIECE) is Status.DONE
    assert files(tmp_path) == [".sealed", ".sealed"], "what was refused is gone"


def test_small_programs_count_for_what_they_cost(tmp_path: Path) -> None:
    store = SealedStore(tmp_path, StoreLimits(total=16 * BLOCK, per_client=8 * BLOCK))
    results = [store_program(store, name(OWNER, label), 1) for label in range(12)]
    assert results == [Status.DONE] * 8 + [Status.QUOTA] * 4
    results = [store_program(store, name(OTHER, label), 1) for label in range(12)]
    assert results == [Status.DONE] * 8 + [Status.FULL] * 4
    assert len(list(tmp_path.iterdir())) == 16


def test_what_is_replaced_or_dropped_makes_room(tmp_path: Path) -> None:
    store = SealedStore(tmp_path, StoreLimits(2 * BLOCK))
    for _ in range(5):
        assert store_program(store, name(OWNER), 10) is Status.DONE
        assert store_program(store, name(OTHER), 2 * BLOCK) is Status.FULL
    assert store_program(store, name(OTHER), 10) is Status.DONE
    # What takes another's place is there beside it for a while.
    assert store_program(store, name(OTHER), 10) is Status.FULL


def test_room_for_all(tmp_path: Path) -> None:
    store = SealedStore(tmp_path, StoreLimits(3 * MAX_PIECE))
    assert store_program(store, name(OWNER), 2 * MAX_PIECE) is Status.DONE
    assert store_program(store, name(OTHER), 2 * MAX_PIECE) is Status.FULL
    assert store_program(store, name(OTHER), MAX_PIECE) is Status.DONE
    assert store_program(SealedStore(tmp_path, StoreLimits(3 * MAX_PIECE)), name(OWNER, 1), 1) is Status.FULL


def test_what_nobody_uses_is_removed(tmp_path: Path) -> None:
    store = SealedStore(tmp_path, StoreLimits(unused=10 * 86_400))
    for label in range(3):
        store_program(store, name(OWNER, label), 1)
    long_ago = time.time() - 11 * 86_400
    for path in tmp_path.iterdir():
        os.utime(path, (long_ago, long_ago))
    assert store.fetch(name(OWNER, 1), 0, 10) == (Status.DONE, 1, b"\0"), "using it keeps it"
    SealedStore(tmp_path, StoreLimits(unused=10 * 86_400))
    assert [store.fetch(name(OWNER, label), 0, 1)[0] for label in range(3)] == [
        Status.MISSING,
        Status.DONE,
        Status.MISSING,
    ]


def test_disk_that_nobody_can_write_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was kept before can be used; the note that it was used is left out."""
    store_program(SealedStore(tmp_path, StoreLimits()), name(OWNER), 3)

    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for call in ("utime", "unlink", "rename", "replace", "mkdir"):
        monkeypatch.setattr(os, call, refuse)
    store = SealedStore(tmp_path, StoreLimits())
    assert store.fetch(name(OWNER), 0, 10) == (Status.DONE, 3, bytes(3))


def test_two_hosts_do_not_disturb_each_other(tmp_path: Path) -> None:
    first = SealedStore(tmp_path, StoreLimits())
    drafts = [first.begin(name(OWNER)), first.begin(name(OTHER))]
    assert drafts[0] is not None and drafts[1] is not None
    assert first.append(drafts[0], b"first") is Status.DONE
    long_ago = time.time() - 3600
    for path in tmp_path.iterdir():
        os.utime(path, (long_ago, long_ago))
    second = SealedStore(tmp_path, StoreLimits())
    assert store_program(second, name(OWNER), 6) is Status.DONE
    assert first.keep(drafts[0]) is Status.DONE
    assert second.fetch(name(OWNER), 0, 100) == (Status.DONE, 5, b"first"), "who keeps last"
    assert files(tmp_path) == [".draft", ".sealed"]
    drafts[1].file.close()
    os.utime(drafts[1].path, (long_ago, long_ago))
    SealedStore(tmp_path, StoreLimits())
    assert files(tmp_path) == [".sealed"], "what a host left behind that was killed is removed"


@pytest.mark.parametrize("folder", ["/proc/nowhere", "/dev/null/nowhere"])
def test_folder_that_cannot_be_written(folder: str) -> None:
    store = SealedStore(Path(folder), StoreLimits()) if folder.startswith("/proc") else None
    if store is not None:
        assert store.begin(name(OWNER)) is None
        assert store.fetch(name(OWNER), 0, 1) == (Status.MISSING, 0, b"")


def test_conversation_with_an_enclave(tmp_path: Path) -> None:
    async def main() -> None:
        store = SealedStore(tmp_path, StoreLimits(per_client=MAX_PIECE))
        listener = await asyncio.start_unix_server(
            lambda reader, writer: serve_storage(reader, writer, store), tmp_path / "socket"
        )
        reader, writer = await asyncio.open_unix_connection(tmp_path / "socket")

        async def ask(
            operation: Operation, offset: int = 0, size: int = 0, piece: bytes = b"", label: int = 0
        ) -> tuple[Status, int, bytes]:
            request = Request(operation, name(OWNER, label), offset, len(piece) or size)
            writer.write(request.build() + piece)
            answer = Answer.parse(await reader.readexactly(Answer.sizeof()))
            return answer.status, answer.total, await reader.readexactly(answer.size)

        assert await ask(Operation.KEEP) == (Status.REFUSED, 0, b"")
        assert await ask(Operation.APPEND, 5, piece=b"x") == (Status.REFUSED, 0, b"")
        assert await ask(Operation.APPEND, 0, piece=b"first") == (Status.DONE, 0, b"")
        assert await ask(Operation.APPEND, 4, piece=b"x") == (Status.REFUSED, 0, b"")
        assert await ask(Operation.APPEND, 5, piece=b"x", label=1) == (Status.REFUSED, 0, b"")
        assert await ask(Operation.KEEP, label=1) == (Status.REFUSED, 0, b"")
        assert await ask(Operation.APPEND, 5, piece=b" piece") == (Status.DONE, 0, b"")
        assert await ask(Operation.KEEP) == (Status.DONE, 0, b"")
        assert await ask(Operation.FETCH, 6, 3) == (Status.DONE, 11, b"pie")
        assert await ask(Operation.FETCH, 100, 3) == (Status.DONE, 11, b"")
        assert await ask(Operation.APPEND, 0, piece=bytes(MAX_PIECE)) == (Status.DONE, 0, b"")
        assert await ask(Operation.APPEND, MAX_PIECE, piece=b"x") == (Status.QUOTA, 0, b"")
        assert await ask(Operation.FORGET) == (Status.DONE, 0, b"")
        assert await ask(Operation.FORGET) == (Status.MISSING, 0, b"")
        assert await ask(Operation.FETCH, 0, 3) == (Status.MISSING, 0, b"")
        writer.write(b"\xff" * 100)
        assert await reader.read() == b"", "who asks for what cannot be is hung up on"
        listener.close()
        writer.close()

    run(main())
    assert [path.name for path in tmp_path.iterdir() if path.name != "socket"] == [], "no draft is left"


@pytest.mark.parametrize("kind", ["pipe", "folder", "link", "link to nothing", "device"])
def test_something_else_in_a_programs_place(tmp_path: Path, kind: str) -> None:
    """It is neither waited for nor followed, and a host goes on, and ends."""
    put_something_else(tmp_path / f"{name(OWNER).hex()}.sealed", kind)
    put_something_else(tmp_path / f"{OWNER.hex()}-left.draft", kind)
    for left in tmp_path.iterdir():
        with contextlib.suppress(OSError):
            os.utime(left, (1, time.time() - 3600), follow_symlinks=False)
    kept = name(OWNER, 1)
    statuses, _ = converse(
        tmp_path,
        [
            (Operation.FETCH, name(OWNER), 0, b""),
            (Operation.APPEND, kept, 0, b"program"),
            (Operation.KEEP, kept, 0, b""),
            (Operation.FETCH, kept, 0, b""),
        ],
    )
    assert statuses == [Status.MISSING, Status.DONE, Status.DONE, Status.DONE]
    assert (tmp_path / f"{kept.hex()}.sealed").read_bytes() == b"program"


def test_allowance() -> None:
    allowance = Allowance(100.0)
    waits = [
        allowance.spend(Request(Operation.APPEND, NAME, n << 20, MAX_PIECE), 100.0) for n in range(1, 600)
    ]
    assert not any(waits), "a large program and more is stored as fast as the disk takes it"
    waits = [
        allowance.spend(Request(Operation.APPEND, NAME, n << 20, MAX_PIECE), 100.0) for n in range(1, 1000)
    ]
    assert 5 < waits[-1] < 15 and waits == sorted(waits)
    assert allowance.spend(Request(Operation.FETCH, NAME, 0, 0), 200.0) == 0, "what is not used comes back"
    assert Allowance(0.0).spend(Request(Operation.FETCH, NAME, 0, MAX_PIECE), 1e9) == 0
    for operation, number in (
        (Operation.FETCH, 20_000),
        (Operation.APPEND, 300),
        (Operation.KEEP, 300),
        (Operation.FORGET, 300),
    ):
        allowance = Allowance(0.0)
        assert allowance.spend(Request(operation, NAME, 0, 0), 0.0) == 0
        assert sum(allowance.spend(Request(operation, NAME, 0, 0), 0.0) > 0 for _ in range(number)), operation


def converse(
    tmp_path: Path, requests: Sequence[tuple[Operation, bytes, int, bytes]]
) -> tuple[list[Status], list[float]]:
    """What an enclave is answered that asks all of this at once, and the pauses that were made."""
    statuses: list[Status] = []
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async def main() -> None:
        store = SealedStore(tmp_path, StoreLimits())
        ours, theirs = socket.socketpair()
        served = asyncio.create_task(serve_storage(*await asyncio.open_connection(sock=theirs), store, pause))
        reader, writer = await asyncio.open_connection(sock=ours)
        for operation, stored, offset, piece in requests:
            writer.write(Request(operation, stored, offset, len(piece)).build() + piece)
        for _ in requests:
            answer = Answer.parse(await reader.readexactly(Answer.sizeof()))
            await reader.readexactly(answer.size)
            statuses.append(answer.status)
        writer.close()
        await served

    run(main())
    return statuses, pauses


def test_disk_that_is_full(tmp_path: Path) -> None:
    """What it does not take leaves nothing behind, and is no end of the conversation."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    room, piece = 10_000, bytes(4000)
    large, small = name(OWNER, 1), name(OWNER, 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        statuses, _ = converse(
            tmp_path,
            [
                *((Operation.APPEND, large, offset, piece) for offset in (0, 4000, 8000, 12_000)),
                (Operation.APPEND, small, 0, b"program"),
                (Operation.KEEP, small, 0, b""),
                (Operation.FETCH, small, 0, b""),
            ],
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert statuses == [Status.DONE] * 2 + [Status.REFUSED] * 2 + [Status.DONE] * 3
    assert files(tmp_path) == [".sealed"]


def test_an_enclave_that_asks_without_end_is_slowed_down(tmp_path: Path) -> None:
    few = [(Operation.FORGET, name(OWNER), 0, b"")] * 200
    assert converse(tmp_path, few) == ([Status.MISSING] * 200, [])
    statuses, pauses = converse(tmp_path, few * 2)
    assert statuses == [Status.MISSING] * 400
    assert 100 < len(pauses) < 200 and max(pauses) < 10


def test_an_enclave_writes_for_one_client_only(tmp_path: Path) -> None:
    other = b"o" * len(OWNER)
    kept = name(other, 5)
    assert converse(tmp_path, [(Operation.APPEND, kept, 0, b"theirs"), (Operation.KEEP, kept, 0, b"")]) == (
        [Status.DONE] * 2,
        [],
    )
    statuses, _ = converse(
        tmp_path,
        [
            (Operation.APPEND, name(OWNER), 0, b"mine"),
            (Operation.KEEP, name(OWNER), 0, b""),
            (Operation.FETCH, kept, 0, b""),
            (Operation.FORGET, kept, 0, b""),
            (Operation.APPEND, kept, 0, b"altered"),
            (Operation.KEEP, kept, 0, b""),
            (Operation.APPEND, name(OWNER, 2), 0, b"mine"),
        ],
    )
    refused = [Status.REFUSED] * 3
    assert statuses == [Status.DONE, Status.DONE, Status.DONE, *refused, Status.DONE]
    assert (tmp_path / f"{kept.hex()}.sealed").read_bytes() == b"theirs"
