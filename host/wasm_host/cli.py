"""The ``wasm-host`` command."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import logging
import math
import os
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NoReturn

from schannel.command_line import DEFAULT_ADDRESS
from schannel.extra import require
from schannel.release import installed_version

from . import keystone
from .check import check_isolation, report
from .limits import ServerLimits
from .logs import configure_logs, log_event
from .metrics import Metrics
from .monitor import Device, EnclaveFiles, Monitor, MonitorError
from .server import Server, unless
from .simulated import SimulatedMonitor
from .storage import SealedStore, StoreLimits

EXIT_FAILED, EXIT_ADDRESS_IN_USE, EXIT_INTERRUPTED = 1, 3, 130

_PROGRAM = "wasm-host"
_MEBIBYTE, _SECONDS_OF_A_DAY = 1 << 20, 86_400.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    # The monitor needs it, a process of its own that could only say so with a traceback.
    require("Crypto")
    if options.metrics:
        require("prometheus_client")
    configure_logs(_PROGRAM, verbose=options.verbose, as_json=options.log_format == "json")
    files = EnclaveFiles(options.loader, options.runtime, options.eapp, options.configuration)
    try:
        device = Device(options.device)
        given = {name: getattr(options, name) for name in _LIMITS}
        if given["pool"] is None:
            given["pool"] = _POOL[device]
        limits = ServerLimits(**given)
        if options.check:
            return _check(device, limits)
        if options.command == "measure":
            return asyncio.run(_describe(device, files, limits))
        return asyncio.run(_serve(device, options, files, limits))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except MonitorError as error:
        print(f"{_PROGRAM}: {error}", file=sys.stderr)
    except OSError as error:
        print(f"{_PROGRAM}: {_shown(error)}", file=sys.stderr)
        if error.errno == errno.EADDRINUSE:
            return EXIT_ADDRESS_IN_USE
    return EXIT_FAILED


def _shown(error: OSError) -> str:
    reason = error.strerror or str(error)
    return reason if error.filename is None else f"cannot use {error.filename}: {reason.lower()}"


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="Start an enclave for each client that connects, and relay its encrypted channel.",
    )
    parser.add_argument(
        "--device", choices=[device.value for device in Device], default=Device.SIMULATED.value,
        help="where enclaves run: processes of this machine (simulated, the default), or Keystone on RISC-V",
    )  # fmt: skip
    parser.add_argument("-l", "--loader", type=_file, metavar="FILE", help="the enclave's loader")
    parser.add_argument("-r", "--runtime", type=_file, metavar="FILE", help="the enclave's runtime")
    parser.add_argument(
        "-e", "--eapp", type=_file, metavar="FILE",
        help="the enclave's application (default for all three: made from the installation)",
    )  # fmt: skip
    parser.add_argument(
        "--free-memory", type=_count, default=32, metavar="N",
        help="mebibytes that an enclave on Keystone has beside its files (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--configuration", type=_file, metavar="FILE",
        help="limits of enclaves, and the client keys that may deploy and call, in TOML",
    )  # fmt: skip
    parser.add_argument(
        "-a", "--address", type=_address, default=DEFAULT_ADDRESS, metavar="HOST:PORT",
        help="where to listen (default %(default)s; port 0: any free one)",
    )  # fmt: skip
    parser.add_argument(
        "command", nargs="?", choices=("serve", "measure"), default="serve",
        help="serve clients, or print what their policy has to accept to use this host's enclaves",
    )  # fmt: skip
    parser.add_argument(
        "--check", action="store_true",
        help="print which layers of isolation this machine offers, and stop; status 1 if one is missing",
    )  # fmt: skip
    parser.add_argument(
        "--metrics", type=_address, metavar="HOST:PORT",
        help="show metrics to Prometheus, and /healthz, over HTTP at this address",
    )  # fmt: skip
    parser.add_argument("--log-format", choices=("text", "json"), default="text", help="how log lines look")
    _add_limits(parser.add_argument_group("limits", "counts, and times in seconds"))
    parser.add_argument("-v", "--verbose", action="store_true", help="log connections and enclaves")
    parser.add_argument("-V", "--version", action="version", version=f"{_PROGRAM} {installed_version()}")
    return parser


_LIMITS = {
    "enclaves": "clients that are served at a time",
    "enclaves_per_address": "of these, clients from one address; 0: a quarter",
    "waiting": "clients that wait for an enclave",
    "wait": "how long one waits",
    "connections": "open connections, of all clients",
    "per_address": "open connections from one address",
    "handshake": "how long a client's first message may take",
    "idle": "how long a session lasts in which nothing passes",
    "session": "how long a session lasts",
    "memory": "mebibytes that all enclaves have together; the session with most of it is closed",
    "kept": "mebibytes of sealed programs, of all clients",
    "kept_per_client": "mebibytes of sealed programs, of one client",
    "kept_days": "days after which a sealed program that nobody uses is removed",
    "drain": "how long sessions may go on after SIGTERM; a second signal ends them at once",
    "pool": "enclaves that are kept ready",
    "start": "how long the host may take to get ready; on Keystone also how long each enclave may take",
}


_POOL = {Device.SIMULATED: ServerLimits().pool, Device.KEYSTONE: 0}
"""On Keystone, one that waits has as much of the scarce memory as one that serves."""


def _add_limits(group: argparse._ArgumentGroup) -> None:
    defaults = ServerLimits()
    for name, shown in _LIMITS.items():
        default = getattr(defaults, name)
        pool = name == "pool"
        group.add_argument(
            "--pool" if pool else "--max-" + name.replace("_", "-"), dest=name, metavar="N",
            type=_count if isinstance(default, int) else _seconds, default=None if pool else default,
            help=f"{shown} (default {f'{default}, on Keystone 0' if pool else default})",
        )  # fmt: skip


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) > 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1000000")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value


def _file(text: str) -> Path:
    try:
        mode = os.stat(text).st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise argparse.ArgumentTypeError(f"there is no file {text}") from error
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text} cannot be used: {_words(error)}") from error
    if stat.S_ISDIR(mode):
        raise argparse.ArgumentTypeError(f"{text} is a directory")
    if not stat.S_ISREG(mode):
        raise argparse.ArgumentTypeError(f"{text} is not a regular file")
    return Path(text)


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def _start(device: Device, files: EnclaveFiles, limits: ServerLimits, free: int) -> Monitor:
    """Start the monitor that was asked for."""
    match device:
        case Device.SIMULATED:
            return SimulatedMonitor.start(files, limits.descriptors, limits.start)
        case Device.KEYSTONE:
            return keystone.start(files, free * _MEBIBYTE, limits)


async def _describe(device: Device, files: EnclaveFiles, limits: ServerLimits) -> int:
    match device:
        case Device.SIMULATED:
            policy = await _simulated_policy(files, limits.start)
        case Device.KEYSTONE:
            identity = keystone.describe(files, limits.start)
            policy = identity.policy
            # A simulated one's policy names them itself: they are this machine's.
            for layer in identity.missing:
                print(f"{_PROGRAM}: {_without(*layer)}", file=sys.stderr)
    print(policy, end="")
    return 0


def _without(name: str, why: str) -> str:
    return f"enclaves run without {name}: {why}"


async def _simulated_policy(files: EnclaveFiles, patience: float) -> str:
    monitor = SimulatedMonitor.start(files, patience=patience)
    try:
        return (await monitor.ready()).policy
    finally:
        await monitor.close()


def _check(device: Device, limits: ServerLimits) -> int:
    print(f"device: {device.value}")
    if device is Device.KEYSTONE:
        *lines, missing = keystone.check()
        print(*lines, *filter(None, [missing]), sep="\n")
        return EXIT_FAILED if missing else 0
    layers = check_isolation(limits.start)
    for line in report(layers):
        print(line)
    return EXIT_FAILED if any(layers.values()) else 0


async def _serve(
    device: Device, options: argparse.Namespace, files: EnclaveFiles, limits: ServerLimits
) -> int:
    signals = _Signals()
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_bind(*options.address))
        metrics_listener = stack.enter_context(_bind(*options.metrics)) if options.metrics else None
        monitor = _start(device, files, limits, options.free_memory)
        try:
            identity = await unless(monitor.ready(), signals.stopped())
            for name, why in identity.missing:
                log_event(logging.WARNING, "isolation_missing", _without(name, why), layer=name)
            metrics = Metrics()
            store = SealedStore(sealed_folder(), _store_limits(limits))
            server = Server(monitor, store, limits, metrics, identity.data_limit)
            signals.server = server
            await server.listen(listener)
            _tell_device(device)
            host, port = listener.getsockname()[:2]
            print(f"{_PROGRAM}: listening on {host}:{port}", flush=True)
            async with contextlib.AsyncExitStack() as showing:
                if metrics_listener is not None:
                    await showing.enter_async_context(
                        _showing(metrics, limits, server, monitor, store, metrics_listener)
                    )
                await _serve_until(signals.stop, monitor, server)
        except _Stopped:
            # Before anybody could connect.
            return 0
        finally:
            await monitor.close()
    return 0


def _tell_device(device: Device) -> None:
    level, shown = logging.INFO, f"device: {device.value}"
    if device is Device.SIMULATED:
        level = logging.WARNING
        shown += ": enclaves protect nothing from the owner of this machine"
    log_event(level, "device", shown, device=device.value)


def _store_limits(limits: ServerLimits) -> StoreLimits:
    return StoreLimits(
        limits.kept * _MEBIBYTE, limits.kept_per_client * _MEBIBYTE, limits.kept_days * _SECONDS_OF_A_DAY
    )


@contextlib.asynccontextmanager
async def _showing(
    metrics: Metrics,
    limits: ServerLimits,
    server: Server,
    monitor: Monitor,
    store: SealedStore,
    listener: socket.socket,
) -> AsyncIterator[None]:
    """Answer requests for metrics meanwhile."""
    # What nobody wants to see costs neither time nor memory.
    from .exposition import Exposition
    from .metrics_server import MetricsServer

    exposition = Exposition(metrics, limits, lambda: server.enclave_memory, lambda: store.used)
    shown = MetricsServer(exposition.page, lambda: ailment(server, monitor), device=monitor.device.value)
    await shown.listen(listener)
    host, port = listener.getsockname()[:2]
    print(f"{_PROGRAM}: metrics at http://{host}:{port}/metrics", flush=True)
    try:
        yield
    finally:
        shown.close()


def ailment(server: Server, monitor: Monitor) -> str:
    """Why a client that connects now would not be served; empty where it would be."""
    if not server.accepting:
        return "stopping"
    return monitor.ailment


def sealed_folder() -> Path:
    """Where sealed programs are kept: beside the simulated device's key."""
    own, state_home = os.environ.get("TINYWASM_STATE_DIR"), os.environ.get("XDG_STATE_HOME")
    state = Path(own) if own else Path(state_home or "~/.local/state").expanduser() / "tinywasm"
    return state / "sealed"


