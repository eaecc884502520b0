"""The simulated security monitor: its device key, what it answers, what it loads."""

from __future__ import annotations

import io
import os
import re
import resource
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from schannel import control
from schannel.ed25519_sha3 import ED25519_SHA3
from schannel.errors import LocalError
from schannel.evidence import Claims, Isolation, Report
from schannel.measurement import PYTHON_ENTRY, canonical_archive, installed_image, python_tag
from schannel.monitor_keys import Monitor
from schannel.simulation import read_public_key, simulation_policy, state_directory
from tests.processes import environment, put_something_else, run_monitor
from wasm_host.simulated import START
from wasm_rt import monitor, monitor_server
from wasm_rt.device import load_device_key
from wasm_rt.errors import MonitorRefused
from wasm_rt.monitor_link import (
    Answer,
    KeyResult,
    MonitorLink,
    Operation,
    Request,
    Status,
    answer_request,
    parse_request,
    receive_request,
)
from wasm_rt.monitor_server import MonitorServer

MEASUREMENT = b"\1" * 64
MONITOR = Monitor.boot(ED25519_SHA3.key_from_seed(bytes(32)), b"\2" * 64)


class TestDevice:
    def test_made_once_for_its_owner_only(self, tmp_path: Path) -> None:
        folder = tmp_path / "state" / "tinywasm"
        key = load_device_key(folder)
        assert load_device_key(folder) == key
        assert read_public_key(folder) == key.public
        assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
            "simulated-device.key": 0o600,
            "simulated-device.pub": 0o644,
        }
        assert folder.stat().st_mode & 0o777 == 0o700

    def test_two_at_once_agree(self, tmp_path: Path) -> None:
        keys = []
        threads = [threading.Thread(target=lambda: keys.append(load_device_key(tmp_path))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(keys) == 4 and len(set(keys)) == 1
        assert len(list(tmp_path.iterdir())) == 2

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
    def test_readable_for_others_is_refused(self, tmp_path: Path, mode: int) -> None:
        load_device_key(tmp_path)
        (tmp_path / "simulated-device.key").chmod(mode)
        with pytest.raises(LocalError, match="chmod 600"):
            load_device_key(tmp_path)

    @pytest.mark.parametrize("content", ["", "xyz", "00" * 31, "00" * 33, "\N{SNOWMAN}"])
    def test_not_a_key(self, tmp_path: Path, content: str) -> None:
        load_device_key(tmp_path)
        (tmp_path / "simulated-device.key").write_text(content)
        with pytest.raises(LocalError, match="does not hold a device key"):
            load_device_key(tmp_path)

    @pytest.mark.parametrize("kind", ["pipe", "folder", "link", "link to nothing", "device", "endless file"])
    @pytest.mark.parametrize("file", ["simulated-device.key", "simulated-device.pub"])
    def test_something_else_in_its_place(self, tmp_path: Path, file: str, kind: str) -> None:
        """Neither end waits for it, follows it, or reads what does not end."""
        load_device_key(tmp_path)
        put_something_else(tmp_path / file, kind)
        code = "from pathlib import Path; from wasm_rt.device import load_device_key; "
        code += "from schannel.simulation import read_public_key; import sys; folder = Path(sys.argv[1]); "
        code += f"{'load_device_key' if file.endswith('key') else 'read_public_key'}(folder)"
        done = subprocess.run(
            [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, timeout=60,
            env=environment(tmp_path),
        )  # fmt: skip
        assert done.returncode == 1
        words = ("ot a regular file", "does not hold a") if kind != "folder" else ("ot a regular file",)
        assert any(word in done.stderr.splitlines()[-1] for word in words), done.stderr

    def test_no_public_key_yet(self, tmp_path: Path) -> None:
        with pytest.raises(LocalError, match="at its first start"):
            simulation_policy(tmp_path)
        (tmp_path / "simulated-device.pub").write_text("not hexadecimal")
        with pytest.raises(LocalError, match="does not hold a public key"):
            simulation_policy(tmp_path)

    def test_where_it_is(self) -> None:
        home = {"HOME": "/h"}
        assert state_directory(home) == Path("/h/.local/state/tinywasm")
        assert state_directory(home | {"XDG_STATE_HOME": "/s"}) == Path("/s/tinywasm")
        assert state_directory(home | {"XDG_STATE_HOME": "/s", "TINYWASM_STATE_DIR": "/t"}) == Path("/t")
        with pytest.raises(LocalError, match="no place"):
            state_directory({})


class TestAnswers:
    def test_report_is_of_the_enclave_that_asks(self) -> None:
        data = Claims(bytes(32), bytes(32), (1, 2, 3), Isolation.SECCOMP, bytes(32)).build()
        answer = Answer.parse(answer_request(MONITOR, MEASUREMENT, Request(Operation.ATTEST, data)))
        report = Report.from_bytes(answer.result)
        report.verify_signatures(MONITOR.device_public_key)
        assert report.enclave_hash == MEASUREMENT
        assert report.data == data

    def test_sealing_key_depends_on_enclave_and_identifier(self) -> None:
        def key(measurement: bytes, identifier: bytes) -> bytes:
            answer = answer_request(MONITOR, measurement, Request(Operation.SEALING_KEY, identifier))
            return KeyResult.parse(Answer.parse(answer).result).key

        keys = {key(MEASUREMENT, b"label"), key(b"\3" * 64, b"label"), key(MEASUREMENT, b"label2")}
        assert len(keys) == 3
        assert key(MEASUREMENT, b"label") in keys

    @pytest.mark.parametrize(
        "request_",
        [
            *(b"", b"?", b"\0"),
            Request(Operation.ATTEST, bytes(1025)).build(),
            Request(Operation.SEALING_KEY, bytes(1025)).build(),
        ],
    )
    def test_refusals(self, request_: bytes) -> None:
        answer = answer_request(MONITOR, MEASUREMENT, parse_request(request_))
        assert Answer.parse(answer) == Answer(Status.REFUSED, b"")

    def test_link(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

        def serve() -> None:
            for _ in range(3):
                request = parse_request(receive_request(theirs))
                theirs.send(answer_request(MONITOR, MEASUREMENT, request))

        thread = threading.Thread(target=serve)
        thread.start()
        link = MonitorLink(ours)
        assert Report.from_bytes(link.attest(b"data")).data == b"data"
        assert link.sealing_key(b"id") == MONITOR.sealing_key(MEASUREMENT, b"id")
        with pytest.raises(MonitorRefused):
            link.attest(bytes(5000))
        thread.join(10)
        link.log("a line " * 1000)
        assert len(receive_request(theirs)) <= 1026
        theirs.close()
        link.log("nobody hears it")
        with pytest.raises(MonitorRefused, match="gone"):
            link.attest(b"data")

    @pytest.mark.parametrize("answer", [b"\2", b"\xff" + bytes(192)])
    def test_answer_that_is_none(self, answer: bytes) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            theirs.send(answer)
            with pytest.raises(MonitorRefused, match="does not answer as it must"):
                MonitorLink(ours).attest(b"data")

    @pytest.mark.parametrize("size", [0, 128, 191, 193])
    def test_sealing_key_of_another_size(self, size: int) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            theirs.send(Answer(Status.DONE, bytes(size)).build())
            with pytest.raises(MonitorRefused, match="something else than a sealing key"):
                MonitorLink(ours).sealing_key(b"id")


class TestServer:
    """The monitor's loop between a host, a zygote and an enclave that are sockets of this test."""

    @pytest.fixture
    def ends(self) -> Iterator[tuple[socket.socket, MonitorLink]]:
        """The host's control socket, and an enclave's link."""
        (host, host_end), (zygote, zygote_end) = (
            socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)
        )
        server = MonitorServer(host_end, 0, zygote_end, MONITOR, MEASUREMENT)
        failures: list[BaseException] = []
        thread = threading.Thread(target=_run, args=(server, failures))
        thread.start()
        channel, storage = socket.socketpair()
        socket.send_fds(host, [control.encode(control.Start(5))], [channel.fileno(), storage.fileno()])
        _, descriptors, _, _ = socket.recv_fds(zygote, 65536, 3)
        for descriptor in descriptors[:2]:
            os.close(descriptor)
        link = socket.socket(fileno=descriptors[2])
        host.settimeout(20)
        try:
            yield host, MonitorLink(link)
        finally:
            for end in (channel, storage, host, link, zygote):
                end.close()
            thread.join(20)
            host_end.close()
            zygote_end.close()
        assert not thread.is_alive() and not failures

    def test_lines_of_one_enclave_are_limited(self, ends: tuple[socket.socket, MonitorLink]) -> None:
        host, link = ends
        for number in range(100):
            link.log(f"line {number}")
            link.attest(b"data") if number == 50 else None
        heard = [_line(host) for _ in range(monitor_server.MAX_LINES + 1)]
        assert heard[:-1] == [f"line {n}" for n in range(monitor_server.MAX_LINES)]
        assert heard[-1] == "is heard no more: it has logged 16 lines, and logs more"
        host.settimeout(0.1)
        with pytest.raises(TimeoutError):
            host.recv(65536)

    def test_lines_without_end(self, ends: tuple[socket.socket, MonitorLink]) -> None:
        host, link = ends
        with pytest.raises(ConnectionError):
            for _ in range(100_000):
                os.write(link.fileno(), Request(Operation.LOG, b"line").build())
        for _ in range(monitor_server.MAX_LINES + 1):
            assert _line(host)

    def test_questions_of_one_enclave_are_limited(self, ends: tuple[socket.socket, MonitorLink]) -> None:
        host, link = ends
        for _ in range(monitor_server.MAX_ANSWERS):
            link.attest(b"data")
        with pytest.raises(MonitorRefused, match="gone"):
            link.attest(b"data")
        assert "hung up on" in _line(host)

    def test_host_that_is_killed_with_something_unread(self, ends: tuple[socket.socket, MonitorLink]) -> None:
        host, link = ends
        link.log("nobody reads it")
        link.attest(b"so it has been sent")
        host.close()

    @pytest.mark.parametrize(
        "said", [b"\xff", b"\0\0", b"\1\0\0\0\5\xff", control.encode(control.Ping(1))[:-1]]
    )
    def test_host_that_says_what_is_no_message(
        self, ends: tuple[socket.socket, MonitorLink], said: bytes
    ) -> None:
        host, _ = ends
        host.send(said)
        told = control.decode(host.recv(control.MAX_DATAGRAM))
        assert isinstance(told, control.Error)
        assert re.fullmatch(
            r"what the host asks of the security monitor is (not a control message|malformed .*)", told.text
        )


def _line(host: socket.socket) -> str:
    """A line that the monitor has passed on."""
    message = control.decode(host.recv(control.MAX_DATAGRAM))
    assert isinstance(message, control.Log) and message.number == 5
    return message.text


def _run(server: MonitorServer, failures: list[BaseException]) -> None:
    try:
        server.run()
    except BaseException as error:
        failures.append(error)


STORED, ENCRYPTED = b"\x14\0\0\0\0\0", b"\x14\0\1\0\0\0"
"""Version, flags and method in the head of a file in an archive."""


def _archive(compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr(PYTHON_ENTRY, python_tag())
    return buffer.getvalue()


class TestEnvironment:
    def test_files_of_this_machine(self) -> None:
        image = installed_image()
        monitor.check_environment(image, image)

    @pytest.mark.parametrize(
        ("part", "content", "message"),
        [
            ("runtime", canonical_archive({"PYTHON": b"cpython-2.7.0"}), "is for cpython-2.7.0, not "),
            ("runtime", canonical_archive({"other": b""}), "the runtime file is not one"),
            ("runtime", b"junk", "the runtime file is not one"),
            ("runtime", _archive(zipfile.ZIP_DEFLATED), "the runtime file is not one"),
            ("runtime", _archive(zipfile.ZIP_LZMA), "the runtime file is not one"),
            ("runtime", _archive().replace(STORED, ENCRYPTED), "the runtime file is not one"),
            ("runtime", _archive()[:40] + _archive()[41:], "the runtime file is not one"),
            ("application", canonical_archive({"DEPENDENCIES": b"Crypto 00"}), "other third-party packages"),
            ("application", b"", "the application file is not one"),
        ],
    )
    def test_files_of_another(self, part: str, content: bytes, message: str) -> None:
        image = installed_image()
        with pytest.raises(LocalError, match=message):
            monitor.check_environment(image._replace(**{part: content}), image)

    @pytest.mark.parametrize("content", [b"\0", b"\x7fELF\x02\x01", b"def", b"(" * 100_000])
    def test_loader_that_is_not_python(self, content: bytes) -> None:
        image = installed_image()
        monitor.check_loader(image)
        with pytest.raises(LocalError, match="the loader file is not one"):
            monitor.check_loader(image._replace(loader=content))


@pytest.mark.skipif(sys.platform != "linux", reason="enclaves are Linux processes")
class TestProcess:
    def test_nothing_is_picked_up_from_the_working_directory(self, tmp_path: Path) -> None:
        for name in ("tinywasm", "Crypto", "zipfile", "sitecustomize"):
            (tmp_path / f"{name}.py").write_text("raise SystemExit('picked up')")
        assert isinstance(run_monitor(tmp_path), control.Ready)

    def test_broken_application_is_told(self, tmp_path: Path) -> None:
        image = installed_image()
        entries = {"DEPENDENCIES": monitor._entry(image.application, "DEPENDENCIES", "application")}
        path = tmp_path / "application"
        path.write_bytes(canonical_archive(entries))
        message = run_monitor(tmp_path, f"--application={path}")
        assert message == control.Error("the process that enclaves are forked from has ended")

    def test_no_image_of_its_memory_is_written(self, tmp_path: Path) -> None:
        said = tmp_path / "said"
        code = f"""
from wasm_rt.monitor import main
main(packages, zygote)
import ctypes, resource
PR_GET_DUMPABLE = 3
with open({str(said)!r}, "w") as file:
    print(ctypes.CDLL(None).prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), file=file)
    print(*resource.getrlimit(resource.RLIMIT_CORE), file=file)
"""
        soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
        try:
            assert isinstance(run_monitor(tmp_path, code=START + code), control.Ready)
        finally:
            resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
        assert said.read_text() == "0\n0 0\n"

    def test_unusable_state_is_told(self, tmp_path: Path) -> None:
        load_device_key(tmp_path)
        os.chmod(tmp_path / "simulated-device.key", 0o644)
        told = run_monitor(tmp_path)
        assert isinstance(told, control.Error) and "chmod 600" in told.text
