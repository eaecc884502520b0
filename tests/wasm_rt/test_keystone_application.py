"""`wasm-rt`, the application for Keystone, without Keystone: what Eyrie answers is all that it may ask for.

`make wasm-rt` builds it. It runs natively under a filter that refuses every other system call (`pipe.c`), and
under emulation of its processor, where the calls that it makes are compared with a list.
"""

from __future__ import annotations

import asyncio
import re
import socket
from pathlib import Path

import pytest

from schannel.endings import Ending
from schannel.events import EnclaveVerified, Event
from schannel.handshake import Suite
from schannel.keystone_files import LOADED, ElfHeader, ProgramHeader
from schannel.session import ClientSession
from tests.keystone_application import KEY, POLICY, built, emulator, run
from tests.processes import CALCULATOR, ROOT
from wasm_client import RequestFailed, Session, connect
from wasm_host.keystone_device import PAGE

ANSWERED = frozenset((
    "brk", "clock_gettime", "exit", "exit_group", "getpid", "getrandom", "mmap", "mprotect", "munmap",
    "rt_sigaction", "rt_sigprocmask", "set_tid_address", "uname",
))  # fmt: skip
"""The calls of Linux' that Eyrie answers (runtime/call/syscall.c, with LINUX_SYSCALL)."""

DONE_WITHOUT = frozenset((
    "close", "fcntl", "fstat", "gettid", "ioctl", "lseek", "madvise", "newfstatat", "openat", "prlimit64",
    "readlinkat", "rseq", "sched_getaffinity", "set_robust_list", "sysinfo",
))  # fmt: skip
"""What libc and Python ask for, and go on without: Eyrie returns -1, as the filter does."""


LARGEST_FILE = 10_000_000
LARGEST = 24 << 20
"""Bytes of enclave memory that the application may take for a small program."""


THREAD_LOCAL = 7
"""The kind of a segment (gABI, PT_TLS)."""


def segments(program: Path) -> list[ProgramHeader]:
    content = program.read_bytes()
    head = ElfHeader.parse(content[: ElfHeader.sizeof()])
    starts = [
        head.program_headers + number * head.program_header_size
        for number in range(head.program_header_count)
    ]
    return [ProgramHeader.parse(content[start : start + ProgramHeader.sizeof()]) for start in starts]


def enclave_memory(program: Path, calls: list[tuple[str, str, str]]) -> int:
    """Bytes that an application takes on Eyrie, which maps all at once: its file, zeros beside it, heap."""
    loaded = [segment for segment in segments(program) if segment.kind == LOADED]
    zeros = sum(segment.memory_size - segment.file_size for segment in loaded)
    most = now = 0
    breaks = [int(result, 16) for name, _, result in calls if name == "brk"]
    heap = breaks[-1] - breaks[0] if breaks else 0
    for name, arguments, result in calls:
        if (name, result) == ("munmap", "0"):
            now -= int(arguments.split(",")[1].rstrip(")"))
        elif name == "mmap" and result.startswith("0x"):
            now += int(arguments.split(",")[1])
        most = max(most, now)
    return program.stat().st_size + zeros + heap + most


def add(session: Session) -> None:
    session.deploy(CALCULATOR.read_bytes())
    assert session.call("add", 1, 1) == 2


