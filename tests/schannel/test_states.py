"""Each end moves as its table says, and whatever the table does not have ends the session."""

from __future__ import annotations

from typing import Any

import pytest

from schannel import layouts
from schannel.errors import MessageError
from schannel.evidence import Claims, Isolation
from schannel.framing import encode_record
from schannel.handshake import identity_key, sign_identity
from schannel.messages import GetRequest
from schannel.records import CHUNK_HEAD, RecordKind
from schannel.session import ClientSession, EnclaveSession
from schannel.states import CLIENT, ENCLAVE, SENDING, Passed, State
from tests.schannel.conftest import CONFIGURATION, ENCLAVE_HASH, Pair

RECEIVED = {kind: Passed[f"{kind.name}_RECEIVED"] for kind in RecordKind}
# From when on records can be read.
KEYED = {
    "client": [state for state in CLIENT if State.EVIDENCE <= state < State.DEAD],
    "enclave": [state for state in ENCLAVE if State.EVIDENCE <= state < State.DEAD],
}


def _bring(pair: Pair, name: str, state: State) -> None:
    """Bring one of the ends into a state."""
    end, other = (pair.client, pair.enclave) if name == "client" else (pair.enclave, pair.client)
    required = pair.enclave.receive_data(pair.client.data_to_send())
    pair.client.receive_data(pair.enclave.data_to_send())
    if state is State.EVIDENCE:
        return
    pair.answer(required)
    if state in (State.UNCONFIRMED, State.DISMISSED):
        pair.enclave.data_to_send()
    else:
        pair.client.receive_data(pair.enclave.data_to_send())
        pair.pump()
    if state in (State.DISMISSED, State.CLOSE_SENT):
        end.close()
        end.data_to_send()
    elif state in (State.CLOSE_RECEIVED, State.CLOSED):
        other.close()
        end.receive_data(other.data_to_send())
        if state is State.CLOSED:
            end.data_to_send()


def _record(pair: Pair, sender: ClientSession | EnclaveSession, kind: RecordKind) -> bytes:
    """A record as the other end would send it, where only the time can be wrong."""
    if kind is RecordKind.EVIDENCE:
        claims = Claims(sender.handshake_hash, CONFIGURATION, (1, 2, 3), Isolation.SECCOMP, bytes(32))
        body = pair.monitor.attest(ENCLAVE_HASH, claims.build()).to_compact()
    elif kind is RecordKind.IDENTITY:
        body = sign_identity(identity_key(bytes(32)), sender.handshake_hash)
    else:
        body = {
            RecordKind.MESSAGE: CHUNK_HEAD.pack(GetRequest.type_byte, 0, 1) + b"beginning",
            RecordKind.CREDIT: layouts.CREDIT.build({"amount": 256}),
            RecordKind.CLOSE: layouts.CLOSE.build({"reason": 0}),
        }[kind]
    assert sender._writer is not None
    return sender._writer.seal(kind, body)


@pytest.mark.parametrize("kind", RecordKind)
@pytest.mark.parametrize(
    ("name", "state"), [(name, state) for name, states in KEYED.items() for state in states]
)
def test_a_record_moves_a_session_as_its_table_says(
    make_pair: Any, name: str, state: State, kind: RecordKind
) -> None:
    pair = make_pair()
    _bring(pair, name, state)
    end, other = (pair.client, pair.enclave) if name == "client" else (pair.enclave, pair.client)
    assert end.state is state
    following = (CLIENT if name == "client" else ENCLAVE)[state].get(RECEIVED[kind])
    peer_closed = state in (State.CLOSE_RECEIVED, State.CLOSED)
    record = encode_record(bytes(272)) if peer_closed else _record(pair, other, kind)
    if following is None:
        with pytest.raises(MessageError):
            end.receive_data(record)
        following = State.DEAD
    else:
        end.receive_data(record)
    assert end.state is following


def test_states_only_move_down_their_list() -> None:
    for table in (CLIENT, ENCLAVE):
        for state, following in table.items():
            assert all(state <= target for target in following.values())
            assert (Passed.CLOSE_SENT in following) == (state in SENDING)
        assert set(table) >= {target for following in table.values() for target in following.values()}
