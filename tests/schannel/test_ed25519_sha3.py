"""Both hash variants of Ed25519, and every forgery that a lax verifier accepts."""

from __future__ import annotations

import contextlib

import pytest
from Crypto.Signature import eddsa
from hypothesis import given, settings
from hypothesis import strategies as st

from schannel.ed25519_sha3 import ED25519, ED25519_SHA3, SigningKey
from schannel.errors import InvalidKey, LocalError
from schannel.primitives import ED25519_ORDER, EdwardsPoint

KEY = ED25519_SHA3.key_from_seed(b"\x05" * 32)
MESSAGE = b"message"
SIGNATURE = ED25519_SHA3.sign(KEY, MESSAGE)
LOW_ORDER = [
    bytes.fromhex(text)
    for text in (
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    )
]
NOT_CANONICAL = [
    bytes.fromhex(text)
    for text in (
        "0100000000000000000000000000000000000000000000000000000000000080",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    )
]


def test_standard_variant_is_rfc8032() -> None:
    """RFC 8032, section 7.1, test 1."""
    key = ED25519.key_from_seed(
        bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    )
    assert key.public.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert ED25519.sign(key, b"").hex() == (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b"
    )


@settings(max_examples=20, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200))
def test_standard_variant_agrees_with_the_library(seed: bytes, message: bytes) -> None:
    key = ED25519.key_from_seed(seed)
    library = eddsa.new(eddsa.import_private_key(seed), "rfc8032")
    assert ED25519.sign(key, message) == library.sign(message)
    assert ED25519.verify(key.public, message, library.sign(message))


def test_the_variants_do_not_accept_each_other() -> None:
    assert ED25519_SHA3.verify(KEY.public, MESSAGE, SIGNATURE)
    assert not ED25519.verify(KEY.public, MESSAGE, SIGNATURE)


@pytest.mark.parametrize("position", range(64))
def test_any_changed_byte_is_refused(position: int) -> None:
    changed = bytearray(SIGNATURE)
    changed[position] ^= 1
    assert not ED25519_SHA3.verify(KEY.public, MESSAGE, bytes(changed))


def test_other_message_key_or_length_is_refused() -> None:
    other = ED25519_SHA3.key_from_seed(b"\x06" * 32).public
    assert not ED25519_SHA3.verify(KEY.public, b"massage", SIGNATURE)
    assert not ED25519_SHA3.verify(other, MESSAGE, SIGNATURE)
    for size in (0, 31, 33, 57):
        assert not ED25519_SHA3.verify(bytes(size), MESSAGE, SIGNATURE)
    assert not ED25519_SHA3.verify(KEY.public, MESSAGE, SIGNATURE[:-1])
    assert not ED25519_SHA3.verify(KEY.public, MESSAGE, SIGNATURE + b"\0")


def test_a_response_above_the_order_is_refused() -> None:
    response = int.from_bytes(SIGNATURE[32:], "little") + ED25519_ORDER
    assert not ED25519_SHA3.verify(KEY.public, MESSAGE, SIGNATURE[:32] + response.to_bytes(32, "little"))


@pytest.mark.parametrize("point", LOW_ORDER, ids=bytes.hex)
def test_low_order_points_are_refused(point: bytes) -> None:
    with contextlib.suppress(InvalidKey):  # some versions of the library do not decode all of them
        assert EdwardsPoint.decode(point).is_low_order()
    assert not ED25519_SHA3.verify(point, MESSAGE, point + bytes(32))
    assert not ED25519_SHA3.verify(point, MESSAGE, LOW_ORDER[0] + bytes(32))
    assert not ED25519_SHA3.verify(KEY.public, MESSAGE, point + SIGNATURE[32:])


@pytest.mark.parametrize("encoding", NOT_CANONICAL, ids=bytes.hex)
def test_encodings_that_are_not_canonical_are_refused(encoding: bytes) -> None:
    with pytest.raises(InvalidKey):
        EdwardsPoint.decode(encoding)


@settings(deadline=None)
@given(st.binary(max_size=64), st.binary(max_size=64))
def test_verification_never_raises(public_key: bytes, signature: bytes) -> None:
    assert not ED25519_SHA3.verify(public_key, MESSAGE, signature)


def test_wrong_sizes_are_the_callers_mistake() -> None:
    with pytest.raises(LocalError):
        ED25519.key_from_seed(bytes(31))
    with pytest.raises(LocalError):
        SigningKey.from_secret(bytes(32))
    with pytest.raises(LocalError):
        SigningKey(bytes(64), bytes(31))


def test_no_secret_in_the_representation() -> None:
    assert KEY.secret.hex() not in repr(KEY)
    assert repr(KEY.secret) not in repr(KEY)
