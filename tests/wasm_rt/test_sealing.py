"""Sealed programs come back whole, or not at all, whatever the host does with them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from schannel import storage as stored_programs
from schannel.errors import MessageError
from schannel.messages import (
    CallRequest,
    DeployRequest,
    DeployResult,
    ErrorCode,
    ErrorReply,
    ForgetRequest,
    ForgetResult,
    GetRequest,
    InfoRequest,
    PutRequest,
    PutResult,
    ReadRequest,
    ReceiptRequest,
    Reply,
    Request,
    RestoreRequest,
    RestoreResult,
    RunRequest,
    SealRequest,
    SealResult,
    WriteRequest,
)
from schannel.storage import MAX_PIECE, OWNER_SIZE, Answer, Operation, Status
from wasm_rt.application import Application
from wasm_rt.configuration import Configuration
from wasm_rt.errors import RequestError
from wasm_rt.sealing import SEGMENT, Label, Sealing, program_digest
from wasm_rt.storage_link import StorageLink

OWNER, OTHER = b"\x01" * 32, b"\x02" * 32
PROGRAM = b'(module (func (export "one") (result i32) i32.const 1))'


@dataclass
class Store:
    """A host's storage that a test may tamper with."""

    link: StorageLink
    kept: dict[bytes, bytes] = field(default_factory=dict)
    refuse: bool = False


@contextmanager
def storage() -> Iterator[Store]:
    ours, theirs = socket.socketpair()
    store = Store(StorageLink(theirs))
    thread = threading.Thread(target=_serve, args=(ours, store), daemon=True)
    thread.start()
    try:
        yield store
    finally:
        theirs.close()
        thread.join(10)


def _serve(connection: socket.socket, store: Store) -> None:
    draft = b""
    with connection, connection.makefile("rb") as stream:
        while head := stream.read(stored_programs.Request.sizeof()):
            request = stored_programs.Request.parse(head)
            operation, name, offset, size = request.operation, request.name, request.offset, request.size
            status, total, content = Status.REFUSED if store.refuse else Status.DONE, 0, b""
            if operation is Operation.FETCH:
                stored = store.kept.get(name, b"")
                content, total = stored[offset : offset + size], len(stored)
                status = Status.DONE if stored else Status.MISSING
            elif operation is Operation.APPEND:
                draft = (draft if offset else b"") + stream.read(size)
            elif operation is Operation.KEEP:
                store.kept[name] = draft
            elif store.kept.pop(name, None) is None:
                status = Status.MISSING
            connection.sendall(Answer(status, total, len(content)).build() + content)


def application(
    store: Store, client: bytes = OWNER, secret: bytes = b"s" * 128, **rights: object
) -> Application:
    configuration = Configuration(**rights)  # type: ignore[arg-type]
    made = Application(configuration, Sealing(lambda: secret, store.link, 64 << 20))
    made.identify(client)
    return made


def code(reply: Reply) -> ErrorCode:
    assert isinstance(reply, ErrorReply), reply
    return reply.code


def test_kept_and_restored() -> None:
    with storage() as store:
        sealed = application(store).handle(SealRequest("calculator", PROGRAM))
        assert isinstance(sealed, SealResult) and sealed.counter == 1
        restored = application(store).handle(RestoreRequest("calculator", "main", 1))
        assert restored == RestoreResult(sealed.digest, 1)
        (stored,) = store.kept.values()
        for plain in (b"module", b"calculator", OWNER):
            assert plain not in stored and all(plain not in name for name in store.kept)


