"""A user's own Keystone in the machine, under the keys of a device that is everybody's."""

from __future__ import annotations

import shutil
import stat
import sys
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from schannel.ed25519_sha3 import SigningKey
from schannel.errors import LocalError
from schannel.keystone_files import read_enclave_files
from schannel.measurement import measure
from schannel.monitor_keys import Monitor, derive_monitor_key_as_coded
from schannel.primitives import digest

from . import cpio
from .errors import RiscvError
from .image import Image, guest_configuration
from .keystone_build import APPLICATION, BUILD_APPLICATION, Keystone
from .parts import Workshop
from .processes import run

GUEST_FOLDER = "etc/keystone"
"""Where the guest's scripts look for what is Keystone's."""

_ENCLAVE = ("loader.bin", "eyrie-rt", "wasm-rt")
"""As the guest's scripts name them, in the order in which they are measured."""

_MEASURED = 0x1FF000
"""Bytes of memory from the firmware's start that the boot ROM measures (``bootrom/bootloader.c``)."""

TEST_DEVICE = SigningKey.from_secret(
    bytes.fromhex(
        "40a099478ccefa3a0663abc95e7a1ec954b4f5f645bad804db13e7d7826c7073"
        "576a9ab62160d9d1c6aedc29852fb960ee5132835a1689ec06a8723451aa0e4a"
    )
)
"""The key that Keystone publishes for tests (``bootrom/test_dev_key.h``)."""


def monitor_hash(firmware: bytes) -> bytes:
    """The security monitor's measurement, as the boot ROM makes it; RiscvError for what is too large."""
    if (size := len(firmware)) > _MEASURED:
        raise RiscvError(f"Keystone's firmware is too large: {size} bytes, of which {_MEASURED} are measured")
    return digest("SHA3-512", firmware.ljust(_MEASURED, b"\0"))


def key_block(measurement: bytes) -> bytes:
    """What the boot ROM leaves for a security monitor of this measurement (``bootrom/sanctum_params.lds``).

    The maker's public key, which nothing uses, is zero; the device's is the published one.
    """
    key = derive_monitor_key_as_coded(TEST_DEVICE.secret, measurement)
    signature = Monitor.with_key(TEST_DEVICE, measurement, key).monitor_signature
    device = bytes(32) + TEST_DEVICE.public + TEST_DEVICE.secret
    return device + measurement + key.public + key.secret + signature


def build_application(shop: Workshop) -> Path:
    """The enclaves' application, built where it is not kept; RiscvError where that fails."""
    first = "" if APPLICATION.exists() else ", which takes about ten minutes the first time"
    shop.say(f"Building wasm-rt{first}")
    run("building wasm-rt", [sys.executable, *BUILD_APPLICATION], shop.log)
    return APPLICATION


def added(shop: Workshop, image: Image, keystone: Keystone, application: Path) -> Image:
    """The image with Keystone in it.

    Raises:
        RiscvError: a file is not what it has to be.
        OSError: one cannot be read, or the disk is full.
    """
    contents = _contents(keystone, application)
    monitor = monitor_hash(keystone.firmware.read_bytes())

    def make(path: Path) -> None:
        path.mkdir()
        (path / "keys").write_bytes(key_block(monitor))
        (path / "policy.toml").write_text(_policy(contents, monitor))
        own = path / "own"
        cpio.write(own, _entries(contents))
        with (path / "initrd").open("wb") as initrd:
            for archive in (image.initrd, own):
                with archive.open("rb") as source:
                    shutil.copyfileobj(source, initrd)
        own.unlink()

    digests = [sha256(content).digest() for content in contents.values()]
    inputs = (image.initrd.parent.name, monitor, digests, Path(__file__).read_bytes())
    made = shop.part("keystone", inputs, "Adding Keystone to the image", make)
    return replace(
        image,
        kernel=keystone.kernel,
        initrd=made / "initrd",
        policy=made / "policy.toml",
        firmware=keystone.firmware,
        key_block=made / "keys",
    )


def _contents(keystone: Keystone, application: Path) -> dict[str, bytes]:
    """What the guest gets, by its names there."""
    try:
        enclave = read_enclave_files(keystone.loader, keystone.runtime, application)
    except LocalError as error:
        raise RiscvError(str(error)) from error
    return {**dict(zip(_ENCLAVE, enclave, strict=True)), "keystone-driver.ko": keystone.driver.read_bytes()}


def _entries(contents: dict[str, bytes]) -> Iterator[cpio.Entry]:
    yield cpio.Entry(GUEST_FOLDER, stat.S_IFDIR | 0o755)
    for name, content in contents.items():
        yield cpio.Entry(f"{GUEST_FOLDER}/{name}", stat.S_IFREG | 0o644, content)


def _policy(contents: dict[str, bytes], monitor: bytes) -> str:
    """A client's policy, in TOML, of what the guest gets."""
    measurement = measure(*(contents[name] for name in _ENCLAVE))
    return f"""\
# The device below has the key that Keystone publishes for tests: whatever it signs, anybody can sign.
[enclave]
measurements = ["{measurement.hex()}"]
configurations = ["{guest_configuration().digest().hex()}"]

[monitor]
measurements = ["{monitor.hex()}"]

[devices]
simulated = ["{TEST_DEVICE.public.hex()}"]
allow_simulated = true
allow_published_test_key = true
"""
