"""The three files of a Keystone enclave: read once, and refused where Keystone could not run them.

Host and client measure what `read_enclave_files` gives, so that both take and refuse the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from .errors import LocalError, MessageError
from .regular_files import open_regular
from .structs import U8, U16_LITTLE, U32_LITTLE, U64_LITTLE, Structure, fixed, part

LARGEST_FILES = 512 << 20
"""Bytes that the three files may have together: contiguous memory of the enclave has to hold them."""

_MAGIC, _64_BITS, _LITTLE_ENDIAN, _RISC_V = b"\x7fELF", 2, 1, 243
_OBJECT, _EXECUTABLE, _SHARED = 1, 2, 3
"""Kinds of files."""

_FLOAT_ABI, _REDUCED = 0x0006, 0x0008
"""Those flags of RISC-V's that say in which registers floats are passed, 0 for none, and that there are only
sixteen registers (RISC-V ELF psABI)."""

_FLOATS = (
    "floating-point registers of their own",
    "Keystone's monitor does not switch them, and the application passes floats in them: no result may "
    "depend on f32 or f64",
)

LOADED, _INTERPRETER = 1, 3
"""Kinds of segments."""


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


class ProgramHeader(Structure, shown="ELF program header"):
    """What one segment is, and where (System V ABI, chapter 5)."""

    kind: int = part(U32_LITTLE)
    flags: int = part(U32_LITTLE)
    offset: int = part(U64_LITTLE)
    virtual_address: int = part(U64_LITTLE)
    physical_address: int = part(U64_LITTLE)
    file_size: int = part(U64_LITTLE)
    memory_size: int = part(U64_LITTLE)
    alignment: int = part(U64_LITTLE)


def read_enclave_files(
    loader: Path | None, runtime: Path | None, application: Path | None
) -> tuple[bytes, bytes, bytes]:
    """Read the three files, which come in the order in which Keystone measures them; None for one not given.

    Raises:
        LocalError: one is not given, cannot be read, is too large, or is not what Keystone loads.
    """
    paths = {"-l": loader, "-r": runtime, "-e": application}
    if missing := [option for option, path in paths.items() if path is None]:
        raise LocalError(
            "an enclave on Keystone is made of three files, loader (-l), runtime (-r) and application (-e): "
            f"not given: {', '.join(missing)}"
        )
    contents: list[bytes] = []
    for path in filter(None, paths.values()):
        contents.append(_read(path, LARGEST_FILES - sum(map(len, contents))))
    code, runtime_program, application_program = contents
    if not code:
        raise LocalError(f"the loader {loader} is empty")
    if code.startswith(_MAGIC):
        raise LocalError(
            f"the loader {loader} is an ELF file: Keystone starts its raw code (loader.bin, as "
            "objcopy -O binary makes it)"
        )
    check_program(runtime_program, f"the runtime {runtime}")
    check_program(application_program, f"the application {application}")
    return code, runtime_program, application_program


def check_program(content: bytes, what: str) -> None:
    """Raise LocalError unless this is a whole, static program for 64-bit RISC-V; `what` names it.

    Eyrie maps the segments where they say, and relocates nothing.
    """
    try:
        header = ElfHeader.parse(content[: ElfHeader.sizeof()])
    except MessageError as error:
        raise LocalError(f"{what} is no ELF file") from error
    if header.magic != _MAGIC:
        raise LocalError(f"{what} is no ELF file")
    if (header.bits, header.order, header.machine) != (_64_BITS, _LITTLE_ENDIAN, _RISC_V):
        raise LocalError(f"{what} is not for 64-bit RISC-V")
    if header.flags & _REDUCED:
        raise LocalError(f"{what} is for RISC-V with sixteen registers (RV64E): Keystone's have thirty-two")
    if header.kind == _OBJECT:
        raise LocalError(f"{what} is an object file: an enclave takes linked programs")
    loaded = False
    for segment in _segments(content, header, what):
        if segment.kind == _INTERPRETER:
            raise LocalError(f"{what} is linked dynamically: an enclave takes static programs only")
        # One without bytes in the file, as of zeros only, may name any place.
        within = not segment.file_size or segment.offset + segment.file_size <= len(content)
        if segment.kind == LOADED and not within:
            raise LocalError(f"{what} is cut short: it ends within a segment")
        loaded |= segment.kind == LOADED
    if header.kind == _SHARED:
        raise LocalError(
            f"{what} is a shared library, or position-independent: an enclave takes programs with fixed "
            "addresses (-static -no-pie)"
        )
    if header.kind != _EXECUTABLE:
        raise LocalError(f"{what} is no program: its ELF type is {header.kind}, not {_EXECUTABLE}")
    if not loaded:
        raise LocalError(f"{what} has no segment to load")


def missing_layers(application: bytes) -> tuple[tuple[str, str], ...]:
    """The layers of isolation that enclaves of an application lack on Keystone, each with the reason.

    One whose ABI has floating-point registers shares those with the host.
    """
    return (_FLOATS,) if ElfHeader.parse(application[: ElfHeader.sizeof()]).flags & _FLOAT_ABI else ()


def _segments(content: bytes, header: ElfHeader, what: str) -> Iterator[ProgramHeader]:
    start, size, count = header.program_headers, ProgramHeader.sizeof(), header.program_header_count
    if count and header.program_header_size != size:
        raise LocalError(f"{what} has program headers of {header.program_header_size} bytes, not {size}")
    if start + count * size > len(content):
        raise LocalError(f"{what} is cut short: it ends before its program headers do")
    for place in range(start, start + count * size, size):
        yield ProgramHeader.parse(content[place : place + size])


def _read(path: Path, room: int) -> bytes:
    try:
        # Nothing but a regular file has an end for sure; whoever names a link means where it leads.
        with open_regular(os.path.realpath(path)) as file:
            if os.fstat(file.fileno()).st_size <= room and len(content := file.read(room + 1)) <= room:
                return content
    except OSError as error:
        reason = "is a directory" if os.path.isdir(path) else (error.strerror or str(error)).lower()
        raise LocalError(f"cannot read {path}: {reason}") from error
    raise LocalError(
        f"{path} is too large: the three files of an enclave may have {LARGEST_FILES >> 20} MiB together, "
        "as its memory has to hold them"
    )
