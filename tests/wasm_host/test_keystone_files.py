"""The files of an enclave on Keystone: what host and client measure, and what both refuse."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import struct
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schannel.errors import LocalError, PolicyFileError
from schannel.keystone_files import LARGEST_FILES, check_program
from schannel.policy import Policy
from tests.keystone import APPLICATION, ELF, LOADER, RUNTIME, Machine, Mapped
from tests.wasm_host.keystone_host import (
    MEASUREMENT,
    command,
    slow_to_measure,
)
from wasm_client import cli as client_cli
from wasm_host import cli as host_cli
from wasm_host import keystone, keystone_device
from wasm_host.keystone_files import read_image
from wasm_host.monitor import EnclaveFiles, MonitorError

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the double's applications are Linux processes"
)


def program(
    *segments: tuple[int, int, int],
    kind: int = 2,
    flags: int = 0,
    start: int = 64,
    count: int | None = None,
    size: int = 56,
) -> bytes:
    """A file of 1000 bytes with segments of these kinds, offsets and sizes in it."""
    headers = [struct.pack("<2I6Q", each, 0, offset, 0, 0, held, held, 1) for each, offset, held in segments]
    counts = struct.pack("<2H", size, len(segments) if count is None else count)
    places = struct.pack("<QQI", start, 0, flags)
    head = ELF[:16] + struct.pack("<H", kind) + ELF[18:32] + places + ELF[52:54] + counts + ELF[58:]
    return (head + b"".join(headers)).ljust(1000, b"\0")


WHOLE = program((1, 0, 500), (1, 500, 500), (1, 1 << 40, 0), (0x6474E551, 0, 0))
"""Up to the file's last byte; a segment of zeros has nothing in the file, wherever it says that is."""


def options(files: EnclaveFiles) -> list[str]:
    """The commands' options for these files."""
    paths = {"-l": files.loader, "-r": files.runtime, "-e": files.application}
    return [word for option, path in paths.items() if path is not None for word in (option, str(path))]


