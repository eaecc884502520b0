"""Prints expressions and function bodies, one flat instruction a line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tinywasm.codec import BlockType, Cast, Catch, MemArg, instructions
from tinywasm.instructions import Instruction, Role
from tinywasm.syntax import Expr
from tinywasm.text import spelling
from tinywasm.text.spelling import TypeSpelling
from tinywasm.types import RefType, ValType

# Deeper blocks are not indented further, or deep nesting would print quadratically many spaces.
_DEEPEST_INDENT = 40


@dataclass(slots=True)
class Identifiers:
    """What stands for the indices of a module: identifier tokens by index space and index.

    The spaces are named by the immediate kinds of the instruction table.
    """

    spaces: dict[str, dict[int, str]]
    fields: dict[int, dict[int, str]]
    types: TypeSpelling


@dataclass(slots=True)
class FunctionNames:
    """Of one function: identifier tokens of locals, texts that bind labels, hints by position."""

    locals: Mapping[int, str] = field(default_factory=dict)
    labels: Mapping[int, str] = field(default_factory=dict)
    hints: Mapping[int, int] = field(default_factory=dict)


class CodePrinter:
    """Prints one expression. Immediates are spelled by one function for each kind of the table."""

    def __init__(self, identifiers: Identifiers, names: FunctionNames) -> None:
        self.identifiers = identifiers
        self.names = names
        self._labels: list[str | None] = []
        # Where each identifier stands in _labels, the innermost last.
        self._depths: dict[str, list[int]] = {}
        self._blocks = 0

    def lines(self, expr: Expr) -> Iterator[str]:
        """The instructions, indented by their depth, without the `end` of the expression itself."""
        for position, line in self.placed_lines(expr):
            if position != expr.end - 1:
                yield line

    def placed_lines(self, expr: Expr) -> Iterator[tuple[int, str]]:
        """The instructions with their positions, indented by their depth. Raises `DecodeError`."""
        depth = 0
        for position, row, immediates in instructions(expr.code, expr.start, expr.end):
            if row.role is Role.CLOSES and self._labels:
                self._leave()
            if row.role in (Role.CLOSES, Role.DIVIDES):
                depth -= 1
            hint = self.names.hints.get(position - expr.start) if row.name in ("if", "br_if") else None
            prefix = "" if hint is None else f'(@metadata.code.branch_hint "\\{hint:02x}") '
            indent = "  " * max(0, min(depth, _DEEPEST_INDENT))
            yield position, indent + prefix + self._instruction(row, immediates)
            if row.role in (Role.OPENS, Role.DIVIDES):
                depth += 1

    def _instruction(self, row: Instruction, immediates: tuple[Any, ...]) -> str:
        if not immediates:
            return row.name
        if row.immediates[0] == "block":
            return " ".join([row.name, *self._block(immediates)])
        special = _SPECIAL.get(row.immediates)
        if special is not None:
            return " ".join([row.name, *special(self, immediates)])
        words = [self._word(kind, value) for kind, value in zip(row.immediates, immediates, strict=True)]
        return " ".join([row.name, *filter(None, words)])

    def _word(self, kind: str, value: Any) -> str:
        if kind.startswith("memarg"):
            return self._memarg(value, int(kind.removeprefix("memarg")).bit_length() - 1)
        return _WORDS[kind](self, value)

    def index(self, space: str, index: int) -> str:
        return self.identifiers.spaces[space].get(index, str(index))

    def local(self, index: int) -> str:
        return self.names.locals.get(index, str(index))

    def label(self, label: int) -> str:
        """The label's identifier where no inner label hides it, else its number."""
        if label >= len(self._labels):
            return str(label)
        target = len(self._labels) - 1 - label
        text = self._labels[target]
        return str(label) if text is None or self._depths[text][-1] != target else text

    def type_use(self, index: int) -> str:
        return f"(type {self.index('type', index)})"

    def _block(self, immediates: tuple[Any, ...]) -> list[str]:
        blocktype: BlockType = immediates[0]
        words = []
        label = self.names.labels.get(self._blocks)
        self._blocks += 1
        if label is not None:
            words.append(label)
        if isinstance(blocktype, ValType):
            words += self.identifiers.types.results((blocktype,))
        elif blocktype is not None:
            words.append(self.type_use(blocktype))
        if len(immediates) == 2:
            words += map(self._catch, immediates[1])
        self._enter(label)
        return words

    def _enter(self, label: str | None) -> None:
        if label is not None:
            self._depths.setdefault(label, []).append(len(self._labels))
        self._labels.append(label)

    def _leave(self) -> None:
        label = self._labels.pop()
        if label is not None:
            self._depths[label].pop()

    def _catch(self, catch: Catch) -> str:
        suffix = "_ref" if catch.ref else ""
        if catch.tag is None:
            return f"(catch_all{suffix} {self.label(catch.label)})"
        return f"(catch{suffix} {self.index('tag', catch.tag)} {self.label(catch.label)})"

    def _memarg(self, arg: MemArg, natural: int) -> str:
        words = [self.index("mem", arg.memory)] if arg.memory else []
        if arg.offset:
            words.append(f"offset={arg.offset}")
        if arg.align != natural:
            words.append(f"align={1 << arg.align}")
        return " ".join(words)

    def _call_indirect(self, immediates: tuple[Any, ...]) -> list[str]:
        type_index, table = immediates
        words = [self.index("table", table)] if table else []
        return [*words, self.type_use(type_index)]

    def _data_init(self, immediates: tuple[Any, ...]) -> list[str]:
        return [self.index("mem", immediates[1]), self.index("data", immediates[0])]

    def _table_init(self, immediates: tuple[Any, ...]) -> list[str]:
        return [self.index("table", immediates[1]), self.index("elem", immediates[0])]

    def _field(self, immediates: tuple[Any, ...]) -> list[str]:
        type_index, field_index = immediates
        fields = self.identifiers.fields.get(type_index, {})
        return [self.index("type", type_index), fields.get(field_index, str(field_index))]

    def _labels_immediate(self, value: tuple[tuple[int, ...], int]) -> str:
        return " ".join(self.label(label) for label in (*value[0], value[1]))

    def _types(self, types: tuple[ValType, ...]) -> str:
        return "(" + " ".join(["result", *map(self.identifiers.types.storage, types)]) + ")"

    def _cast(self, cast: Cast) -> str:
        spell = self.identifiers.types.storage
        return f"{self.label(cast.label)} {spell(cast.source)} {spell(cast.target)}"


