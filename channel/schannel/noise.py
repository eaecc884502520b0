"""The Noise Protocol Framework, revision 34: the three state objects and the patterns as data.

Names, sections and order of operations follow the specification. Only AESGCM is offered as cipher.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import DecryptError, HandshakeError, LocalError, NonceExhausted
from .framing import MAX_RECORD
from .primitives import (
    P384,
    TAG_SIZE,
    X25519,
    Aead,
    DhFunction,
    DhKey,
    digest,
    digest_size,
    hmac_digest,
)

KEY_SIZE = 32
MAX_MESSAGE = MAX_RECORD
"""Largest Noise message in bytes (section 3)."""

MAX_NONCE = 2**64 - 1
"""Reserved for rekey, never used for a message (section 5.1)."""

_NONCE_SIZE = 12
"""AESGCM's nonce is the counter, big-endian, after four zero bytes (section 12.3)."""

_EXHAUSTED = "this cipher key may not be used any more"
_REKEY_NONCE = MAX_NONCE.to_bytes(_NONCE_SIZE, "big")


@dataclass(frozen=True, slots=True)
class Pattern:
    """A handshake pattern (section 7): pre-messages of both sides, then messages, initiator first."""

    initiator_pre: str
    responder_pre: str
    messages: tuple[str, ...]

    @property
    def one_way(self) -> bool:
        """Whether only the initiator ever sends."""
        return len(self.messages) == 1


PATTERNS: dict[str, Pattern] = {
    "N": Pattern("", "s", ("e es",)),
    "K": Pattern("s", "s", ("e es ss",)),
    "X": Pattern("", "s", ("e es s ss",)),
    "NN": Pattern("", "", ("e", "e ee")),
    "NK": Pattern("", "s", ("e es", "e ee")),
    "NX": Pattern("", "", ("e", "e ee s es")),
    "KN": Pattern("s", "", ("e", "e ee se")),
    "KK": Pattern("s", "s", ("e es ss", "e ee se")),
    "KX": Pattern("s", "", ("e", "e ee se s es")),
    "XN": Pattern("", "", ("e", "e ee", "s se")),
    "XK": Pattern("", "s", ("e es", "e ee", "s se")),
    "XX": Pattern("", "", ("e", "e ee s es", "s se")),
    "IN": Pattern("", "", ("e s", "e ee se")),
    "IK": Pattern("", "s", ("e es s ss", "e ee se")),
    "IX": Pattern("", "", ("e s", "e ee se s es")),
}
"""The one-way and fundamental patterns (sections 7.4 and 7.5)."""

DH_FUNCTIONS: dict[str, DhFunction] = {"25519": X25519, "P384": P384}
HASHES = ("SHA256", "SHA384", "SHA512", "BLAKE2s", "BLAKE2b")


@dataclass(frozen=True, slots=True)
class Protocol:
    """A parsed protocol name (section 8)."""

    name: str
    pattern: Pattern
    dh: DhFunction
    hash_name: str
    uses_psk: bool


def parse_protocol(name: str) -> Protocol:
    """Take a name such as ``Noise_NXpsk2_25519_AESGCM_SHA256`` apart.

    Raises:
        LocalError: a part of the name is not offered here.
    """
    parts = name.split("_")
    if len(parts) != 5 or parts[0] != "Noise" or parts[3] != "AESGCM":
        raise LocalError(f"unknown Noise protocol: {name}")
    base = parts[1].rstrip("abcdefghijklmnopqrstuvwxyz0123456789+")
    if base not in PATTERNS or parts[2] not in DH_FUNCTIONS or parts[4] not in HASHES:
        raise LocalError(f"unknown Noise protocol: {name}")
    modifiers = [part for part in parts[1][len(base) :].split("+") if part]
    pattern = PATTERNS[base]
    for modifier in modifiers:
        pattern = _apply_psk(pattern, modifier, name)
    return Protocol(name, pattern, DH_FUNCTIONS[parts[2]], parts[4], bool(modifiers))


def _apply_psk(pattern: Pattern, modifier: str, name: str) -> Pattern:
    """Put a psk token where the modifier says (section 9.4)."""
    place = modifier.removeprefix("psk")
    messages = list(pattern.messages)
    if place == modifier or not place.isdecimal() or int(place) > len(messages):
        raise LocalError(f"unknown pattern modifier {modifier} in {name}")
    index = int(place)
    if index == 0:
        messages[0] = "psk " + messages[0]
    else:
        messages[index - 1] += " psk"
    return Pattern(pattern.initiator_pre, pattern.responder_pre, tuple(messages))


