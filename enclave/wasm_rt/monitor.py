"""The simulated security monitor: what firmware does on a device, in a process of its own.

It measures the three files, starts the zygote from exactly those bytes, holds the device key, and signs
reports. The host has a control socket and may ask for enclaves; reports and sealing keys are given only to
enclaves, each over its own socket and about itself.

`schannel.control` has the datagrams.

A host's start waits for what is imported here. What the monitor needs for itself alone is imported once the
zygote has its files, while that loads them.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from schannel.errors import LocalError
from schannel.measurement import (
    DEPENDENCIES_ENTRY,
    PYTHON_ENTRY,
    EnclaveImage,
    build_image,
    canonical_archive,
    python_tag,
)
from schannel.packages import OUR_PACKAGES
from schannel.process import die_with_parent, leave_no_core
from schannel.whole_files import LARGEST, LARGEST_TEXT, read_whole

from .loader import give_files

if TYPE_CHECKING:
    from .monitor_server import MonitorServer

Packages = Mapping[str, Mapping[str, bytes]]
"""Each package's files, as `schannel.packages.read_packages` gives them."""

Zygote = tuple[int, socket.socket]
"""The number of the process that enclaves are forked from, and its control socket."""

_ENCRYPTED = 1


def main(packages: Packages, zygote: Zygote, arguments: Sequence[str] | None = None) -> int:
    """Entry point of the monitor's process: serve the host until it hangs up.

    Args:
        packages: the files that this process runs, and that enclaves are to run.
        zygote: as `loader.start_zygote` gives it.
        arguments: ``--control=DESCRIPTOR``, and ``--loader=``, ``--runtime=``, ``--application=`` and
            ``--configuration=`` with a file; by default the process's own.
    """
    given = sys.argv[1:] if arguments is None else arguments
    options = dict(argument.removeprefix("--").split("=", 1) for argument in given)
    die_with_parent()
    # Before there is a key in it.
    leave_no_core()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=int(options["control"]))
    try:
        server = _boot(control, packages, zygote, options)
    except (LocalError, OSError, RuntimeError) as error:
        _report(control, _shown(error))
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


def _report(control: socket.socket, failure: str) -> None:
    from schannel.control import Error

    from .monitor_server import send

    send(control, Error(failure))


def read_settings(path: str | os.PathLike[str] | None) -> dict[str, Any]:
    """The operator's part of an enclave's configuration, from a TOML file; nothing where there is none.

    Raises:
        LocalError: it cannot be read, is not TOML, or holds anything else than settings.
    """
    if path is None:
        return {}
    import tomllib

    from .configuration import Configuration

    try:
        settings = tomllib.loads(read_whole(path, LARGEST_TEXT).decode())
    except (OSError, ValueError, RecursionError) as error:
        raise LocalError(f"the configuration {path} cannot be used: {error}") from error
    # The enclave reads it again for itself; this is for the operator, who gets to see the error.
    Configuration.from_mapping(settings)
    return settings


def _boot(
    control: socket.socket, packages: Packages, zygote: Zygote, options: Mapping[str, str]
) -> MonitorServer:
    settings = read_settings(options.get("configuration"))
    theirs = packages.keys() - set(OUR_PACKAGES)
    archives = {name: canonical_archive(packages[name]) for name in theirs}
    image = installed = build_image(packages, dependencies=archives)
    if given := {name: read_whole(options[name], LARGEST) for name in installed._fields if name in options}:
        image = installed._replace(**given)
        check_environment(image, installed)
        check_loader(image)
    # Before the device key is read: what enclaves are forked from never had it.
    give_files(zygote[1], [*image, json.dumps(settings).encode()], archives)
    return _server(control, zygote, image, installed)


def _server(
    control: socket.socket, zygote: Zygote, image: EnclaveImage, installed: EnclaveImage
) -> MonitorServer:
    from schannel.monitor_keys import Monitor
    from schannel.simulation import monitor_measurement, state_directory

    from .device import load_device_key
    from .monitor_server import MonitorServer

    monitor = Monitor.boot(load_device_key(state_directory()), monitor_measurement(installed))
    return MonitorServer(control, *zygote, monitor, image.measurement())


def check_environment(image: EnclaveImage, installed: EnclaveImage) -> None:
    """Compare what the measured files say about this machine with this machine.

    Raises:
        LocalError: they were made for another interpreter, with other third-party packages, or by others.
    """
    python = _entry(image.runtime, PYTHON_ENTRY, "runtime")
    if python != python_tag().encode():
        raise LocalError(f"the runtime file is for {python.decode(errors='replace')}, not {python_tag()}")
    if _entry(image.application, DEPENDENCIES_ENTRY, "application") != _entry(
        installed.application, DEPENDENCIES_ENTRY, "application"
    ):
        raise LocalError("the application file was made with other third-party packages than are installed")


def check_loader(image: EnclaveImage) -> None:
    """Raises `LocalError` for a loader that is not Python."""
    try:
        compile(image.loader, "loader", "exec")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise _foreign("loader") from error


def _entry(archive: bytes, name: str, what: str) -> bytes:
    # Only for files that somebody gives.
    import io
    import zipfile

    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            info = opened.getinfo(name)
            # As this release makes them: what is compressed may be huge, and every codec has its own errors.
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & _ENCRYPTED:
                raise ValueError("not stored as it is")
            return opened.read(info)
    except (zipfile.BadZipFile, KeyError, ValueError, NotImplementedError, EOFError, OSError) as error:
        raise _foreign(what) from error


def _foreign(what: str) -> LocalError:
    return LocalError(
        f"the {what} file is not one that this release makes (the files of an enclave on Keystone need "
        "--device keystone)"
    )
