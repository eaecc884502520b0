"""`tinywasm inspect`: sections, imports, exports, limits, names and features."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tinywasm import binary, text
from tinywasm.cli import main
from tinywasm.cli.features import features

MODULE = """(module $demo
  (import "env" "log" (func $log (param i32)))
  (import "env" "table" (table 1 10 funcref))
  (memory (export "memory") 1 2)
  (memory i64 3)
  (global (export "counter") (mut i64) (i64.const 0))
  (tag (export "oops") (param i32))
  (func $add (export "add") (param $x i32) (param i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func $main (call $log (i32.const 1)))
  (start $main)
  (data "abc"))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo.wat").write_text(MODULE)
    (tmp_path / "demo.wasm").write_bytes(binary.encode(text.parse_module(MODULE)))
    return tmp_path


def report(path: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["inspect", "--json", path]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = report("demo.wasm", capsys)
    size = (folder / "demo.wasm").stat().st_size
    assert (found["format"], found["size"], found["name"], found["start"]) == ("binary", size, "demo", 2)
    assert found["imports"] == [
        {"module": "env", "name": "log", "kind": "func", "type": "[i32] -> []"},
        {"module": "env", "name": "table", "kind": "table", "type": "i32 1 10 funcref"},
    ]
    assert [(each["name"], each["kind"], each["type"]) for each in found["exports"]] == [
        ("memory", "memory", "i32 1 2"),
        ("counter", "global", "(mut i64)"),
        ("oops", "tag", "[i32] -> []"),
        ("add", "func", "[i32 i32] -> [i32]"),
    ]
    assert found["memories"] == [
        {"min": 1, "max": 2, "address": "i32", "page_size": 65536},
        {"min": 3, "max": None, "address": "i64", "page_size": 65536},
    ]
    assert found["tables"] == [{"min": 1, "max": 10, "address": "i32", "element": "funcref"}]
    assert found["names"]["functions"] == 3 and found["names"]["locals"] == 1


def test_sections_cover_the_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sections = report("demo.wasm", capsys)["sections"]
    ends = [each["offset"] + each["size"] for each in sections]
    assert [8, *ends] == [*(each["offset"] for each in sections), (folder / "demo.wasm").stat().st_size]
    by_name = {each["section"]: each["count"] for each in sections}
    assert (by_name["code"], by_name["memory"], by_name["data"]) == (2, 2, 1)
    assert [each["name"] for each in sections if each["section"] == "custom"] == ["name"]


def test_a_text_module_is_shown_as_it_would_be_encoded(capsys: pytest.CaptureFixture[str]) -> None:
    from_text, from_binary = report("demo.wat", capsys), report("demo.wasm", capsys)
    for different in ("path", "format"):
        del from_text[different], from_binary[different]
    assert from_text == from_binary


def test_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "demo.wat"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("demo.wat: text module, named demo, ")
    assert '  "env" func "log": [i32] -> []' in lines
    assert '  func "add": [i32 i32] -> [i32]' in lines
    assert "  1 at first, at most 2, i32 addresses, pages of 65536 bytes" in lines
    assert "  funcref: 1 at first, at most 10, i32 addresses" in lines
    assert "start: function 2" in lines
    assert lines[-1].startswith("features beyond WebAssembly 1.0: exception-handling, ")


def test_an_empty_module(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "empty.wat").write_text("(module)")
    assert main(["inspect", "empty.wat"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "empty.wat: text module, 8 bytes once encoded",
        "sections: none",
        "imports: none",
        "exports: none",
        "memories: none",
        "tables: none",
        "names: none",
        "features beyond WebAssembly 1.0: none",
    ]


def test_names_cannot_steer_the_terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "evil.wat").write_text('(module (func (export "\\1b[2J\\n") (nop)))')
    main(["inspect", "evil.wat"])
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("(func (result i32) (i32.extend8_s (i32.const 1)))", ["sign-extension-ops"]),
        ("(func (result i32) (i32.trunc_sat_f32_s (f32.const 1)))", ["nontrapping-float-to-int-conversion"]),
        ("(memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 0)))", ["bulk-memory"]),
        ("(func (result i32 i32) (i32.const 1) (i32.const 2))", ["multi-value"]),
        ("(func (i32.const 1) (block (param i32) (drop)))", ["multi-value"]),
        ("(func (param externref))", ["reference-types"]),
        ("(table 1 funcref) (table 1 funcref)", ["reference-types"]),
        ("(table 1 externref)", ["reference-types"]),
        ("(func (drop (v128.const i64x2 0 0)))", ["simd"]),
        ("(func (local v128))", ["simd"]),
        (
            "(func (param v128) (result v128)"
            " (i8x16.relaxed_swizzle (local.get 0) (local.get 0)))",
            ["relaxed-simd", "simd"],
        ),
        ("(func $f (return_call $f))", ["tail-call"]),
        ("(func (block (try_table (catch_all 0))))", ["exception-handling"]),
        ("(tag)", ["exception-handling"]),
        ("(type $t (func)) (func (param (ref $t)) (call_ref $t (local.get 0)))",
         ["function-references", "reference-types"]),
        ("(type (struct (field v128)))", ["gc", "simd"]),
        ("(type (array i8))", ["gc"]),
        ("(func (drop (ref.i31 (i32.const 1))))", ["gc"]),
        ("(memory 1) (memory 1)", ["multi-memory"]),
        ("(memory i64 1)", ["memory64"]),
        ("(table i64 1 funcref)", ["memory64"]),
        ("(global i32 (i32.add (i32.const 1) (i32.const 2)))", ["extended-const"]),
        ('(global (export "g") (mut i32) (i32.const 1))', ["mutable-global"]),
        ("(memory 1 (pagesize 1))", ["custom-page-sizes"]),
        ("(func (param i64 i64) (result i64 i64) (i64.mul_wide_s (local.get 0) (local.get 1)))",
         ["multi-value", "wide-arithmetic"]),
        ("(func (param i32) (@metadata.code.branch_hint \"\\01\") (if (local.get 0) (then)))",
         ["branch-hinting"]),
        ("(memory 1) (func (drop (i32.load (i32.const 0))))", []),
    ],
)  # fmt: skip
def test_features(fields: str, expected: list[str]) -> None:
    assert features(text.parse_module(f"(module {fields})")) == expected


def test_the_intermediate_form_of_every_function(capsys: pytest.CaptureFixture[str]) -> None:
    for path in ("demo.wat", "demo.wasm"):
        assert main(["inspect", "--ir", path]) == 0
        lines = [line.rpartition(": ")[2].strip() for line in capsys.readouterr().out.splitlines()]
        assert lines == [
            *("func 1 $add", "fuel 3", "t0 = i32.add l0 l1", "return t0"),
            *("func 2 $main", "fuel 2", "call i32:0x1 0", "return"),
        ]
