"""The native engine's verifier: code is held to every rule before it is run, whoever made it."""

from __future__ import annotations

import re
import struct
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

import tinywasm
from tinywasm import Engine
from tinywasm.engine import native, native_available
from tinywasm.engine.native.frame import RegisterCode
from tinywasm.engine.native.opcodes import OPCODES, PAIRED
from tinywasm.errors import InternalError

pytestmark = pytest.mark.skipif(not native_available, reason="the native engine is not built")

MODULE = """
    (module
      (type $number (func (param i64) (result i64)))
      (type $structure (struct (field i32 i8 v128)))
      (type $bytes (array (mut i8)))
      (type $vectors (array (mut v128)))
      (type $taking (func (param externref)))
      (func $numbers (type $number) (local.get 0))
      (func $references (type $taking))
      (func $float (param i64) (result f64) (f64.const 0))
      (memory 1)
      (table $calls 1 funcref)
      (table $others 1 externref)
      (global $fixed i64 (i64.const 0))
      (global $mutable (mut i64) (i64.const 0))
      (global $reference (mut externref) (ref.null extern))
      (tag $tag (param i64 i64))
      (tag $payload (param externref))
      (data "data")
      (elem funcref))"""
# Words take so many slots: those of the frame, and those above it.
FRAME, ABOVE = 40, 64
SLOTS = FRAME + ABOVE
HIGH = 1 << 32

Word = tuple[str | int, int, int, int, int]


def word(name: str | int, a: int = 0, b: int = 0, c: int = 0, immediate: int = 0) -> Word:
    return (name, a, b, c, immediate & ((1 << 64) - 1))


RETURN = word("return1", 0)


def code(
    *words: Word,
    frame: int | None = None,
    near: int = FRAME,
    params: int = 1,
    zeros: int = 0,
    results: int = 1,
    handlers: list[list[object]] | None = None,
    windows: list[tuple[int, int]] | None = None,
) -> RegisterCode:
    """Code for a function that takes an i64 and returns one; the frame has what far locals take besides."""
    if frame is None:
        frame = near + (words[0][4] % HIGH if words and words[0][0] == "wide_enter" else 0)
    packed = b"".join(
        struct.pack("<HHHHQ", OPCODES[name] if isinstance(name, str) else name, *fields)
        for name, *fields in words
    )
    return RegisterCode(
        packed, [0] * len(words), frame, near, params, zeros, results, handlers or [], windows or []
    )


def deep(*words: Word, handlers: list[list[object]] | None = None) -> RegisterCode:
    """Code whose frame pointer moves before the second word."""
    return code(*words, handlers=handlers, windows=[(1, 16)])


def data(content: bytes) -> Word:
    opcode, a, b, c, immediate = struct.unpack("<HHHHQ", content)
    return (opcode, a, b, c, immediate)


def verified(lowered: RegisterCode) -> tuple[Any, Any]:
    """Code that the verifier has let pass, and the scope of its module."""
    from tinywasm.engine.native import _loop

    context = tinywasm.Module(Engine(), MODULE).context
    scope = _loop.NativeScope(context)
    return _loop.NativeCode(lowered, scope, context.funcs[0], "function 0"), scope


def install(lowered: RegisterCode) -> bool:
    """Bring code before the verifier; whether it takes slots for references."""
    made, _ = verified(lowered)
    return bool(made.references)


def closed(lowered: RegisterCode) -> bool:
    """Whether verified code takes no slots for references and reads none that it has not written."""
    made, scope = verified(lowered)
    return bool(made.closed(scope))


JUMP_TO_NEXT = word("jump", immediate=1)
ZEROS = data(bytes(16))

