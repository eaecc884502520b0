"""Constant expressions (section 3.4)."""

from __future__ import annotations

from tinywasm.codec import instructions, read_instruction
from tinywasm.errors import DecodeError, ValidationError
from tinywasm.instructions import Instruction
from tinywasm.loading import loading
from tinywasm.syntax import Expr
from tinywasm.types import I32, ValType
from tinywasm.validation.context import Context
from tinywasm.validation.stack import Body


def validate_const(body: Body, expr: Expr, wanted: ValType) -> None:
    """Check that `expr` is a constant expression of type `wanted`.

    Functions that it refers to become declared ones. Raises `ValidationError` with the place, or
    `DecodeError` where the code is malformed.
    """
    if _is_one_constant(expr, wanted):
        return
    # Not before it is wanted, as for bodies.
    with loading:
        from tinywasm.validation.code import locate, step
    body.begin((), (wanted,))
    position = expr.start
    try:
        for position, row, immediates in instructions(expr.code, expr.start, expr.end):
            body.position = position
            if not body.controls:
                raise DecodeError("section size mismatch: an expression goes on behind its end", position)
            _require_const(body, row, immediates)
            step(body, row, immediates)
    except ValidationError as error:
        locate(error, expr, position)
        raise
    if body.controls:
        raise DecodeError("unexpected end of section or function", expr.end)


_END = 0x0B


def _is_one_constant(expr: Expr, wanted: ValType) -> bool:
    """Whether the expression is one `const` instruction, as most are: a module may have 100,000 segments."""
    if expr.number is not None:
        return wanted is I32
    row, _, after = read_instruction(expr.code, expr.start)
    constant = row.const and not row.rule and not row.params and row.results == (wanted,)
    return constant and expr.end == after + 1 and expr.code[after] == _END


def _require_const(body: Body, row: Instruction, immediates: tuple[int, ...]) -> None:
    context = body.context
    if not row.const:
        raise ValidationError(f"constant expression required, not {row.name}")
    if row.name == "ref.func" and immediates[0] < len(context.funcs):
        context.refs.add(immediates[0])
    if row.name == "global.get" and _is_mutable(context, immediates[0]):
        raise ValidationError(f"constant expression required, not the mutable global {immediates[0]}")


def _is_mutable(context: Context, index: int) -> bool:
    return index < len(context.globals) and context.globals[index].mutable