def both_refuse(files: EnclaveFiles, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line with which host and client refuse to measure these files."""
    assert client_cli.main(["measure", *options(files)]) == 1
    client = capsys.readouterr()
    assert host_cli.main(["measure", "--device", "keystone", *options(files)]) == 1
    host = capsys.readouterr()
    line = client.err.removeprefix("wasm-client: ")
    assert host.err == f"wasm-host: {line}" and line.count("\n") == 1
    assert client.out == host.out == ""
    return line.strip()


class TestFiles:
    @pytest.fixture
    def files(self, tmp_path: Path) -> EnclaveFiles:
        paths = {}
        for name, content in (("loader", LOADER), ("runtime", RUNTIME), ("application", APPLICATION)):
            paths[name] = tmp_path / name
            paths[name].write_bytes(content)
        return EnclaveFiles(**paths)

    @pytest.mark.parametrize(
        ("name", "content", "words"),
        [
            ("loader", b"", "the loader .* is empty"),
            ("loader", ELF, "is an ELF file: Keystone starts its raw code"),
            ("runtime", b"PK\3\4", "the runtime .* is no ELF file"),
            ("application", b"\x7fELF", "the application .* is no ELF file"),
            ("application", ELF[:18] + b"\x3e\0" + ELF[20:], "the application .* is not for 64-bit RISC-V"),
            ("runtime", ELF[:4] + b"\1" + ELF[5:], "the runtime .* is not for 64-bit RISC-V"),
            ("application", program((3, 0, 10)), "the application .* is linked dynamically"),
            ("application", b"", "the application .* is no ELF file"),
            ("runtime", WHOLE[:57], "the runtime .* is no ELF file"),
            ("runtime", WHOLE[:100], "the runtime .* is cut short: it ends before its program headers do"),
            ("application", WHOLE[:-1], "the application .* is cut short: it ends within a segment"),
            ("runtime", program((1, 2**64 - 1, 2)), "is cut short: it ends within a segment"),
            ("runtime", program(start=2**64 - 1, count=1), "is cut short: it ends before its program"),
            ("runtime", program((1, 0, 10), size=32), "has program headers of 32 bytes, not 56"),
            ("application", program(kind=1), "the application .* is an object file"),
            ("application", program((1, 0, 10), kind=3), "is a shared library, or position-independent"),
            ("application", program((1, 0, 10), (3, 0, 10), kind=3), "is linked dynamically"),
            (
                "runtime",
                program((1, 0, 10), kind=4),
                "the runtime .* is no program: its ELF type is 4, not 2",
            ),
            ("application", program((6, 0, 10)), "the application .* has no segment to load"),
            ("application", program((1, 0, 10), flags=0x9), "is for RISC-V with sixteen registers"),
        ],
    )
    def test_files_of_something_else(
        self, files: EnclaveFiles, name: str, content: bytes, words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        getattr(files, name).write_bytes(content)
        with pytest.raises(MonitorError, match=words):
            read_image(files, 0)
        assert re.search(words, both_refuse(files, capsys))

    def test_whole_program(self, files: EnclaveFiles) -> None:
        assert files.application is not None
        files.application.write_bytes(WHOLE)
        assert read_image(files, 0).application == WHOLE

    @pytest.mark.parametrize("name", ["loader", "runtime", "application"])
    def test_file_that_no_enclave_could_hold(
        self, files: EnclaveFiles, name: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """It is not read: there is not that much memory."""
        path = getattr(files, name)
        os.truncate(path, 40 << 30)
        line = both_refuse(files, capsys)
        assert line.startswith(
            f"{path} is too large: the three files of an enclave may have 512 MiB together"
        )

    def test_files_that_are_too_large_together(self, files: EnclaveFiles) -> None:
        for path in (files.loader, files.application):
            assert path is not None
            os.truncate(path, LARGEST_FILES // 2)
        with pytest.raises(MonitorError, match="application is too large"):
            read_image(files, 0)

    @pytest.mark.parametrize(
        ("path", "words"),
        [
            ("/", "is a directory"),
            ("/dev/null", "not a regular file"),
            ("/dev/zero", "not a regular file"),
            ("/" + 300 * "x", "file name too long"),
        ],
    )
    def test_what_is_no_file(
        self, files: EnclaveFiles, path: str, words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        given = replace(files, application=Path(path))
        with pytest.raises(MonitorError, match=f"^cannot read {path}: {words}$"):
            read_image(given, 0)
        assert client_cli.main(["measure", *options(given)]) == 1
        assert capsys.readouterr() == ("", f"wasm-client: cannot read {path}: {words}\n")

    def test_file_by_way_of_a_link(self, files: EnclaveFiles, tmp_path: Path) -> None:
        link = tmp_path / "link"
        link.symlink_to("application")
        assert read_image(replace(files, application=link), 0).application == APPLICATION

    @given(st.binary(max_size=200))
    def test_heads_that_lie(self, tail: bytes) -> None:
        """Whatever the rest of a head says, it is looked at within the file."""
        with contextlib.suppress(LocalError):
            check_program(ELF[:20] + tail, "it")

    @pytest.mark.parametrize(
        ("missing", "words"),
        [
            (("runtime",), "not given: -r"),
            (("loader", "application"), "not given: -l, -e"),
            (("runtime", "application"), "not given: -r, -e"),
        ],
    )
    def test_files_that_are_not_given(
        self, files: EnclaveFiles, missing: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        given = replace(files, **dict.fromkeys(missing))
        with pytest.raises(MonitorError, match=f"{words}$"):
            read_image(given, 0)
        assert both_refuse(given, capsys).endswith(words)

    def test_both_ends_measure_the_same(
        self, files: EnclaveFiles, capsys: pytest.CaptureFixture[str]
    ) -> None:
        given = options(files)
        assert client_cli.main(["measure", *given]) == 0
        assert MEASUREMENT.hex() in capsys.readouterr().out
        assert host_cli.main(["measure", "--device", "keystone", *given]) == 0
        text = capsys.readouterr().out
        assert f'measurements = ["{MEASUREMENT.hex()}"]' in text
        with pytest.raises(PolicyFileError):
            Policy.from_toml(text)
        for size, byte in ((64, "06"), (32, "05")):
            text = text.replace(f"<{2 * size} hexadecimal digits>", byte * size)
        assert Policy.from_toml(text).enclave_measurements == {MEASUREMENT}

    @pytest.mark.parametrize("part", ["-l", "-r", "-e"])
    def test_files_without_the_name_of_the_device(
        self, files: EnclaveFiles, part: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        given = dict(zip(*[iter(options(files))] * 2, strict=True))
        assert host_cli.main(["measure", part, given[part]]) == 1
        told = capfd.readouterr()
        assert re.fullmatch(
            r"wasm-host: the \w+ file is not one that this release makes .*need --device keystone\)\n",
            told.err,
        )
        assert not told.out

    def test_command_without_a_device(self, files: EnclaveFiles, capsys: pytest.CaptureFixture[str]) -> None:
        given = options(files)
        for arguments, words in (
            (given, "there is no /dev/keystone_enclave"),
            ([], "not given: -l, -r, -e"),
            (["-l", str(files.runtime), *given[2:]], "is an ELF file"),
        ):
            assert host_cli.main(["--device", "keystone", "-a", "127.0.0.1:0", *arguments]) == 1
            told = capsys.readouterr()
            assert words in told.err and told.err.count("\n") == 1 and not told.out

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_signal_while_the_host_starts(
        self, files: EnclaveFiles, number: signal.Signals, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        """It ends as one that serves does, and leaves no enclave."""
        machine = Machine(command("silent"))
        mmap = machine.mmap

        def signalling(descriptor: int, size: int, offset: int) -> Mapped:
            if offset == 0:
                os.kill(os.getpid(), number)
            return mmap(descriptor, size, offset)

        monkeypatch.setattr(machine, "mmap", signalling)
        monkeypatch.setattr(keystone, "LinuxDriver", lambda: machine)
        assert host_cli.main(["--device", "keystone", "-a", "127.0.0.1:0", *options(files)]) == 0
        assert capsys.readouterr() == ("", "")
        machine.assert_clean()

    def test_monitor_that_takes_longer_than_the_start_may(
        self, files: EnclaveFiles, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        machine = Machine(command("echo"))
        measured = slow_to_measure(machine)
        monkeypatch.setattr(keystone, "LinuxDriver", lambda: machine)
        arguments = ["--device", "keystone", "-a", "127.0.0.1:0", "--max-start", "0.1", *options(files)]
        assert host_cli.main(arguments) == 1
        assert capsys.readouterr() == (
            "",
            "wasm-host: the enclave has not been measured in 0.1 seconds: on a slow machine, let it have "
            "more time (--max-start)\n",
        )
        (loading,) = (each for each in threading.enumerate() if each.name == "enclave 1")
        measured.set()
        loading.join(30)
        machine.assert_clean()

    def test_check_without_a_device(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert host_cli.main(["--check", "--device", "keystone"]) == 1
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "device: keystone" and lines[-1] == "no enclave runs on Keystone here"
        assert any("MISSING: there is no /dev/keystone_enclave" in line for line in lines)

    @pytest.mark.parametrize("other", ["/dev/null", "/dev/zero", "/etc/passwd"])
    def test_something_else_under_the_name_of_the_device(
        self, files: EnclaveFiles, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        device = tmp_path / "keystone_enclave"
        device.symlink_to(other)
        monkeypatch.setattr(keystone_device, "DEVICE", str(device))
        said = f"{device} is not the device of Keystone's driver: load the driver anew"
        assert host_cli.main(["--check", "--device", "keystone"]) == 1
        assert said in capsys.readouterr().out
        assert host_cli.main(["--device", "keystone", "-a", "127.0.0.1:0", *options(files)]) == 1
        assert capsys.readouterr() == ("", f"wasm-host: {said}\n")

    def test_check_with_a_device(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        machine = Machine()
        monkeypatch.setattr(keystone, "LinuxDriver", lambda: machine)
        assert host_cli.main(["--check", "--device", "keystone"]) == 0
        assert "  /dev/keystone_enclave  offered" in capsys.readouterr().out.splitlines()
        machine.assert_clean()

    @pytest.mark.parametrize("text", ["a = ", "a = 1979-05-27"])
    def test_settings_that_are_none(self, tmp_path: Path, text: str) -> None:
        configuration = tmp_path / "settings.toml"
        configuration.write_text(text)
        with pytest.raises(MonitorError, match=r"the configuration .* cannot be used"):
            keystone._settings(configuration)
