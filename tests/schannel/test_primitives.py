"""The seam to the cryptographic library: published values, and failures as our own errors."""

from __future__ import annotations

import contextlib
import importlib
from dataclasses import replace
from typing import Any

import pytest

from schannel import provider_pycryptodome
from schannel.errors import DecryptError, InvalidKey, LocalError, NonceExhausted
from schannel.evidence import Report
from schannel.monitor_keys import Monitor
from schannel.noise import CipherState
from schannel.primitives import (
    P384,
    X25519,
    EdwardsPoint,
    aead_decrypt,
    aead_encrypt,
    digest,
    hkdf,
    random_bytes,
)
from schannel.records import MAX_BODY, RecordKind, RecordWriter


def test_hkdf() -> None:
    """RFC 5869, appendix A.1 and A.3."""
    key_material = b"\x0b" * 22
    output = hkdf("SHA256", bytes(range(13)), key_material, bytes(range(0xF0, 0xFA)), 42)
    assert output.hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )
    output = hkdf("SHA256", b"", key_material, b"", 42)
    assert output.hex() == (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )


PROVIDERS = [provider_pycryptodome]
with contextlib.suppress(ImportError):
    PROVIDERS.append(importlib.import_module("schannel.provider_cryptography"))


@pytest.fixture(params=PROVIDERS, ids=lambda provider: provider.__name__.partition("_")[2])
def provider(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_aes_gcm(provider: Any) -> None:
    """The Galois/Counter Mode of Operation, test case 14."""
    aead = provider.Aead(bytes(32))
    sealed = aead.encrypt(bytes(12), bytes(16), b"")
    assert sealed.hex() == "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"
    for _ in range(2):
        assert aead.decrypt(bytes(12), sealed, b"") == bytes(16)
        for changed in (b"", sealed[:15], sealed[:-1], sealed[:-1] + b"x"):
            with pytest.raises(aead.INVALID):
                aead.decrypt(bytes(12), changed, b"")
        with pytest.raises(aead.INVALID):
            aead.decrypt(bytes(12), sealed, b"ad")


def test_providers_agree(provider: Any) -> None:
    key, nonce = bytes(range(32)), bytes(range(12))
    for size in (0, 1, 16, 1000, 65519):
        sealed = provider.Aead(key).encrypt(nonce, bytes(size), b"ad")
        assert sealed == aead_encrypt(key, nonce, b"ad", bytes(size))
    ours, theirs = provider.X25519.generate(), X25519.generate()
    assert provider.X25519.agree(ours, theirs.public) == X25519.agree(theirs, ours.public)


def test_an_erased_key_encrypts_nothing(provider: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schannel.noise.Aead", provider.Aead)
    cipher = CipherState(b"\1" * 32)
    cipher.encrypt_with_ad(b"", b"x")
    cipher.rekey()
    cipher.erase()
    assert not any(cipher._key or b"x")
    for use in (cipher.encrypt_with_ad, cipher.decrypt_with_ad):
        with pytest.raises(NonceExhausted):
            use(b"", bytes(16))


def test_aes_gcm_once() -> None:
    sealed = aead_encrypt(bytes(32), bytes(12), b"", bytes(16))
    assert sealed.hex() == "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"
    assert aead_decrypt(bytes(32), bytes(12), b"", sealed) == bytes(16)
    for changed in (sealed[:15], sealed[:-1], sealed[:-1] + b"x"):
        with pytest.raises(DecryptError):
            aead_decrypt(bytes(32), bytes(12), b"", changed)


def test_x25519(provider: Any) -> None:
    """RFC 7748, section 5.2, the first iteration."""
    base = b"\x09" + bytes(31)
    shared = provider.X25519.agree(provider.X25519.from_private(base), base)
    assert shared.hex() == "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"


@pytest.mark.parametrize("public", [bytes(32), b"\1" + bytes(31), bytes(31), bytes(33)])
def test_x25519_refuses(provider: Any, public: bytes) -> None:
    with pytest.raises(InvalidKey):
        provider.X25519.agree(provider.X25519.generate(), public)
    with pytest.raises(LocalError):
        provider.X25519.from_private(bytes(31))


def test_p384() -> None:
    """RFC 5903, section 8.2: both ends' keys and the shared secret."""
    i = "099F3C7034D4A2C699884D73A375A67F7624EF7C6B3C0F160647B67414DCE655E35B538041E649EE3FAEF896783AB194"
    r = "41CB0779B4BDB85D47846725FBEC3C9430FAB46CC8DC5060855CC9BDA0AA2942E0308312916B8ED2960E4BD55A7448FC"
    first, second = (P384.from_private(bytes.fromhex(key)) for key in (i, r))
    shared = P384.agree(first, second.public)
    assert shared == P384.agree(second, first.public)
    assert shared.hex().upper() == (
        "11187331C279962D93D604243FD592CB9D0A926F422E47187521287E7156C5C4D603135569B9E9D09CF5D4A270F59746"
    )


def test_bad_private_keys() -> None:
    with pytest.raises(LocalError):
        P384.from_private(bytes(48))
    with pytest.raises(LocalError):
        X25519.from_private(bytes(31))


def test_an_all_zero_secret_is_refused_whatever_the_library_does() -> None:
    lenient = replace(X25519, exchange=lambda _private, _public: bytes(32))
    with pytest.raises(InvalidKey):
        lenient.agree(X25519.generate(), X25519.generate().public)


def test_a_lenient_library_does_not_make_encodings_canonical(monkeypatch: pytest.MonkeyPatch) -> None:
    library: Any = vars(provider_pycryptodome)["eddsa"]
    strict = library.import_public_key
    monkeypatch.setattr(library, "import_public_key", lambda raw: strict(raw[:31] + b"\0"))
    with pytest.raises(InvalidKey, match="canonical"):
        EdwardsPoint.decode(b"\x01" + bytes(30) + b"\x80")


def test_randomness_and_representation() -> None:
    assert random_bytes(16) != random_bytes(16)
    assert "private" not in repr(X25519.generate())
    assert digest("SHA3-512", b"a", b"b") == digest("SHA3-512", b"ab")


def test_sizes_that_the_caller_got_wrong(monitor: Monitor) -> None:
    with pytest.raises(LocalError):
        RecordWriter(CipherState(bytes(32))).seal(RecordKind.MESSAGE, bytes(MAX_BODY + 1))
    with pytest.raises(LocalError):
        monitor.attest(b"", b"")
    report = monitor.attest(bytes(64), b"")
    with pytest.raises(LocalError):
        Report(bytes(64), bytes(1025), b"", b"", b"", b"", report.device_public_key).to_compact()