PASSES = {
    "a return": code(RETURN),
    "a row up to the last slot": code(word("move_row", 0, immediate=SLOTS - 4 | 4 * HIGH), RETURN),
    "all slots": code(word("move_row", 0, immediate=SLOTS * HIGH), RETURN),
    "a row of nothing": code(word("move_row", SLOTS - 1), RETURN),
    "the last slot": code(word("move", SLOTS - 1, 0), RETURN),
    "a loop": code(word("branch_if", 0, immediate=0), RETURN),
    "data": code(word("const128", 2), ZEROS, RETURN),
    "a table of branches": code(
        word("br_table", 0, immediate=1), word("jump", immediate=2), word("jump", immediate=1), RETURN
    ),
    "a call": code(word("call", 0, immediate=0), RETURN),
    "a tail call": code(word("return_call", 0, immediate=0)),
    "a tail call through a table": code(word("return_call_indirect", 0, 1, immediate=0)),
    "two words in one": code(word("fuel__then__move", immediate=2), word("move", 1, 0), RETURN),
    "two words in one and a third": code(
        word("move2__then__move2", 1, 0, 2, 0), word("move2__then__jump", 1, 0, 2, 0), JUMP_TO_NEXT, RETURN
    ),
    "far locals": code(
        word("wide_enter", 1, immediate=60),
        word("wide_get", 2, c=1, immediate=-60),
        word("wide_leave", 2, 1, immediate=60),
        word("return0"),
    ),
    "windows": deep(
        word("wide_shift", immediate=16),
        word("wide_set", 2, c=2, immediate=-16),
        word("wide_leave", 2, 1, immediate=16),
        word("return0"),
    ),
    "a handler": code(RETURN, RETURN, handlers=[[0, 1, [[0, 0, 1, FRAME - 2, 0], [-1, 0, 1, 0, 0]]]]),
    "a far memory": code(word("wide_memory", immediate=0), word("i32_load__x", 1, 0, 0xFFFF), RETURN),
}

