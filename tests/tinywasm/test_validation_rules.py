"""Each instruction with a rule of its own: code that it accepts and code that it refuses."""

from __future__ import annotations

import pytest

from tinywasm.errors import ValidationError
from tinywasm.text import parse_module
from tinywasm.validation import validate
from tinywasm.validation.rules import RULES

PRELUDE = """
  (type $f (func (param i32) (result i32)))
  (type $pair (struct (field $a i32) (field $b (mut i8)) (field $c (mut i64))))
  (type $strict (struct (field (ref any))))
  (type $ints (array (mut i32)))
  (type $bytes (array (mut i8)))
  (type $fixed (array i32))
  (type $refs (array (mut anyref)))
  (type $eqs (array (mut eqref)))
  (type $strictly (array (ref any)))
  (import "m" "m" (memory $m64 i64 1))
  (memory $m32 1)
  (table $t 1 funcref)
  (table $t64 i64 1 funcref)
  (table $x 1 externref)
  (global $g (mut i32) (i32.const 0))
  (global $const i64 (i64.const 0))
  (tag $e (param i32))
  (elem $anys anyref (ref.null any))
  (elem $funcs funcref)
  (elem declare func $id)
  (data $d "data")
  (func $id (type $f) local.get 0)
  (func $never (type $f) unreachable)
  (func $wide (result i64) unreachable)
"""

