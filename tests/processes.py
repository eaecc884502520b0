"""Real processes for tests: a host on a free port of the loopback, and who is still alive afterwards."""

from __future__ import annotations

import os
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from schannel import control
from schannel.policy import Policy
from schannel.simulation import STATE_VARIABLES, simulation_policy
from wasm_host.simulated import BOOT, INTERPRETER_OPTIONS, package_folders

ROOT = Path(__file__).resolve().parent.parent
CALCULATOR = ROOT / "examples" / "calculator.wat"
FOLDERS = [ROOT, *(ROOT / name for name in ("channel", "enclave", "host", "client"))]
START_TIMEOUT = 60.0
STOP_TIMEOUT = 15.0


def environment(state: Path) -> dict[str, str]:
    """The environment of a program under test; its simulated device is in `state`."""
    inherited = {key: value for key, value in os.environ.items() if key not in STATE_VARIABLES}
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join(map(str, FOLDERS)),
        "TINYWASM_STATE_DIR": str(state),
        "HOME": str(state),
        "XDG_CONFIG_HOME": str(state / "config"),
        "PROMPT_TOOLKIT_NO_CPR": "1",
        "TERM": "xterm",
    }


def read_line(process: subprocess.Popen[str], timeout: float = START_TIMEOUT) -> str:
    """One line of a process's standard output; empty when it ended, or said nothing in time."""
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], timeout)
    return process.stdout.readline() if readable else ""


# Without enclaves in waiting, tests can tell whose the processes are.
_QUIET = ("--pool", "0", "--max-drain", "1")


@dataclass
class Host:
    """A running wasm-host. `log` grows while it runs with ``-v``."""

    process: subprocess.Popen[str]
    address: str
    state: Path
    policy: Policy
    log: Path

    @property
    def target(self) -> tuple[str, int]:
        host, port = self.address.rsplit(":", 1)
        return host, int(port)

    def wait_for_log(self, text: str, timeout: float = 20.0) -> str:
        """The log, as soon as it contains `text`."""
        wait_until(lambda: text in self.log.read_text(), timeout, f"{text!r} in the host's log")
        return self.log.read_text()


@contextmanager
def host(
    state: Path,
    *options: str,
    policy: Policy | None = None,
    interpreter: str = sys.executable,
    environ: Mapping[str, str] | None = None,
) -> Iterator[Host]:
    """Run a wasm-host, with `environ` in its environment; it is stopped, or killed, at the end."""
    state.mkdir(exist_ok=True)
    log = state / f"host-{time.monotonic_ns()}.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [interpreter, "-m", "wasm_host", "-v", "-a", "127.0.0.1:0", *_QUIET, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=state,
            env=environment(state) | dict(environ or {}),
            start_new_session=True,
        )
    try:
        line = read_line(process)
        assert line.startswith("wasm-host: listening on "), log.read_text()
        accepted = policy or simulation_policy(state)
        yield Host(process, line.split()[-1], state, accepted, log)
    finally:
        stop(process)


def run_monitor(state: Path, *options: str, code: str = BOOT, folders: str | None = None) -> control.Control:
    """The first message of a monitor's process, which then ends because its host hangs up."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen(
        [
            *(sys.executable, *INTERPRETER_OPTIONS, "-c", code, folders or package_folders()),
            *(f"--control={theirs.fileno()}", *options),
        ],
        pass_fds=[theirs.fileno()],
        env=environment(state),
        cwd=state,
    )
    theirs.close()
    try:
        with ours:
            ours.settimeout(60)
            message = control.decode(ours.recv(control.MAX_DATAGRAM))
        process.wait(20)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return message


def put_something_else(path: Path, kind: str) -> None:
    """Put something in a file's place that is no file of a reasonable size."""
    path.unlink(missing_ok=True)
    match kind:
        case "pipe":
            os.mkfifo(path, 0o600)
        case "folder":
            path.mkdir()
        case "link":
            path.symlink_to("/dev/zero")
        case "link to nothing":
            path.symlink_to("nowhere")
        case "device":
            try:
                os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))
            except PermissionError:
                path.symlink_to("/dev/zero")
        case "endless file":
            path.touch(0o600)
            os.truncate(path, 1 << 40)


def stop(process: subprocess.Popen[str]) -> None:
    """End a process that this test started, by force if it does not end in time."""
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def descendants(pid: int) -> set[int]:
    """The processes below `pid` that are alive."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (parent := _parent(int(entry.name))) is not None:
            children.setdefault(parent, []).append(int(entry.name))
    found: set[int] = set()
    queue = [pid]
    while queue:
        below = children.get(queue.pop(), [])
        found |= set(below)
        queue += below
    return found


def _parent(pid: int) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[1])


def alive(pids: set[int]) -> set[int]:
    """Those of `pids` that are neither gone nor waiting to be reaped."""
    return {pid for pid in pids if _parent(pid) is not None}


def wait_until(condition: Callable[[], bool], timeout: float, what: str) -> None:
    """Look now and then until `condition` holds; fails the test after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def signal_process(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that this test started, or that one started for it."""
    os.kill(pid, number)


Tamper = Callable[[str, bytes], list[bytes]]
"""Direction (``up``, from the client, or ``down``) and a piece; returns what goes on instead."""


class Proxy:
    """Stands between client and host, records what passes, and may tamper with it."""

    def __init__(
        self, target: tuple[str, int], tamper: Tamper | None = None, *, records: bool = False
    ) -> None:
        self._target = target
        self._tamper = tamper or (lambda _direction, piece: [piece])
        self._records = records
        self.seen: dict[str, bytearray] = {"up": bytearray(), "down": bytearray()}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = [self._listener]
        self._start(self._accept)

    @property
    def address(self) -> str:
        return "{}:{}".format(*self._listener.getsockname())

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        for item in self._sockets:
            with suppress(OSError):
                item.shutdown(socket.SHUT_RDWR)
            item.close()
        for thread in self._threads:
            thread.join(10)

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target, 10)
            self._sockets += [client, server]
            self._start(self._pump, "up", client, server)
            self._start(self._pump, "down", server, client)

    def _pump(self, direction: str, source: socket.socket, sink: socket.socket) -> None:
        read = source.makefile("rb")
        try:
            if self._records and direction == "up":
                sink.sendall(read.read(8))
            while piece := self._next(read):
                self.seen[direction] += piece
                for changed in self._tamper(direction, piece):
                    sink.sendall(changed)
        except OSError:
            pass
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def _next(self, read: object) -> bytes:
        if not self._records:
            return read.read1(65536)  # type: ignore[attr-defined, no-any-return]
        head = read.read(2)  # type: ignore[attr-defined]
        return head + read.read(int.from_bytes(head, "big"))  # type: ignore[attr-defined, no-any-return]