class CipherState:
    """One key, one direction, one counter (section 5.1)."""

    def __init__(self, key: bytes | None = None) -> None:
        self._key = bytearray(key) if key is not None else None
        self._aead = Aead(self._key) if self._key is not None else None
        self.n = 0

    def has_key(self) -> bool:
        """Whether messages are encrypted at all."""
        return self._key is not None

    def encrypt_with_ad(self, ad: bytes, plaintext: bytes) -> bytes:
        """Encrypt and count; without a key the plaintext passes.

        Raises:
            NonceExhausted: the counter has reached its reserved value.
        """
        if self._aead is None:
            return plaintext
        n = self.n
        if n >= MAX_NONCE:
            raise NonceExhausted(_EXHAUSTED)
        ciphertext = self._aead.encrypt(n.to_bytes(_NONCE_SIZE, "big"), plaintext, ad)
        self.n = n + 1
        return ciphertext

    def decrypt_with_ad(self, ad: bytes, ciphertext: bytes) -> bytes:
        """Decrypt and count; the counter stays where it is when authentication fails.

        Raises:
            DecryptError: authentication failed.
            NonceExhausted: the counter has reached its reserved value.
        """
        if self._aead is None:
            return ciphertext
        n = self.n
        if n >= MAX_NONCE:
            raise NonceExhausted(_EXHAUSTED)
        try:
            plaintext = self._aead.decrypt(n.to_bytes(_NONCE_SIZE, "big"), ciphertext, ad)
        except self._aead.INVALID as error:
            raise DecryptError("a ciphertext failed authentication") from error
        self.n = n + 1
        return plaintext

    def rekey(self) -> None:
        """Replace the key by a one-way function of it; the counter goes on (sections 4.2 and 11.3)."""
        if self._key is None or self._aead is None:
            raise LocalError("there is no key to replace")
        fresh = self._aead.encrypt(_REKEY_NONCE, bytes(KEY_SIZE), b"")
        self._key[:] = fresh[:KEY_SIZE]
        self._aead = Aead(self._key)

    def erase(self) -> None:
        """Overwrite the key. Best effort: copies made by library or interpreter are out of reach."""
        if self._key is not None:
            self._key[:] = bytes(len(self._key))
            self._aead = Aead(self._key)
        self.n = MAX_NONCE


class SymmetricState:
    """Chaining key and handshake hash (section 5.2)."""

    def __init__(self, protocol: Protocol) -> None:
        self._hash_name = protocol.hash_name
        self._size = digest_size(protocol.hash_name)
        name = protocol.name.encode()
        self.h = name.ljust(self._size, b"\0") if len(name) <= self._size else self._hash(name)
        self._ck = bytearray(self.h)
        self.cipher = CipherState()

    def mix_key(self, material: bytes) -> None:
        """MixKey: a new chaining key and cipher key."""
        chaining, key = self._hkdf(material, 2)
        self._ck[:] = chaining
        self._replace_cipher(key)

    def mix_hash(self, data: bytes) -> None:
        """MixHash: `data` becomes part of the handshake hash."""
        self.h = self._hash(self.h, data)

    def mix_key_and_hash(self, material: bytes) -> None:
        """MixKeyAndHash: for pre-shared keys."""
        chaining, extra, key = self._hkdf(material, 3)
        self._ck[:] = chaining
        self.mix_hash(extra)
        self._replace_cipher(key)

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        """Encrypt under the handshake hash, then hash the ciphertext."""
        ciphertext = self.cipher.encrypt_with_ad(self.h, plaintext)
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt_and_hash(self, ciphertext: bytes) -> bytes:
        """The inverse of `encrypt_and_hash`."""
        plaintext = self.cipher.decrypt_with_ad(self.h, ciphertext)
        self.mix_hash(ciphertext)
        return plaintext

    def split(self) -> tuple[CipherState, CipherState]:
        """The transport keys, initiator's first; the handshake's own keys are erased."""
        first, second = self._hkdf(b"", 2)
        self.erase()
        return CipherState(first[:KEY_SIZE]), CipherState(second[:KEY_SIZE])

    def erase(self) -> None:
        """Overwrite chaining key and cipher key."""
        self._ck[:] = bytes(len(self._ck))
        self.cipher.erase()

    def _replace_cipher(self, key: bytes) -> None:
        self.cipher.erase()
        self.cipher = CipherState(key[:KEY_SIZE])

    def _hash(self, *parts: bytes) -> bytes:
        return digest(self._hash_name, *parts)

    def _hkdf(self, material: bytes, outputs: int) -> list[bytes]:
        """HKDF of section 4.3."""
        key = hmac_digest(self._hash_name, bytes(self._ck), material)
        blocks = [b""]
        for index in range(1, outputs + 1):
            blocks.append(hmac_digest(self._hash_name, key, blocks[-1] + bytes([index])))
        return blocks[1:]