# Mnemonic, function accepted, function refused, first words of why. The functions begin with their type.
CASES = [
    ("unreachable", "(result i32) unreachable", "(result i32) unreachable i64.const 0", "type mismatch"),
    ("block", "i32.const 0 block (param i32) drop end", "i32.const 0 block drop end", "type mismatch"),
    ("loop", "i32.const 0 loop (param i32) drop end", "loop (result i32) end drop", "type mismatch"),
    ("if", "i32.const 1 if end", "i64.const 1 if end", "type mismatch"),
    (
        "else",
        "(result i32) i32.const 1 if (result i32) i32.const 1 else i32.const 2 end",
        "(result i32) i32.const 1 if (result i32) i32.const 1 else i64.const 2 end",
        "type mismatch",
    ),
    (
        "end",
        "i32.const 0 i32.const 1 if (param i32) (result i32) end drop",
        "i32.const 1 if (result i32) i32.const 0 end drop",
        "type mismatch: if without else",
    ),
    ("throw", "i32.const 0 throw $e", "i64.const 0 throw $e", "type mismatch"),
    ("throw_ref", "ref.null exn throw_ref", "ref.null any throw_ref", "type mismatch"),
    ("br", "block br 0 end", "block br 2 end", "unknown label 2"),
    ("br_if", "i32.const 0 br_if 0", "(result i32) i32.const 0 br_if 0 i32.const 0", "type mismatch"),
    (
        "br_table",
        "block i32.const 0 br_table 0 1 end",
        "block (result i32) i32.const 0 i32.const 0 br_table 0 1 end drop",
        "type mismatch",
    ),
    ("return", "(result i32) i32.const 0 return", "(result i32) i64.const 0 return", "type mismatch"),
    ("call", "i32.const 0 call $id drop", "i64.const 0 call $id drop", "type mismatch"),
    (
        "call_indirect",
        "i32.const 0 i64.const 0 call_indirect $t64 (type $f) drop",
        "i32.const 0 i32.const 0 call_indirect $x (type $f) drop",
        "type mismatch",
    ),
    (
        "call_ref",
        "i32.const 0 ref.func $id call_ref $f drop",
        "i32.const 0 ref.null func call_ref $f drop",
        "type mismatch",
    ),
    (
        "return_call",
        "(result i32) i32.const 0 return_call $id",
        "i32.const 0 return_call $id",
        "type mismatch",
    ),
    (
        "return_call_indirect",
        "(result i32) i32.const 0 i32.const 0 return_call_indirect (type $f)",
        "(result i64) i32.const 0 i32.const 0 return_call_indirect (type $f)",
        "type mismatch: current function requires",
    ),
    (
        "return_call_ref",
        "(result i32) i32.const 0 ref.func $id return_call_ref $f",
        "(result i32) i32.const 0 ref.null $ints return_call_ref $f",
        "type mismatch",
    ),
    (
        "try_table",
        "(result i32) try_table (catch $e 0) end i32.const 0",
        "(result i64) try_table (catch $e 0) end i64.const 0",
        "type mismatch: catch gives",
    ),
    ("drop", "i32.const 0 drop", "drop", "type mismatch"),
    (
        "select",
        "(result anyref) ref.null any ref.null eq i32.const 0 select (result anyref)",
        "(result anyref) ref.null any ref.null any i32.const 0 select",
        "type mismatch",
    ),
    (
        "local.get",
        "(param i32) (result i32) local.get 0",
        "(local (ref any)) local.get 0",
        "uninitialized local",
    ),
    (
        "local.set",
        "(param i32) i32.const 0 local.set 0",
        "(param i32) i64.const 0 local.set 0",
        "type mismatch",
    ),
    ("local.tee", "(local i32) i32.const 0 local.tee 0 drop", "i32.const 0 local.tee 0", "unknown local 0"),
    ("global.get", "global.get $const drop", "global.get 7 drop", "unknown global 7"),
    ("global.set", "i32.const 0 global.set $g", "i64.const 0 global.set $const", "immutable global"),
    ("table.get", "i32.const 0 table.get $t drop", "i32.const 0 table.get $t64 drop", "type mismatch"),
    (
        "table.set",
        "i32.const 0 ref.null nofunc table.set $t",
        "i32.const 0 ref.null any table.set $t",
        "type mismatch",
    ),
    (
        "table.grow",
        "(result i64) ref.null func i64.const 0 table.grow $t64",
        "ref.null func i32.const 0 table.grow $t64 drop",
        "type mismatch",
    ),
    (
        "table.fill",
        "i64.const 0 ref.null func i64.const 0 table.fill $t64",
        "i64.const 0 ref.null func i32.const 0 table.fill $t64",
        "type mismatch",
    ),
    (
        "table.copy",
        "i64.const 0 i32.const 0 i32.const 0 table.copy $t64 $t",
        "i32.const 0 i32.const 0 i32.const 0 table.copy $t $x",
        "type mismatch",
    ),
    (
        "table.init",
        "i64.const 0 i32.const 0 i32.const 0 table.init $t64 $funcs",
        "i32.const 0 i32.const 0 i32.const 0 table.init $t $anys",
        "type mismatch",
    ),
    (
        "memory.copy",
        "i32.const 0 i64.const 0 i32.const 0 memory.copy $m32 $m64",
        "i64.const 0 i64.const 0 i32.const 0 memory.copy $m64 $m64",
        "type mismatch",
    ),
    (
        "ref.null",
        "(result (ref null $f)) ref.null $f",
        "(result (ref null $f)) ref.null func",
        "type mismatch",
    ),
    ("ref.is_null", "ref.null any ref.is_null drop", "i32.const 0 ref.is_null drop", "type mismatch"),
    ("ref.func", "(result (ref $f)) ref.func $id", "ref.func $never drop", "undeclared function reference"),
    (
        "ref.as_non_null",
        "(result (ref any)) ref.null any ref.as_non_null",
        "(result i32) unreachable ref.as_non_null",
        "type mismatch",
    ),
    (
        "br_on_null",
        "(result (ref any)) block ref.null any br_on_null 0 return end unreachable",
        "i32.const 0 br_on_null 0 drop",
        "type mismatch",
    ),
    (
        "br_on_non_null",
        "(result (ref any)) ref.null any br_on_non_null 0 unreachable",
        "ref.null any br_on_non_null 0",
        "type mismatch",
    ),
    (
        "struct.new",
        "(result (ref $pair)) i32.const 0 i32.const 0 i64.const 0 struct.new $pair",
        "i32.const 0 i32.const 0 i32.const 0 struct.new $pair drop",
        "type mismatch",
    ),
    (
        "struct.new_default",
        "struct.new_default $pair drop",
        "struct.new_default $strict drop",
        "type mismatch",
    ),
    (
        "struct.get",
        "(result i64) ref.null $pair struct.get $pair $c",
        "ref.null $pair struct.get $pair $b drop",
        "type mismatch: i8 is not unpacked",
    ),
    (
        "struct.get_s",
        "ref.null $pair struct.get_s $pair $b drop",
        "ref.null $pair struct.get_s $pair $a drop",
        "type mismatch: i32 is not packed",
    ),
    (
        "struct.get_u",
        "ref.null $pair struct.get_u $pair $b drop",
        "ref.null any struct.get_u $pair $b drop",
        "type mismatch",
    ),
    (
        "struct.set",
        "ref.null $pair i32.const 0 struct.set $pair $b",
        "ref.null $pair i32.const 0 struct.set $pair $a",
        "immutable field 0",
    ),
    (
        "array.new",
        "(result (ref $ints)) i32.const 0 i32.const 0 array.new $ints",
        "i64.const 0 i32.const 0 array.new $ints drop",
        "type mismatch",
    ),
    (
        "array.new_default",
        "i32.const 0 array.new_default $refs drop",
        "i32.const 0 array.new_default $strictly drop",
        "type mismatch",
    ),
    (
        "array.new_fixed",
        "i32.const 0 i32.const 0 array.new_fixed $ints 2 drop",
        "i32.const 0 i32.const 0 array.new_fixed $ints 3 drop",
        "type mismatch",
    ),
    (
        "array.new_data",
        "i32.const 0 i32.const 0 array.new_data $bytes $d drop",
        "i32.const 0 i32.const 0 array.new_data $refs $d drop",
        "array type is not numeric or vector",
    ),
    (
        "array.new_elem",
        "i32.const 0 i32.const 0 array.new_elem $refs $anys drop",
        "i32.const 0 i32.const 0 array.new_elem $eqs $anys drop",
        "type mismatch",
    ),
    (
        "array.get",
        "ref.null $ints i32.const 0 array.get $ints drop",
        "ref.null $bytes i32.const 0 array.get $bytes drop",
        "type mismatch: i8 is not unpacked",
    ),
    (
        "array.get_s",
        "ref.null $bytes i32.const 0 array.get_s $bytes drop",
        "ref.null $ints i32.const 0 array.get_s $ints drop",
        "type mismatch: i32 is not packed",
    ),
    (
        "array.get_u",
        "ref.null $bytes i32.const 0 array.get_u $bytes drop",
        "ref.null $ints i32.const 0 array.get_u $bytes drop",
        "type mismatch",
    ),
    (
        "array.set",
        "ref.null $bytes i32.const 0 i32.const 0 array.set $bytes",
        "ref.null $fixed i32.const 0 i32.const 0 array.set $fixed",
        "immutable array",
    ),
    (
        "array.fill",
        "ref.null $bytes i32.const 0 i32.const 0 i32.const 0 array.fill $bytes",
        "ref.null $fixed i32.const 0 i32.const 0 i32.const 0 array.fill $fixed",
        "immutable array",
    ),
    (
        "array.copy",
        "ref.null $refs i32.const 0 ref.null $eqs i32.const 0 i32.const 0 array.copy $refs $eqs",
        "ref.null $eqs i32.const 0 ref.null $refs i32.const 0 i32.const 0 array.copy $eqs $refs",
        "array types do not match",
    ),
    (
        "array.init_data",
        "ref.null $ints i32.const 0 i32.const 0 i32.const 0 array.init_data $ints $d",
        "ref.null $refs i32.const 0 i32.const 0 i32.const 0 array.init_data $refs $d",
        "array type is not numeric or vector",
    ),
    (
        "array.init_elem",
        "ref.null $refs i32.const 0 i32.const 0 i32.const 0 array.init_elem $refs $anys",
        "ref.null $eqs i32.const 0 i32.const 0 i32.const 0 array.init_elem $eqs $anys",
        "type mismatch",
    ),
    (
        "ref.test",
        "ref.null any ref.test (ref $pair) drop",
        "ref.null func ref.test (ref null $pair) drop",
        "type mismatch",
    ),
    (
        "ref.cast",
        "(result (ref null $pair)) ref.null any ref.cast (ref null $pair)",
        "ref.null extern ref.cast (ref i31) drop",
        "type mismatch",
    ),
    (
        "br_on_cast",
        "(result (ref i31)) ref.null any br_on_cast 0 anyref (ref i31) unreachable",
        "(result (ref i31)) ref.null eq br_on_cast 0 eqref anyref unreachable",
        "type mismatch",
    ),
    (
        "br_on_cast_fail",
        "(result (ref any)) ref.null any br_on_cast_fail 0 anyref i31ref unreachable",
        "(result (ref any)) ref.null any br_on_cast_fail 0 anyref (ref i31) unreachable",
        "type mismatch",
    ),
    (
        "any.convert_extern",
        "(result (ref any)) ref.null extern ref.as_non_null any.convert_extern",
        "(result (ref any)) ref.null extern any.convert_extern",
        "type mismatch",
    ),
    (
        "extern.convert_any",
        "(result externref) ref.null i31 extern.convert_any",
        "ref.null func extern.convert_any drop",
        "type mismatch",
    ),
]


