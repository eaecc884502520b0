"""The three files of a Keystone enclave, read once, and measured from what was read."""

from __future__ import annotations

import os
import subprocess
import sys

from schannel.errors import LocalError
from schannel.keystone_files import read_enclave_files
from schannel.packages import package_folder

from .keystone_device import Image
from .monitor import EnclaveFiles, MonitorError
from .simulated import INTERPRETER_OPTIONS

_MEASURE = """
import sys
sys.path.insert(0, sys.argv[1])
from schannel.measurement import measure
print(measure(*(sys.stdin.buffer.read(int(size)) for size in sys.argv[2:])).hex())
"""
"""In a process of its own: the host imports no cryptography, not even what hashes."""


def read_image(files: EnclaveFiles, free: int) -> Image:
    """Read the three files; `free` is how many bytes the enclave has beside them.

    Raises:
        MonitorError: one is not given, cannot be read, or is not what Keystone loads.
    """
    try:
        contents = read_enclave_files(files.loader, files.runtime, files.application)
    except LocalError as error:
        raise MonitorError(str(error)) from error
    return Image(*contents, free)


def measure(image: Image, patience: float) -> str:
    """Keystone's enclave hash, hexadecimal; MonitorError where that cannot be had in `patience` seconds."""
    sizes = [str(len(content)) for content in image.files]
    folder = os.path.dirname(os.path.abspath(package_folder("schannel")))
    try:
        done = subprocess.run(
            [sys.executable, *INTERPRETER_OPTIONS, "-c", _MEASURE, folder, *sizes],
            input=b"".join(image.files),
            capture_output=True,
            timeout=patience,
            env={},
        )
    except subprocess.TimeoutExpired as error:
        raise MonitorError(
            f"the files could not be measured in {patience:g} seconds: let it have more (--max-start)"
        ) from error
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise MonitorError(f"the files cannot be measured: {reason}")
    return done.stdout.decode().strip()
