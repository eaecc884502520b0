"""Published test values, and a small world: a device, a monitor, an enclave, a client that trusts them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schannel.ed25519_sha3 import ED25519_SHA3, SigningKey
from schannel.events import EnclaveVerified, Event, EvidenceRequired
from schannel.evidence import Isolation
from schannel.flow import Limits
from schannel.framing import StreamParser, encode_record
from schannel.handshake import Suite
from schannel.monitor_keys import Monitor
from schannel.policy import Policy
from schannel.records import DEFAULT_REKEY, RekeyInterval
from schannel.session import ClientSession, EnclaveClaims, EnclaveSession

VECTOR_FOLDER = Path(
    os.environ.get("TINYWASM_VECTORS", Path(__file__).resolve().parents[2].parent / "shared" / "vectors")
)
ENCLAVE_HASH = b"\x02" * 64
MONITOR_HASH = b"\x01" * 64
CONFIGURATION = b"\x03" * 32


def load_vectors(name: str) -> Any:
    """The content of a file of published values, or None where it is not there."""
    path = VECTOR_FOLDER / name
    return json.loads(path.read_text()) if path.is_file() else None


@pytest.fixture(scope="session")
def keystone() -> Any:
    """Keystone's test values."""
    values = load_vectors("keystone.json")
    if values is None:
        pytest.skip("keystone.json not found: set TINYWASM_VECTORS to the folder that holds it")
    return values


@pytest.fixture(scope="session")
def keystone_chain() -> Any:
    """A report of a real chain of boot ROM, security monitor and enclave."""
    values = load_vectors("keystone-chain.json")
    if values is None:
        pytest.skip("keystone-chain.json not found: set TINYWASM_VECTORS to the folder that holds it")
    return values


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each published Noise vector; a single skipped one where they are absent."""
    if "noise_vector" not in metafunc.fixturenames:
        return
    content = load_vectors("noise-25519-aesgcm.json")
    if content is None:
        reason = "noise-25519-aesgcm.json not found: set TINYWASM_VECTORS to the folder that holds it"
        metafunc.parametrize("noise_vector", [pytest.param(None, marks=pytest.mark.skip(reason=reason))])
        return
    vectors = content["vectors"]
    metafunc.parametrize("noise_vector", vectors, ids=[vector["protocol_name"] for vector in vectors])


class Pair:
    """A client and an enclave, with the bytes between them in the test's hands."""

    def __init__(self, client: ClientSession, enclave: EnclaveSession, monitor: Monitor) -> None:
        self.client = client
        self.enclave = enclave
        self.monitor = monitor

    def answer(self, events: list[Event]) -> None:
        """Do what a monitor does for the enclave."""
        for event in events:
            if isinstance(event, EvidenceRequired):
                self.enclave.send_evidence(self.monitor.attest(ENCLAVE_HASH, event.data).to_compact())

    def offer(self) -> bytes:
        """Key exchange and evidence, up to what the enclave sends to the client."""
        self.answer(self.enclave.receive_data(self.client.data_to_send()))
        return self.enclave.data_to_send()

    def open(self) -> EnclaveVerified:
        """The whole handshake, until nothing more is in flight."""
        (verified,) = self.client.receive_data(self.offer())
        assert isinstance(verified, EnclaveVerified)
        self.pump()
        return verified

    def pump(self) -> list[Event]:
        """Carry bytes to and fro until both ends are silent; returns everybody's events."""
        events: list[Event] = []
        while True:
            up, down = self.client.data_to_send(), self.enclave.data_to_send()
            if not up and not down:
                return events
            events += self.enclave.receive_data(up) if up else []
            events += self.client.receive_data(down) if down else []

    @staticmethod
    def split(stream: bytes) -> list[bytes]:
        """Cut a stream into its records, length prefixes included."""
        parser = StreamParser()
        parser.receive_data(stream)
        records = []
        while (record := parser.next_record()) is not None:
            records.append(encode_record(record))
        parser.receive_eof()
        return records


@pytest.fixture(scope="session")
def device() -> SigningKey:
    """A simulated device's key."""
    return ED25519_SHA3.key_from_seed(b"\x07" * 32)


@pytest.fixture(scope="session")
def monitor(device: SigningKey) -> Monitor:
    """A simulated monitor on that device."""
    return Monitor.boot(device, MONITOR_HASH)


@pytest.fixture(scope="session")
def policy(device: SigningKey) -> Policy:
    """Accepts exactly the enclave of this world."""
    return Policy(
        enclave_measurements=frozenset([ENCLAVE_HASH]),
        configurations=frozenset([CONFIGURATION]),
        minimum_version=(1, 0, 0),
        required_isolation=Isolation.SECCOMP,
        monitor_measurements=frozenset([MONITOR_HASH]),
        simulated_devices=frozenset([device.public]),
        allow_simulated=True,
    )


@pytest.fixture(scope="session")
def make_pair(policy: Policy, monitor: Monitor) -> Callable[..., Pair]:
    """Makes unconnected pairs."""

    def make(
        *,
        identity: SigningKey | None = None,
        suite: Suite = Suite.X25519_SHA256,
        limits: Limits | None = None,
        rekey: RekeyInterval = DEFAULT_REKEY,
    ) -> Pair:
        claims = EnclaveClaims(CONFIGURATION, (1, 2, 3), Isolation.SECCOMP | Isolation.RLIMITS, bytes(32))
        return Pair(
            ClientSession(policy, identity=identity, suite=suite, limits=limits, rekey=rekey),
            EnclaveSession(claims, limits=limits, rekey=rekey),
            monitor,
        )

    return make
