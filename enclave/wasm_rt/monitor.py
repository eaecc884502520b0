"""The simulated security monitor: what firmware does on a device, in a process of its own.

It measures the three files, starts the zygote from exactly those bytes, holds the device key, and signs
reports. The host has a control socket and may ask for enclaves; reports and sealing keys are given only to
enclaves, each over its own socket and about itself.

Control datagrams are JSON. From the host: ``{"start": n}`` with the enclave's ends of channel and storage,
``{"stop": n, "why": reason}``, ``{"kill": n}``, ``{"ping": n}``. To the host: ``{"ready": {...}}`` or
``{"error": text}`` once, then ``{"started": n, "pid": p}``, ``{"failed": n}``, ``{"ended": n, "status": s}``,
``{"pong": n}``, ``{"log": text, "enclave": n}``.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schannel.errors import LocalError
from schannel.measurement import (
    DEPENDENCIES_ENTRY,
    PYTHON_ENTRY,
    EnclaveImage,
    build_image,
    canonical_archive,
    python_tag,
)
from schannel.monitor_keys import Monitor
from schannel.packages import OUR_PACKAGES
from schannel.simulation import monitor_measurement, state_directory

from . import monitor_link
from .configuration import Configuration
from .device import load_device_key
from .loader import sealed_memory
from .sandbox import die_with_parent, leave_no_core

Packages = Mapping[str, Mapping[str, bytes]]
"""Each package's files, as `schannel.packages.read_packages` gives them."""

_MAX_DATAGRAM = 65536
_ENCRYPTED = 1
_DESCRIPTORS = 2
"""What comes from the host with a request to start an enclave: its ends of channel and storage."""

MAX_LINES, MAX_ANSWERS = 16, 16
"""Lines that an enclave may log, and reports and keys that it may have: one and two are what it needs."""

MAX_UNHEARD = 1000
"""Lines more that it may write: one that writes even more is hung up on."""

# Everything that these lines do not do is done by measured code.
_BOOT = """
import sys
files = []
for descriptor in map(int, sys.argv[2:5]):
    with open(descriptor, "rb") as file:
        files.append(file.read())
names = {"__name__": "wasm_rt.loader"}
exec(compile(files[0], "<measured>/wasm_rt/loader.py", "exec"), names)
names["main"](int(sys.argv[1]), *files, *sys.argv[5:7])
"""

INTERPRETER_OPTIONS = ("-I", "-S", "-B", "-X", "pycache_prefix=/dev/null/none")
"""No environment, no working directory, no site-packages with their `.pth` files, and no cached bytecode, not
even of the standard library: nothing can be below that path."""


def main(packages: Packages, arguments: Sequence[str] | None = None) -> int:
    """Entry point of the monitor's process: serve the host until it hangs up.

    `packages` are the files that this process runs, and that enclaves are to run.
    """
    parser = argparse.ArgumentParser(prog="wasm-rt-monitor")
    parser.add_argument("--control", type=int, required=True)
    for name in ("loader", "runtime", "application", "configuration"):
        parser.add_argument(f"--{name}", type=Path)
    options = parser.parse_args(arguments)
    die_with_parent()
    # Before there is a key in it.
    leave_no_core()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=options.control)
    try:
        settings = read_settings(options.configuration)
        given = (options.loader, options.runtime, options.application)
        server = _boot(control, packages, given, settings)
    except (LocalError, OSError, RuntimeError) as error:
        _send(control, {"error": _shown(error)})
        return 1
    try:
        server.run()
    finally:
        server.close()
    return 0


def _shown(error: Exception) -> str:
    if not isinstance(error, OSError) or error.filename is None:
        return str(error)
    return f"cannot use {error.filename}: {(error.strerror or str(error)).lower()}"


def read_settings(path: Path | None) -> dict[str, Any]:
    """The operator's part of an enclave's configuration, from a TOML file.

    Raises:
        LocalError: it cannot be read, is not TOML, or holds anything else than settings.
    """
    if path is None:
        return {}
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise LocalError(f"the configuration {path} cannot be used: {error}") from error
    # The enclave reads it again for itself; this is for the operator, who gets to see the error.
    Configuration.from_mapping(settings)
    return settings


