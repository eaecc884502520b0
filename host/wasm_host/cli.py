"""The ``wasm-host`` command."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import importlib.metadata
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from .monitor import EnclaveFiles, Identity, MonitorError, MonitorProcess
from .server import Server
from .storage import SealedStore

DEFAULT_ADDRESS = "127.0.0.1:3333"
EXIT_FAILED, EXIT_ADDRESS_IN_USE = 1, 3

_PROGRAM = "wasm-host"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO if options.verbose else logging.WARNING,
        format=f"{_PROGRAM}: %(message)s",
        stream=sys.stderr,
    )
    files = EnclaveFiles(options.loader, options.runtime, options.eapp, options.configuration)
    try:
        return asyncio.run(_describe(files) if options.print_policy else _serve(files, options.address))
    except KeyboardInterrupt:
        return EXIT_FAILED
    except MonitorError as error:
        print(f"{_PROGRAM}: {error}", file=sys.stderr)
    except OSError as error:
        print(f"{_PROGRAM}: {error.strerror or error}", file=sys.stderr)
        if error.errno == errno.EADDRINUSE:
            return EXIT_ADDRESS_IN_USE
    return EXIT_FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="Start an enclave for each client that connects, and relay its encrypted channel.",
    )
    parser.add_argument("-l", "--loader", type=_file, metavar="FILE", help="the enclave's loader")
    parser.add_argument("-r", "--runtime", type=_file, metavar="FILE", help="the enclave's runtime")
    parser.add_argument(
        "-e", "--eapp", type=_file, metavar="FILE",
        help="the enclave's application (default for all three: made from the installation)",
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
        "--print-policy", action="store_true",
        help="print what a client's policy has to accept to use this host's enclaves, and stop",
    )  # fmt: skip
    parser.add_argument("-v", "--verbose", action="store_true", help="log connections and enclaves")
    parser.add_argument("-V", "--version", action="version", version=f"{_PROGRAM} {_version()}")
    return parser


def _version() -> str:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version("tinywasm")
    return "(not installed)"


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return path


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


async def _describe(files: EnclaveFiles) -> int:
    monitor = MonitorProcess.start(files)
    try:
        identity = await monitor.ready()
    finally:
        await monitor.close()
    print(policy_text(identity), end="")
    return 0


def policy_text(identity: Identity) -> str:
    """A client's policy, in TOML, that accepts exactly this host's simulated enclaves."""
    missing = "".join(f"# not available on this machine: {name} ({why})\n" for name, why in identity.missing)
    isolation = ", ".join(f'"{name}"' for name in identity.isolation)
    return f"""\
# The device below is simulated: it protects nothing from the owner of the host's machine.
{missing}[enclave]
measurements = ["{identity.enclave}"]
configurations = ["{identity.configuration}"]
required_isolation = [{isolation}]

[monitor]
measurements = ["{identity.monitor}"]

[devices]
simulated = ["{identity.device}"]
allow_simulated = true
"""


async def _serve(files: EnclaveFiles, address: tuple[str, int]) -> int:
    listener = _bind(*address)
    with listener:
        monitor = MonitorProcess.start(files)
        try:
            identity = await monitor.ready()
            for name, why in identity.missing:
                logging.getLogger(__name__).warning("enclaves run without %s: %s", name, why)
            await _serve_clients(monitor, listener)
        finally:
            await monitor.close()
    return 0


def sealed_folder() -> Path:
    """Where sealed programs are kept: beside the simulated device's key."""
    own, state_home = os.environ.get("TINYWASM_STATE_DIR"), os.environ.get("XDG_STATE_HOME")
    state = Path(own) if own else Path(state_home or "~/.local/state").expanduser() / "tinywasm"
    return state / "sealed"


def _bind(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        shown = f"cannot listen on {host}:{port}: {(error.strerror or str(error)).lower()}"
        raise OSError(error.errno, shown) from error
    return listener


async def _serve_clients(monitor: MonitorProcess, listener: socket.socket) -> None:
    server = Server(monitor, SealedStore(sealed_folder()))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await server.listen(listener)
    host, port = listener.getsockname()[:2]
    print(f"{_PROGRAM}: listening on {host}:{port}", flush=True)
    monitor.failed.add_done_callback(lambda _: stop.set())
    await stop.wait()
    await server.close()
    if monitor.failed.done():
        monitor.failed.result()
