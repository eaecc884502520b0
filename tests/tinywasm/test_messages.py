"""Errors say what is wrong: which proposal a module needs, and how two types differ."""

from __future__ import annotations

import re

import pytest

import tinywasm
from tinywasm import (
    Config,
    DecodeError,
    Engine,
    Instance,
    LinkError,
    Module,
    ParseError,
    Store,
    ValidationError,
)
from tinywasm.syntax import DecodedModule

PREFIX = b"\0asm\1\0\0\0"


def _section(number: int, content: bytes) -> bytes:
    return bytes([number, len(content)]) + content


def _body(code: bytes) -> bytes:
    body = b"\0" + code + b"\x0b"
    return _section(1, b"\1\x60\0\0") + _section(3, b"\1\0") + _section(10, bytes([1, len(body)]) + body)


@pytest.mark.parametrize(
    ("rest", "message", "proposal"),
    [
        (_section(5, b"\1\3\1\1"), "malformed limits flags", "threads"),
        (_section(2, b"\1\1m\1m\2\3\1\1"), "malformed limits flags", "threads"),
        (_section(5, b"\1\x08\1\0"), "malformed limits flags", "custom-page-sizes"),
        (_section(1, b"\1\x5d\0"), "malformed definition type", "stack-switching"),
        (_section(1, b"\1\x4d\0\x5f\0"), "malformed definition type", "custom-descriptors"),
        (_section(1, b"\1\x60\1\x68\0"), "malformed value type", "stack-switching"),
        (_section(1, b"\1\x60\1\x63\x68\0"), "malformed heap type", "stack-switching"),
        (_section(1, b"\1\x60\1\x63\x62\0\0"), "malformed heap type", "custom-descriptors"),
        (_section(2, b"\1\1m\0\x7f\1\1f\0\0"), "malformed import kind", "compact-import-section"),
        (_body(b"\x06\x40\x0b"), "illegal opcode 06", "legacy exception-handling"),
        (_body(b"\x19"), "illegal opcode 19", "legacy exception-handling"),
        (_body(b"\xe2\0"), "illegal opcode e2", "stack-switching"),
        (_body(b"\xfe\x03\0"), "illegal opcode fe", "threads"),
        (_body(b"\xfc\x12\0"), "illegal opcode fc 12", "memory-control"),
        (_body(b"\xfb\x20\0"), "illegal opcode fb 20", "custom-descriptors"),
        (_body(b"\xfb\x80\x01"), "illegal opcode fb 80", "stringref"),
    ],
)
def test_malformed_modules_name_the_proposal_that_they_need(rest: bytes, message: str, proposal: str) -> None:
    with pytest.raises(DecodeError) as caught:
        Module(Engine(), PREFIX + rest)
    assert caught.value.message.startswith(f"{message}: it is of the proposal {proposal}, which is not s")


