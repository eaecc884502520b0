"""Modules: sources, types of imports and exports, the serialized form."""

from __future__ import annotations

from pathlib import Path

import pytest

import tinywasm
from tinywasm import (
    Config,
    DecodeError,
    Engine,
    ExportType,
    FuncType,
    GlobalType,
    ImportType,
    Limits,
    MemoryType,
    Module,
    ParseError,
    Store,
    TableType,
    TagType,
    ValidationError,
    ValType,
    WasmError,
    wat2wasm,
)

I32, F64 = ValType.i32(), ValType.f64()
TEXT = """
(module $named
  (import "a" "f" (func $f (param i32) (result f64 i32)))
  (import "a" "m" (memory 1 2))
  (import "b" "t" (table 3 externref))
  (import "b" "g" (global (mut i32)))
  (import "" "e" (tag (param i32)))
  (global $own f64 (f64.const 1))
  (export "again" (func $f))
  (export "m" (memory 0)) (export "t" (table 0)) (export "g" (global $own)) (export "e" (tag 0))
  (func (export "trap") unreachable))
"""


@pytest.fixture
def engine() -> Engine:
    return Engine()


def test_imports_and_exports(engine: Engine) -> None:
    module = Module(engine, TEXT)
    signature, tag = FuncType([I32], [F64, I32]), TagType(FuncType([I32]))
    memory, table = MemoryType(Limits(1, 2)), TableType(ValType.externref(), Limits(3))
    assert module.imports == [
        ImportType("a", "f", signature),
        ImportType("a", "m", memory),
        ImportType("b", "t", table),
        ImportType("b", "g", GlobalType(I32, True)),
        ImportType("", "e", tag),
    ]
    assert module.exports == [
        ExportType("again", signature),
        ExportType("m", memory),
        ExportType("t", table),
        ExportType("g", GlobalType(F64)),
        ExportType("e", tag),
        ExportType("trap", FuncType()),
    ]


def test_sources(engine: Engine, tmp_path: Path) -> None:
    binary = wat2wasm(TEXT)
    assert binary.startswith(b"\0asm") and wat2wasm(TEXT.encode()) == binary
    for name, content in (("x.wat", TEXT.encode()), ("x.wasm", binary)):
        (tmp_path / name).write_bytes(content)
        for path in (tmp_path / name, str(tmp_path / name)):
            assert Module.from_file(engine, path).exports == Module(engine, TEXT).exports
    for source in (TEXT.encode(), bytearray(TEXT.encode()), binary, bytearray(binary)):
        assert len(Module(engine, source).imports) == 5
    with pytest.raises(FileNotFoundError):
        Module.from_file(engine, tmp_path / "missing")


def test_modules_as_scripts_give_them(engine: Engine, tmp_path: Path) -> None:
    binary = wat2wasm(TEXT)
    quoted = "".join(f"\\{byte:02x}" for byte in binary)
    text = "".join(f"\\{byte:02x}" for byte in TEXT.encode())
    for source in (f'(module binary "{quoted}")', f'(module $m quote "{text}")'):
        (tmp_path / "given.wat").write_text(source)
        assert Module.from_file(engine, tmp_path / "given.wat").exports == Module(engine, TEXT).exports
        assert Module(engine, source.encode()).imports == Module(engine, TEXT).imports
        assert wat2wasm(source) == binary
    assert wat2wasm('(module binary "\\00asm" "any")') == b"\0asmany"
    with pytest.raises(DecodeError, match="unknown binary version"):
        Module(engine, '(module binary "\\00asm" "any!")')
    with pytest.raises(ParseError, match="line 3, column 2"):
        Module(engine, '(module quote "(func)\\0a\\0a(" ")")')


def test_wrong_sources(engine: Engine) -> None:
    with pytest.raises(DecodeError):
        Module.validate(engine, b"\0asm")
    with pytest.raises(DecodeError):
        Module.validate(engine, b"")
    with pytest.raises(ParseError):
        Module.validate(engine, b"no module \xff")
    with pytest.raises(ValidationError):
        Module.validate(engine, "(func (result i32))")
    with pytest.raises(TypeError, match="expected the bytes or the text of a module, not int"):
        Module(engine, 5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected an Engine"):
        Module(TEXT, engine)  # type: ignore[arg-type]
    with pytest.raises(ParseError):
        wat2wasm("(module")
    Module.validate(engine, TEXT)


@pytest.mark.parametrize("source", [TEXT, wat2wasm(TEXT)], ids=["text", "binary"])
def test_serialized_modules_come_back(engine: Engine, tmp_path: Path, source: str | bytes) -> None:
    module = Module(engine, source)
    artifact = module.serialize()
    path = tmp_path / "module.tinywasm"
    path.write_bytes(artifact)
    for back in (
        Module.deserialize(engine, artifact),
        Module.deserialize(Engine(), bytearray(artifact)),
        Module.deserialize(Engine(), memoryview(artifact)),
        Module.deserialize_file(engine, path),
        Module.deserialize_file(engine, str(path)),
    ):
        assert (back.imports, back.exports) == (module.imports, module.exports)
        assert back.serialize() == artifact
        assert back.syntax.names.module == "named"


def test_serialized_modules_run(engine: Engine) -> None:
    text = '(module (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))'
    module = Module.deserialize(engine, Module(engine, text).serialize())
    store = Store(engine)
    assert tinywasm.Instance(store, module, []).exports.add(2, 3) == 5


def test_other_artifacts_are_refused_by_reason(engine: Engine) -> None:
    artifact = Module(engine, TEXT).serialize()
    version = tinywasm.__version__.encode()
    with pytest.raises(WasmError, match=r"another tinywasm version \('0.0.7', here"):
        Module.deserialize(engine, artifact.replace(version, b"0.0.7", 1))
    with pytest.raises(WasmError, match="serialized for other features"):
        Module.deserialize(Engine(Config(wide_arithmetic=True)), artifact)
    with pytest.raises(WasmError, match="changed or cut off"):
        Module.deserialize(engine, artifact[:-1])
    with pytest.raises(WasmError, match="changed or cut off"):
        Module.deserialize(engine, artifact[:-5] + b"x" + artifact[-4:])
    for wrong in (b"", b"\0asm\1\0\0\0", artifact[:60], b"\n" * 10):
        with pytest.raises(WasmError):
            Module.deserialize(engine, wrong)


def test_memory_types_are_made_either_way() -> None:
    assert (
        MemoryType(Limits(1), True)
        == MemoryType(Limits(1), is_64=True)
        == MemoryType(Limits(1), ValType.i64())  # type: ignore[arg-type]
    )
    assert MemoryType(Limits(1)).is_64 is False
    assert MemoryType(Limits(1), page_size_log2=0).page_size == 1