BROKEN = [
    ("code without words", code()),
    ("an opcode that there is not", code(word(len(OPCODES)), RETURN)),
    ("the way into machine code, which no function has among its words", code(word("compiled"), RETURN)),
    ("the code may be run off its end", code(word("move", 1, 0))),
    ("the code may be run off its end", code(word("call", 0, immediate=0))),
    ("the code may be run off its end", code(word("const128", 2), ZEROS)),
    ("the code may be run off its end", code(word("wide_shift", immediate=0))),
    ("the code may be run off its end", code(word("wide_leave", 0, 1))),
    ("the code may be run off its end", code(word("fuel__then__move", immediate=1))),
    ("a slot beyond the frame", code(word("move", SLOTS, 0), RETURN)),
    ("a slot beyond the frame", code(word("move", 0, SLOTS), RETURN)),
    ("a slot beyond the frame", code(word("move128", SLOTS - 1, 0), RETURN)),
    ("a slot beyond the frame", code(word("move_row", SLOTS - 3, immediate=4 * HIGH), RETURN)),
    ("a slot beyond the frame", code(word("move_row", 0, immediate=SLOTS - 3 | 4 * HIGH), RETURN)),
    ("a slot beyond the frame", code(word("move_row", 0, immediate=HIGH - 1 | HIGH), RETURN)),
    ("a slot beyond the frame", code(word("move_row", 0, immediate=HIGH * (HIGH - 1)), RETURN)),
    (
        "a slot beyond the frame",
        deep(
            word("wide_shift", immediate=16),
            word("move_row", 0, immediate=SLOTS - 19 | 4 * HIGH),
        ),
    ),
    ("a slot beyond the frame", code(word("move2", 0, 0, SLOTS), RETURN)),
    ("a slot beyond the frame", code(word("move2", 0, 0, 0, SLOTS), RETURN)),
    ("a slot beyond the frame", code(word("i64_add128", 0, 0, 0, SLOTS << 16), RETURN)),
    ("a slot beyond the frame", code(word("i64_add128", 0, 0, 0, SLOTS), RETURN)),
    ("a slot beyond the frame", code(word("call", SLOTS, immediate=0), RETURN)),
    ("a slot beyond the frame", code(word("memory_fill", SLOTS - 2), RETURN)),
    ("a slot beyond the frame", code(word("throw", SLOTS - 1, immediate=0))),
    ("a slot beyond the frame", code(word("struct_new", SLOTS - 3, immediate=1), RETURN)),
    ("a slot beyond the frame", code(word("array_new", SLOTS - 2, immediate=3), RETURN)),
    ("a slot beyond the frame", code(word("array_fill", SLOTS - 4, immediate=3), RETURN)),
    ("a slot beyond the frame", code(word("array_new_fixed", SLOTS - 3, immediate=2 | 4 * HIGH), RETURN)),
    ("a slot beyond the frame", code(word("array_get", SLOTS - 1, immediate=3), RETURN)),
    ("a slot beyond the frame", code(word("array_set", 0, 0, SLOTS - 1, 3), RETURN)),
    ("a slot beyond the frame", code(word("wide_get", 0, c=1, immediate=-1), RETURN)),
    ("a slot beyond the frame", code(word("wide_set", 0, c=2, immediate=SLOTS - 1), RETURN)),
    ("a slot beyond the frame", code(word("wide_get", SLOTS - 1, c=2, immediate=0), RETURN)),
    ("a slot beyond the frame", code(RETURN, handlers=[[0, 1, [[0, 0, 0, FRAME - 1, 0]]]])),
    ("a slot beyond the frame", code(RETURN, handlers=[[0, 1, [[-1, 1, 0, FRAME, 0]]]])),
    ("a slot beyond the frame", code(word("wide_enter", 1, immediate=SLOTS * HIGH), RETURN)),
    ("locals or results beyond the frame", code(RETURN, zeros=FRAME)),
    (
        "a slot beyond the frame",
        code(word("wide_shift", immediate=16), word("move", SLOTS - 16, 0), RETURN, windows=[(1, 16)]),
    ),
    ("a window beyond the frame", code(RETURN, frame=FRAME - 1)),
    (
        "a window beyond the frame",
        code(word("wide_enter", 1, immediate=1), RETURN, frame=FRAME),
    ),
    (
        "a window beyond the frame",
        code(word("wide_shift", immediate=FRAME + 1), RETURN, windows=[(1, FRAME + 1)]),
    ),
    ("windows out of order", code(RETURN, windows=[(1, 0), (0, 16)])),
    ("another number of parameters than the function has", code(RETURN, params=2)),
    (
        "another number of parameters than the function has",
        code(word("wide_enter", 2, immediate=1), RETURN),
    ),
    ("another number of results than the function has", code(RETURN, results=2)),
    ("another number of results than the function has", code(word("return0"))),
    ("another number of results than the function has", code(word("return_n", 0, immediate=2))),
    (
        "another number of results than the function has",
        code(word("wide_leave", 0, 2), word("return0")),
    ),
    ("a tail call to a function with other results", code(word("return_call", 0, immediate=1))),
    ("a tail call to a function with other results", code(word("return_call", 0, immediate=2))),
    ("a tail call to a function with other results", code(word("return_call_indirect", 0, 1, immediate=4))),
    ("a tail call to a function with other results", code(word("return_call_ref", 0, 1, immediate=4))),
    (
        "a tail call to a function with other results",
        code(word("wide_leave", 0, 1), word("return_call", 0, immediate=1)),
    ),
    ("a branch out of the code", code(word("jump", immediate=1))),
    ("a branch out of the code", code(word("jump", immediate=-1 & 0xFFFF_FFFF))),
    ("a branch out of the code", code(RETURN, handlers=[[0, 1, [[-1, 0, 1, 0, 0]]]])),
    (
        "a branch to what is no word of its own",
        code(word("jump", immediate=2), word("const128", 2), ZEROS, RETURN),
    ),
    (
        "a branch to what is no word of its own",
        code(word("jump", immediate=2), word("wide_leave", 0, 1), word("return0")),
    ),
    (
        "a branch to what is no word of its own",
        code(word("wide_enter", 1, immediate=1), word("jump", immediate=-1 & 0xFFFF_FFFF)),
    ),
    ("a branch to where the frame pointer is another", deep(word("jump", immediate=1), RETURN)),
    (
        "a branch to where the frame pointer is another",
        deep(RETURN, RETURN, handlers=[[0, 1, [[-1, 0, 1, 0, 0]]]]),
    ),
    ("a frame pointer that does not move", deep(word("move", 1, 0), RETURN)),
    (
        "a frame pointer that does not move",
        deep(word("br_table", 0), word("jump", immediate=1), RETURN),
    ),
    (
        "a frame pointer that moves elsewhere than the windows say",
        deep(word("wide_shift", immediate=8), RETURN),
    ),
    (
        "a frame that is made in the middle of the code",
        code(word("move", 1, 0), word("wide_enter", 1), RETURN),
    ),
    (
        "a frame that is made above its start",
        code(word("wide_enter", 1, immediate=1), RETURN, windows=[(0, 16)]),
    ),
    ("another start of the frame", code(word("wide_leave", 0, 1, immediate=1), word("return0"))),
    ("a frame that is left for what is no return", code(word("wide_leave", 0, 1), RETURN)),
    ("data that is cut off", code(word("const128", 2))),
    ("a lane that vectors do not have", code(word("i8x16_shuffle", 2), data(b"\x20" + bytes(15)), RETURN)),
    *(
        (
            "a lane that vectors do not have",
            code(word(f"{shape}_extract_lane{sign}", 2, immediate=lanes), RETURN),
        )
        for shape, sign, lanes in (
            ("i8x16", "_u", 16),
            ("i16x8", "_s", 8),
            ("f32x4", "", 4),
            ("f64x2", "", 2),
        )
    ),
    *(
        (
            "a lane that vectors do not have",
            code(word(f"v128_load{128 // lanes}_lane", 2, immediate=lanes << 56), RETURN),
        )
        for lanes in (2, 4, 8, 16)
    ),
    ("an offset of more than 32 bits", code(word("i32_load", 1, 0, 0, HIGH), RETURN)),
    ("an offset of more than 32 bits", code(word("v128_store", 0, 0, 0, -16), RETURN)),
    ("an address of more than 33 bits", code(word("i64_store__s", 0, 0, 0, -8), RETURN)),
    ("fuel that is given", code(word("fuel", immediate=-1), RETURN)),
    ("a table of branches that ends behind the code", code(word("br_table", 0, immediate=1), JUMP_TO_NEXT)),
    (
        "a table of branches with another word in it",
        code(word("br_table", 0, immediate=1), JUMP_TO_NEXT, RETURN),
    ),
    ("two words in one, and another behind", code(word("fuel__then__move"), word("move2"), RETURN)),
    (
        "two words in one that do not belong together",
        code(word("move__then__i32_add__k__b", 3, 0), word("i32_add__k", 4, 2), RETURN),
    ),
    ("a flag that is neither 0 nor 1", code(word("memory_fill", c=2), RETURN)),
    ("a flag that is neither 0 nor 1", code(RETURN, handlers=[[0, 1, [[-1, 2, 0, 0, 0]]]])),
    ("a value of neither one slot nor two", code(word("wide_get", 0, c=3), RETURN)),
    ("a packed field of neither 8 nor 16 bits", code(word("struct_get_s", c=7, immediate=1 * HIGH), RETURN)),
    ("a function that the module does not have", code(word("call", immediate=3), RETURN)),
    ("a function that the module does not have", code(word("ref_func", immediate=3), RETURN)),
    ("a global that the module does not have", code(word("global_get", 0, immediate=3), RETURN)),
    ("an immutable global that is set", code(word("global_set", 0, immediate=0), RETURN)),
    ("a memory that the module does not have", code(word("memory_size", 0, immediate=1), RETURN)),
    ("a memory that the module does not have", code(word("i32_load__x", 0, 0, 1), RETURN)),
    ("a memory that the module does not have", code(word("wide_memory", immediate=1), RETURN)),
    (
        "an access to the memory of the word before, which names none",
        code(word("i32_load__x", 0, 0, 0xFFFF), RETURN),
    ),
    (
        "an access to the memory of the word before, which names none",
        code(
            word("const128", 2),
            data(struct.pack("<HHHHQ", OPCODES["wide_memory"], 0, 0, 0, 0)),
            word("i32_load__x", 0, 0, 0xFFFF),
            RETURN,
        ),
    ),
    ("a table that the module does not have", code(word("table_size", 0, immediate=2), RETURN)),
    ("a table that the module does not have", code(word("call_indirect", immediate=2 * HIGH), RETURN)),
    ("a call through a table without functions", code(word("call_indirect", immediate=1 * HIGH), RETURN)),
    ("a tag that the module does not have", code(word("throw", immediate=2))),
    ("a tag that the module does not have", code(RETURN, handlers=[[0, 1, [[2, 0, 0, 0, 0]]]])),
    ("a type that the module does not have", code(word("struct_new", immediate=9), RETURN)),
    ("a type that the module does not have", code(word("ref_test", c=1, immediate=9), RETURN)),
    ("a type of another kind", code(word("struct_new", immediate=0), RETURN)),
    ("a type of another kind", code(word("call_indirect", immediate=1), RETURN)),
    ("a type of another kind", code(word("call_ref", immediate=2), RETURN)),
    ("a type of another kind", code(word("array_get", immediate=1), RETURN)),
    ("a field that the structure does not have", code(word("struct_get", immediate=4 | 1 * HIGH), RETURN)),
    ("a field that the structure does not have", code(word("struct_get128", immediate=3 | 1 * HIGH), RETURN)),
    ("an index that the module does not have", code(word("data_drop", immediate=1), RETURN)),
    ("an index that the module does not have", code(word("elem_drop", immediate=1), RETURN)),
    ("an index that the module does not have", code(word("memory_init", immediate=1 * HIGH), RETURN)),
    ("an index that the module does not have", code(word("memory_copy", immediate=1), RETURN)),
    ("an index that the module does not have", code(word("table_copy", immediate=2 * HIGH), RETURN)),
    ("an index that the module does not have", code(word("table_init", immediate=2 * HIGH), RETURN)),
    (
        "a data segment that the module does not have",
        code(word("array_new_data", immediate=2 | 1 * HIGH), RETURN),
    ),
    (
        "an element segment that the module does not have",
        code(word("array_init_elem", immediate=2 | HIGH), RETURN),
    ),
    ("a handler beyond the code", code(RETURN, handlers=[[0, 2, []]])),
    ("a handler beyond the code", code(RETURN, handlers=[[1, 0, []]])),
    (
        "handlers in another order than from the innermost",
        code(RETURN, RETURN, handlers=[[0, 1, []], [1, 2, []]]),
    ),
]