@pytest.mark.parametrize("rest", [_section(5, b"\1\x10\1"), _body(b"\xff"), _section(1, b"\1\x60\1\x01\0")])
def test_what_no_proposal_has_is_blamed_on_none(rest: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        Module(Engine(), PREFIX + rest)
    assert "proposal" not in caught.value.message


def test_components_are_named() -> None:
    with pytest.raises(DecodeError, match="unknown binary version: a component, not a core module"):
        Module(Engine(), b"\0asm\x0d\0\1\0")


@pytest.mark.parametrize(
    ("text", "proposal"),
    [
        ("(memory 1 1 shared)", "threads"),
        ("(func (drop (i32.atomic.load (i32.const 0))))", "threads"),
        ("(func try end)", "legacy exception-handling"),
        ("(type (cont 0))", "stack-switching"),
        ("(func (suspend 0))", "stack-switching"),
        ("(func (memory.discard))", "memory-control"),
        ("(component)", "component-model"),
    ],
)
def test_words_name_their_proposal(text: str, proposal: str) -> None:
    with pytest.raises(
        ParseError, match=f"unknown operator .*: it is of the proposal {proposal}, which is not"
    ):
        Module(Engine(), text)


FOREIGN = "this is not WebAssembly text, which begins with `(`"


@pytest.mark.parametrize(
    "text",
    [
        "Python, then",
        "print(1)",
        "# Title",
        '{"a": 1}',
        "Grüße",
        "'x'",
        '"x"',
        "f(x)",
        "2 (module)",
        "<html>",
    ],
)
def test_text_of_another_kind_is_told_apart(text: str) -> None:
    with pytest.raises(ParseError, match=re.escape(FOREIGN)):
        Module(Engine(), text)


@pytest.mark.parametrize(
    "text", ["(funk)", "(func {)", "(; one ;) ;; two\n (func é)", "(module) (module)", '(@custom "x" "y") {']
)
def test_faulty_webassembly_is_still_webassembly(text: str) -> None:
    with pytest.raises(ParseError) as caught:
        Module(Engine(), text)
    assert FOREIGN not in str(caught.value)


def test_an_empty_file_is_said_to_be_empty() -> None:
    with pytest.raises(DecodeError, match="unexpected end: the module is empty"):
        Module(Engine(), b"")


NESTED = "(type $b (struct (field {}))) (type $a (array (ref null $b))) (type $c (struct (field (ref $a)))) "
STRUCTS = "(type $a (struct (field {}))) "


@pytest.mark.parametrize(
    ("exports", "imports"),
    [
        ('(memory (export "x") 0 (pagesize 1))', "(memory 0)"),
        ('(memory (export "x") 0)', "(memory 0 (pagesize 1))"),
        (STRUCTS.format("i32") + '(func (export "x") (param (ref $a)))', "(func (param (ref $a)))"),
        (STRUCTS.format("i32") + '(tag (export "x") (param (ref $a)))', "(tag (param (ref $a)))"),
        (
            STRUCTS.format("i32") + '(global (export "x") (ref null $a) (ref.null $a))',
            "(global (ref null $a))",
        ),
        (STRUCTS.format("i32") + '(table (export "x") 1 (ref null $a))', "(table 1 (ref null $a))"),
        ('(type $f (sub (func))) (func (export "x") (type $f))', "(func)"),
        ('(rec (type $f (func)) (type (struct))) (func (export "x") (type $f))', "(func)"),
        (
            NESTED.format("i32") + '(func (export "x") (param (ref $c)))',
            "(func (param (ref $c)))",
        ),
    ],
)
def test_types_that_do_not_match_read_differently(exports: str, imports: str) -> None:
    engine = Engine(Config(custom_page_sizes=True))
    store = Store(engine)
    instance = Instance(store, Module(engine, exports), [])
    types = STRUCTS.format("i64")
    if "$c" in imports:
        types = NESTED.format("i64")
    imported = f'{types}(import "m" "x" {imports})'
    with pytest.raises(LinkError) as caught:
        Instance(store, Module(engine, imported), [instance.exports(store)["x"]])
    found = re.fullmatch(r'incompatible import type: "m" "x" should be (.*), but is (.*)', str(caught.value))
    assert found and found[1] != found[2]


def test_page_sizes_that_differ_are_both_said() -> None:
    engine = Engine(Config(custom_page_sizes=True))
    store = Store(engine)
    instance = Instance(store, Module(engine, '(memory (export "x") 0 (pagesize 1))'), [])
    module = Module(engine, '(import "m" "x" (memory 0))')
    message = r"should be memory i32 0 \(pagesize 65536\), but is memory i32 0 \(pagesize 1\)"
    with pytest.raises(LinkError, match=message):
        Instance(store, module, [instance.exports(store)["x"]])


def test_validation_tells_definitions_apart() -> None:
    types = "(type $a (struct (field i32))) (type $b (struct (field i64)))"
    message = r"requires \[\(ref struct \[i64\]\)\] but stack has \[\(ref struct \[i32\]\)\]"
    with pytest.raises(ValidationError, match=message):
        Module(Engine(), f"{types} (func (param (ref $a)) (result (ref $b)) local.get 0)")


def test_nothing_represents_itself_with_the_whole_module() -> None:
    functions = "(func (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))" * 2000
    text = (
        f'(module {functions} (memory (export "m") 1) (global (export "g") i32 (i32.const 1))'
        f'(table (export "t") 1 funcref) (func (export "f")) (tag (export "e"))'
        f'(elem func {"0 " * 2000}) (data "{"x" * 100_000}") (@custom "c" "{"y" * 100_000}"))'
    )
    engine = Engine()
    module = Module(engine, tinywasm.wat2wasm(text))
    store = Store(engine)
    instance = Instance(store, module, [])
    syntax = module.syntax
    assert isinstance(syntax, DecodedModule)
    parts = [
        syntax, syntax.names, syntax.functions[0], syntax.functions[0].body, syntax.globals[0],
        syntax.elems[0], syntax.datas[0], syntax.customs[0], syntax.exports[0], syntax.tables[0],
    ]  # fmt: skip
    exports = instance.exports(store)
    values = [engine, engine.config, module, store, instance, exports, *(exports[name] for name in "mgtfe")]
    for value in [*parts, *values]:
        assert len(repr(value)) <= 1000, type(value)
    assert repr(syntax.functions[0].body).startswith("Expr(code=<")
    assert len(repr(syntax.functions[0].body)) < 100
