"""The Noise framework against the published vectors, and its limits."""

from __future__ import annotations

from typing import Any

import pytest

from schannel.errors import DecryptError, HandshakeError, InvalidKey, LocalError, NonceExhausted
from schannel.noise import MAX_NONCE, CipherState, HandshakeState, parse_protocol
from schannel.primitives import P384, X25519

NX = "Noise_NX_25519_AESGCM_SHA256"
NX_P384 = "Noise_NX_P384_AESGCM_SHA384"


def _side(vector: dict[str, Any], role: str) -> HandshakeState:
    def key(field: str) -> Any:
        value = vector.get(f"{role}_{field}")
        return None if value is None else X25519.from_private(bytes.fromhex(value))

    remote = vector.get(f"{role}_remote_static")
    return HandshakeState(
        vector["protocol_name"],
        role == "init",
        bytes.fromhex(vector[f"{role}_prologue"]),
        s=key("static"),
        e=key("ephemeral"),
        rs=None if remote is None else bytes.fromhex(remote),
        psks=tuple(bytes.fromhex(psk) for psk in vector.get(f"{role}_psks", ())),
    )


def test_published_vector(noise_vector: dict[str, Any]) -> None:
    initiator, responder = _side(noise_vector, "init"), _side(noise_vector, "resp")
    sender, receiver = initiator, responder
    messages = [
        (bytes.fromhex(m["payload"]), bytes.fromhex(m["ciphertext"])) for m in noise_vector["messages"]
    ]
    while not initiator.finished:
        payload, ciphertext = messages.pop(0)
        assert sender.write_message(payload) == ciphertext
        assert receiver.read_message(ciphertext) == payload
        sender, receiver = receiver, sender
    assert initiator.handshake_hash.hex() == noise_vector["handshake_hash"]
    assert responder.handshake_hash == initiator.handshake_hash

    one_way = parse_protocol(noise_vector["protocol_name"]).pattern.one_way
    ours, theirs = initiator.split(), responder.split()
    direction = 0 if one_way or sender is initiator else 1
    assert messages
    for payload, ciphertext in messages:
        assert ours[direction].encrypt_with_ad(b"", payload) == ciphertext
        assert theirs[direction].decrypt_with_ad(b"", ciphertext) == payload
        direction = 0 if one_way else 1 - direction


def _handshake(name: str) -> tuple[HandshakeState, HandshakeState]:
    dh = parse_protocol(name).dh
    client = HandshakeState(name, True, b"p")
    enclave = HandshakeState(name, False, b"p", s=dh.generate())
    enclave.read_message(client.write_message())
    client.read_message(enclave.write_message())
    return client, enclave


@pytest.mark.parametrize("name", [NX, NX_P384])
def test_both_suites_agree(name: str) -> None:
    client, enclave = _handshake(name)
    assert client.handshake_hash == enclave.handshake_hash
    assert client.remote_static is not None
    sending, _ = client.split()
    receiving, _ = enclave.split()
    assert receiving.decrypt_with_ad(b"", sending.encrypt_with_ad(b"", b"hello")) == b"hello"


def test_fresh_keys_give_fresh_hashes() -> None:
    assert _handshake(NX)[0].handshake_hash != _handshake(NX)[0].handshake_hash


def test_rekey_known_answer() -> None:
    cipher = CipherState(bytes(range(32)))
    cipher.n = 7
    cipher.rekey()
    assert cipher.n == 7
    expected = CipherState(bytes.fromhex("0201675c87335949b909793da5bb4d92fcf6d44b92a6e0792b6ae48b1881259d"))
    expected.n = 7
    assert cipher.encrypt_with_ad(b"", b"x") == expected.encrypt_with_ad(b"", b"x")


def test_the_reserved_counter_value_is_never_used() -> None:
    cipher, peer = CipherState(bytes(32)), CipherState(bytes(32))
    cipher.n = peer.n = MAX_NONCE - 1
    ciphertext = cipher.encrypt_with_ad(b"", b"last")
    assert peer.decrypt_with_ad(b"", ciphertext) == b"last"
    with pytest.raises(NonceExhausted):
        cipher.encrypt_with_ad(b"", b"one too many")
    with pytest.raises(NonceExhausted):
        peer.decrypt_with_ad(b"", ciphertext)


def test_failed_decryption_does_not_count() -> None:
    sender, receiver = CipherState(bytes(32)), CipherState(bytes(32))
    ciphertext = sender.encrypt_with_ad(b"", b"x")
    with pytest.raises(DecryptError):
        receiver.decrypt_with_ad(b"other", ciphertext)
    assert receiver.decrypt_with_ad(b"", ciphertext) == b"x"


def test_erased_cipher_is_unusable() -> None:
    cipher = CipherState(bytes(range(32)))
    key = cipher._key
    cipher.erase()
    assert key is not None
    assert not any(key)
    with pytest.raises(NonceExhausted):
        cipher.encrypt_with_ad(b"", b"x")


LOW_ORDER = [
    "00" * 32,
    "01" + "00" * 31,
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


@pytest.mark.parametrize("public", LOW_ORDER)
def test_low_order_x25519_key_is_refused(public: str) -> None:
    enclave = HandshakeState(NX, False, s=X25519.generate())
    enclave.read_message(bytes.fromhex(public))
    with pytest.raises(InvalidKey):
        enclave.write_message()


@pytest.mark.parametrize(
    "public", [bytes(97), b"\x04" + b"\x01" * 96, b"\x02" + bytes(48), b"\x02" * 97, b""]
)
def test_invalid_p384_key_is_refused(public: bytes) -> None:
    with pytest.raises(InvalidKey):
        P384.agree(P384.generate(), public)


def test_short_and_long_messages() -> None:
    enclave = HandshakeState(NX, False, s=X25519.generate())
    with pytest.raises(HandshakeError):
        enclave.read_message(bytes(31))
    with pytest.raises(HandshakeError):
        HandshakeState(NX, False, s=X25519.generate()).read_message(bytes(65536))
    with pytest.raises(LocalError):
        HandshakeState(NX, True).write_message(bytes(65536))


def test_order_and_missing_keys() -> None:
    client = HandshakeState(NX, True)
    with pytest.raises(LocalError):
        client.read_message(bytes(64))
    with pytest.raises(LocalError):
        client.split()
    enclave = HandshakeState(NX, False)
    enclave.read_message(client.write_message())
    with pytest.raises(LocalError, match="this side's key 's'"):
        enclave.write_message()
    with pytest.raises(LocalError):
        HandshakeState("Noise_NK_25519_AESGCM_SHA256", True)
    with pytest.raises(LocalError):
        HandshakeState("Noise_NNpsk0_25519_AESGCM_SHA256", True).write_message()
    with pytest.raises(LocalError):
        CipherState().rekey()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Noise_ZZ_25519_AESGCM_SHA256",
        "Noise_NX_448_AESGCM_SHA256",
        "Noise_NX_25519_ChaChaPoly_SHA256",
        "Noise_NX_25519_AESGCM_MD5",
        "Noise_NXpsk9_25519_AESGCM_SHA256",
        "Noise_NXfallback_25519_AESGCM_SHA256",
    ],
)
def test_unknown_protocol_names(name: str) -> None:
    with pytest.raises(LocalError):
        parse_protocol(name)
