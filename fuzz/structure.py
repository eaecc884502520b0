"""Strategies that change a module's parts and keep its encoding well-formed, or nearly so.

Damaged bytes are mostly malformed; these reach the rules of validation.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

from hypothesis import strategies as st

from fuzz.corpus import FEATURES, binaries
from tinywasm import binary
from tinywasm.codec import Cast, Catch, MemArg, instructions, write_instruction
from tinywasm.errors import WasmError
from tinywasm.instructions import BY_NAME, TABLE, Instruction
from tinywasm.syntax import EXTERN_KINDS, DecodedModule, ElementSegment, Expr
from tinywasm.types import F32, F64, I32, I64, V128, AbstractHeap, NumType, PackedType, RefType, ValType

_INDICES = st.integers(0, 3) | st.integers(0, 40)
_HEAPS = st.sampled_from(list(AbstractHeap)) | _INDICES
_REFS = st.builds(RefType, st.booleans(), _HEAPS)
_VALUES = st.sampled_from([I32, I64, F32, F64, V128]) | _REFS
_SIZES = {"memarg1": 0, "memarg2": 1, "memarg4": 2, "memarg8": 3, "memarg16": 4}
_IMMEDIATES: dict[str, st.SearchStrategy[Any]] = {
    **{
        kind: st.builds(
            MemArg, st.integers(0, size + 1), st.integers(0, 2), st.sampled_from([0, 1, 2**32 - 1, 2**32])
        )
        for kind, size in _SIZES.items()
    },
    **dict.fromkeys(("lane2", "lane4", "lane8", "lane16"), st.integers(0, 17)),
    "block": st.none() | _VALUES | _INDICES,
    "labels": st.tuples(st.lists(_INDICES, max_size=3).map(tuple), _INDICES),
    "catches": st.lists(st.builds(Catch, st.none() | _INDICES, st.booleans(), _INDICES), max_size=3).map(
        tuple
    ),
    **dict.fromkeys(("i32", "i64"), st.integers(-(2**31), 2**31 - 1)),
    **dict.fromkeys(("f32", "f64"), st.just(0)),
    "v128": st.just(bytes(16)),
    "shuffle": st.lists(st.integers(0, 33), min_size=16, max_size=16).map(bytes),
    "heap": _HEAPS,
    "ref": st.builds(RefType, st.just(False), _HEAPS),
    "refnull": st.builds(RefType, st.just(True), _HEAPS),
    "types": st.lists(_VALUES, max_size=2).map(tuple),
    "cast": st.builds(Cast, _INDICES, _REFS, _REFS),
}


def _instructions(row: Instruction | None = None) -> st.SearchStrategy[bytes]:
    """Encodings of an instruction, of any where it is not given."""
    return (st.sampled_from(TABLE) if row is None else st.just(row)).flatmap(
        lambda row: st.tuples(*(_IMMEDIATES.get(kind, _INDICES) for kind in row.immediates)).map(
            lambda immediates: write_instruction(row, immediates)
        )
    )


def _change_code(draw: st.DrawFn, expr: Expr) -> Expr:
    found = list(instructions(expr.code, expr.start, expr.end))
    if not found:
        return expr
    at = draw(st.integers(0, len(found) - 1))
    position, row, _ = found[at]
    end = found[at + 1][0] if at + 1 < len(found) else expr.end
    old = expr.code[position:end]
    new = draw(
        st.one_of(
            _instructions(),
            _instructions(row),
            _instructions().map(lambda inserted: inserted + old),
            # Without it, twice, and behind a `return`, where the operand stack is polymorphic.
            st.sampled_from([b"", old * 2, b"\x0f" + old]),
        )
    )
    code = expr.code[expr.start : position] + new + expr.code[end : expr.end]
    return Expr(code, 0, len(code))


def _change_sequence(draw: st.DrawFn, items: list[Any]) -> list[Any]:
    items = list(items)
    at = draw(st.integers(0, len(items) - 1))
    kind = draw(st.sampled_from(["item", "item", "item", "delete", "repeat", "swap"]))
    if kind == "item":
        items[at] = _change(draw, items[at])
    elif kind == "delete":
        del items[at]
    elif kind == "repeat":
        items.insert(at, items[at])
    else:
        items[0], items[at] = items[at], items[0]
    return items


def _change_element(draw: st.DrawFn, segment: ElementSegment) -> ElementSegment:
    """Change a segment from indices to expressions, or only its expressions or indices."""
    if draw(st.booleans()):
        return dataclasses.replace(segment, init=_change(draw, segment.init))
    init = [item if isinstance(item, Expr) else _reference(item) for item in segment.init]
    return dataclasses.replace(segment, init=init, type=draw(_REFS))


def _reference(index: int) -> Expr:
    code = write_instruction(BY_NAME["ref.func"][0], (index,)) + write_instruction(BY_NAME["end"][0])
    return Expr(code, 0, len(code))


def _change_fields(draw: st.DrawFn, value: Any) -> Any:
    if isinstance(value, ElementSegment) and draw(st.booleans()):
        return _change_element(draw, value)
    fixed = ("type", "mode") if isinstance(value, ElementSegment) else ()
    names = [field.name for field in dataclasses.fields(value) if field.name not in fixed]
    present = [name for name in names if getattr(value, name) not in ([], (), None, b"")]
    if not present:
        return value
    name = draw(st.sampled_from(present))
    if name == "page_size":
        return dataclasses.replace(value, page_size=1 << draw(st.sampled_from([0, 1, 15, 16, 17])))
    changed = _change(draw, getattr(value, name))
    try:
        return dataclasses.replace(value, **{name: changed})
    except (TypeError, ValueError):
        # A type that its constructor refuses; no file can say it.
        return value


def _change(draw: st.DrawFn, value: Any) -> Any:
    """The value with one thing in it changed, whatever it is."""
    if isinstance(value, Expr):
        return _change_code(draw, value)
    if isinstance(value, NumType | RefType):
        return draw(_VALUES)
    if isinstance(value, PackedType):
        return draw(st.sampled_from(PackedType) | _VALUES)
    if dataclasses.is_dataclass(value):
        return _change_fields(draw, value)
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], ValType):
        # A run of locals.
        count, local = value
        return (_change(draw, count), local) if draw(st.booleans()) else (count, draw(_VALUES))
    if isinstance(value, list | tuple) and value:
        return type(value)(_change_sequence(draw, list(value)))
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return draw(st.sampled_from([0, 1, max(0, value - 1), value + 1, value * 2, 2**16, 2**31, 2**32 - 1]))
    if isinstance(value, str):
        return draw(st.sampled_from(EXTERN_KINDS if value in EXTERN_KINDS else [value, value + "x"]))
    return draw(st.sampled_from(type(value))) if isinstance(value, enum.Enum) else value


@st.composite
def changed_modules(draw: st.DrawFn) -> bytes:
    """The encoding of a module with up to three changes; as it was, where it cannot be changed."""
    data = draw(binaries())
    try:
        module = binary.decode(data, FEATURES)
        for _ in range(draw(st.integers(1, 3))):
            module = _change_once(draw, module)
        return binary.encode(module)
    except WasmError:
        return data


def _change_once(draw: st.DrawFn, module: DecodedModule) -> DecodedModule:
    # Half of all changes are made to code, where most rules are.
    if draw(st.booleans()) and module.functions:
        return dataclasses.replace(module, functions=_change_sequence(draw, list(module.functions)))
    changed: DecodedModule = _change_fields(draw, module)
    return changed