@pytest.mark.parametrize("lowered", PASSES.values(), ids=PASSES)
def test_what_keeps_the_rules_passes(lowered: RegisterCode) -> None:
    assert not install(lowered)


@pytest.mark.parametrize(("rule", "lowered"), BROKEN)
def test_a_broken_rule_is_named(rule: str, lowered: RegisterCode) -> None:
    with pytest.raises(
        InternalError, match=f"^the native code of function 0 is faulty at word [0-9]+.*: {rule}$"
    ):
        install(lowered)


def test_every_rule_is_tested() -> None:
    source = (Path(native.__file__).parent / "verify.c").read_text()
    rules = re.findall(r'RULE\([^;]*?\s"([^"]*)"\)', source)
    assert set(rules) == {rule for rule, _ in BROKEN}


def test_as_many_positions_as_words() -> None:
    with pytest.raises(InternalError, match="2 positions for 1 words"):
        install(replace(code(RETURN), positions=[0, 0]))


@pytest.mark.parametrize(
    "lowered",
    [
        code(word("ref_test", 0, 0, 0, 0), RETURN),
        code(word("call", 0, immediate=1), RETURN),
        code(word("global_get", 0, immediate=2), RETURN),
        code(word("throw", 0, immediate=1)),
        code(RETURN, handlers=[[0, 1, [[1, 0, 0, 0, 0]]]]),
        code(RETURN, handlers=[[0, 1, [[-1, 1, 0, 0, 0]]]]),
    ],
)
def test_code_that_takes_slots_for_references_is_told_apart(lowered: RegisterCode) -> None:
    assert install(lowered)