def _boot(
    control: socket.socket,
    packages: Packages,
    given: Sequence[Path | None],
    settings: Mapping[str, Any],
) -> MonitorServer:
    dependencies = {name: files for name, files in packages.items() if name not in OUR_PACKAGES}
    installed = build_image(packages, dependencies=tuple(dependencies))
    made = (installed.loader, installed.runtime, installed.application)
    image = EnclaveImage(*(path.read_bytes() if path else own for path, own in zip(given, made, strict=True)))
    check_environment(image, installed)
    # Started before the device key is read: what enclaves are forked from never had it.
    zygote, zygote_control = start_zygote(image, dependencies, settings)
    monitor = Monitor.boot(load_device_key(state_directory()), monitor_measurement(installed))
    return MonitorServer(control, zygote_control, zygote, monitor, image.measurement())


def check_environment(image: EnclaveImage, installed: EnclaveImage) -> None:
    """Compare what the measured files say about this machine with this machine.

    Raises:
        LocalError: they were made for another interpreter, or with other third-party packages.
    """
    python = _entry(image.runtime, PYTHON_ENTRY, "runtime")
    if python != python_tag().encode():
        raise LocalError(f"the runtime file is for {python.decode(errors='replace')}, not {python_tag()}")
    if _entry(image.application, DEPENDENCIES_ENTRY, "application") != _entry(
        installed.application, DEPENDENCIES_ENTRY, "application"
    ):
        raise LocalError("the application file was made with other third-party packages than are installed")


def _entry(archive: bytes, name: str, what: str) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            info = opened.getinfo(name)
            # As this release makes them: what is compressed may be huge, and every codec has its own errors.
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & _ENCRYPTED:
                raise ValueError("not stored as it is")
            return opened.read(info)
    except (zipfile.BadZipFile, KeyError, ValueError, NotImplementedError, EOFError, OSError) as error:
        raise LocalError(f"the {what} file is not one that this release makes") from error