class HandshakeState:
    """One side of a handshake (section 5.3).

    Args:
        protocol_name: for example ``Noise_NX_25519_AESGCM_SHA256``.
        initiator: whether this side sends the first message.
        prologue: what both sides must agree on before the first message.
        s: this side's static key pair, where the pattern has one.
        rs: the peer's static public key, where the pattern knows it beforehand.
        psks: pre-shared keys of 32 bytes, in the order in which the pattern uses them.
        e: this side's ephemeral key pair; None, outside of tests, for a fresh one.

    Raises:
        LocalError: a key that the pattern needs is missing.
    """

    def __init__(
        self,
        protocol_name: str,
        initiator: bool,
        prologue: bytes = b"",
        *,
        s: DhKey | None = None,
        rs: bytes | None = None,
        psks: tuple[bytes, ...] = (),
        e: DhKey | None = None,
    ) -> None:
        self._protocol = parse_protocol(protocol_name)
        self._initiator = initiator
        self._s, self._e = s, e
        self._rs = rs
        self._re: bytes | None = None
        self._psks = list(psks)
        self._symmetric = SymmetricState(self._protocol)
        self._symmetric.mix_hash(prologue)
        self._mix_pre_messages()
        self._pending = [message.split() for message in self._protocol.pattern.messages]
        self._sending = initiator

    @property
    def finished(self) -> bool:
        """Whether all messages have been exchanged."""
        return not self._pending

    @property
    def handshake_hash(self) -> bytes:
        """The channel binding (section 11.2), final once the handshake is finished."""
        return self._symmetric.h

    @property
    def remote_static(self) -> bytes | None:
        """The peer's static public key, once known."""
        return self._rs

    def write_message(self, payload: bytes = b"") -> bytes:
        """The next handshake message.

        Raises:
            LocalError: it is not this side's turn, a key is missing, or the message is too long.
        """
        tokens = self._next_tokens(sending=True)
        message = b"".join(self._write_token(token) for token in tokens)
        message += self._symmetric.encrypt_and_hash(payload)
        if len(message) > MAX_MESSAGE:
            raise LocalError(f"a Noise message has at most {MAX_MESSAGE} bytes, not {len(message)}")
        return message

    def read_message(self, message: bytes) -> bytes:
        """Take the peer's next handshake message; returns its payload.

        Raises:
            HandshakeError: the message is too short or too long.
            InvalidKey: a public key in it cannot be used.
            DecryptError: it failed authentication.
        """
        tokens = self._next_tokens(sending=False)
        if len(message) > MAX_MESSAGE:
            raise HandshakeError("a handshake message is too long")
        for token in tokens:
            message = self._read_token(token, message)
        return self._symmetric.decrypt_and_hash(message)

    def split(self) -> tuple[CipherState, CipherState]:
        """The transport ciphers, initiator to responder first."""
        if not self.finished:
            raise LocalError("the handshake is not finished")
        self._s = self._e = None
        return self._symmetric.split()

    def erase(self) -> None:
        """Forget keys and chaining key."""
        self._s = self._e = None
        self._symmetric.erase()

    def _mix_pre_messages(self) -> None:
        pattern = self._protocol.pattern
        sides = ((pattern.initiator_pre, self._initiator), (pattern.responder_pre, not self._initiator))
        for token, own in sides:
            if token:
                self._symmetric.mix_hash(self._key(token).public if own else self._remote(token))

    def _next_tokens(self, sending: bool) -> list[str]:
        if not self._pending or self._sending is not sending:
            raise LocalError("it is not the turn of this handshake message")
        self._sending = not self._sending
        return self._pending.pop(0)

    def _write_token(self, token: str) -> bytes:
        if token == "e":
            if self._e is None:
                self._e = self._protocol.dh.generate()
            self._mix_ephemeral(self._e.public)
            return self._e.public
        if token == "s":
            return self._symmetric.encrypt_and_hash(self._key("s").public)
        self._mix_token(token)
        return b""

    def _read_token(self, token: str, message: bytes) -> bytes:
        size = self._protocol.dh.public_size
        if token == "e":
            self._re, rest = _cut(message, size)
            self._mix_ephemeral(self._re)
            return rest
        if token == "s":
            encrypted = self._symmetric.cipher.has_key()
            public, rest = _cut(message, size + TAG_SIZE if encrypted else size)
            self._rs = self._symmetric.decrypt_and_hash(public)
            return rest
        self._mix_token(token)
        return message

    def _mix_ephemeral(self, public: bytes) -> None:
        self._symmetric.mix_hash(public)
        if self._protocol.uses_psk:
            self._symmetric.mix_key(public)

    def _mix_token(self, token: str) -> None:
        if token == "psk":
            if not self._psks:
                raise LocalError("this pattern needs a pre-shared key")
            self._symmetric.mix_key_and_hash(self._psks.pop(0))
            return
        own, remote = (token[0], token[1]) if self._initiator else (token[1], token[0])
        self._symmetric.mix_key(self._protocol.dh.agree(self._key(own), self._remote(remote)))

    def _key(self, token: str) -> DhKey:
        key = self._e if token == "e" else self._s
        if key is None:
            raise LocalError(f"this pattern needs this side's key {token!r}")
        return key

    def _remote(self, token: str) -> bytes:
        key = self._re if token == "e" else self._rs
        if key is None:
            raise LocalError(f"this pattern needs the peer's key {token!r}")
        return key


def _cut(message: bytes, size: int) -> tuple[bytes, bytes]:
    if len(message) < size:
        raise HandshakeError("a handshake message is too short")
    return message[:size], message[size:]
