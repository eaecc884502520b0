"""The list of kept programs is all that stands against a rollback: what it does not say is an error."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from schannel.events import EnclaveVerified
from schannel.messages import RestoreResult
from wasm_client.errors import ClientError
from wasm_client.kept import Kept, KeptPrograms, restore
from wasm_client.session import Session

CLIENT = b"\1" * 32
VERIFIED = EnclaveVerified(True, b"\2" * 64, b"\3" * 64, b"\4" * 32, b"\5" * 32, (1, 0, 0), (), b"", b"", b"")
ONE, OTHER = Kept("one", 3, b"\6" * 32), Kept("other", 1, b"\7" * 32)


def programs(folder: Path, client: bytes = CLIENT) -> KeptPrograms:
    return KeptPrograms(folder / "kept.json", client, VERIFIED)


def test_what_is_added_is_listed(tmp_path: Path) -> None:
    assert programs(tmp_path).list() == []
    for kept in (ONE, OTHER, Kept("one", 4, ONE.digest)):
        programs(tmp_path).add(kept)
    assert programs(tmp_path).list() == [Kept("one", 4, ONE.digest), OTHER]
    assert (programs(tmp_path).counter("one"), programs(tmp_path).counter("none")) == (4, 0)
    assert programs(tmp_path, b"\x08" * 32).list() == []


def test_counters_only_rise(tmp_path: Path) -> None:
    """Of two clients at once, the one that was given an older version may be the last to write."""
    for kept in (Kept("one", 4, OTHER.digest), ONE):
        programs(tmp_path).add(kept)
    assert programs(tmp_path).list() == [Kept("one", 4, OTHER.digest)]


class Enclave:
    """Stands in for a session: gives what the host has, and notes which counter is asked for."""

    def __init__(self, counter: int) -> None:
        self.counter = counter
        self.asked: list[tuple[str, int, bytes]] = []

    def restore(self, label: str, module: str, counter: int, owner: bytes) -> RestoreResult:
        self.asked.append((label, counter, owner))
        return RestoreResult(b"\6" * 32, self.counter)


@pytest.mark.parametrize("owner", [b"", b"\x09" * 32], ids=["own", "another's"])
def test_what_was_seen_is_the_least_that_is_accepted(tmp_path: Path, owner: bytes) -> None:
    """Also by a caller, who uses what a deployer has kept."""
    for known, counter in ((0, 5), (5, 5), (5, 6), (6, 6)):
        enclave = Enclave(counter)
        restore(cast(Session, enclave), programs(tmp_path), ["one"], owner)
        assert enclave.asked == [("one", known, owner)]
    assert [kept.label for kept in programs(tmp_path).list()] == ([] if owner else ["one"])
    enclave = Enclave(1)
    restore(cast(Session, enclave), programs(tmp_path), [], b"\x08" * 32)
    assert enclave.asked == [("main", 0, b"\x08" * 32)]


def test_two_clients_at_once_forget_nothing(tmp_path: Path) -> None:
    def keep(client: int) -> None:
        for number in range(20):
            programs(tmp_path).add(Kept(f"{client} {number}", 1, ONE.digest))

    threads = [threading.Thread(target=keep, args=(client,)) for client in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(programs(tmp_path).list()) == 80


def test_what_is_forgotten_leaves_its_counter(tmp_path: Path) -> None:
    programs(tmp_path).add(ONE)
    for label in ("one", "none"):
        programs(tmp_path).forget(label)
    assert programs(tmp_path).list() == [Kept("one", ONE.counter + 1, None)]


@pytest.mark.parametrize(
    "entries",
    [
        [],
        3,
        {"one": []},
        {"one": {"counter": 3}},
        *(
            {"one": {"counter": counter, "digest": "06" * 32}}
            for counter in (-1, 0, True, "3", 1.0, 1 << 64, float("inf"))
        ),
        *({"one": {"counter": 3, "digest": digest}} for digest in ("", "06", "0g" * 32, 3)),
    ],
)
def test_anything_else_is_an_error(tmp_path: Path, entries: Any) -> None:
    programs(tmp_path).add(ONE)
    file = tmp_path / "kept.json"
    (key,) = json.loads(file.read_text())
    file.write_text(json.dumps({key: entries}))
    for use in (programs(tmp_path).list, lambda: programs(tmp_path).add(OTHER)):
        with pytest.raises(ClientError, match=r"kept\.json does not list kept programs"):
            use()


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 100_000])
def test_a_file_of_something_else_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "kept.json").write_bytes(content)
    with pytest.raises(ClientError, match=r"kept\.json does not list kept programs"):
        programs(tmp_path).list()
