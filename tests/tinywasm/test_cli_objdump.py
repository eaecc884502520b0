"""`tinywasm objdump`: what it shows is at the offsets that it says, which are those of traps and errors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import tinywasm
from tests.engines import ENGINES
from tinywasm import binary, text
from tinywasm.cli import main

MODULE = r"""(module $demo
  (import "env" "größe" (func $log (param i32)))
  (memory (export "memory") 1)
  (table 4 funcref)
  (global $g i32 (i32.const 3))
  (func $div (export "div") (param $a i32) (param i32) (result i32) (local i64)
    (block $out (br_if $out (i32.const 1)))
    (drop (i64.const 0x123456789abcdef))
    (i32.div_s (local.get $a) (local.get 1)))
  (func (export "load") (param i32) (result i32)
    (i32.load offset=4 (local.get 0)))
  (func $outer (export "outer") (result i32) (call $div (i32.const 1) (i32.const 0)))
  (elem (i32.const 1) func $div $log)
  (elem funcref (ref.func $div) (ref.null func))
  (data (i32.const 16) "tinywasm\00\ff 0123456789abcdef")
  (data "passive")
  (@custom "producers" "ab\01"))
"""
LINE = re.compile(r"^(0x[0-9a-f]{8})  ([0-9a-f]{2}(?: [0-9a-f]{2})*)(?: +(\S.*))?$", re.MULTILINE)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo.wat").write_text(MODULE)
    (tmp_path / "demo.wasm").write_bytes(binary.encode(text.parse_module(MODULE)))
    return tmp_path


def dump(path: str, capsys: pytest.CaptureFixture[str], status: int = 0) -> str:
    assert main(["objdump", path]) == status
    return capsys.readouterr().out


def test_every_byte_that_is_shown_is_at_its_offset(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = (folder / "demo.wasm").read_bytes()
    shown: set[int] = set()
    for offset, digits, _ in LINE.findall(dump("demo.wasm", capsys)):
        raw = bytes.fromhex(digits)
        assert data[int(offset, 16) :].startswith(raw)
        shown.update(range(int(offset, 16), int(offset, 16) + len(raw)))
    # All code, without the sizes and locals in front of it, and all data.
    module = binary.decode(data)
    for function in module.functions:
        assert shown.issuperset(range(function.body.start, function.body.end))
    for content in (b"tinywasm\0\xff 0123456789abcdef", b"passive", b"ab\1"):
        assert shown.issuperset(range(data.index(content), data.index(content) + len(content)))


def test_sections_are_where_they_are_said_to_be(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = dump("demo.wasm", capsys)
    rows = re.findall(r"^  (0x\w+)  (0x\w+)  (0x\w+)  (.*)$", output, re.MULTILINE)
    found = [
        (int(start, 16), int(content, 16), int(content, 16) + int(size, 16))
        for start, content, size, _ in rows
    ]
    data = (folder / "demo.wasm").read_bytes()
    assert found == [(each.start, each.content, each.end) for each in binary.section_extents(data)]
    assert found[-1][2] == len(data)
    titles = [title for *_, title in rows]
    assert titles[0] == "type" and titles[-2:] == ['custom "producers"', 'custom "name"']


def test_code_has_names_labels_and_depth(capsys: pytest.CaptureFixture[str]) -> None:
    output = dump("demo.wasm", capsys)
    assert re.search(
        r"^0x\w+ func \$div \(;1;\) .*\(param \$a i32\) \(param i32\) \(result i32\):$", output, re.MULTILINE
    )
    assert "(local i64)" in output
    assert re.search(
        r"02 40 +block \$out\n.*41 01 +  i32\.const 1\n.*0d 00 +  br_if \$out\n.*0b +end\n", output
    )
    assert re.search(r"28 02 04 +i32\.load offset=4\n", output)
    assert re.search(r"10 01 +call \$div\n0x\w+  0b +end\n", output)


def test_segments(capsys: pytest.CaptureFixture[str]) -> None:
    output = dump("demo.wasm", capsys)
    assert "elem 0: table 0, at i32.const 1, (ref func), 2 items\n  [0] $div\n  [1] $log\n" in output
    assert "elem 1: passive, funcref, 2 items\n  [0] ref.func $div\n  [1] ref.null func\n" in output
    assert "data 0: memory 0, at i32.const 16, 27 bytes\n" in output
    assert "74 69 6e 79 77 61 73 6d 00 ff 20 30 31 32 33 34  tinywasm.. 01234\n" in output
    assert "data 1: passive, 7 bytes\n" in output


@pytest.mark.parametrize("path", ["demo.wasm", "demo.wat"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("name", "arguments", "instruction"),
    [("div", [1, 0], "i32.div_s"), ("load", [0x7FFFFFFF], "i32.load offset=4"), ("outer", [], "i32.div_s")],
)
def test_traps_are_at_the_instructions_that_are_shown(
    path: str,
    engine: str,
    name: str,
    arguments: list[int],
    instruction: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Of a text module offsets begin anew in every function, so the part of the function is looked at.
    parts = {
        match[1]: part
        for part in dump(path, capsys).split("\n\n")
        if (match := re.match(r"\w+ func .*?\(;(\d+);\)", part))
    }
    store = tinywasm.Store(tinywasm.Engine(tinywasm.Config(engine=engine)))
    module = tinywasm.Module.from_file(store.engine, path)
    function = tinywasm.Func(store, tinywasm.FuncType([tinywasm.ValType.i32()], []), lambda _: None)
    instance = tinywasm.Instance(store, module, [function])
    with pytest.raises(tinywasm.Trap) as caught:
        instance.exports(store)[name](store, *arguments)
    places = [(frame.func_index, frame.module_offset) for frame in caught.value.frames]
    texts = [
        text
        for index, place in places
        for offset, _, text in LINE.findall(parts[str(index)])
        if int(offset, 16) == place
    ]
    assert texts == [instruction, "call $div"][: len(places)]


def test_the_place_of_a_validation_error_is_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = text.parse_module("(func (result i32) nop i64.const 5)")
    (folder / "invalid.wasm").write_bytes(binary.encode(module))
    assert main(["validate", "invalid.wasm"]) == 1
    (place,) = re.findall(r"at offset (0x[0-9a-f]+)", capsys.readouterr().err)
    lines = {int(offset, 16): words for offset, _, words in LINE.findall(dump("invalid.wasm", capsys))}
    assert int(place, 16) in lines


def test_a_malformed_body_is_shown_up_to_its_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = binary.encode(text.parse_module("(func nop nop) (func unreachable)"))
    (folder / "bad.wasm").write_bytes(good.replace(b"\x01\x01\x0b", b"\x01\xff\x0b"))
    assert main(["objdump", "bad.wasm"]) == 1
    output, error = capsys.readouterr()
    place = good.index(b"\x01\x01\x0b") + 1
    assert f"\n{place:#010x}  illegal opcode ff" in output
    assert re.search(r"00 +unreachable\n", output), "the function behind it is shown"
    assert error == f"tinywasm: bad.wasm: illegal opcode ff (at offset {place:#x})\n"


def test_a_malformed_module_is_shown_up_to_its_error(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = (folder / "demo.wasm").read_bytes()
    (folder / "cut.wasm").write_bytes(data + b"\x20\x01\x01")
    assert main(["objdump", "cut.wasm"]) == 1
    output, error = capsys.readouterr()
    assert 'custom "name"' in output and output.endswith("what follows is malformed\n")
    assert error == f"tinywasm: cut.wasm: malformed section id (at offset {len(data):#x})\n"


@pytest.mark.parametrize("rest", [b"", b"\1\0\0\0\1", b"\1\0\0\0\0\x05\x09abcd", b"\1\0\0\0\x0a\xff\xff\xff"])
def test_what_is_cut_off_is_one_clear_error(
    folder: Path, rest: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "cut.wasm").write_bytes(b"\0asm" + rest)
    assert main(["objdump", "cut.wasm"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("tinywasm: cut.wasm: ") and error.count("\n") == 1


def test_names_cannot_steer_the_terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "evil.wat").write_text(
        r'(module (func $"\1b[31m\0a0x00000000  00  nop") (@custom "\1b[31m" "x"))'
    )
    assert main(["wat2wasm", "evil.wat"]) == 0
    output = dump("evil.wasm", capsys)
    assert "\x1b" not in output and "\n0x00000000  00  nop" not in output
