"""Words that do what two words do, proved for all slots and values from the C that the loop is made of.

And the proofs are worth something: wrong rows and wrong C are refuted.
"""

from __future__ import annotations

import shutil

import pytest
from words import HAND

from tests.tinywasm.proofs import c_syntax
from tests.tinywasm.proofs.claims import of_pair, of_pattern, refute
from tinywasm.engine import native_available
from tinywasm.engine.native.opcodes import OPCODES, PAIRED
from tinywasm.engine.native.patterns import PATTERNS, Pattern
from tinywasm.instructions import TABLE

pytestmark = pytest.mark.skipif(
    not native_available or shutil.which(c_syntax.COMPILER[0]) is None,
    reason="needs the native engine, and a C compiler",
)
NAMES = list(OPCODES)
FIELDS = ("", "a", "b", "c", "imm")
PAIRS = [
    (NAMES[first], NAMES[second], FIELDS[taken], NAMES[both])
    for (first, second), forms in PAIRED.items()
    for taken, both in forms
]


@pytest.mark.slow
@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda p: f"{p.first}+{p.second}-{p.made}")
def test_the_word_that_a_pattern_makes_is_its_two_words(pattern: Pattern) -> None:
    assert refute(of_pattern(pattern)) == ""


@pytest.mark.parametrize("first,second,taken,both", PAIRS, ids=[pair[3] for pair in PAIRS])
def test_two_words_in_one_are_the_two(first: str, second: str, taken: str, both: str) -> None:
    assert refute(of_pair(first, second, taken, both)) == ""


def test_every_word_that_does_what_others_do_is_proved() -> None:
    proved = {pattern.made for pattern in PATTERNS} | {pair[3] for pair in PAIRS}
    plain = {row.operator or row.name.replace(".", "_") for row in TABLE}
    simple = ["fuel", "jump", "br_table", "return0", "return1", "move", "const", "branch_if", "branch_unless"]
    others = {name.removesuffix("__x") for name in OPCODES} - plain - set(HAND) - set(simple)
    assert others <= proved


# What is wrong with each row stands behind it.
WRONG = [
    # The operands of what does not commute.
    Pattern("const", "i32_sub", "i32_sub__k", "b", True, "a2 c2 0 s1"),
    Pattern("const", "f64_div", "f64_div__k", "b", True, "a2 c2 0 i1"),
    Pattern("f64_mul", "f64_sub", "f64_mul_sub", "c", True, "a2 b1 c1 b2"),
    Pattern("i32_shl__k", "i32_add", "i32_shl__k_add", "b", True, "a2 c2 b1 i1"),
    Pattern("i32_lt_s", "branch_if", "branch_if__i32_lt_s", "a", True, "c1 b1 0 i2"),
    # Another word.
    Pattern("i32_add", "i32_add", "i32_mul_add", "b", True, "a2 b1 c1 c2"),
    Pattern("i32_lt_s", "branch_if", "branch_if__i32_lt_u", "a", True, "b1 c1 0 i2"),
    Pattern("i32_eqz", "branch_if", "branch_if", "a", True, "b1 0 0 i2"),
    Pattern("f64_lt", "branch_unless", "branch_if__f64_ge", "a", True, "b1 c1 0 i2"),
    # The halves of the immediate the wrong way round, or one of them alone.
    Pattern("i32_mul__k", "i32_add__k", "i32_mul__k_add__k", "b", True, "a2 b1 0 i2:i1"),
    Pattern("i32_add__k", "i32_load", "i32_load__a", "b", True, "a2 b1 0 i1:i2"),
    Pattern("const", "i64_store", "i64_store__s", "a", True, "0 b2 0 i2"),
    # An address that wraps at 32 bits.
    Pattern("const", "i32_load8_u", "i32_load8_u__s", "b", True, "a2 0 0 i2:0"),
    # A slot that is not dead, and one that is written though it should not be.
    Pattern("i32_add__k", "i32_load", "i32_load__a", "b", False, "a2 b1 0 i2:i1"),
    Pattern("i32_add__k", "i32_store", "i32_store__u", "a", False, "b1 b2 b1 i2:i1"),
    Pattern("i32_add__k", "branch_if", "branch_if", "a", False, "a1 0 0 i2"),
    # Wrong slots.
    Pattern("i32_add__k", "i32_store", "i32_store__a", "a", True, "b1 b1 0 i2:i1"),
    Pattern("i32_add__k", "branch_if__i32_lt_u", "count_i32_lt_u", "a", False, "b2 a1 i1 i2", "step"),
    # The order of two writes.
    Pattern("move", "move", "move2", "", False, "a2 b2 a1 b1"),
    Pattern("const", "const", "const2", "", False, "a2 0 a1 i2:i1", "halves"),
    # No guard.
    Pattern("const", "const", "const2", "", False, "a1 0 a2 i1:i2"),
    Pattern("i64_lt_s__k", "branch_if", "branch_if__i64_lt_s__k", "a", True, "b1 0 0 i2:i1"),
    Pattern("f64_lt__k", "branch_if", "branch_if__f64_lt__k", "a", True, "b1 0 0 i2:f1"),
    Pattern("i32_add__k", "branch_if", "count_i32_ne__k", "a", False, "a1 0 i1 i2"),
    # The guard of another row.
    Pattern("f64_lt__k", "branch_if", "branch_if__f64_lt__k", "a", True, "b1 0 0 i2:i1", "half"),
]