def check(function: str) -> None:
    validate(parse_module(f"(module {PRELUDE} (func {function}))"))


@pytest.mark.parametrize(
    ("mnemonic", "accepted", "refused", "message"), CASES, ids=[case[0] for case in CASES]
)
def test_rule(mnemonic: str, accepted: str, refused: str, message: str) -> None:
    assert mnemonic in accepted and mnemonic in refused
    check(accepted)
    with pytest.raises(ValidationError) as caught:
        check(refused)
    assert caught.value.message.startswith(message)
    assert caught.value.where == "function 3"


def test_every_rule_has_a_case() -> None:
    assert {case[0] for case in CASES} == set(RULES)


UNREACHABLE_ACCEPTED = [
    "unreachable select drop",
    "unreachable i64.const 0 i32.const 0 select drop",
    "unreachable ref.as_non_null ref.is_null drop",
    "unreachable ref.as_non_null call_ref $f drop",
    "unreachable any.convert_extern ref.as_non_null drop",
    "unreachable br_on_null 0 drop",
    "block (result i32) block (result i64) unreachable br_table 0 1 end drop i32.const 0 end drop",
    "(result i32) block unreachable br_table 0 0 end i32.const 0",
    "unreachable array.new_fixed $ints 4294967295 drop",
]
UNREACHABLE_REFUSED = [
    "unreachable i64.const 0 i32.eqz drop",
    "unreachable ref.as_non_null i32.eqz drop",
    "unreachable i64.const 0 f64.const 0 i32.const 0 select drop",
    "unreachable ref.null any i32.const 0 select drop",
    "br 0 block (result i32) end drop",
    "block (result i32) unreachable i64.const 0 i32.const 0 br_table 0 0 end drop",
    "unreachable i64.const 0 i32.const 0 array.new_fixed $ints 4294967295 drop",
]


