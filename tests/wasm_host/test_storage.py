"""The host's storage keeps to its capacity, whatever enclaves store in it."""

from __future__ import annotations

import os
from pathlib import Path

from schannel.storage import Status
from wasm_host.storage import BLOCK, SealedStore


def _name(number: int) -> bytes:
    return number.to_bytes(32, "big")


def _store(store: SealedStore, number: int, *pieces: bytes) -> Status:
    """Store pieces as one program; the first status that is not DONE."""
    draft, offset = store.draft(1), 0
    store.drop(draft)
    for piece in pieces:
        status = store.append(draft, offset, piece)
        if status is not Status.DONE:
            return status
        offset += len(piece)
    return store.keep(draft, _name(number))


def test_what_is_stored_is_fetched(tmp_path: Path) -> None:
    store = SealedStore(tmp_path)
    assert _store(store, 1, b"one", b"two") is Status.DONE
    assert store.fetch(_name(1), 2, 2) == (Status.DONE, 6, b"et")
    assert store.fetch(_name(1), 1 << 63, 2) == (Status.DONE, 6, b"")
    assert store.fetch(_name(2), 0, 2) == (Status.MISSING, 0, b"")


def test_capacity(tmp_path: Path) -> None:
    store = SealedStore(tmp_path, 4 * BLOCK)
    assert _store(store, 1, bytes(BLOCK), bytes(BLOCK)) is Status.DONE
    assert _store(store, 2, bytes(BLOCK), bytes(BLOCK + 1)) is Status.REFUSED
    assert _store(store, 2, bytes(BLOCK), bytes(BLOCK)) is Status.DONE
    # What takes another's place is there beside it for a while.
    assert _store(store, 2, b"") is Status.REFUSED
    assert _store(SealedStore(tmp_path, 4 * BLOCK), 3, b"") is Status.REFUSED


def test_what_is_replaced_or_dropped_makes_room(tmp_path: Path) -> None:
    store = SealedStore(tmp_path, 2 * BLOCK)
    for _ in range(5):
        assert _store(store, 1, b"program") is Status.DONE
        assert _store(store, 2, bytes(2 * BLOCK)) is Status.REFUSED
    assert _store(store, 2, b"program") is Status.DONE


def test_small_and_empty_programs_take_room(tmp_path: Path) -> None:
    store = SealedStore(tmp_path, 8 * BLOCK)
    statuses = [_store(store, number, b"") for number in range(20)]
    assert statuses == [Status.DONE] * 8 + [Status.REFUSED] * 12
    assert len(os.listdir(tmp_path)) == 8


def test_a_gap_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    store = SealedStore(tmp_path, 2 * BLOCK)
    for _ in range(5):
        assert store.append(store.draft(1), 9, b"late") is Status.REFUSED
        store.drop(store.draft(1))
    assert _store(store, 1, bytes(2 * BLOCK)) is Status.DONE