def test_every_pair_is_held_to_its_second_word() -> None:
    """Whatever word stands behind the first of two in one but the second is refused."""
    rng = Random(1)
    for (_, second), forms in PAIRED.items():
        for _, both in forms:
            other = rng.choice([each for each in range(len(OPCODES)) if each != second])
            with pytest.raises(InternalError):
                install(code(word(both), word(other), RETURN))


CLOSED = {
    "parameters and locals": code(word("i64_add", 2, 0, 1), word("return1", 2), zeros=1),
    "what was written": code(word("move", 5, 0), word("return1", 5)),
    "a row": code(word("move2", 5, 0, 6, 0), word("move_row", 2, immediate=3 | 2 * HIGH), word("return1", 3)),
    "what overlaps": code(
        word("move2", 2, 0, 3, 0), word("move_row", 1, immediate=1 | 2 * HIGH), word("return1", 2)
    ),
    "results of a call": code(word("move", 5, 0), word("call", 5, immediate=0), word("return1", 5)),
    "written on both ways": code(
        word("branch_if", 0, immediate=3),
        word("const", 4),
        word("jump", immediate=2),
        word("move", 4, 0),
        word("return1", 4),
    ),
    "written before a loop": code(
        word("const", 4),
        word("count_i32_ne__k", 4, c=1, immediate=5 * HIGH),
        word("return1", 4),
    ),
    "nothing comes there": code(word("jump", immediate=2), word("return1", 9), RETURN),
    "in any of a table of branches": code(
        word("const", 4), word("br_table", 0), word("jump", immediate=1), word("return1", 4)
    ),
    "what a handler gets": code(
        word("call", 1, immediate=0),
        RETURN,
        word("return1", 6),
        zeros=1,
        handlers=[[0, 1, [[0, 0, 2, 5, 0]]]],
    ),
}
# A call, and behind a return the words that a clause leads to; slot 5 is the first that it writes.
CALL = [word("call", 2, immediate=0), RETURN]


