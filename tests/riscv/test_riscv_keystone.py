"""A Keystone of the user's: where its files are found, the keys that its monitor gets, the image with it."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from riscv import __main__ as command_line
from riscv import keystone, keystone_build, needs
from riscv.errors import RiscvError
from riscv.image import Image, guest_configuration
from riscv.keystone_build import Keystone
from riscv.machine import running
from riscv.parts import Workshop
from schannel.errors import PolicyError
from schannel.evidence import Claims, Isolation, Report
from schannel.measurement import measure
from schannel.monitor_keys import Monitor, derive_monitor_key_as_coded
from schannel.policy import KEYSTONE_TEST_DEVICE_KEY, Policy, verify_evidence
from tests.keystone import APPLICATION, LOADER, RUNTIME
from tests.riscv.conftest import Command
from tests.schannel.conftest import load_vectors

FIRMWARE, KERNEL, DRIVER = b"firmware", b"kernel", b"driver"
OPTIONS = "ENV_SETUP IO_SYSCALL LINUX_SYSCALL ENV_SETUP "
EXAMPLES = "build/keystone-examples-0123/"

FLAT = {
    "fw_jump.bin": FIRMWARE,
    "Image": KERNEL,
    "keystone-driver.ko": DRIVER,
    "eyrie-rt": RUNTIME,
    "loader.bin": LOADER,
}
BUILDROOT = {
    "images/fw_jump.bin": FIRMWARE,
    "images/Image": KERNEL,
    "build/keystone-driver-0123/keystone-driver.ko": DRIVER,
    f"{EXAMPLES}attestation/eyrie-rt": b"another",
    f"{EXAMPLES}attestation/loader.bin": b"another",
    f"{EXAMPLES}attestation/.options_log": b"",
    f"{EXAMPLES}hello/eyrie-rt": RUNTIME,
    f"{EXAMPLES}hello/loader.bin": LOADER,
    f"{EXAMPLES}hello/.options_log": OPTIONS.encode(),
}
KEYSTONE = {f"buildroot.build/{name}": content for name, content in BUILDROOT.items()}


def laid_out(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(RiscvError) as raised:
        call()
    assert "\n" not in str(raised.value)
    return str(raised.value)


class TestFind:
    @pytest.mark.parametrize("files", [FLAT, BUILDROOT, KEYSTONE], ids=["flat", "buildroot", "keystone"])
    def test_where_builds_leave_them(self, tmp_path: Path, files: dict[str, bytes]) -> None:
        found = keystone_build.find(laid_out(tmp_path, files))
        paths = (found.firmware, found.kernel, found.driver, found.runtime, found.loader)
        assert [path.read_bytes() for path in paths] == [FIRMWARE, KERNEL, DRIVER, RUNTIME, LOADER]
        assert found.runtime.parent == found.loader.parent

    def test_the_folder_itself_comes_first(self, tmp_path: Path) -> None:
        laid_out(tmp_path, KEYSTONE)
        found = keystone_build.find(
            laid_out(tmp_path, {"Image": b"meant", "eyrie-rt": b"x", "loader.bin": b"y"})
        )
        assert found.kernel == tmp_path / "Image"
        assert (found.runtime, found.loader) == (tmp_path / "eyrie-rt", tmp_path / "loader.bin")
        assert found.firmware == tmp_path / "buildroot.build/images/fw_jump.bin"

    def test_a_runtime_without_its_loader_is_none(self, tmp_path: Path) -> None:
        found = keystone_build.find(laid_out(tmp_path, {**BUILDROOT, "eyrie-rt": b"alone"}))
        assert found.runtime == tmp_path / f"{EXAMPLES}hello/eyrie-rt"

    def test_all_that_is_missing_is_said_with_where(self, tmp_path: Path) -> None:
        laid_out(tmp_path, {"images/Image": KERNEL})
        assert refusal(lambda: keystone_build.find(tmp_path)) == (
            f"{tmp_path} lacks "
            "fw_jump.bin (looked for in: ., images, buildroot.build, buildroot.build/images); "
            "keystone-driver.ko (looked for in: ., build/keystone-driver-*, buildroot.build, "
            "buildroot.build/build/keystone-driver-*); "
            "eyrie-rt with loader.bin (looked for in: ., build/keystone-examples-*/*, buildroot.build, "
            "buildroot.build/build/keystone-examples-*/*)"
        )

    def test_a_runtime_alone(self, tmp_path: Path) -> None:
        enclave = {name: content for name, content in KEYSTONE.items() if "examples" in name}
        hello = laid_out(tmp_path, enclave) / f"buildroot.build/{EXAMPLES}hello"
        assert keystone_build.find_runtime(tmp_path) == (hello / "eyrie-rt", hello / "loader.bin")

    def test_no_folder(self, tmp_path: Path) -> None:
        said = refusal(lambda: keystone_build.find(tmp_path / "none"))
        assert said == f"KEYSTONE_BUILD_DIR: there is no folder {tmp_path}/none"

    def test_folder_that_cannot_be(self) -> None:
        said = refusal(lambda: keystone_build.find(Path("~nosuchuser/x")))
        assert said == "KEYSTONE_BUILD_DIR: there is no folder ~nosuchuser/x: nobody has that name"
        long = "/" + 300 * "x"
        said = refusal(lambda: keystone_build.find_runtime(Path(long)))
        assert said == f"KEYSTONE_BUILD_DIR: cannot use {long}: file name too long"

    def test_several_that_are_the_same(self, tmp_path: Path) -> None:
        again = "build/keystone-driver-4567/keystone-driver.ko"
        assert (
            keystone_build.find(laid_out(tmp_path, {**BUILDROOT, again: DRIVER})).driver.read_bytes()
            == DRIVER
        )

    def test_several_that_differ(self, tmp_path: Path) -> None:
        again = "build/keystone-driver-4567/keystone-driver.ko"
        laid_out(tmp_path, {**BUILDROOT, again: b"other"})
        first = tmp_path / "build/keystone-driver-0123/keystone-driver.ko"
        assert refusal(lambda: keystone_build.find(tmp_path)) == (
            f"{first} and {tmp_path / again} differ: copy the one that is meant to {tmp_path}"
        )
        laid_out(tmp_path, {"keystone-driver.ko": b"other"})
        assert keystone_build.find(tmp_path).driver.read_bytes() == b"other"

    def test_runtimes_without_the_options(self, tmp_path: Path) -> None:
        laid_out(tmp_path, {**BUILDROOT, f"{EXAMPLES}hello/.options_log": b"ENV_SETUP IO_SYSCALL "})
        assert refusal(lambda: keystone_build.find(tmp_path)) == (
            "wasm-rt needs a runtime with Eyrie's options ENV_SETUP and LINUX_SYSCALL, and none of these was "
            f"built with them: {tmp_path}/{EXAMPLES}attestation/eyrie-rt, {tmp_path}/{EXAMPLES}hello/eyrie-rt"
        )


class TestKeys:
    def test_those_of_a_real_chain(self) -> None:
        """What the block says is what a device with the published key reported."""
        values = load_vectors("keystone-chain.json")
        if values is None:
            pytest.skip("keystone-chain.json not found: set TINYWASM_VECTORS to the folder that holds it")
        report = Report.from_bytes(bytes.fromhex(values["report_hex"]))
        block = keystone.key_block(report.monitor_hash)
        assert len(block) == 352
        assert block[:32] == bytes(32)
        assert block[32:64] == report.device_public_key == KEYSTONE_TEST_DEVICE_KEY
        assert block[64:128] == keystone.TEST_DEVICE.secret
        assert block[128:192] == report.monitor_hash
        assert block[192:224] == report.monitor_public_key
        secret = derive_monitor_key_as_coded(keystone.TEST_DEVICE.secret, report.monitor_hash).secret
        assert block[224:288] == secret
        assert block[288:] == report.monitor_signature

    def test_zeros_behind_the_firmware_are_measured_with_it(self) -> None:
        whole = FIRMWARE.ljust(0x1FF000, b"\0")
        assert keystone.monitor_hash(FIRMWARE) == keystone.monitor_hash(whole)
        assert keystone.monitor_hash(FIRMWARE) != keystone.monitor_hash(FIRMWARE + b"\1")
        said = refusal(lambda: keystone.monitor_hash(whole + b"\0"))
        assert said == "Keystone's firmware is too large: 2093057 bytes, of which 2093056 are measured"


@pytest.fixture
def files(tmp_path: Path) -> Keystone:
    return keystone_build.find(laid_out(tmp_path / "keystone", FLAT))


@pytest.fixture
def image(tmp_path: Path) -> Image:
    (tmp_path / "image-0123").mkdir()
    initrd = tmp_path / "image-0123" / "initrd"
    initrd.write_bytes(gzip.compress(b"what all images have"))
    return Image(tmp_path / "vmlinux", initrd, tmp_path / "policy.toml", tmp_path / "ssh")


@pytest.fixture
def application(tmp_path: Path) -> Path:
    path = tmp_path / "wasm-rt"
    path.write_bytes(APPLICATION)
    return path


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    (tmp_path / "shop").mkdir()
    return Workshop(tmp_path / "shop", tmp_path / "log", lambda _: None)


class TestImage:
    def test_what_is_in_it(self, shop: Workshop, image: Image, files: Keystone, application: Path) -> None:
        made = keystone.added(shop, image, files, application)
        assert (made.kernel, made.firmware, made.keys) == (files.kernel, files.firmware, image.keys)
        assert made.key_block is not None
        assert made.key_block.read_bytes() == keystone.key_block(keystone.monitor_hash(FIRMWARE))
        initrd = made.initrd.read_bytes()
        assert initrd.startswith(image.initrd.read_bytes())
        archive = gzip.decompress(initrd)
        for name, content in {**FLAT, "wasm-rt": APPLICATION}.items():
            inside = name not in ("fw_jump.bin", "Image")
            assert (b"etc/keystone/" + name.encode() + b"\0" in archive, content in archive) == (
                inside,
                inside,
            )

    def test_made_once_for_the_same_files(
        self, shop: Workshop, image: Image, files: Keystone, application: Path
    ) -> None:
        first = keystone.added(shop, image, files, application)
        assert keystone.added(shop, image, files, application) == first
        files.driver.write_bytes(b"another")
        second = keystone.added(shop, image, files, application)
        assert second.initrd != first.initrd and not first.initrd.exists()

    def test_its_policy(self, shop: Workshop, image: Image, files: Keystone, application: Path) -> None:
        """A report of these very files is accepted, and one of others is not."""
        policy = Policy.from_file(keystone.added(shop, image, files, application).policy)
        measured = keystone.monitor_hash(FIRMWARE)
        key = derive_monitor_key_as_coded(keystone.TEST_DEVICE.secret, measured)
        monitor = Monitor.with_key(keystone.TEST_DEVICE, measured, key)
        digest, handshake = guest_configuration().digest(), b"\1" * 32
        claims = Claims(handshake, digest, (1, 0, 0), Isolation(0), b"\4" * 32).build()
        hashed = measure(LOADER, RUNTIME, APPLICATION)
        verified = verify_evidence(monitor.attest(hashed, claims).to_compact(), policy, handshake)
        assert verified.simulated
        with pytest.raises(PolicyError, match="enclave measurement"):
            verify_evidence(monitor.attest(b"\2" * 64, claims).to_compact(), policy, handshake)

    @pytest.mark.parametrize(
        ("name", "content", "said"),
        [
            ("loader.bin", RUNTIME, "the loader {} is an ELF file: Keystone starts its raw code"),
            ("loader.bin", b"", "the loader {} is empty"),
            ("eyrie-rt", b"text", "the runtime {} is no ELF file"),
        ],
    )
    def test_files_that_keystone_does_not_start(
        self,
        shop: Workshop,
        image: Image,
        files: Keystone,
        application: Path,
        name: str,
        content: bytes,
        said: str,
    ) -> None:
        path = files.loader.with_name(name)
        path.write_bytes(content)
        assert refusal(lambda: keystone.added(shop, image, files, application)).startswith(said.format(path))
        assert not [*shop.folder.iterdir()]


def test_what_qemu_is_told(
    command: Command, shop: Workshop, image: Image, files: Keystone, application: Path, tmp_path: Path
) -> None:
    said = tmp_path / "arguments"
    command("qemu-system-riscv64", f'printf "%s\\n" "$@" >{said}; exit 1')
    made = keystone.added(shop, image, files, application)
    with running(made, tmp_path, 3333, 2222, lambda _: None) as machine:
        machine.process.wait(20)
    arguments = said.read_text().splitlines()
    given = [*pairwise(arguments)]
    assert ("-bios", str(files.firmware)) in given
    assert ("-kernel", str(files.kernel)) in given
    assert ("-initrd", str(made.initrd)) in given
    assert ("-cpu", "rv64,sstc=off") in given
    assert ("-device", f"loader,file={made.key_block},addr=0x801ff000,force-raw=on") in given
    assert ("-append", "console=ttyS0 quiet panic=-1 earlycon cma=256M") in given


@pytest.mark.parametrize(
    "said",
    [
        "riscv: the kernel does not take Keystone's driver: insmod: can't insert: invalid module format",
        "wasm-host: Linux has no 42000 KiB of contiguous memory now",
    ],
)
def test_why_a_machine_ended(command: Command, image: Image, tmp_path: Path, said: str) -> None:
    console = 'for each; do case "$each" in file:*) console="${each#file:}";; esac; done'
    command("qemu-system-riscv64", f'{console}\necho "{said}" >"$console"; echo "Power down" >>"$console"')
    with running(image, tmp_path, 3333, 2222, lambda _: None) as machine:
        assert refusal(lambda: machine.wait_until_ready(lambda _: None)) == (
            f"the machine ended while it started: {said.removeprefix('riscv: ')} "
            f"({tmp_path}/console.log has all of it)"
        )


def test_a_wrong_folder_is_told_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command_line, "FOLDER", tmp_path / "built")
    monkeypatch.setattr(needs, "check", lambda **_: None)
    monkeypatch.setattr(command_line, "build", lambda _: pytest.fail("it was built"))
    assert command_line.main(["--keystone", str(tmp_path)]) == 1
    assert re.fullmatch(r"riscv: \S+ lacks .*\n", capsys.readouterr().err)
