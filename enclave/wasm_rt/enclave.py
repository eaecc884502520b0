"""One enclave: locks itself down, then serves one client's session until it ends.

Until an authentic record has come, the client need not have the keys at all: anybody can send a public key
and then nothing. So the time limit of the handshake lasts from the first byte until then; where the
configuration lets a client do nothing, it is that of the session. The channel's time limit for an idle
client is set before the process is locked down: changing it is a system call that is refused then. Other
waits are polled.
"""

from __future__ import annotations

import gc
import select
import signal
import socket
import struct
import time
from types import FrameType

from schannel.ed25519_sha3 import ED25519_SHA3, SEED_SIZE
from schannel.endings import CloseReason, Ending
from schannel.errors import LocalError
from schannel.events import (
    EvidenceRequired,
    ReplyReceived,
    RequestReceived,
)
from schannel.evidence import HASH_SIZE, Isolation
from schannel.handshake import Suite, identity_key
from schannel.messages import (
    CallRequest,
    DeployRequest,
    ErrorCode,
    ErrorReply,
    GetRequest,
    InfoRequest,
    PutRequest,
    ReadRequest,
    ReceiptRequest,
    RunRequest,
    Value,
    WriteRequest,
)
from schannel.monitor_keys import Monitor
from schannel.policy import Policy
from schannel.primitives import random_bytes
from schannel.session import ClientSession, EnclaveClaims, EnclaveSession
from schannel.transport import RECEIVE_SIZE, receive_soon
from schannel.wire import Buffer

from . import sandbox
from .application import VERSION, Application
from .configuration import Configuration
from .errors import MonitorRefused
from .monitor_link import MonitorLink
from .server import Server, Silent, Stop
from .storage_link import StorageLink

STOP_SIGNALS = {
    CloseReason.SHUTDOWN: signal.SIGTERM,
    CloseReason.IDLE: signal.SIGHUP,
    CloseReason.TIME: signal.SIGUSR1,
    CloseReason.MEMORY: signal.SIGUSR2,
}
"""How the host's reason for ending a session reaches its enclave, which tells the client."""

_REASONS = {int(number): reason for reason, number in STOP_SIGNALS.items()}
_SILENT = "the client is silent"


def run(
    channel: socket.socket,
    link: MonitorLink,
    storage: StorageLink,
    configuration: Configuration,
    inherited: Isolation,
    build: str,
) -> Ending:
    """Become an enclave; returns how its session ended.

    `inherited` names the layers of isolation that the process was forked into, `build` says for people what
    it was built from.
    """
    channel.settimeout(None)
    idle = struct.pack("ll", configuration.idle_ms // 1000, configuration.idle_ms % 1000 * 1000)
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, idle)
    try:
        kept = [channel.fileno(), link.fileno(), storage.fileno()]
        isolated = sandbox.lock_down(configuration.data_limit, kept)
        isolation = inherited | isolated.active
        server = EnclaveServer(channel, link, storage, configuration, isolation, build)
        for number in STOP_SIGNALS.values():
            signal.signal(number, server.terminate)
        return server.serve()
    except (MonitorRefused, LocalError, OSError) as error:
        link.log(f"the enclave failed: {error}")
    except Exception as error:
        # Its text may hold anything: only the kind may leave the enclave.
        link.log(f"the enclave failed: {type(error).__name__}")
    return Ending.FAILED


