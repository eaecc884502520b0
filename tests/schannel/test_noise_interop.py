"""The handshake with two other implementations of Noise, at either end, and transport messages after it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import pytest

from schannel.framing import LENGTH_SIZE, PROLOGUE_SIZE
from schannel.handshake import (
    _PROLOGUE_LABEL,
    ClientHandshake,
    EnclaveHandshake,
    Established,
    Suite,
    encode_prologue,
)

SUITE = Suite.X25519_SHA256
MESSAGES = [b"", b"x", bytes(range(256)) * 200]


class Peer(ABC):
    """One end of Noise NX in another implementation; `rekeys` where its Rekey is the specification's."""

    rekeys = True

    @abstractmethod
    def __init__(self, initiator: bool, prologue: bytes) -> None: ...
    @abstractmethod
    def write(self) -> bytes: ...
    @abstractmethod
    def read(self, message: bytes) -> bytes: ...
    @abstractmethod
    def handshake_hash(self) -> bytes: ...
    @abstractmethod
    def encrypt(self, plaintext: bytes) -> bytes: ...
    @abstractmethod
    def decrypt(self, ciphertext: bytes) -> bytes: ...
    @abstractmethod
    def rekey(self) -> None: ...


class NoiseProtocol(Peer):
    """The package noiseprotocol."""

    def __init__(self, initiator: bool, prologue: bytes) -> None:
        connection = pytest.importorskip("noise.connection", reason="the package noiseprotocol is not here")
        self._noise = connection.NoiseConnection.from_name(SUITE.protocol_name.encode())
        self._noise.set_as_initiator() if initiator else self._noise.set_as_responder()
        if not initiator:
            self._noise.set_keypair_from_private_bytes(connection.Keypair.STATIC, bytes(range(32)))
        self._noise.set_prologue(prologue)
        self._noise.start_handshake()

    def write(self) -> bytes:
        return bytes(self._noise.write_message())

    def read(self, message: bytes) -> bytes:
        return bytes(self._noise.read_message(message))

    def handshake_hash(self) -> bytes:
        return bytes(self._noise.get_handshake_hash())

    def encrypt(self, plaintext: bytes) -> bytes:
        return bytes(self._noise.encrypt(plaintext))

    def decrypt(self, ciphertext: bytes) -> bytes:
        return bytes(self._noise.decrypt(ciphertext))

    def rekey(self) -> None:
        self._noise.rekey_outbound_cipher()
        self._noise.rekey_inbound_cipher()


class Dissononce(Peer):
    """The package dissononce. Its Rekey keeps 48 bytes where section 4.2 takes the first 32."""

    rekeys = False

    def __init__(self, initiator: bool, prologue: bytes) -> None:
        pytest.importorskip("dissononce", reason="the package dissononce is not here")
        from dissononce.cipher.aesgcm import AESGCMCipher
        from dissononce.dh.x25519.x25519 import X25519DH
        from dissononce.hash.sha256 import SHA256Hash
        from dissononce.processing.handshakepatterns.interactive.NX import NXHandshakePattern
        from dissononce.processing.impl.cipherstate import CipherState
        from dissononce.processing.impl.handshakestate import HandshakeState
        from dissononce.processing.impl.symmetricstate import SymmetricState

        dh = X25519DH()
        self._symmetric = SymmetricState(CipherState(AESGCMCipher()), SHA256Hash())
        self._state = HandshakeState(self._symmetric, dh)
        static = None if initiator else dh.generate_keypair()
        self._state.initialize(NXHandshakePattern(), initiator, prologue, s=static)
        self._initiator = initiator
        self._ciphers: Any = None

    def write(self) -> bytes:
        buffer = bytearray()
        self._ciphers = self._state.write_message(b"", buffer) or self._ciphers
        return bytes(buffer)

    def read(self, message: bytes) -> bytes:
        buffer = bytearray()
        self._ciphers = self._state.read_message(message, buffer) or self._ciphers
        return bytes(buffer)

    def handshake_hash(self) -> bytes:
        return bytes(self._symmetric.get_handshake_hash())

    def encrypt(self, plaintext: bytes) -> bytes:
        return bytes(self._ciphers[0 if self._initiator else 1].encrypt_with_ad(b"", plaintext))

    def decrypt(self, ciphertext: bytes) -> bytes:
        return bytes(self._ciphers[1 if self._initiator else 0].decrypt_with_ad(b"", ciphertext))

    def rekey(self) -> None:
        raise NotImplementedError


PEERS = [NoiseProtocol, Dissononce]


@pytest.mark.parametrize("kind", PEERS)
def test_their_client(kind: type[Peer]) -> None:
    prologue = encode_prologue(SUITE)
    client = kind(True, _PROLOGUE_LABEL + prologue)
    answer, established = EnclaveHandshake(prologue).respond(client.write())
    assert client.read(answer[LENGTH_SIZE:]) == b""
    _talk(client, established)


@pytest.mark.parametrize("kind", PEERS)
def test_their_enclave(kind: type[Peer]) -> None:
    client = ClientHandshake(SUITE)
    stream = client.start()
    enclave = kind(False, _PROLOGUE_LABEL + stream[:PROLOGUE_SIZE])
    assert enclave.read(stream[PROLOGUE_SIZE + LENGTH_SIZE :]) == b""
    _talk(enclave, client.finish(enclave.write()))


def _talk(peer: Peer, ours: Established) -> None:
    """The same handshake hash, and messages both ways, before and after a rekey."""
    assert peer.handshake_hash() == ours.handshake_hash
    _exchange(peer, ours)
    if peer.rekeys:
        peer.rekey()
        ours.sending.rekey()
        ours.receiving.rekey()
        _exchange(peer, ours)


def _exchange(peer: Peer, ours: Established) -> None:
    for message in MESSAGES:
        assert peer.decrypt(ours.sending.encrypt_with_ad(b"", message)) == message
        assert ours.receiving.decrypt_with_ad(b"", peer.encrypt(message)) == message