@pytest.mark.parametrize("function", UNREACHABLE_ACCEPTED)
def test_unreachable_code_is_polymorphic(function: str) -> None:
    check(function)


@pytest.mark.parametrize("function", UNREACHABLE_REFUSED)
def test_unreachable_code_is_typed(function: str) -> None:
    with pytest.raises(ValidationError, match=r"^type mismatch"):
        check(function)


def test_branches_give_the_label_s_types() -> None:
    with pytest.raises(ValidationError, match=r"^type mismatch"):
        check("(result anyref) ref.null i31 i32.const 0 br_if 0 i31.get_u drop ref.null any")


SET = "ref.null any ref.as_non_null local.set 0"


@pytest.mark.parametrize(
    ("function", "valid"),
    [
        (f"(local (ref any)) {SET} local.get 0 drop", True),
        (f"(local (ref any)) {SET} block local.get 0 drop end", True),
        (f"(local (ref any)) block {SET} end local.get 0 drop", False),
        (f"(local (ref any)) i32.const 0 if {SET} else local.get 0 drop end", False),
        (f"(local (ref any)) {SET} block {SET} end local.get 0 drop", True),
        ("(local (ref any)) unreachable local.get 0 drop", False),
        ("(local (ref any)) ref.null any ref.as_non_null local.tee 0 local.get 0 drop drop", True),
        ("(param (ref any)) local.get 0 drop", True),
        ("(local i32 (ref any) i64) local.get 2 drop local.get 0 drop", True),
    ],
)
def test_locals_hold_a_value_to_the_end_of_the_block_that_sets_them(function: str, valid: bool) -> None:
    if valid:
        check(function)
        return
    with pytest.raises(ValidationError, match=r"^uninitialized local 0"):
        check(function)