def start_zygote(
    image: EnclaveImage, dependencies: Packages, settings: Mapping[str, Any]
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start the process that enclaves are forked from, out of the measured bytes; returns its control socket.

    `settings` is what differs from the configuration's defaults.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    files = [sealed_memory("measured", part) for part in (image.loader, image.runtime, image.application)]
    archives = {
        name: sealed_memory(name, canonical_archive(entries)) for name, entries in dependencies.items()
    }
    descriptors = [theirs.fileno(), *files, *archives.values()]
    given = [json.dumps(archives), json.dumps(settings)]
    try:
        zygote = subprocess.Popen(
            [sys.executable, *INTERPRETER_OPTIONS, "-c", _BOOT, *map(str, descriptors[:4]), *given],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd="/",
            env={},
            pass_fds=descriptors,
        )
    finally:
        theirs.close()
        for descriptor in descriptors[1:]:
            os.close(descriptor)
    return zygote, ours


@dataclass(slots=True)
class _Link:
    """The monitor's end of an enclave's socket, and how much the enclave has had of it."""

    socket: socket.socket
    lines: int = 0
    answers: int = 0


class MonitorServer:
    """Serves the host, the zygote and the enclaves.

    An enclave that was taken over can write `MAX_LINES` lines into the host's log, and have `MAX_ANSWERS`
    questions answered, not more, and is hung up on when it does not stop: neither the log nor the monitor's
    time is its to use up.
    """

    def __init__(
        self,
        control: socket.socket,
        zygote_control: socket.socket,
        zygote: subprocess.Popen[bytes],
        monitor: Monitor,
        enclave_hash: bytes,
    ) -> None:
        self._control = control
        self._zygote_control = zygote_control
        self._zygote = zygote
        self._monitor = monitor
        self._enclave_hash = enclave_hash
        self._links: dict[int, _Link] = {}
        self._selector = selectors.DefaultSelector()
        self._watch(control, self._serve_host)
        self._watch(zygote_control, self._serve_zygote)

    def run(self) -> None:
        """Serve until the host hangs up or the zygote ends."""
        serving = True
        while serving:
            for key, _ in self._selector.select():
                serve: Callable[[], bool] = key.data
                serving = serve() and serving

    def close(self) -> None:
        """End the zygote, and with it every enclave."""
        self._zygote.kill()
        self._zygote.wait()

    def _watch(self, connection: socket.socket, serve: Callable[[], bool]) -> None:
        self._selector.register(connection, selectors.EVENT_READ, serve)

    def _serve_host(self) -> bool:
        text, descriptors = _receive(self._control)
        if not text:
            return False
        request = json.loads(text)
        if "start" in request:
            self._start(request["start"], descriptors)
        else:
            _send(self._zygote_control, request)
        return True

    def _start(self, number: int, descriptors: Sequence[int]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        request = json.dumps({"start": number}).encode()
        try:
            # Without the zygote there is no enclave, and its socket says so next.
            with contextlib.suppress(ConnectionError):
                socket.send_fds(self._zygote_control, [request], [*descriptors, theirs.fileno()])
        finally:
            theirs.close()
            for descriptor in descriptors:
                os.close(descriptor)
        link = self._links[number] = _Link(ours)
        self._watch(ours, lambda: self._serve_enclave(number, link))

    def _serve_zygote(self) -> bool:
        text, _ = _receive(self._zygote_control)
        if not text:
            _send(self._control, {"error": "the process that enclaves are forked from has ended"})
            return False
        answer: dict[str, Any] = json.loads(text)
        if "ready" in answer:
            answer["ready"] |= self._identity()
        ended = answer.get("ended", answer.get("failed"))
        if ended is not None:
            self._drop(ended)
        _send(self._control, answer)
        return True

    def _identity(self) -> Mapping[str, str]:
        return {
            "enclave": self._enclave_hash.hex(),
            "monitor": self._monitor.monitor_hash.hex(),
            "device": self._monitor.device_public_key.hex(),
        }

    def _serve_enclave(self, number: int, link: _Link) -> bool:
        try:
            request = monitor_link.receive_request(link.socket)
            if not request:
                self._drop(number)
            elif request.startswith(monitor_link.LOG):
                self._log(number, link, request[1:].decode(errors="replace"))
            elif link.answers == MAX_ANSWERS:
                self._send_log(number, f"hung up on: it has asked {MAX_ANSWERS} questions, and asks more")
                self._drop(number)
            else:
                link.answers += 1
                link.socket.send(monitor_link.answer_request(self._monitor, self._enclave_hash, request))
        except OSError:
            # An enclave that ended meanwhile, or does not take its answers: it harms only itself.
            self._drop(number)
        return True

    def _log(self, number: int, link: _Link, text: str) -> None:
        link.lines += 1
        if link.lines <= MAX_LINES:
            self._send_log(number, text)
        elif link.lines == MAX_LINES + 1:
            self._send_log(number, f"is heard no more: it has logged {MAX_LINES} lines, and logs more")
        elif link.lines > MAX_LINES + MAX_UNHEARD:
            self._drop(number)

    def _send_log(self, number: int, text: str) -> None:
        _send(self._control, {"log": text, "enclave": number})

    def _drop(self, number: int) -> None:
        link = self._links.pop(number, None)
        if link is not None:
            self._selector.unregister(link.socket)
            link.socket.close()


def _receive(control: socket.socket) -> tuple[bytes, list[int]]:
    """A datagram and the descriptors with it; nothing when the other end is gone, however it went."""
    try:
        text, descriptors, _, _ = socket.recv_fds(control, _MAX_DATAGRAM, _DESCRIPTORS)
    except ConnectionError:
        # It was killed with something of ours unread.
        return b"", []
    return text, descriptors


def _send(control: socket.socket, message: Mapping[str, object]) -> None:
    with contextlib.suppress(ConnectionError):
        control.send(json.dumps(message).encode())
