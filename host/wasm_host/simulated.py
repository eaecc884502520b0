"""The simulated security monitor, from the host: start its process, ask it for enclaves, hear when they end.

The control datagrams are those of `schannel.control`; the host cannot ask for evidence or keys.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, TypeVar

from schannel import control
from schannel.endings import CloseReason
from schannel.errors import LocalError, MessageError
from schannel.packages import installed_packages

from .limits import START_LIMIT
from .logs import log_event
from .memory import process_memory
from .monitor import FAILED, Device, Enclave, EnclaveFiles, End, Identity, MonitorError, Stop, end_with

_T = TypeVar("_T")

_ENCLAVE_TIMEOUT = 20.0
"""Seconds for one enclave, which is a fork: a monitor that takes longer hangs."""

_STOP_TIMEOUT = 5.0
_KILL_TIMEOUT = 10.0
"""Seconds until an enclave that was killed has ended."""

_BEAT = 5.0
"""Seconds between two questions whether monitor and zygote still answer: one without an answer then hangs."""

_ENDED = "the security monitor has ended"
_HANGS = "the security monitor does not answer: it hangs"

_DESCRIPTORS = 96
"""Descriptors for what does not depend on limits: compiled modules above all, each in sealed memory."""

_PASSED_ON = ("TINYWASM_STATE_DIR", "XDG_STATE_HOME", "HOME")
"""All of the environment that the monitor sees: where the simulated device's key is."""

INTERPRETER_OPTIONS = ("-I", "-S", "-B", "-X", "pycache_prefix=/dev/null/none")
"""No environment, no working directory, no site-packages with their `.pth` files, and no cached bytecode:
nothing can be below that path."""

LOADER = """
import os, sys
from json import loads
folders = sys.argv.pop(1)
with open(os.path.join(loads(folders)["wasm_rt"], "loader.py"), "rb") as file:
    loader = file.read()
module = sys.modules["wasm_rt.loader"] = type(sys)("wasm_rt.loader")
exec(compile(loader, "<measured>/wasm_rt/loader.py", "exec"), vars(module))
"""
"""Reads the loader from the folders given first; who imports it later finds it compiled."""

LOAD = (
    LOADER
    + """
packages = module.boot(folders, loader)
"""
)
"""Reads the packages as well; from then on nothing else is run."""

START = (
    LOADER
    + """
zygote = module.start_zygote()
packages = module.boot(folders, loader)
"""
)
"""The same, with a process that enclaves will be forked from: it starts meanwhile."""

BOOT = (
    START
    + """
from wasm_rt.monitor import main
sys.exit(main(packages, zygote))
"""
)
"""Starts the monitor."""


@dataclass(slots=True)
class _Child:
    """An enclave's process: its number when it has started, and its end."""

    pid: asyncio.Future[int]
    ended: asyncio.Future[End]


