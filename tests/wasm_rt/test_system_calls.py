"""The filter of system calls, with the kernel's numbers, run as the kernel runs it for every architecture."""

from __future__ import annotations

import mmap
import os
import re
import shutil
import struct
import subprocess

import pytest

from wasm_rt.system_calls import MACHINES, MEMORY, OTHERS, filter_program

ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050001, 0x80000000


class Filter:
    """Runs a seccomp filter as the kernel does (Documentation/networking/filter.rst), as far as it needs."""

    def __init__(self, program: bytes) -> None:
        self._instructions = list(struct.iter_unpack("=HBBI", program))

    def decide(self, audit: int, number: int, *arguments: int) -> int:
        data = struct.pack("=iIQ6Q", number, audit, 0, *arguments, *[0] * (6 - len(arguments)))
        accumulator, position = 0, 0
        while True:
            code, if_true, if_false, operand = self._instructions[position]
            position += 1
            if code == 0x06:
                return int(operand)
            if code == 0x20:
                accumulator = int.from_bytes(data[operand : operand + 4], "little")
            else:
                holds = {
                    0x15: accumulator == operand,
                    0x35: accumulator >= operand,
                    0x45: bool(accumulator & operand),
                }[code]
                position += if_true if holds else if_false


READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE
PRIVATE, NORESERVE = 0x22, 0x4000
GARBAGE = 0xDEADBEEF << 32
"""What the upper half of an int's register may hold."""

NEEDED: dict[str, list[tuple[int, ...]]] = {
    "mmap": [(0, 4096, READ_WRITE, PRIVATE), (0, 4096, 0, PRIVATE | NORESERVE)],
    "mprotect": [(0, 4096, READ_WRITE), (0, 4096, 0), (0, 4096, GARBAGE | mmap.PROT_READ)],
    "mremap": [(4096, 4096, 8192, 1), (4096, 4096, 8192, 0)],
    "madvise": [(4096, 4096, 4), (4096, 4096, 8)],
    "sendto": [(3, 4096, 1, 0), (3, 4096, 1, 0x40), (3, 4096, 1, GARBAGE | 0x40)],
    "recvfrom": [(3, 4096, 1, 0), (3, 4096, 1, 0x40)],
    "futex": [(4096, 128 | 0), (4096, 128 | 1), (4096, 9), (4096, 128 | 256 | 9)],
    "clock_gettime": [(0, 4096), (1, 4096), (GARBAGE | 3, 4096)],
    "clock_getres": [(0, 4096)],
    "clock_nanosleep": [(1, 1, 4096)],
    "getrandom": [(4096, 1, 0), (4096, 1, 1)],
}
UNNEEDED: dict[str, list[tuple[int, ...]]] = {
    # Shared, or of a file; then growing downwards, at a fixed place, filled, locked, in huge pages.
    "mmap": [
        *((0, 4096, READ_WRITE, flags) for flags in (0x21, 0x23, 0x02, 0x01, 0, 0x20)),
        *((0, 4096, READ_WRITE, PRIVATE | flag) for flag in (0x100, 0x10, 0x8000, 0x2000, 0x40000, 0x100000)),
        *((0, 4096, prot, PRIVATE) for prot in (4, 5, 7, 8, 0x01000000, GARBAGE | 4)),
    ],
    "mprotect": [(0, 4096, prot) for prot in (4, 5, 6, 7, 8, 0x01000000, 0x02000000, GARBAGE | 4)],
    "mremap": [(4096, 4096, 4096, flags) for flags in (2, 3, 4, 5, 7)],
    "madvise": [(4096, 4096, advice) for advice in (0, 1, 2, 3, 9, 10, 11, 12, 14, 20, 21, 22, 23, 25, 100)],
    "sendto": [
        *((3, 4096, 1, flags) for flags in (1, 4, 0x41, 0x8000, 0x4000000, 0x20000000, 0xFFFFFFFF)),
        (3, 4096, 1, 0, 4096, 16),
        (3, 4096, 1, 0, 1 << 32, 16),
    ],
    "recvfrom": [
        *((3, 4096, 1, flags) for flags in (1, 2, 0x20, 0x100, 0x2000, 0x42)),
        (3, 4096, 1, 0, 4096, 4096),
        (3, 4096, 1, 0, 1 << 32, 4096),
    ],
    "futex": [
        (4096, flags | operation) for operation in (*range(2, 9), 11, 12, 13) for flags in (0, 128, 384)
    ],
    "clock_gettime": [(12, 4096), (0xFFFFFFFF, 4096), (~1234 << 3 & 0xFFFFFFFF | 2, 4096)],
    "clock_getres": [(0xFFFFFFFE, 4096)],
    "clock_nanosleep": [(~1234 << 3 & 0xFFFFFFFF | 2, 0, 4096)],
    "getrandom": [(4096, 1, 2), (4096, 1, 4)],
}


