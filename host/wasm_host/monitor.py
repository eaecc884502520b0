"""The host's end of the security monitor: start its process, ask it for enclaves, hear when they end.

The control datagrams are those of `schannel.control`; the host cannot ask for evidence or keys.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
from dataclasses import dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any, Self

from schannel import control
from schannel.endings import CloseReason
from schannel.errors import LocalError, MessageError
from schannel.packages import installed_packages

from .logs import log_event

_START_TIMEOUT = 60.0
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


class Stop(Enum):
    """Why the host ends a session: what its log says. The names are those of the channel's close reasons."""

    SHUTDOWN = "the host stops"
    IDLE = "nothing has passed for too long"
    TIME = "it has lasted for as long as sessions may"
    MEMORY = "it has the most of the memory, which is used up"


class MonitorError(Exception):
    """The monitor cannot be started, or has ended, or cannot start an enclave."""


@dataclass(frozen=True, slots=True)
class EnclaveFiles:
    """The measured files, None for one that the installation makes, and the configuration's file."""

    loader: Path | None = None
    runtime: Path | None = None
    application: Path | None = None
    configuration: Path | None = None

    def options(self) -> list[str]:
        """The monitor's command line options for them."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return [f"--{name}={path.absolute()}" for name, path in named.items() if path is not None]


@dataclass(frozen=True, slots=True)
class Identity:
    """What clients of this host will see in evidence, hexadecimal, and what it stands for.

    `data_limit` is the configuration's, in bytes. `isolation` names the layers of isolation that enclaves
    have on this machine, `missing` those that they do not have, each with the reason.
    """

    enclave: str
    monitor: str
    device: str
    configuration: str
    data_limit: int
    isolation: tuple[str, ...]
    missing: tuple[tuple[str, str], ...]

    @classmethod
    def from_message(cls, ready: control.Ready) -> Self:
        """From the monitor's first message."""
        prepared = ready.prepared
        return cls(
            ready.enclave.hex(),
            ready.monitor.hex(),
            ready.device.hex(),
            prepared.configuration.hex(),
            prepared.data_limit,
            prepared.isolation,
            tuple((layer.layer, layer.reason) for layer in prepared.missing),
        )


@dataclass(slots=True)
class Enclave:
    """One enclave: `channel` and `storage` are the host's ends, `ended` gets its wait status."""

    number: int
    channel: socket.socket
    storage: socket.socket
    pid: asyncio.Future[int]
    ended: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def hang_up(self) -> None:
        """Close the host's ends."""
        self.channel.close()
        self.storage.close()


class MonitorProcess:
    """The running monitor. `failed` is set with a MonitorError when it ends by itself."""

    def __init__(self, process: subprocess.Popen[bytes], connection: socket.socket) -> None:
        self._process = process
        self._control = connection
        self._enclaves: dict[int, Enclave] = {}
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
    def start(cls, files: EnclaveFiles, descriptors: int = 0) -> MonitorProcess:
        """Start the process; `ready` says when it has measured and loaded the enclave.

        `descriptors` says how many this process or the monitor is going to need beside their own.

        Raises:
            MonitorError: the enclave's packages are not installed, this is no machine for enclaves, or this
                process may not open so many files.
        """
        if sys.platform != "linux":
            raise MonitorError("enclaves are Linux processes: this machine cannot run any")
        _allow_descriptors(_DESCRIPTORS + descriptors)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        arguments = [f"--control={theirs.fileno()}", *files.options()]
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
        return cls(process, ours)

    async def ready(self) -> Identity:
        """Wait for the first enclave to be possible.

        Raises:
            MonitorError: the monitor says why not, or ended.
        """
        try:
            return await asyncio.wait_for(asyncio.shield(self._ready), _START_TIMEOUT)
        except TimeoutError as error:
            raise MonitorError("the security monitor did not start in time") from error

    async def start_enclave(self) -> Enclave:
        """Have an enclave started.

        Raises:
            MonitorError: the monitor has ended, could not start it, or did not in time.
            OSError: this process has no descriptors left.
        """
        ours, theirs = zip(socket.socketpair(), socket.socketpair(), strict=True)
        self._last_number += 1
        enclave = Enclave(self._last_number, *ours, asyncio.get_running_loop().create_future())
        try:
            request = control.encode(control.Start(enclave.number))
            socket.send_fds(self._control, [request], [end.fileno() for end in theirs])
        except OSError as error:
            enclave.hang_up()
            hangs = isinstance(error, BlockingIOError)
            raise MonitorError(_HANGS if hangs else "the security monitor is gone") from error
        finally:
            for end in theirs:
                end.close()
        self._enclaves[enclave.number] = enclave
        try:
            async with asyncio.timeout(_ENCLAVE_TIMEOUT):
                await enclave.pid
        except BaseException as error:
            # Started later all the same, it finds that nobody is there, and ends.
            enclave.hang_up()
            if isinstance(error, TimeoutError):
                raise MonitorError(_HANGS) from error
            raise
        return enclave

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
                self._ready.set_result(Identity.from_message(message))
                self._ask()
            case control.Started(number, pid):
                self._resolve(self._enclaves[number].pid, pid)
            case control.Ended(number, status):
                self._resolve(self._enclaves.pop(number).ended, status)
            case control.Failed(number):
                self._fail(self._enclaves.pop(number).pid, "the machine could not start another process")
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
            self._fail(future, text)
        for enclave in self._enclaves.values():
            self._fail(enclave.pid, text)
            self._resolve(enclave.ended, 0)
        self._enclaves.clear()

    def _resolve(self, future: asyncio.Future[int], value: int) -> None:
        if not future.done():
            future.set_result(value)

    def _fail(self, future: asyncio.Future[Any], text: str) -> None:
        if not future.done():
            future.set_exception(MonitorError(text))
            # Whoever waits gets it; when nobody does, it is not worth a warning.
            future.exception()


def _allow_descriptors(needed: int) -> None:
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
