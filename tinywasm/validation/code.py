"""Validation of instruction sequences (section 3.4) by the algorithm of appendix 7.6.

Closed signatures are data: one loop checks them. The others have a function each in `rules`. No step
recurses on nesting, and none takes more memory than the input is long.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Any

from tinywasm.codec import READ, MemArg, read_instruction
from tinywasm.errors import DecodeError, ValidationError
from tinywasm.instructions import AT, TABLE, Feature, Instruction
from tinywasm.syntax import Expr
from tinywasm.types import I32, I64, ValType
from tinywasm.validation.extern_types import FLAGS
from tinywasm.validation.rules import RULES, Rule
from tinywasm.validation.stack import Body, Signature

Check = Callable[[Body, Any], None]


def _check_type(body: Body, index: int) -> None:
    body.defined(index)


def _check_func(body: Body, index: int) -> None:
    if index >= len(body.context.funcs):
        raise ValidationError(f"unknown function {index}")


def _check_global(body: Body, index: int) -> None:
    if index >= len(body.context.globals):
        raise ValidationError(f"unknown global {index}")


def _check_tag(body: Body, index: int) -> None:
    if index >= len(body.context.tags):
        raise ValidationError(f"unknown tag {index}")


def _check_elem(body: Body, index: int) -> None:
    if index >= len(body.context.elems):
        raise ValidationError(f"unknown elem segment {index}")


def _check_data_count(body: Body, _index: int) -> None:
    # Section 5.5.15: without that section a decoder of one pass could not tell.
    if not body.has_data_count:
        raise DecodeError("data count section required", body.position)


def _check_data(body: Body, index: int) -> None:
    if index >= body.context.datas:
        raise ValidationError(f"unknown data segment {index}")


def _check_table(body: Body, index: int) -> None:
    if index >= len(body.context.tables):
        raise ValidationError(f"unknown table {index}")
    body.address = body.context.tables[index].address


def _check_mem(body: Body, index: int) -> None:
    if index >= len(body.context.memories):
        raise ValidationError(f"unknown memory {index}")
    body.address = body.context.memories[index].address


def _check_memarg(natural: int) -> Check:
    def check(body: Body, arg: MemArg) -> None:
        align, memory, offset = arg
        _check_mem(body, memory)
        if align > natural:
            raise ValidationError("alignment must not be larger than natural")
        if offset >> 32 and body.address is I32:
            raise ValidationError(f"offset out of range: {offset:#x}")

    return check


def _check_lane(count: int) -> Check:
    def check(_body: Body, lane: int) -> None:
        if lane >= count:
            raise ValidationError(f"invalid lane index {lane}")

    return check


def _check_shuffle(_body: Body, lanes: bytes) -> None:
    if max(lanes) >= 32:
        raise ValidationError(f"invalid lane index {max(lanes)}")


# Immediate kinds that are not here are open to any value, or a rule looks at them.
CHECK: dict[str, Check] = {
    "type": _check_type,
    "func": _check_func,
    "global": _check_global,
    "table": _check_table,
    "mem": _check_mem,
    "tag": _check_tag,
    "elem": _check_elem,
    "data": _check_data,
    "shuffle": _check_shuffle,
    **{f"memarg{1 << exponent}": _check_memarg(exponent) for exponent in range(5)},
    **{f"lane{count}": _check_lane(count) for count in (2, 4, 8, 16)},
}


def _checks(row: Instruction) -> tuple[tuple[int, Check], ...]:
    """What is malformed comes before what is invalid, memories and tables before their segments."""
    kinds = list(enumerate(row.immediates))
    checks = [(place, _check_data_count) for place, kind in kinds if kind == "data"]
    kinds.sort(key=lambda entry: entry[1] not in ("mem", "table"))
    return (*checks, *((place, CHECK[kind]) for place, kind in kinds if kind in CHECK))


def _signature(row: Instruction, address: ValType) -> Signature:
    params = [address if value is AT else value for value in row.params]
    return params, len(params), [address if value is AT else value for value in row.results]


def _is_plain(row: Instruction) -> bool:
    """Whether the opcode is one byte and all there is to see."""
    return row.prefix is None and not (row.rule or row.immediates or row.feature)


def _is_short(row: Instruction) -> bool:
    """Whether all there is to see behind an opcode of one byte is one number, mostly of one byte."""
    return row.prefix is None and len(row.immediates) == 1 and READ[row.immediates[0]] in _NUMBERS


_NUMBERS = {READ["local"], READ["i32"], READ["i64"]}
_CHECKS = [_checks(row) for row in TABLE]
_RULES: list[Rule | None] = [RULES[row.name] if row.rule else None for row in TABLE]
_SIGNATURES: dict[ValType, list[Signature]] = {
    address: [_signature(row, address) for row in TABLE] for address in (I32, I64)
}
_PLAIN: list[Signature | None] = [None] * 256
for _row in filter(_is_plain, TABLE):
    _PLAIN[_row.code] = _signature(_row, I32)
# The immediate's check, and the rule or else the results.
_SHORT: list[tuple[Check | None, Rule | None, list[ValType]] | None] = [None] * 256
for _row in filter(_is_short, TABLE):
    if _row.rule or _row.const:
        _SHORT[_row.code] = (CHECK.get(_row.immediates[0]), _RULES[_row.ordinal], list(_row.results))


def _require_feature(body: Body, row: Instruction, feature: Feature) -> None:
    if feature not in body.features:
        raise ValidationError(
            f"illegal opcode: {row.name} is of the {feature.value} proposal,"
            f" which {FLAGS[feature]} switches on"
        )


def step(body: Body, row: Instruction, immediates: tuple[Any, ...]) -> None:
    """Check one instruction. Raises `ValidationError` or `DecodeError`."""
    if row.feature is not None:
        _require_feature(body, row, row.feature)
    ordinal = row.ordinal
    for place, check in _CHECKS[ordinal]:
        check(body, immediates[place])
    rule = _RULES[ordinal]
    if rule is not None:
        rule(body, *immediates)
        return
    params, _, results = _SIGNATURES[body.address][ordinal]
    if params:
        body.pop_all(params)
    body.stack += results


def locate(error: ValidationError, expr: Expr, position: int) -> None:
    """Give the error the place of the instruction at `position`."""
    if expr.lines is None:
        error.offset = position
        return
    entry = bisect_right(expr.lines, position, key=lambda pair: pair[0]) - 1
    if entry >= 0:
        error.line = expr.lines[entry][1]


def validate_code(body: Body, expr: Expr) -> None:
    """Check the function body `expr`, which `body` has just begun.

    This loop is most of the time that loading a module takes: nearly all instructions stay in it, by
    their opcode, by an opcode and a number of one byte, or by three bytes seen before.
    Raises `ValidationError` with the place, or `DecodeError` where the code is malformed.
    """
    data, position, end = expr.code, expr.start, expr.end
    stack, controls = body.stack, body.controls
    # A view of what can be written has no hash.
    seen = body.seen.get if isinstance(data, bytes) else lambda three: body.seen.get(bytes(three))
    height = body.frame.height
    try:
        while position < end and controls:
            opcode = data[position]
            closed = _PLAIN[opcode]
            width = 1
            if closed is None:
                short = _SHORT[opcode]
                if short is not None and position + 1 < end and data[position + 1] < 0x80:
                    check, rule, results = short
                    if check is not None:
                        check(body, data[position + 1])
                    if rule is not None:
                        rule(body, data[position + 1])
                        height = body.frame.height
                    else:
                        stack += results
                    position += 2
                    continue
                closed = seen(data[position : position + 3])
                if closed is None:
                    position = _read_and_step(body, data, position)
                    height = body.frame.height
                    continue
                width = 3
            params, count, results = closed
            base = len(stack) - count
            if base >= height and stack[base:] == params:
                stack[base:] = results
            else:
                body.pop_all(params)
                stack += results
            position += width
    except ValidationError as error:
        locate(error, expr, position)
        raise
    _require_end(body, expr, position)


def _read_and_step(body: Body, data: bytes, position: int) -> int:
    """Check the instruction at `position`, whatever it is; the result is the position behind it."""
    row, immediates, after = read_instruction(data, position)
    body.position = position
    step(body, row, immediates)
    if after - position == 3 and not row.rule:
        # No instruction's encoding begins another's, so these bytes are this instruction anywhere, and
        # what it does depends on the module only.
        body.seen[bytes(data[position:after])] = _SIGNATURES[body.address][row.ordinal]
    return after


_END = 0x0B


def _require_end(body: Body, expr: Expr, position: int) -> None:
    """The body ends with the function's own `end`, in the words of a decoder that reads on."""
    if body.controls:
        following = expr.code[expr.end : expr.end + 1]
        if not following:
            raise DecodeError("unexpected end of section or function", expr.end)
        if following[0] == _END:
            raise DecodeError("section size mismatch: a function body goes on behind its size", expr.end)
        raise DecodeError("END opcode expected", expr.end)
    if position != expr.end:
        raise DecodeError("section size mismatch: a function ends before its size", position)