class EnclaveServer(Server):
    """A session over a socket, within the time and the memory that the process may take."""

    reserves = range(32 << 20, 3 << 20, -1 << 20)

    def __init__(
        self,
        channel: socket.socket,
        link: MonitorLink,
        storage: StorageLink,
        configuration: Configuration,
        isolation: Isolation,
        build: str,
    ) -> None:
        super().__init__(link, storage, configuration, isolation, build)
        self._channel = channel
        self._configuration = configuration
        self._buffer = bytearray(RECEIVE_SIZE)
        self._view = memoryview(self._buffer)
        # None until the first byte: an enclave may be started long before it has a client.
        self._deadline: float | None = None
        self._stopping: CloseReason | None = None
        self._waiting = False

    def terminate(self, number: int, _frame: FrameType | None) -> None:
        """Signal handler: end the call under way, close the session with the reason, return from `serve`."""
        # The first reason is the one.
        self._stopping = self._stopping or _REASONS[number]
        self._application.interrupt(self._stopping.shown)
        # Only while nothing is half done: the loop looks at the flag before it waits again.
        if self._waiting:
            raise Stop(self._stopping)

    def _wait_for_data(self) -> bytes:
        self._waiting = True
        try:
            if self._stopping:
                raise Stop(self._stopping)
            if not self._admitted and not self._ready(select.POLLIN):
                raise Stop(CloseReason.TIME) if self._session.confirmed else Silent(_SILENT)
            if self._deadline is None:
                self._deadline = time.monotonic() + self._configuration.handshake_ms / 1000
            data = receive_soon(self._channel.fileno(), self._buffer)
            return bytes(self._view[: self._channel.recv_into(self._view)]) if data is None else data
        except BlockingIOError:
            raise Silent(_SILENT) from None
        finally:
            self._waiting = False

    def _flush(self) -> None:
        pending: Buffer = self._session.data_to_send()
        while pending:
            try:
                sent = self._channel.send(pending, socket.MSG_DONTWAIT)
                pending = memoryview(pending)[sent:] if sent < len(pending) else b""
            except BlockingIOError:
                if not self._ready(select.POLLOUT):
                    raise TimeoutError("the client does not read") from None

    def _ready(self, event: int) -> bool:
        """Wait until the channel is ready for `event`, as long as the configuration allows."""
        left: float | None = self._configuration.idle_ms
        if self._deadline is None:
            left = None
        elif not self._admitted:
            left = (self._deadline - time.monotonic()) * 1000
            # However much there is to read: bytes that trickle in must not extend the time.
            if left <= 0:
                return False
        poller = select.poll()
        poller.register(self._channel, event)
        return bool(poller.poll(left))


def warm_up(configuration: Configuration) -> None:
    """Run what an enclave will run, so that everything is imported and set up before enclaves are forked.

    Raises:
        RuntimeError: it does not work on this machine.
    """
    device = ED25519_SHA3.key_from_seed(random_bytes(SEED_SIZE))
    measurement = random_bytes(HASH_SIZE)
    monitor = Monitor.boot(device, measurement)
    policy = Policy(
        enclave_measurements=frozenset({measurement}),
        monitor_measurements=frozenset({measurement}),
        real_devices=frozenset({device.public}),
    )
    for suite in Suite:
        client = ClientSession(policy, suite=suite, identity=identity_key(random_bytes(SEED_SIZE)))
        claims = EnclaveClaims(configuration.digest(), VERSION, Isolation(0), device.public)
        session = EnclaveSession(claims)
        # Rights and limits are for clients; what is imported and set up here is the same without them.
        application = Application(Configuration(), None, device)
        for request in (None, *_WARM_UP):
            if request is not None:
                client.send_request(request)
            _exchange(client, session, monitor, application)
    # Memories are address space, which is limited: those of the programs above must be gone.
    del application
    gc.collect()


_WARM_UP = (
    DeployRequest(
        "warm",
        b"""(module
          (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)
          (func (export "trap") unreachable))""",
    ),
    InfoRequest("warm"),
    CallRequest("warm", "add", (Value.i32(1), Value.i32(2))),
    CallRequest("warm", "trap"),
    CallRequest("warm", "ad"),
    ReceiptRequest(),
    PutRequest("file", b"content"),
    GetRequest("file"),
    DeployRequest(
        "command",
        b"""(module
          (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (data (i32.const 0) "\\08\\00\\00\\00\\01\\00\\00\\00x")
          (func (export "_start")
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12)))))""",
    ),
    # In the binary format, which is read by other code, a memory, a global whose constant has to be validated
    # in Python, and data.
    DeployRequest(
        "binary",
        bytes.fromhex("0061736d01000000 0503010001 0609017f00410141026a0b 0b07010041000b0178"),
    ),
    RunRequest("command", ("argument",), (("NAME", "value"),), b"input"),
    WriteRequest("command", 0, b"text"),
    ReadRequest("command", 0, 4),
)


_WARM_UP_ERRORS = (ErrorCode.TRAP, ErrorCode.NOT_FOUND)


def _exchange(
    client: ClientSession, session: EnclaveSession, monitor: Monitor, application: Application
) -> None:
    """Pass bytes to and fro until neither end has anything to say."""
    while sent := client.data_to_send():
        for event in session.receive_data(sent):
            match event:
                case EvidenceRequired(data):
                    session.send_evidence(monitor.attest(monitor.monitor_hash, data).to_compact())
                case RequestReceived(number, request):
                    session.send_reply(number, application.handle(request))
        for event in client.receive_data(session.data_to_send()):
            match event:
                case ReplyReceived(_, ErrorReply(code, message)) if code not in _WARM_UP_ERRORS:
                    raise RuntimeError(f"the enclave does not work on this machine: {message}")
