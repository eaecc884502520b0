"""The three files of a Keystone enclave: read once, looked at, and measured from what was read."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from schannel.errors import MessageError
from schannel.packages import package_folder
from schannel.structs import U8, U16_LITTLE, U32_LITTLE, U64_LITTLE, Structure, fixed, part

from .keystone_device import Image
from .monitor import EnclaveFiles, MonitorError
from .simulated import INTERPRETER_OPTIONS

_MAGIC, _64_BITS, _LITTLE_ENDIAN, _RISC_V, _INTERPRETER = b"\x7fELF", 2, 1, 243, 3

_MEASURE = """
import sys
sys.path.insert(0, sys.argv[1])
from schannel.measurement import measure
print(measure(*(sys.stdin.buffer.read(int(size)) for size in sys.argv[2:])).hex())
"""
"""In a process of its own: the host imports no cryptography, not even what hashes."""


class ElfHeader(Structure, shown="ELF header"):
    """The beginning of a 64-bit little-endian ELF file (System V ABI, chapter 4)."""

    magic: bytes = part(fixed(4))
    bits: int = part(U8)
    order: int = part(U8)
    identification: bytes = part(fixed(10))
    kind: int = part(U16_LITTLE)
    machine: int = part(U16_LITTLE)
    version: int = part(U32_LITTLE)
    entry: int = part(U64_LITTLE)
    program_headers: int = part(U64_LITTLE)
    section_headers: int = part(U64_LITTLE)
    flags: int = part(U32_LITTLE)
    size: int = part(U16_LITTLE)
    program_header_size: int = part(U16_LITTLE)
    program_header_count: int = part(U16_LITTLE)


def read_image(files: EnclaveFiles, free: int) -> Image:
    """Read the three files; `free` is how many bytes the enclave has beside them.

    Raises:
        MonitorError: one is not given, cannot be read, or is not what Keystone loads.
    """
    paths = {"-l": files.loader, "-r": files.runtime, "-e": files.application}
    if missing := [option for option, path in paths.items() if path is None]:
        raise MonitorError(
            "an enclave on Keystone is made of three files, loader (-l), runtime (-r) and application (-e): "
            f"not given: {', '.join(missing)}"
        )
    loader, runtime, application = (_read(path) for path in paths.values() if path is not None)
    if not loader:
        raise MonitorError(f"the loader {files.loader} is empty")
    if loader.startswith(_MAGIC):
        raise MonitorError(
            f"the loader {files.loader} is an ELF file: Keystone starts its raw code (loader.bin, as "
            "objcopy -O binary makes it)"
        )
    _check_program(runtime, f"the runtime {files.runtime}")
    _check_program(application, f"the application {files.application}")
    return Image(loader, runtime, application, free)


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


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MonitorError(f"cannot use {path}: {(error.strerror or str(error)).lower()}") from error


def _check_program(content: bytes, what: str) -> None:
    try:
        header = ElfHeader.parse(content[: ElfHeader.sizeof()])
    except MessageError as error:
        raise MonitorError(f"{what} is no ELF file") from error
    if header.magic != _MAGIC:
        raise MonitorError(f"{what} is no ELF file")
    if (header.bits, header.order, header.machine) != (_64_BITS, _LITTLE_ENDIAN, _RISC_V):
        raise MonitorError(f"{what} is not for 64-bit RISC-V")
    if _INTERPRETER in _segments(content, header):
        raise MonitorError(f"{what} is linked dynamically: an enclave takes static programs only")


def _segments(content: bytes, header: ElfHeader) -> Sequence[int]:
    """The types of the segments that lie within the file."""
    start, size = header.program_headers, header.program_header_size
    places = range(start, min(start + header.program_header_count * size, len(content)), max(size, 4))
    return [int.from_bytes(content[place : place + 4], "little") for place in places]