class SimulatedMonitor:
    """The monitor's process, which takes no longer than `patience` seconds to start."""

    device = Device.SIMULATED

    def __init__(self, process: subprocess.Popen[bytes], connection: socket.socket, patience: float) -> None:
        self._process = process
        self._control = connection
        self._patience = patience
        self._children: dict[int, _Child] = {}
        self._last_number = 0
        self._ready: asyncio.Future[Identity] = asyncio.get_running_loop().create_future()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.hangs = False
        """Whether it did not answer in time when it was last asked; it may yet go on."""

        self._asked, self._answered, self._asking = 0, 0, True
        self._beat: asyncio.TimerHandle | None = None
        asyncio.get_running_loop().add_reader(connection, self._receive)

    @property
    def pid(self) -> int:
        """The monitor's process number."""
        return self._process.pid

    @classmethod
    def start(
        cls, files: EnclaveFiles, descriptors: int = 0, patience: float = START_LIMIT
    ) -> SimulatedMonitor:
        """Start the process; `ready` says when it has measured and loaded the enclave.

        `descriptors` says how many this process or the monitor is going to need beside their own, `patience`
        for how many seconds `ready` waits.

        Raises:
            MonitorError: the enclave's packages are not installed, this is no machine for enclaves, or this
                process may not open so many files.
        """
        if sys.platform != "linux":
            raise MonitorError("enclaves are Linux processes: this machine cannot run any")
        allow_descriptors(_DESCRIPTORS + descriptors)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        arguments = [f"--control={theirs.fileno()}", *_options(files)]
        with theirs:
            process = subprocess.Popen(
                [sys.executable, *INTERPRETER_OPTIONS, "-c", BOOT, package_folders(), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd="/",
                env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
                pass_fds=[theirs.fileno()],
                # Signals of a terminal are the host's to handle.
                start_new_session=True,
            )
        return cls(process, ours, patience)

    @property
    def ailment(self) -> str:
        """Why it would start no enclave now."""
        return "the security monitor does not answer" if self.hangs else ""

    async def ready(self) -> Identity:
        """Wait for the first enclave to be possible.

        Raises:
            MonitorError: the monitor says why not, ended, or takes too long.
        """
        try:
            return await asyncio.wait_for(asyncio.shield(self._ready), self._patience)
        except TimeoutError as error:
            raise MonitorError(
                f"the security monitor did not start in {self._patience:g} seconds: "
                "on a slow machine, let it have more (--max-start)"
            ) from error

    async def start_enclave(self) -> Enclave:
        """Have an enclave started; raises what `Monitor.start_enclave` says."""
        ours, theirs = zip(socket.socketpair(), socket.socketpair(), strict=True)
        self._last_number += 1
        number = self._last_number
        loop = asyncio.get_running_loop()
        child = _Child(loop.create_future(), loop.create_future())
        try:
            request = control.encode(control.Start(number))
            socket.send_fds(self._control, [request], [end.fileno() for end in theirs])
        except OSError as error:
            _close(ours)
            hangs = isinstance(error, BlockingIOError)
            raise MonitorError(_HANGS if hangs else "the security monitor is gone") from error
        finally:
            _close(theirs)
        self._children[number] = child
        try:
            async with asyncio.timeout(_ENCLAVE_TIMEOUT):
                pid = await child.pid
        except BaseException as error:
            # Started later all the same, it finds that nobody is there, and ends.
            _close(ours)
            if isinstance(error, TimeoutError):
                raise MonitorError(_HANGS) from error
            raise
        return Enclave(number, f"process {pid}", *ours, partial(process_memory, pid), child.ended)

    def stop_enclave(self, enclave: Enclave, why: Stop) -> None:
        """Ask an enclave to close its session, telling its client why, and to end."""
        self._send(control.Stop(enclave.number, CloseReason[why.name]))

    def kill_enclave(self, enclave: Enclave) -> None:
        """End an enclave that did not end when asked.

        Where the monitor does not say in time that it has ended, that is the monitor's end: nobody else can
        tell, and whoever waits for it would wait for ever.
        """
        self._send(control.Kill(enclave.number))
        asyncio.get_running_loop().call_later(_KILL_TIMEOUT, self._give_up, enclave)

    def _give_up(self, enclave: Enclave) -> None:
        if not enclave.ended.done():
            asyncio.get_running_loop().remove_reader(self._control)
            self._fail_all(_HANGS)

    async def close(self) -> None:
        """End the monitor and every enclave, and wait for it."""
        asyncio.get_running_loop().remove_reader(self._control)
        self._control.close()
        self._ask_no_more()
        try:
            await asyncio.to_thread(self._process.wait, _STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
        for future in (self._ready, self.failed):
            future.cancel()

    def _send(self, message: control.Control) -> bool:
        """Whether the message went out."""
        with contextlib.suppress(OSError):
            self._control.send(control.encode(message))
            return True
        return False

    def _receive(self) -> None:
        try:
            received = self._control.recv(control.MAX_DATAGRAM)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        try:
            message = control.decode(received) if received else control.Error(_ENDED)
        except MessageError as error:
            message = control.Error(f"what the security monitor says is {error}")
        if isinstance(message, control.Error):
            asyncio.get_running_loop().remove_reader(self._control)
        self._handle(message)

    def _handle(self, message: control.Control) -> None:
        match message:
            case control.Ready():
                self._ready.set_result(_identity(message))
                self._ask()
            case control.Started(number, pid):
                _resolve(self._children[number].pid, pid)
            case control.Ended(number, status):
                _resolve(self._children.pop(number).ended, end_of(status))
            case control.Failed(number):
                _fail(self._children.pop(number).pid, "the machine could not start another process")
            case control.Pong(number):
                self._answered = number
                self._note_whether_it_hangs()
            case control.Log(number, text):
                log_event(logging.INFO, "enclave_log", f"enclave {number}: {text}", enclave=number)
            case control.Error(text):
                self._fail_all(text)

    def _ask(self) -> None:
        """Ask whether the monitor, and behind it the zygote, still answer; again and again."""
        self._note_whether_it_hangs()
        # Questions must not pile up, but one that could not be sent is not answered either.
        if not self.hangs or not self._asking:
            self._asked += 1
            self._asking = self._send(control.Ping(self._asked))
        self._beat = asyncio.get_running_loop().call_later(_BEAT, self._ask)

    def _ask_no_more(self) -> None:
        if self._beat is not None:
            self._beat.cancel()

    def _note_whether_it_hangs(self) -> None:
        hangs = self._answered != self._asked
        if hangs is not self.hangs:
            shown = _HANGS if hangs else "the security monitor answers again"
            log_event(logging.WARNING, "monitor_hangs" if hangs else "monitor_answers", shown)
        self.hangs = hangs

    def _fail_all(self, text: str) -> None:
        self._ask_no_more()
        for future in (self._ready, self.failed):
            _fail(future, text)
        for child in self._children.values():
            _fail(child.pid, text)
            _resolve(child.ended, end_of(0))
        self._children.clear()


def _resolve(future: asyncio.Future[_T], value: _T) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: asyncio.Future[Any], text: str) -> None:
    if not future.done():
        future.set_exception(MonitorError(text))
        # Whoever waits gets it; when nobody does, it is not worth a warning.
        future.exception()


def _close(ends: Iterable[socket.socket]) -> None:
    for end in ends:
        end.close()


def _options(files: EnclaveFiles) -> list[str]:
    """The monitor's command line options for the files that are given."""
    named = {field.name: getattr(files, field.name) for field in fields(files)}
    return [f"--{name}={path.absolute()}" for name, path in named.items() if path is not None]


def _identity(ready: control.Ready) -> Identity:
    prepared = ready.prepared
    missing = tuple((layer.layer, layer.reason) for layer in prepared.missing)
    return Identity(policy_text(ready), prepared.data_limit, missing)


def policy_text(ready: control.Ready) -> str:
    """A client's policy, in TOML, that accepts exactly these enclaves."""
    prepared = ready.prepared
    missing = "".join(
        f"# not available on this machine: {layer.layer} ({layer.reason})\n" for layer in prepared.missing
    )
    isolation = ", ".join(f'"{name}"' for name in prepared.isolation)
    return f"""\
# The device below is simulated: it protects nothing from the owner of the host's machine.
{missing}[enclave]
measurements = ["{ready.enclave.hex()}"]
configurations = ["{prepared.configuration.hex()}"]
required_isolation = [{isolation}]

[monitor]
measurements = ["{ready.monitor.hex()}"]

[devices]
simulated = ["{ready.device.hex()}"]
allow_simulated = true
"""


def end_of(status: int) -> End:
    """How a session ended, from the wait status of its enclave's process."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        name = f"signal {number}"
        with contextlib.suppress(ValueError):
            name = signal.Signals(number).name
        return End(FAILED, f"the enclave was ended by {name}")
    return end_with(os.waitstatus_to_exitcode(status))


def allow_descriptors(needed: int) -> None:
    """Let this process, and those that it starts, have so many descriptors; MonitorError where it may not."""
    # Only Linux has enclaves: an import at the top would not get as far as saying so.
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise MonitorError(
            f"{needed} files have to be open at a time, and no more than {hard} may be (ulimit -Hn): "
            "raise that, or lower --max-connections and --max-enclaves"
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def package_folders() -> str:
    """Where the monitor finds the packages, found without importing them: a JSON object.

    Raises:
        MonitorError: one is not installed.
    """
    try:
        return json.dumps({name: os.path.abspath(path) for name, path in installed_packages().items()})
    except LocalError as error:
        raise MonitorError(str(error)) from error