def test_forgotten() -> None:
    with storage() as store:
        client = application(store)
        client.handle(SealRequest("p", PROGRAM))
        client.handle(SealRequest("q", PROGRAM))
        assert code(application(store, OTHER).handle(ForgetRequest("p"))) is ErrorCode.NOT_FOUND
        assert client.handle(ForgetRequest("p")) == ForgetResult()
        assert code(client.handle(RestoreRequest("p", "main"))) is ErrorCode.NOT_FOUND
        assert code(client.handle(ForgetRequest("p"))) is ErrorCode.NOT_FOUND
        assert isinstance(client.handle(RestoreRequest("q", "main")), RestoreResult)
        former = application(store, OWNER, deployers=(OTHER.hex(),), callers=(OTHER.hex(),))
        assert former.handle(ForgetRequest("q")) == ForgetResult(), "one's own may always be removed"
        assert code(application(store, b"").handle(ForgetRequest("q"))) is ErrorCode.NOT_ALLOWED


def test_the_host_can_tell_owners_apart_only() -> None:
    with storage() as store:
        for client, label in ((OWNER, "p"), (OWNER, "q"), (OTHER, "p")):
            application(store, client).handle(SealRequest(label, PROGRAM))
        owners = [name[:OWNER_SIZE] for name in store.kept]
        labels = [name[OWNER_SIZE:] for name in store.kept]
        assert owners[0] == owners[1] != owners[2]
        assert len({*labels, *owners}) == 5


def test_rollback_is_refused_and_counters_only_rise() -> None:
    with storage() as store:
        client = application(store)
        client.handle(SealRequest("p", PROGRAM))
        old = dict(store.kept)
        assert client.handle(SealRequest("p", PROGRAM)) == SealResult(program_digest(PROGRAM), 2)
        store.kept = old
        reply = application(store).handle(RestoreRequest("p", "main", 2))
        assert code(reply) is ErrorCode.BAD_SEAL and "rolled back" in str(reply)
        assert isinstance(application(store).handle(RestoreRequest("p", "main", 1)), RestoreResult)
        later = application(store).handle(SealRequest("p", PROGRAM, counter=7))
        assert isinstance(later, SealResult) and later.counter == 8


def test_nobody_else_opens_it() -> None:
    with storage() as store:
        application(store).handle(SealRequest("p", PROGRAM))
        (stored,) = store.kept.values()
        assert code(application(store, OTHER).handle(RestoreRequest("p", "main"))) is ErrorCode.NOT_FOUND
        assert (
            code(application(store, secret=b"t" * 128).handle(RestoreRequest("p", "m")))
            is ErrorCode.NOT_FOUND
        )
        assert (
            code(application(store, OTHER).handle(RestoreRequest("p", "m", 0, OWNER)))
            is ErrorCode.NOT_ALLOWED
        )
        # The host puts one client's program in another's place, or under another label.
        for client, label in ((OTHER, "p"), (OWNER, "q")):
            maker = application(store, client)
            maker.handle(SealRequest(label, PROGRAM))
            (name,) = (name for name, blob in store.kept.items() if blob != stored)
            store.kept[name] = stored
            assert code(maker.handle(RestoreRequest(label, "main"))) is ErrorCode.BAD_SEAL
            del store.kept[name]


