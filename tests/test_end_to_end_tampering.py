"""Somebody between client and host changes what passes: the session ends with an error at both ends."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schannel.endings import Ending
from tests.processes import CALCULATOR, Host, Proxy, host, wait_until
from wasm_client import ClientError, connect

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="enclaves are Linux processes"),
]

# A host can withhold a record, which only a time limit shows.
PATIENCE = 1.0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with host(tmp_path_factory.mktemp("state")) as started:
        yield started


def talk(address: str, running: Host) -> Iterator[object]:
    """A whole session; yields each answer."""
    with connect(address, running.policy, timeout=PATIENCE, reply_timeout=PATIENCE) as session:
        session.deploy(CALCULATOR.read_bytes())
        yield session.call("add", 1, 1)
        yield session.call("add", 1, 1)


@dataclass
class Attack:
    """One change to record number `index` of one direction, counted from 0."""

    kind: str
    direction: str
    index: int
    bit: int
    count: int = 0
    held: list[bytes] = field(default_factory=list)

    def __call__(self, direction: str, record: bytes) -> list[bytes]:
        if direction != self.direction:
            return [record]
        number = self.count
        self.count += 1
        if self.held:
            return [record, self.held.pop()]
        return self._change(record) if number == self.index else [record]

    def _change(self, record: bytes) -> list[bytes]:
        match self.kind:
            case "drop":
                return []
            case "repeat":
                return [record, record]
            case "swap":
                self.held.append(record)
                return []
        position = self.bit % (8 * len(record))
        changed = bytearray(record)
        changed[position // 8] ^= 1 << position % 8
        return [bytes(changed)]


def _endings(running: Host) -> list[str]:
    """How sessions ended; those whose first message never came whole did so without an enclave."""
    ends = r": (?:enclave \d+ has ended: )(.*)|(left before|does not begin)"
    return [ended or left for ended, left in re.findall(ends, running.log.read_text())]


def test_untouched_session_works(running: Host) -> None:
    with Proxy(running.target, records=True) as proxy:
        assert list(talk(proxy.address, running)) == [2, 2]
    wait_until(lambda: _endings(running)[-1:] == [Ending.DONE.shown], 10, "an orderly end")


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["flip", "flip", "repeat", "drop", "swap"]),
    direction=st.sampled_from(["up", "down"]),
    index=st.integers(0, 3),
    bit=st.integers(0, 1 << 16),
)
def test_any_change_ends_the_session(running: Host, kind: str, direction: str, index: int, bit: int) -> None:
    before = len(_endings(running))
    answers = []
    attack = Attack(kind, direction, index, bit)
    with Proxy(running.target, attack, records=True) as proxy, pytest.raises(ClientError):
        for answer in talk(proxy.address, running):
            answers.append(answer)
    assert attack.count > index, "the attack took place"
    assert all(answer == 2 for answer in answers)
    assert len(answers) < 2, "nothing came after the change"
    wait_until(lambda: len(_endings(running)) == before + 1, 15, "the end of the enclave")
    assert _endings(running)[-1] not in (Ending.DONE.shown, Ending.FAILED.shown)