def caught(*words: Word, tag: int = -1, with_ref: int = 1) -> RegisterCode:
    return code(*CALL, *words, zeros=2, handlers=[[0, 1, [[tag, with_ref, 2, 5, 0]]]])


def caught_again(*words: Word) -> RegisterCode:
    """The first word that a clause leads to may throw as well, which leads to the second."""
    return code(
        *CALL, *words, zeros=2, handlers=[[2, 3, [[-1, 0, 3, 0, 0]]], [0, 1, [[-1, 1, 2, 5, 0]]]]
    )  # fmt: skip


CLOSED_EXCEPTIONS = {
    "thrown again": caught(word("throw_ref", 5)),
    "behind what the tag brings": caught(word("throw_ref", 7), tag=0),
    "in a local": caught(word("move", 1, 5), word("throw_ref", 1)),
    "in one of two that are moved": caught(word("move2", 1, 0, 2, 5), word("throw_ref", 2)),
    "in a row": caught(word("move", 4, 0), word("move_row", 2, immediate=2 | 2 * HIGH), word("throw_ref", 3)),
    "moved twice": caught(word("move2", 1, 5, 2, 1), word("throw_ref", 2)),
    "below a call": caught(word("move", 1, 5), word("move", 2, 0), word("call", 2), word("throw_ref", 1)),
    "none": code(word("throw_ref", 1), zeros=1),
    "none or one": caught(word("branch_if", 0, immediate=2), word("move", 1, 5), word("throw_ref", 1)),
    "thrown into another clause": caught_again(word("throw_ref", 5), RETURN),
}
OPEN_EXCEPTIONS = {
    "a number": code(word("throw_ref", 0)),
    "never written": code(word("throw_ref", 1)),
    "a number that was moved": caught(word("move", 5, 0), word("throw_ref", 5)),
    "a constant": caught(word("const", 5, immediate=8), word("throw_ref", 5)),
    "a result": caught(word("move", 5, 0), word("call", 5), word("throw_ref", 5)),
    "above a call": caught(word("move", 4, 0), word("call", 4), word("throw_ref", 5)),
    "what the tag brings": caught(word("throw_ref", 5), tag=0),
    "what a clause does not give": caught(word("throw_ref", 5), with_ref=0),
    "a number on one way": caught(
        word("branch_if", 0, immediate=2), word("move", 5, 0), word("throw_ref", 5)
    ),
    "read as a number": caught(word("return1", 5)),
    "half of a vector": caught(word("move", 6, 0), word("move128", 2, 5), word("return1", 0)),
    "stored": caught(word("i64_store", 0, 5), RETURN),
    "given to a function": caught(word("call", 5), RETURN),
    "moved and read as a number": caught(word("move2", 1, 0, 2, 5), word("return1", 2)),
    "zero on one way, then read": caught(
        word("branch_if", 0, immediate=2), word("move", 1, 5), word("return1", 1)
    ),
    "thrown into what reads it": caught_again(word("throw_ref", 5), word("return1", 5)),
    "with another reference": caught(word("ref_func", 1), word("throw_ref", 5)),
}
OPEN = {
    "never written": code(word("return1", 1)),
    "the upper half of a vector": code(word("const", 2), word("move128", 4, 2), RETURN),
    "one of a row": code(word("move", 5, 0), word("move_row", 2, immediate=3 | 2 * HIGH), RETURN),
    "the operand in the immediate": code(word("move2", 1, 0, 2, 3), RETURN),
    "above a call": code(
        word("move", 6, 0), word("move", 5, 0), word("call", 5, immediate=0), word("return1", 6)
    ),
    "arguments": code(word("call", 5, immediate=0), word("return1", 5)),
    "the operand that names the function": code(
        word("move", 5, 0), word("call_indirect", 5, 7, immediate=0), word("return1", 5)
    ),
    "written on one way": code(word("branch_if", 0, immediate=2), word("const", 4), word("return1", 4)),
    "written at the end of a loop": code(
        word("move", 3, 4), word("move", 4, 0), word("branch_if", 0, immediate=-2 & 0xFFFF_FFFF), RETURN
    ),
    "written on one way of a loop": code(
        word("const", 4),
        word("move", 3, 4),
        word("call", 4, immediate=0),
        word("throw", 4, immediate=0),
        handlers=[[2, 3, [[-1, 0, 1, 0, 0]]]],
    ),
    "what is thrown": code(word("throw", 3, immediate=0)),
    "more than a handler gets": code(
        word("call", 1, immediate=0),
        RETURN,
        word("return1", 7),
        zeros=1,
        handlers=[[0, 1, [[0, 0, 2, 5, 0]]]],
    ),
    "stored": code(word("i64_store", 0, 3), RETURN),
    "filled with": code(word("memory_fill", 3), RETURN),
    "a wide frame": PASSES["far locals"],
    "windows": PASSES["windows"],
    "references": code(word("ref_func", 1), RETURN),
    "a frame larger than any": code(
        word("move", 60, 0), word("return1", 60), frame=0xFFFF_FFFF, near=0xFFFF_FFFF
    ),
}


