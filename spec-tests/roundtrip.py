"""What must survive a trip through the encoder, and one through the text format."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from tinywasm import binary, text
from tinywasm.codec import instructions, write_instruction
from tinywasm.instructions import Feature
from tinywasm.syntax import DecodedModule, ElementSegment, Expr, Function
from tinywasm.types import ValType

Features = Collection[Feature]


def check_module(data: bytes, features: Features) -> None:
    """bytes -> module -> bytes -> the same module. Raises `AssertionError` where it is not."""
    module = binary.decode(data, features)
    again = binary.decode(binary.encode(module), features)
    assert again == module
    assert (again.names, again.branch_hints) == (module.names, module.branch_hints)


def through_text(data: bytes, features: Features) -> bytes:
    """bytes -> module -> text -> module -> bytes."""
    return binary.encode(text.parse_module(text.print_module(binary.decode(data, features))))


def check_text(data: bytes, features: Features) -> None:
    """bytes -> text -> the same bytes, as far as text can tell two encodings apart.

    Raises `AssertionError` where they are not.
    """
    written = through_text(data, features)
    if written == data:
        return
    # Text has one spelling for the encodings that the format leaves to the writer.
    assert written == through_text(written, features)
    before, after = (normal_form(binary.decode(form, features)) for form in (data, written))
    assert before == after


def normal_form(module: DecodedModule) -> DecodedModule:
    """The module without what the binary format leaves to its writer.

    Those are integers longer than needed (section 5.2.2), the memory index 0 spelled out (5.4.5),
    runs of locals (5.5.13), and a data count section that no instruction asks for (5.5.16). Custom
    sections are left out as well: the text format places only those that it knows.
    """
    return replace(
        module,
        functions=[_function(function) for function in module.functions],
        globals=[replace(item, init=_shortest(item.init)) for item in module.globals],
        tables=[replace(item, init=item.init and _shortest(item.init)) for item in module.tables],
        elems=[_element(segment) for segment in module.elems],
        datas=[replace(item, offset=item.offset and _shortest(item.offset)) for item in module.datas],
        data_count=None,
        customs=[],
    )


def _function(function: Function) -> Function:
    return Function(function.type, _runs(function.locals), _shortest(function.body))


def _runs(locals: Sequence[tuple[int, ValType]]) -> Sequence[tuple[int, ValType]]:
    some = [(count, type) for count, type in locals if count]
    return [(sum(count for count, _ in run), type) for type, run in groupby(some, lambda pair: pair[1])]


def _element(segment: ElementSegment) -> ElementSegment:
    init: Any = [item if isinstance(item, int) else _shortest(item) for item in segment.init]
    return replace(segment, init=init, offset=segment.offset and _shortest(segment.offset))


def _shortest(expr: Expr) -> Expr:
    code = b"".join(
        write_instruction(row, immediates)
        for _, row, immediates in instructions(expr.code, expr.start, expr.end)
    )
    return Expr(code, 0, len(code))