@pytest.mark.parametrize("size", [0, 1, SEGMENT, SEGMENT + 1, 40 * SEGMENT])
def test_any_size(size: int) -> None:
    with storage() as store:
        sealing = Sealing(lambda: b"s" * 128, store.link, 64 << 20)
        program = bytes(range(256)) * (size // 256 + 1)
        program = program[:size]
        assert sealing.seal(Label(OWNER, "p"), program, 0) == 1
        opened, version = sealing.open(Label(OWNER, "p"), 0)
        assert bytes(opened) == program and version == 1


def test_every_change_is_noticed() -> None:
    with storage() as store:
        client = application(store)
        client.handle(SealRequest("p", PROGRAM))
        ((name, stored),) = store.kept.items()
        changes = [stored[:size] for size in range(1, len(stored))]
        for position in range(len(stored)):
            other = bytearray(stored)
            other[position] ^= 1
            changes.append(bytes(other))
        for changed in changes:
            store.kept[name] = changed
            assert code(client.handle(RestoreRequest("p", "main"))) is ErrorCode.BAD_SEAL


@pytest.mark.parametrize("more", [b"\0", bytes(16), bytes(SEGMENT + 16), bytes(2 * MAX_PIECE)])
@pytest.mark.parametrize("size", [0, 1, SEGMENT, 2 * SEGMENT, MAX_PIECE])
def test_bytes_behind_the_end_are_noticed(size: int, more: bytes) -> None:
    with storage() as store:
        sealing = Sealing(lambda: b"s" * 128, store.link, 64 << 20)
        sealing.seal(Label(OWNER, "p"), bytes(size), 0)
        ((name, stored),) = store.kept.items()
        assert sealing.open(Label(OWNER, "p"), 0)[0] == bytes(size)
        for altered in (stored + more, stored + stored[-16:]):
            store.kept[name] = altered
            with pytest.raises(RequestError, match="altered or exchanged"):
                sealing.open(Label(OWNER, "p"), 0)


def test_segments_cannot_be_moved_or_left_out() -> None:
    with storage() as store:
        sealing = Sealing(lambda: b"s" * 128, store.link, 64 << 20)
        sealing.seal(Label(OWNER, "p"), bytes(3 * SEGMENT), 0)
        ((name, stored),) = store.kept.items()
        head, size = len(stored) - 3 * (SEGMENT + 16), SEGMENT + 16
        segments = [stored[head + index * size : head + (index + 1) * size] for index in range(3)]
        for order in ((1, 0, 2), (0, 2), (0, 1), (2, 1, 0), (0, 0, 2)):
            store.kept[name] = stored[:head] + b"".join(segments[index] for index in order)
            with pytest.raises(Exception, match="altered or exchanged"):
                sealing.open(Label(OWNER, "p"), 0)


def test_a_host_that_does_not_store() -> None:
    with storage() as store:
        store.refuse = True
        assert code(application(store).handle(SealRequest("p", PROGRAM))) is ErrorCode.LIMIT_EXCEEDED
        store.link._connection.shutdown(socket.SHUT_RDWR)
        assert code(application(store).handle(RestoreRequest("p", "main"))) is ErrorCode.NOT_FOUND


def test_rights() -> None:
    deployer, caller = OWNER.hex(), OTHER.hex()
    with storage() as store:
        rights: dict[str, Any] = {"deployers": (deployer,), "callers": (caller,)}
        application(store, OWNER, **rights).handle(SealRequest("p", PROGRAM))
        user = application(store, OTHER, **rights)
        assert code(user.handle(DeployRequest("main", PROGRAM))) is ErrorCode.NOT_ALLOWED
        assert code(user.handle(SealRequest("p", PROGRAM))) is ErrorCode.NOT_ALLOWED
        assert isinstance(user.handle(RestoreRequest("p", "main", 1, OWNER)), RestoreResult)
        stranger = application(store, b"\x03" * 32, **rights)
        assert code(stranger.handle(RestoreRequest("p", "main", 1, OWNER))) is ErrorCode.NOT_ALLOWED
        assert (
            code(application(store, b"", **rights).handle(DeployRequest("m", PROGRAM)))
            is ErrorCode.NOT_ALLOWED
        )


DEPLOYER, CALLER, STRANGER, ANONYMOUS = OWNER, OTHER, b"\x03" * 32, b""
EVERYBODY = {DEPLOYER, CALLER, STRANGER, ANONYMOUS}
WITH_A_KEY = EVERYBODY - {ANONYMOUS}
NAMED = {DEPLOYER, CALLER}
REQUESTS: dict[str, Callable[[bytes], Request]] = {
    "deploy": lambda client: DeployRequest("main", PROGRAM),
    "seal": lambda client: SealRequest("new", PROGRAM),
    "restore own": lambda client: RestoreRequest("own", "main"),
    "restore own by key": lambda client: RestoreRequest("own", "main", 0, client),
    "restore a deployer's": lambda client: RestoreRequest("own", "main", 0, DEPLOYER),
    "restore a stranger's": lambda client: RestoreRequest("own", "main", 0, STRANGER),
    "call": lambda client: CallRequest("there", "one"),
    "run": lambda client: RunRequest("command"),
    "write": lambda client: WriteRequest("there", 0, b"x"),
    "read": lambda client: ReadRequest("there", 0, 1),
    "put": lambda client: PutRequest("file", b"x"),
    "get": lambda client: GetRequest("there"),
    "info": lambda client: InfoRequest("there"),
    "receipt": lambda client: ReceiptRequest(),
    "forget": lambda client: ForgetRequest("own"),
}
USES = {"call", "run", "write", "read", "put", "get", "info", "receipt"}
OWN = {"restore own", "restore own by key"}
ALLOWED: dict[tuple[str, ...], dict[str, set[bytes]]] = {
    (): {
        "deploy": EVERYBODY,
        "seal": WITH_A_KEY,
        **dict.fromkeys(OWN, WITH_A_KEY),
        "restore a deployer's": {DEPLOYER},
        "restore a stranger's": {STRANGER},
        **dict.fromkeys(USES, EVERYBODY),
    },
    ("deployers",): {
        "deploy": {DEPLOYER},
        "seal": {DEPLOYER},
        **{kind: {DEPLOYER} for kind in OWN},
        "restore a deployer's": EVERYBODY,
        "restore a stranger's": set(),
        **dict.fromkeys(USES, EVERYBODY),
    },
    ("callers",): {
        "deploy": EVERYBODY,
        "seal": WITH_A_KEY,
        **{kind: {CALLER} for kind in OWN},
        "restore a deployer's": set(),
        "restore a stranger's": set(),
        **{kind: {CALLER} for kind in USES},
    },
    ("deployers", "callers"): {
        "deploy": {DEPLOYER},
        "seal": {DEPLOYER},
        **{kind: {DEPLOYER} for kind in OWN},
        "restore a deployer's": NAMED,
        "restore a stranger's": set(),
        **dict.fromkeys(USES, NAMED),
    },
}


@pytest.mark.parametrize("named", ALLOWED, ids=lambda named: " and ".join(named) or "nobody named")
@pytest.mark.parametrize("kind", REQUESTS)
@pytest.mark.parametrize("client", sorted(EVERYBODY), ids=["anonymous", "deployer", "caller", "stranger"])
def test_who_may_do_what(named: tuple[str, ...], kind: str, client: bytes) -> None:
    """Everybody had a program kept before there were rights: what runs then is the deployers' alone."""
    keys: dict[str, Any] = {"deployers": (DEPLOYER.hex(),), "callers": (CALLER.hex(),)}
    with storage() as store:
        for owner in WITH_A_KEY:
            assert isinstance(application(store, owner).handle(SealRequest("own", PROGRAM)), SealResult)
        made = application(store, DEPLOYER, **{name: keys[name] for name in named})
        if named != ("callers",):
            for name in ("there", "command"):
                assert isinstance(made.handle(DeployRequest(name, PROGRAM)), DeployResult)
            assert isinstance(made.handle(PutRequest("there", b"x")), PutResult)
        made.identify(client)
        reply = made.handle(REQUESTS[kind](client))
    refused = isinstance(reply, ErrorReply) and reply.code is ErrorCode.NOT_ALLOWED
    allowed = ALLOWED[named].get(kind, WITH_A_KEY)
    assert refused == (client not in allowed), reply
    if kind.startswith("restore"):
        assert refused == (not isinstance(reply, RestoreResult)), reply


@pytest.mark.parametrize(
    "head", [b"\xff" * stored_programs.Request.sizeof(), bytes(stored_programs.Request.sizeof())]
)
def test_junk_is_no_request(head: bytes) -> None:
    with pytest.raises(MessageError):
        stored_programs.Request.parse(head)