def _bind(host: str, port: int) -> socket.socket:
    try:
        return _listen(host, port)
    except UnicodeError as error:
        raise OSError(errno.EINVAL, f"cannot listen on {host}:{port}: that is not a host name") from error
    except OSError as error:
        shown = f"cannot listen on {host}:{port}: {_words(error)}"
        raise OSError(error.errno, shown) from error


def _listen(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    # Named as TCP, because asyncio sends without delay only on what says so.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


class _Stopped(Exception):
    """The host was told to stop while it started."""


class _Signals:
    """SIGTERM and SIGINT, heeded from here on: `stop` is set when the host is to stop."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.server: Server | None = None
        """What serves clients, once there is one."""

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._heed, number)

    async def stopped(self) -> NoReturn:
        """Wait until the host is to stop, which is _Stopped."""
        await self.stop.wait()
        raise _Stopped

    def _heed(self, number: signal.Signals) -> None:
        """SIGTERM drains, SIGINT has the sessions closed now; a second one of either kind ends everything."""
        if self.server is not None:
            if self.stop.is_set():
                self.server.abort()
            elif number is signal.SIGINT:
                self.server.hurry()
        self.stop.set()


async def _serve_until(stop: asyncio.Event, monitor: Monitor, server: Server) -> None:
    monitor.failed.add_done_callback(lambda _: stop.set())
    await stop.wait()
    await server.drain()
    if monitor.failed.done():
        monitor.failed.result()
