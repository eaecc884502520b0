"""The application for Keystone uses no floating-point register, and the check for that finds each use."""

from __future__ import annotations

import importlib.util
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from tests.keystone_application import built
from tests.processes import ROOT

SPEC = importlib.util.spec_from_file_location(
    "float_registers", ROOT / "enclave" / "keystone" / "float_registers.py"
)
assert SPEC is not None and SPEC.loader is not None
float_registers = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(float_registers)

COMPILER = "riscv64-unknown-elf-gcc"

# As GNU's disassembler has them.
FLOAT = {
    "fld ft0,0(a0)": 0x00053007,
    "fsd ft11,-8(t0)": 0xFFF2BC27,
    "flw ft1,4(a0)": 0x00452087,
    "fsw ft1,4(a0)": 0x00152227,
    "fadd.s ft0,ft1,ft2": 0x0020F053,
    "fadd.d ft0,ft1,ft2": 0x0220F053,
    "fmv.x.d a0,ft0": 0xE2000553,
    "fmv.d.x ft0,a0": 0xF2050053,
    "fcvt.d.l ft0,a0": 0xD2257053,
    "fsqrt.d ft0,ft1": 0x5A00F053,
    "feq.d a0,ft0,ft1": 0xA2102553,
    "fmadd.d ft0,ft1,ft2,ft3": 0x1A20F043,
    "fmsub.s ft0,ft1,ft2,ft3": 0x1820F047,
    "fnmsub.d ft0,ft1,ft2,ft3": 0x1A20F04B,
    "fnmadd.d ft0,ft1,ft2,ft3": 0x1A20F04F,
    "frcsr a0": 0x00302573,
    "fscsr a0": 0x00351073,
    "frrm a0": 0x00202573,
    "fsrmi zero,1": 0x0020D073,
    "frflags a0": 0x00102573,
    "vfmv.f.s ft0,v1": 0x42101057,
    "vle64.v v1,(a0)": 0x02057087,
    "c.fld fs1,8(a0)": 0x2504,
    "c.fsd fs1,8(a0)": 0xA504,
    "c.fldsp ft0,0(sp)": 0x2002,
    "c.fsdsp ft0,0(sp)": 0xA002,
}
INTEGER = {
    "c.ld a0,8(a1)": 0x6588,
    "c.sd a0,8(a1)": 0xE588,
    "c.ldsp a0,8(sp)": 0x6522,
    "c.sdsp a0,8(sp)": 0xE42A,
    "c.lw a0,4(a1)": 0x41C8,
    "c.addi a0,1": 0x0505,
    "c.jalr ra": 0x9082,
    "rdcycle a0": 0xC0002573,
    "csrr a0,0x7c0": 0x7C002573,
    "ecall": 0x00000073,
    "amoadd.d a0,a1,(a2)": 0x00B6352F,
    "lr.d a0,(a1)": 0x1005B52F,
    "mul a0,a1,a2": 0x02C58533,
    "auipc a0,5": 0x00005517,
    "fence": 0x0FF0000F,
}
SOFT, SINGLE, DOUBLE = 0x0, 0x2, 0x4
COMPRESSED = 0x1


def bits(instruction: int) -> bytes:
    return instruction.to_bytes(2 if instruction & 0b11 != 0b11 else 4, "little")


def program(code: bytes, flags: int = SOFT | COMPRESSED) -> bytes:
    """An ELF file with two sections, data and code."""
    data = bits(FLOAT["fadd.d ft0,ft1,ft2"])
    sections = struct.pack("<IIQQQQIIQQ", 0, 1, 0x2, 0x10000, 64, len(data), 0, 0, 1, 0)
    sections += struct.pack("<IIQQQQIIQQ", 0, 1, 0x6, 0x20000, 64 + len(data), len(code), 0, 0, 1, 0)
    identification = b"\x7fELF\2\1\1".ljust(16, b"\0")
    place = 64 + len(data) + len(code)
    head = struct.pack(
        "<16sHHIQQQIHHHHHH", identification, 2, 243, 1, 0, 0, place, flags, 64, 56, 0, 64, 2, 0
    )
    return head + data + code + sections


@pytest.mark.parametrize("instruction", FLOAT)
def test_instruction_with_float_registers(instruction: str) -> None:
    before = b"".join(map(bits, INTEGER.values()))
    found = float_registers.check(program(before + bits(FLOAT[instruction])))
    assert found == (
        "floating-point registers are used by 1 of its instructions, first at "
        f"{0x20000 + len(before):#x} ({FLOAT[instruction]:#x})"
    )


def test_integer_instructions_and_data() -> None:
    assert float_registers.check(program(b"".join(map(bits, INTEGER.values())))) is None


@pytest.mark.parametrize("flags", [SINGLE, DOUBLE, SINGLE | DOUBLE])
def test_abi_with_float_registers(flags: int) -> None:
    found = float_registers.check(program(bits(INTEGER["ecall"]), flags | COMPRESSED))
    assert found == "it passes floats in registers: some of it was compiled for another ABI than lp64"


def test_code_that_cannot_be_read() -> None:
    assert "0x1f" in float_registers.check(program(b"\x1f\0\0\0\0\0"))
    assert "no sections of code" in float_registers.check(program(b""))


@pytest.mark.parametrize("name", ["wasm-rt", "wasm-rt-emulated"])
def test_what_was_built(name: str) -> None:
    content = Path(built(name)).read_bytes()
    assert float_registers.check(content) is None
    # GNU's disassembler, told that there are such registers, sees none either.
    objdump = shutil.which(COMPILER.replace("gcc", "objdump"))
    if objdump is None:
        pytest.skip("there is no disassembler")
    shown = subprocess.run(
        [objdump, "-d", "-M", "numeric", built(name)], capture_output=True, text=True, check=True
    )
    instructions = re.findall(r"^ +[0-9a-f]+:\t[0-9a-f ]+\t(\S+)(.*)$", shown.stdout, re.M)
    assert len(instructions) > 100_000
    assert [each for each in instructions if re.search(r"\bf(\d+|csr|rm|flags)\b", each[1])] == []
    assert {name for name, _ in instructions if name.startswith(("f", "v"))} <= {"fence", "fence.i"}
    assert not {name for name, _ in instructions if name.startswith(".")}


def test_compiler_that_was_told_to_use_them(tmp_path: Path) -> None:
    if shutil.which(COMPILER) is None:
        pytest.skip(f"there is no {COMPILER}")
    (tmp_path / "add.c").write_text(
        "double add(double a, double b) { return a + b; }\nvoid _start(void) {}\n"
    )
    results = {}
    for abi, march in (("lp64", "rv64imac"), ("lp64", "rv64imafdc"), ("lp64d", "rv64imafdc")):
        options = [f"-march={march}", f"-mabi={abi}", "-O1", "-nostdlib", "-static"]
        made = tmp_path / f"{march}-{abi}"
        subprocess.run([COMPILER, *options, tmp_path / "add.c", "-o", made, "-lgcc"], check=True)
        results[march, abi] = float_registers.check(made.read_bytes())
    assert results["rv64imac", "lp64"] is None
    assert str(results["rv64imafdc", "lp64"]).startswith("floating-point registers are used by ")
    assert str(results["rv64imafdc", "lp64d"]).startswith("it passes floats in registers")