@pytest.mark.parametrize("lowered", CLOSED_EXCEPTIONS.values(), ids=CLOSED_EXCEPTIONS)
def test_code_that_throws_what_it_has_caught_is_closed(lowered: RegisterCode) -> None:
    assert install(lowered) and closed(lowered)


@pytest.mark.parametrize("lowered", OPEN_EXCEPTIONS.values(), ids=OPEN_EXCEPTIONS)
def test_code_that_takes_numbers_for_exceptions_or_exceptions_for_numbers_is_not_closed(
    lowered: RegisterCode,
) -> None:
    assert install(lowered) and not closed(lowered)


@pytest.mark.parametrize("lowered", CLOSED.values(), ids=CLOSED)
def test_code_that_reads_what_it_has_written_is_closed(lowered: RegisterCode) -> None:
    assert closed(lowered)


@pytest.mark.parametrize("lowered", OPEN.values(), ids=OPEN)
def test_code_that_reads_what_lay_on_the_stack_is_not_closed(lowered: RegisterCode) -> None:
    assert not closed(lowered)


def test_what_is_made_of_whole_programs_is_closed() -> None:
    """Where it takes no slots for references, as it does nowhere in these."""
    from tinywasm.engine.native import _loop
    from tinywasm.engine.native.select import lower

    for program in sorted((Path(__file__).parents[1] / "wasi_programs").glob("*.wasm")):
        module = tinywasm.Module.from_file(Engine(), program)
        scope = _loop.NativeScope(module.context)
        for index, function in enumerate(module.syntax.functions, module.context.imported_funcs):
            lowered = lower(module.context, index, function, metered=False)
            assert _loop.NativeCode(lowered, scope, module.context.funcs[index], "").closed(scope), (
                program,
                index,
            )