@pytest.mark.parametrize("pattern", WRONG, ids=lambda p: f"{p.first}+{p.second}-{p.made}-{p.guard}")
def test_a_wrong_row_is_refuted(pattern: Pattern) -> None:
    assert "=" in refute(of_pattern(pattern))


@pytest.mark.parametrize(
    "first,second,taken,both",
    [
        # Another field is what the first has made; none is; another word; the words in the other order.
        ("i32_add", "i32_store", "a", "i32_add__then__i32_store__b"),
        ("i32_add", "i32_add__k", "", "i32_add__then__i32_add__k__b"),
        ("i32_add", "i32_xor", "", "i32_add__then__i32_add"),
        ("i32_sub", "return1", "a", "i32_add__then__return1__a"),
        ("i32_load", "i32_store", "", "i32_store__then__i32_load"),
        ("i32_add__k", "fuel", "", "fuel__then__i32_add__k"),
    ],
)
def test_a_wrong_pair_is_refuted(first: str, second: str, taken: str, both: str) -> None:
    assert "=" in refute(of_pair(first, second, taken, both))


# Rows that are right, and C that is wrong for them where slots are shared, or in the bounds.
_ARMS = {
    # The local that moves is written behind the value that is loaded.
    "i32_load__u": """{
        uint32_t moved = (uint32_t)fp[pc->b] + (uint32_t)(pc->imm >> 32);
        uint64_t at = (uint64_t)moved + (uint32_t)pc->imm;
        if (at + 4 > memory_size) goto trap_memory;
        uint32_t bits; memcpy(&bits, memory + at, 4);
        fp[pc->a] = bits; fp[pc->c] = moved; pc++; goto *labels[pc->op]; }""",
    # The value is read before the local moves.
    "i32_store__u": """{
        uint32_t moved = (uint32_t)fp[pc->a] + (uint32_t)(pc->imm >> 32), bits = (uint32_t)fp[pc->b];
        fp[pc->c] = moved;
        uint64_t at = (uint64_t)moved + (uint32_t)pc->imm;
        if (at + 4 > memory_size) goto trap_memory;
        memcpy(memory + at, &bits, 4); pc++; goto *labels[pc->op]; }""",
    # The first byte is stored before the bounds are looked at.
    "i32_store16__a": """{
        uint64_t at = (uint64_t)((uint32_t)fp[pc->a] + (uint32_t)(pc->imm >> 32)) + (uint32_t)pc->imm;
        uint16_t bits = (uint16_t)fp[pc->b];
        if (at + 1 > memory_size) goto trap_memory;
        memcpy(memory + at, &bits, 1);
        if (at + 2 > memory_size) goto trap_memory;
        memcpy(memory + at, &bits, 2); pc++; goto *labels[pc->op]; }""",
    # The sum of base and offsets wraps at 32 bits.
    "i32_load8_u__a": """{
        uint32_t at = (uint32_t)fp[pc->b] + (uint32_t)(pc->imm >> 32) + (uint32_t)pc->imm;
        if (at >= memory_size) goto trap_memory;
        uint8_t bits; memcpy(&bits, memory + at, 1); fp[pc->a] = bits; pc++; goto *labels[pc->op]; }""",
    # What is beside the counter is read before the step.
    "count_i32_lt_u": """{
        uint32_t limit = (uint32_t)fp[pc->b], next = (uint32_t)fp[pc->a] + (uint32_t)(int32_t)(int16_t)pc->c;
        fp[pc->a] = next;
        if (next < limit) { pc += (int32_t)pc->imm; goto *labels[pc->op]; }
        pc++; goto *labels[pc->op]; }""",
    # The payload of a NaN is left to the processor.
    "f64_mul_add": """{
        double x = f64_reinterpret_i64(fp[pc->b]), y = f64_reinterpret_i64(fp[pc->c]);
        double z = f64_reinterpret_i64(fp[pc->imm]);
        fp[pc->a] = i64_reinterpret_f64(x * y + z); pc++; goto *labels[pc->op]; }""",
}


@pytest.mark.parametrize("made", _ARMS)
def test_wrong_c_is_refuted(made: str) -> None:
    pattern = next(each for each in PATTERNS if each.made == made)
    assert "=" in refute(of_pattern(pattern, c_syntax.Parser(_ARMS[made] + ";", 0).statement()))