_Word = Callable[[CodePrinter, Any], str]


def _index_word(kind: str) -> _Word:
    return lambda printer, value: printer.index(kind, value)


def _reference_word(printer: CodePrinter, ref: RefType) -> str:
    return printer.identifiers.types.storage(ref)


def _number_word(_: CodePrinter, value: int) -> str:
    return str(value)


_WORDS: dict[str, _Word] = {
    **{kind: _index_word(kind) for kind in ("func", "type", "global", "table", "mem", "tag", "elem", "data")},
    **dict.fromkeys(("lane2", "lane4", "lane8", "lane16", "count", "i32", "i64"), _number_word),
    "local": CodePrinter.local,
    "label": CodePrinter.label,
    "labels": CodePrinter._labels_immediate,
    "f32": lambda _, bits: spelling.f32(bits),
    "f64": lambda _, bits: spelling.f64(bits),
    "v128": lambda _, data: spelling.v128(data),
    "shuffle": lambda _, data: " ".join(map(str, data)),
    "heap": lambda printer, heap: printer.identifiers.types.heap(heap),
    "ref": _reference_word,
    "refnull": _reference_word,
    "types": CodePrinter._types,
    "cast": CodePrinter._cast,
}
# Immediates whose text is not that of their kinds in order.
_SPECIAL: dict[tuple[str, ...], Callable[[CodePrinter, tuple[Any, ...]], list[str]]] = {
    ("type", "table"): CodePrinter._call_indirect,
    ("type", "field"): CodePrinter._field,
    ("data", "mem"): CodePrinter._data_init,
    ("elem", "table"): CodePrinter._table_init,
}