class TestNative:
    """Under the filter."""

    def test_session_with_evidence_that_verifies(self, tmp_path: Path) -> None:
        def client(address: str) -> None:
            with connect(address, POLICY, key=KEY) as session:
                assert not session.verified.simulated
                add(session)
                receipt, _ = session.receipt().verify(POLICY)
                assert receipt.function == "add"

        run([built("wasm-rt-native")], tmp_path, client)

    @pytest.mark.parametrize("suite", Suite)
    def test_handshake_of_every_suite(self, tmp_path: Path, suite: Suite) -> None:
        def client(address: str) -> None:
            host, _, port = address.partition(":")
            session = ClientSession(POLICY, suite=suite)
            with socket.create_connection((host, int(port)), 60) as channel:
                events: list[Event] = []
                while not events:
                    channel.sendall(session.data_to_send())
                    events = session.receive_data(channel.recv(1 << 16))
                session.close()
                channel.sendall(session.data_to_send())
            assert isinstance(events[0], EnclaveVerified)

        run([built("wasm-rt-native")], tmp_path, client)

    def test_wasi_program(self, tmp_path: Path) -> None:
        program = (ROOT / "tests/wasi_programs/words.wasm").read_bytes()

        def client(address: str) -> None:
            with connect(address, POLICY) as session:
                session.deploy(program)
                result = session.run(stdin=b"one two two\n")
                # As many words as differ.
                assert result.exit_code == 2
                assert bytes(result.stdout).startswith(b"   2 two\n   1 one\n")

        run([built("wasm-rt-native")], tmp_path, client)

    def test_program_that_is_kept_for_the_next_enclave(self, tmp_path: Path) -> None:
        # Longer than what goes through one edge call.
        program = CALCULATOR.read_bytes() + b"\n;;" + b"x" * 200_000

        def keep(address: str) -> None:
            with connect(address, POLICY, key=KEY) as session:
                session.seal(program, "kept")

        def restore(address: str) -> None:
            with connect(address, POLICY, key=KEY) as session:
                session.restore("kept")
                assert session.call("add", 1, 1) == 2

        run([built("wasm-rt-native")], tmp_path, keep, restore)

    def test_limits_are_fuel(self, tmp_path: Path) -> None:
        def client(address: str) -> None:
            with connect(address, POLICY) as session:
                session.deploy(b'(module (func (export "spin") (loop (br 0))))')
                with pytest.raises(RequestFailed, match="all fuel consumed"):
                    session.call("spin", fuel=1_000_000)

        run([built("wasm-rt-native")], tmp_path, client)

    def test_memory_that_grows(self, tmp_path: Path) -> None:
        grow = b"""(module (memory 1) (func (export "grow") (param i32) (result i32)
            (memory.grow (local.get 0)))
            (func (export "store") (i32.store (i32.const 0x1ffffc) (i32.const 1))))"""

        def client(address: str) -> None:
            with connect(address, POLICY) as session:
                session.deploy(grow)
                assert session.call("grow", 31) == 1
                session.call("store")

        run([built("wasm-rt-native")], tmp_path, client)

    def test_evidence_says_what_the_randomness_is(self, tmp_path: Path) -> None:
        def client(address: str) -> None:
            with connect(address, POLICY) as session:
                assert b"randomness=sealing-key+monitor+host+cycles" in session.verified.evidence

        run([built("wasm-rt-native")], tmp_path, client)

    def test_two_enclaves_have_no_key_in_common(self, tmp_path: Path) -> None:
        keys = set()

        def client(address: str) -> None:
            with connect(address, POLICY) as session:
                keys.add(session.verified.receipt_key)

        run([built("wasm-rt-native")], tmp_path, client, client)
        assert len(keys) == 2


@pytest.mark.parametrize("name", ["wasm-rt", "wasm-rt-emulated"])
def test_file_is_laid_out_for_eyrie(name: str) -> None:
    program = Path(built(name))
    assert program.stat().st_size <= LARGEST_FILE
    found = segments(program)
    # Eyrie does not tell how long program headers are, so a C library does not find this one.
    assert THREAD_LOCAL not in {segment.kind for segment in found}
    # It loads by pages, of which each has the rights of one segment.
    loaded = [segment for segment in found if segment.kind == LOADED]
    assert all(segment.virtual_address % PAGE == segment.offset % PAGE for segment in loaded)
    ends = [segment.virtual_address + segment.memory_size for segment in loaded]
    starts = [segment.virtual_address // PAGE * PAGE for segment in loaded]
    assert all(end <= start for end, start in zip(ends[:-1], starts[1:], strict=True))


@pytest.mark.slow
class TestEmulated:
    """On its own processor, as QEMU emulates it."""

    def test_calls_are_those_that_eyrie_answers(self, tmp_path: Path) -> None:
        def client(address: str) -> None:
            with connect(address, POLICY) as session:
                add(session)

        log = tmp_path / "calls"
        options = ["-strace", "-D", str(log)]
        run([emulator(), *options, built("wasm-rt-emulated")], tmp_path, client)
        lines = re.findall(r"^\d+ (\w+)\((.*?)(?: = (.*))?$", log.read_text(), re.M)
        calls = {name for name, _, _ in lines} - {"read", "write"}
        assert calls <= ANSWERED | DONE_WITHOUT
        given = [arguments for name, arguments, result in lines if name == "mmap" and result.startswith("0x")]
        assert given and all("MAP_PRIVATE|MAP_ANONYMOUS,-1,0" in arguments for arguments in given)
        # Here there are files to open, which there are not on Keystone.
        opened = {result for name, _, result in lines if name == "openat" and result.isdecimal()}
        used = {arguments.partition(",")[0] for name, arguments, _ in lines if name in ("read", "write")}
        assert used - opened == {"3"}

        assert enclave_memory(Path(built("wasm-rt")), lines) < LARGEST

    def test_application_without_eyrie_ends(self) -> None:
        async def main() -> int | None:
            process = await asyncio.create_subprocess_exec(emulator(), built("wasm-rt"))
            return await asyncio.wait_for(process.wait(), 60)

        # There is no sealing key, so there is no randomness.
        assert asyncio.run(main()) == Ending.FAILED
