"""The machine's first file system, and the policy of clients that accept the enclaves in it."""

from __future__ import annotations

import shutil
import stat
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from schannel.evidence import Isolation
from schannel.measurement import build_image, canonical_archive
from schannel.packages import DEPENDENCIES, OUR_PACKAGES, package_folder, read_packages
from schannel.release import installed_version
from schannel.simulation import SECRET_KEY_FILE, monitor_measurement
from wasm_rt.configuration import Configuration
from wasm_rt.device import load_device_key

from . import cpio
from .needs import FIRMWARE
from .parts import BASE_ARCHIVE, PACKAGES, Parts, Workshop, compile_bytecode, make_parts
from .ssh import AUTHORIZED_KEYS, HOST_KEY, make_keys

GUEST_FILES = Path(__file__).resolve().parent / "guest"
_PURE = tuple(name for name in DEPENDENCIES if name != "Crypto")
"""What enclaves need besides, in which nothing is compiled: it is taken from this installation."""

_PACKAGES = "usr/lib/python3/dist-packages"
_CONFIGURATION = "etc/wasm-host.toml"
_STATE = "var/lib/tinywasm"
_USER = 1000
"""The user that wasm-host runs as, and where it finds the simulated device's key: as in the guest's files."""

_LAYERS = ~Isolation.MEMORY_LOCKED
"""All that enclaves have where the kernel offers everything; none has its memory locked."""

_CONSOLE = cpio.Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))


@dataclass(frozen=True, slots=True)
class Image:
    """What QEMU boots, the client's policy, and the folder of the ssh keys.

    `key_block` is what Keystone's boot ROM would leave in memory, where the firmware is Keystone's.
    """

    kernel: Path
    initrd: Path
    policy: Path
    keys: Path
    firmware: Path = FIRMWARE
    key_block: Path | None = None


def build(shop: Workshop) -> Image:
    """Make all that is not kept yet.

    Raises:
        RiscvError: a command failed.
        OSError: the disk is full, or not to be written.
    """
    parts = make_parts(shop)
    packages = shop.part(
        "packages",
        (parts.native.name, parts.crypto.name, *_package_files()),
        "Compiling our packages to bytecode",
        lambda path: _packages(shop, parts, path),
    )
    keys = make_keys(shop.folder, parts.guest, shop.log)
    state = shop.folder / "state"
    device = load_device_key(state).public
    image = shop.part(
        "image",
        (parts.base.name, packages.name, device, *_own_files(keys)),
        "Putting the image together",
        lambda path: _assemble(path, parts, packages, keys, state, device),
    )
    (kernel,) = (parts.kernel / "boot").iterdir()
    return Image(kernel, image / "initrd", image / "policy.toml", keys)


def guest_configuration() -> Configuration:
    """What the host in the machine tells its enclaves."""
    return Configuration.from_mapping(tomllib.loads((GUEST_FILES / _CONFIGURATION).read_text()))


def _package_files() -> Iterator[bytes]:
    for name in (*PACKAGES, *_PURE):
        folder = Path(package_folder(name))
        for path in sorted(folder.rglob("*.py")):
            yield f"{name}/{path.relative_to(folder)}".encode() + path.read_bytes()


def _own_files(keys: Path) -> Iterator[bytes]:
    """What the image has besides packages, and this file, which says what becomes of it."""
    for path in sorted(path for path in GUEST_FILES.rglob("*") if path.is_file()):
        yield str(path.relative_to(GUEST_FILES)).encode() + path.read_bytes()
    for path in (Path(__file__), keys / "key.pub", keys / "host_key"):
        yield path.read_bytes()


def _packages(shop: Workshop, parts: Parts, path: Path) -> None:
    """Our packages, and those that they need, as the guest finds them."""
    for name in (*PACKAGES, *_PURE):
        shutil.copytree(package_folder(name), path / name, ignore=_not_python)
    for folder in (parts.native, parts.crypto):
        shutil.copytree(folder, path, dirs_exist_ok=True)
    about = path / f"tinywasm-{installed_version()}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: tinywasm\nVersion: {installed_version()}\n"
    )
    for name in (*PACKAGES, *_PURE):
        compile_bytecode(shop, parts.guest, parts.python, path / name, f"/{_PACKAGES}/{name}")


def _assemble(path: Path, parts: Parts, packages: Path, keys: Path, state: Path, device: bytes) -> None:
    path.mkdir(mode=0o700)
    tree = path / "tree"
    shutil.copytree(packages, tree / _PACKAGES)
    shutil.copytree(GUEST_FILES, tree, dirs_exist_ok=True)
    (tree / "init").symlink_to("usr/bin/busybox")
    for target, source in (
        (AUTHORIZED_KEYS, keys / "key.pub"),
        (HOST_KEY, keys / "host_key"),
        (f"{_STATE}/{SECRET_KEY_FILE}", state / SECRET_KEY_FILE),
    ):
        (tree / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, tree / target)
    own = path / "own.cpio.gz"
    cpio.write(own, map(_owned, [*cpio.entries(tree), _CONSOLE]))
    # The kernel unpacks archives that follow each other.
    with (path / "initrd").open("wb") as initrd:
        for archive in (parts.base / BASE_ARCHIVE, own):
            initrd.write(archive.read_bytes())
    own.unlink()
    shutil.rmtree(tree)
    (path / "policy.toml").write_text(_policy(packages, parts.python.version, device))


def _not_python(folder: str, names: list[str]) -> list[str]:
    return [
        name
        for name in names
        if name == "__pycache__" or not (name.endswith(".py") or Path(folder, name).is_dir())
    ]


def _owned(entry: cpio.Entry) -> cpio.Entry:
    """The entry as the guest wants it: what is secret is for its owner alone."""
    if entry.name.startswith(_STATE):
        return cpio.Entry(entry.name, entry.mode & ~0o077, entry.content, _USER)
    if entry.name.startswith(("root", HOST_KEY)):
        return cpio.Entry(entry.name, entry.mode & ~0o077, entry.content)
    return entry


def _policy(packages: Path, version: str, device: bytes) -> str:
    """A client's policy, in TOML, computed here of what the guest gets: nothing is believed of the guest."""
    contents = read_packages({name: packages / name for name in (*OUR_PACKAGES, *DEPENDENCIES)})
    dependencies = {name: canonical_archive(contents[name]) for name in DEPENDENCIES}
    image = build_image(contents, dependencies=dependencies, python=f"cpython-{version}")
    layers = ", ".join(f'"{layer}"' for layer in _LAYERS.names())
    return f"""\
# The device below is simulated: it protects nothing from the owner of the machine that QEMU runs on.
[enclave]
measurements = ["{image.measurement().hex()}"]
configurations = ["{guest_configuration().digest().hex()}"]
required_isolation = [{layers}]

[monitor]
measurements = ["{monitor_measurement(image).hex()}"]

[devices]
simulated = ["{device.hex()}"]
allow_simulated = true
"""