AUDIT_NAMES = {"x86_64": "X86_64", "aarch64": "AARCH64", "riscv64": "RISCV64"}


def kernel_values(name: str, expressions: dict[str, str]) -> dict[str, int]:
    """What C expressions over the kernel's headers come to on an architecture."""
    own, cross = shutil.which("cc"), shutil.which(f"{name}-linux-gnu-gcc")
    compiler, header = cross, "asm/unistd.h"
    if os.uname().machine == name:
        compiler = own
    elif cross is None and name != "x86_64":
        # Every machine's headers have the table that the others share.
        compiler, header = own, "asm-generic/unistd.h"
    if compiler is None:
        pytest.skip(f"no compiler here has the kernel's headers for {name}")
    lines = "".join(f"={key}={value}\n" for key, value in expressions.items())
    done = subprocess.run(
        [compiler, "-E", "-P", "-D__ARCH_WANT_NEW_STAT", "-"],
        input=f"#include <{header}>\n#include <linux/audit.h>\n{lines}",
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip(f"{compiler} has no headers of the kernel: {done.stderr.strip()}")
    found = re.findall(r"^=(\w+)=\s*(.*)$", done.stdout, re.MULTILINE)
    return {key: combined(value) for key, value in found}


def combined(value: str) -> int:
    """Numbers with `|` between them."""
    total = 0
    for number in re.sub(r"[()\s]", "", value).split("|"):
        total |= int(number, 0)
    return total


@pytest.mark.parametrize("name", MACHINES)
def test_numbers_are_the_kernels(name: str) -> None:
    machine = MACHINES[name]
    first, last = machine.landlock
    ours = {
        **machine.allowed, **machine.refused, "seccomp": machine.seccomp,
        "landlock_create_ruleset": first, "landlock_restrict_self": last,
    }  # fmt: skip
    expressions = {call: f"__NR_{call}" for call in ours} | {"audit": f"AUDIT_ARCH_{AUDIT_NAMES[name]}"}
    assert kernel_values(name, expressions) == ours | {"audit": machine.audit}


def test_every_condition_is_tried() -> None:
    assert NEEDED.keys() == UNNEEDED.keys() == MEMORY.keys() | OTHERS.keys()
    assert not MEMORY.keys() & OTHERS.keys()


@pytest.mark.parametrize("name", MACHINES)
def test_filter_of_each_architecture(name: str) -> None:
    machine = MACHINES[name]
    decide = Filter(filter_program(machine)).decide
    expected = {number: ALLOW for call, number in machine.allowed.items() if call not in UNNEEDED}
    expected |= dict.fromkeys(machine.refused.values(), REFUSE)
    conditional = {number for call, number in machine.allowed.items() if call in UNNEEDED}
    assert len(expected) + len(conditional) == len(machine.allowed) + len(machine.refused)
    for number in set(range(600)) - conditional:
        assert decide(machine.audit, number) == expected.get(number, KILL), number
        assert decide(machine.audit, number, *[2**64 - 1] * 6) == expected.get(number, KILL), number
    other = next(item.audit for key, item in MACHINES.items() if key != name)
    assert all(decide(other, number) == KILL for number in range(600))
    if machine.foreign_abi is not None:
        assert all(decide(machine.audit, machine.foreign_abi | number) == KILL for number in range(600))


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("call", UNNEEDED)
def test_arguments(name: str, call: str) -> None:
    machine = MACHINES[name]
    decide = Filter(filter_program(machine)).decide
    for arguments in NEEDED[call]:
        assert decide(machine.audit, machine.allowed[call], *arguments) == ALLOW, arguments
    for arguments in UNNEEDED[call]:
        verdict = REFUSE if call in MEMORY else KILL
        given = [argument & (1 << 64) - 1 for argument in arguments]
        assert decide(machine.audit, machine.allowed[call], *given) == verdict, arguments
