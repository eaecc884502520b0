"""Instructions in the text format (section 6.5), encoded as they are read.

Nesting is kept on a stack of frames, never on Python's, so its depth is limited by memory only.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tinywasm import proposals
from tinywasm.codec import BlockType, Cast, Catch, MemArg, write_instruction
from tinywasm.errors import ValidationError
from tinywasm.instructions import BY_NAME, TABLE, Instruction
from tinywasm.interruption import STEPS, look
from tinywasm.syntax import Expr
from tinywasm.text import literals
from tinywasm.text.annotations import branch_hints, name_annotation
from tinywasm.text.cursor import Cursor
from tinywasm.text.identifiers import IndexSpace, Scope, at_index
from tinywasm.text.typedefs import TypeParser
from tinywasm.types import RefType

_BLOCKS = frozenset(row.name for row in TABLE if "block" in row.immediates)
_NO_IMMEDIATE = {
    row.name: write_instruction(row) for row in TABLE if not row.immediates and row.name != "select"
}
_ELSE, _END = _NO_IMMEDIATE.pop("else"), _NO_IMMEDIATE.pop("end")
_HINTED = ("if", "br_if")


class _State(enum.Enum):
    """What a frame of the nesting stack waits for."""

    OPERANDS = "folded operands of a plain instruction"
    FLAT = "end"
    FLAT_IF = "else or end"
    FOLDED = ")"
    CONDITION = "a folded if's condition or (then"
    THEN = ") of then"
    AFTER_THEN = "(else or )"
    ELSE = ") of else"
    AFTER_ELSE = ") of if"


# In these states a sequence of instructions stands; in the others only folded ones may.
_SEQUENCES = frozenset({_State.FLAT, _State.FLAT_IF, _State.FOLDED, _State.THEN, _State.ELSE})
_NO_INSTRUCTION = frozenset({_State.AFTER_THEN, _State.AFTER_ELSE})


@dataclass(slots=True)
class _Frame:
    """`code` is what is written once the operands are complete; `token` its first token's index."""

    state: _State
    code: bytes
    token: int
    label: str | None = None
    name: str | None = None
    hint: int | None = None


class CodeParser:
    """Parses expressions and function bodies at a cursor.

    `needs_data_count` becomes true with the first instruction that names a data segment.
    """

    def __init__(self, cursor: Cursor, scope: Scope, types: TypeParser) -> None:
        self.cursor = cursor
        self.scope = scope
        self.types = types
        self.needs_data_count = False
        self._begin(IndexSpace("local", {}))

    def _begin(self, local_space: IndexSpace) -> None:
        self.locals = local_space
        self.hints: list[tuple[int, int]] = []
        self.label_names: dict[int, str] = {}
        self._out = bytearray()
        self._lines: list[tuple[int, int]] = []
        self._line = 0
        self._frames: list[_Frame] = []
        self._labels: list[str | None] = []
        self._depths: dict[str, list[int]] = {}
        self._blocks = 0

    def body(self, local_space: IndexSpace) -> Expr:
        """A function's instructions, up to the `)` that closes the function.

        `hints` are then its branch hints, by position in the expression, and `label_names` the
        names of its blocks, numbered in order. Raises `ParseError`; and `ValidationError` for a
        branch hint on something that is no conditional branch.
        """
        self._begin(local_space)
        return self._expression(single=False)

    def expression(self) -> Expr:
        """A constant expression, up to the `)` that closes the form around it."""
        self._begin(IndexSpace("local", {}))
        return self._expression(single=False)

    def folded_expression(self) -> Expr:
        """A constant expression of one folded instruction."""
        self._begin(IndexSpace("local", {}))
        if self.cursor.peek() != "(":
            raise self.cursor.unexpected()
        return self._expression(single=True)

    def _expression(self, single: bool) -> Expr:
        self._run(single)
        code = bytes(self._out) + _END
        return Expr(code, 0, len(code), self._lines)

    def _run(self, single: bool) -> None:
        cursor, tokens, frames = self.cursor, self.cursor.tokens, self._frames
        count = 0
        while True:
            count += 1
            if count % STEPS == 0:
                look()
            token = tokens[cursor.index]
            if token == "(":
                self._open()
            elif token == ")":
                if not frames:
                    self._check_no_hint()
                    return
                self._close()
            elif frames and frames[-1].state not in _SEQUENCES:
                raise cursor.unexpected()
            else:
                self._flat(token)
            if single and not frames:
                return

    def _emit(self, code: bytes, token: int, hint: int | None = None) -> None:
        offsets, stream = self.cursor.stream.offsets, self.cursor.stream
        line = stream.line(offsets[token])
        if line != self._line:
            self._lines.append((len(self._out), line))
            self._line = line
        if hint is not None:
            self.hints.append((len(self._out), hint))
        self._out += code

    # Branch hints

    def _hint(self, index: int, keyword: str) -> int | None:
        """The branch hint before the token with that index, where `keyword` may have one."""
        if not self.cursor.stream.annotations:
            return None
        found = branch_hints(self.cursor, index)
        if found and keyword not in _HINTED:
            raise ValidationError(
                "@metadata.code.branch_hint annotation: invalid target", line=self.cursor.line(index)
            )
        return found[0] if found else None

    def _check_no_hint(self) -> None:
        self._hint(self.cursor.index, ")")

    # Flat instructions

    def _flat(self, keyword: str) -> None:
        start = self.cursor.index
        hint = self._hint(start, keyword)
        code = _NO_IMMEDIATE.get(keyword)
        if code is not None:
            self.cursor.index += 1
            self._emit(code, start)
        elif keyword in _BLOCKS:
            self.cursor.index += 1
            frame = self._block_head(keyword, start)
            frame.state = _State.FLAT_IF if keyword == "if" else _State.FLAT
            self._emit(frame.code, start, hint)
            self._enter(frame)
            self._frames.append(frame)
        elif keyword == "end":
            self._flat_end()
        elif keyword == "else":
            self._flat_else()
        else:
            self._emit(self._plain(keyword), start, hint)

    def _flat_end(self) -> None:
        start, frames = self.cursor.index, self._frames
        if not frames or frames[-1].state not in (_State.FLAT, _State.FLAT_IF):
            raise self.cursor.unexpected()
        self.cursor.index += 1
        self._match_label(frames[-1])
        self._leave(frames.pop())
        self._emit(_END, start)

    def _flat_else(self) -> None:
        start, frames = self.cursor.index, self._frames
        if not frames or frames[-1].state is not _State.FLAT_IF:
            raise self.cursor.unexpected()
        self.cursor.index += 1
        self._match_label(frames[-1])
        frames[-1].state = _State.FLAT
        self._emit(_ELSE, start)

    def _match_label(self, frame: _Frame) -> None:
        label = self.cursor.identifier()
        if label is not None and label != frame.label:
            raise self.cursor.error(f"mismatching label ${label}", self.cursor.index - 1)

    # Folded instructions

    def _open(self) -> None:
        start, frames = self.cursor.index, self._frames
        keyword = self.cursor.tokens[start + 1]
        if frames and self._continue_if(frames[-1], keyword):
            return
        self.cursor.index += 1
        hint = self._hint(start, keyword)
        if hint is None:
            hint = self._hint(start + 1, keyword)
        if keyword in _BLOCKS:
            self._open_block(keyword, start, hint)
            return
        code = _NO_IMMEDIATE.get(keyword)
        if code is None:
            code = self._plain(keyword)
        else:
            self.cursor.index += 1
        if self.cursor.tokens[self.cursor.index] == ")":
            self.cursor.index += 1
            self._emit(code, start, hint)
        else:
            frames.append(_Frame(_State.OPERANDS, code, start, hint=hint))

    def _open_block(self, keyword: str, start: int, hint: int | None) -> None:
        self.cursor.index += 1
        frame = self._block_head(keyword, start)
        if keyword == "if":
            frame.state, frame.hint = _State.CONDITION, hint
        else:
            self._emit(frame.code, start)
            self._enter(frame)
        self._frames.append(frame)

    def _continue_if(self, frame: _Frame, keyword: str) -> bool:
        """Take `(then` or `(else` where a folded `if` waits for it."""
        if frame.state is _State.CONDITION and keyword == "then":
            self._emit(frame.code, frame.token, frame.hint)
            self._enter(frame)
            frame.state = _State.THEN
        elif frame.state is _State.AFTER_THEN and keyword == "else":
            self._emit(_ELSE, self.cursor.index)
            frame.state = _State.ELSE
        elif frame.state in _NO_INSTRUCTION:
            raise self.cursor.unexpected()
        else:
            return False
        self.cursor.index += 2
        return True

    def _close(self) -> None:
        self._check_no_hint()
        frame = self._frames[-1]
        if frame.state is _State.OPERANDS:
            self._emit(frame.code, frame.token, frame.hint)
            self._frames.pop()
        elif frame.state in (_State.FOLDED, _State.AFTER_THEN, _State.AFTER_ELSE):
            self._emit(_END, self.cursor.index)
            self._leave(self._frames.pop())
        elif frame.state is _State.THEN:
            frame.state = _State.AFTER_THEN
        elif frame.state is _State.ELSE:
            frame.state = _State.AFTER_ELSE
        else:
            raise self.cursor.unexpected()
        self.cursor.index += 1

    # Blocks and labels

    def _block_head(self, keyword: str, start: int) -> _Frame:
        """Label, block type and catch clauses, behind the keyword."""
        label = self.cursor.identifier()
        name = name_annotation(self.cursor, label)
        immediates: tuple[Any, ...] = (self._block_type(),)
        if keyword == "try_table":
            immediates += (self._catches(),)
        code = write_instruction(BY_NAME[keyword][0], immediates)
        return _Frame(_State.FOLDED, code, start, label, name)

    def _enter(self, frame: _Frame) -> None:
        if frame.label is not None:
            self._depths.setdefault(frame.label, []).append(len(self._labels))
        if frame.name is not None:
            self.label_names[self._blocks] = frame.name
        self._blocks += 1
        self._labels.append(frame.label)

    def _leave(self, frame: _Frame) -> None:
        self._labels.pop()
        if frame.label is not None:
            self._depths[frame.label].pop()

    def _block_type(self) -> BlockType:
        if not self.cursor.at_form("type", "param", "result"):
            return None
        use = self.types.unnamed_type_use()
        if use.explicit is None and not use.inline.params and len(use.inline.results) <= 1:
            return use.inline.results[0] if use.inline.results else None
        return self.types.index_of(use)

    def _catches(self) -> tuple[Catch, ...]:
        catches = []
        while self.cursor.at_form("catch", "catch_ref", "catch_all", "catch_all_ref"):
            self.cursor.index += 1
            keyword = self.cursor.advance()
            tag = None if "all" in keyword else self._index("tag")
            catches.append(Catch(tag, keyword.endswith("ref"), self._label()))
            self.cursor.close()
        return tuple(catches)

    def _label(self) -> int:
        token = self.cursor.tokens[self.cursor.index]
        if not token.startswith("$"):
            return self.cursor.unsigned(32)
        depths = self._depths.get(token[1:])
        if not depths:
            raise self.cursor.error(f"unknown label {token}")
        self.cursor.index += 1
        return len(self._labels) - 1 - depths[-1]

    # Immediates

    def _plain(self, keyword: str) -> bytes:
        """The encoding of the plain instruction at the cursor."""
        special = _SPECIAL.get(keyword)
        if special is not None:
            self.cursor.index += 1
            row, immediates = special(self, BY_NAME[keyword])
        elif keyword in _PLANS:
            self.cursor.index += 1
            row, readers = _PLANS[keyword]
            immediates = tuple([read(self) for read in readers])
        else:
            raise self.cursor.unexpected()
        if "data" in row.immediates:
            self.needs_data_count = True
        return write_instruction(row, immediates)

    def _index(self, kind: str) -> int:
        return self.scope.spaces[kind].resolve(self.cursor)

    def _optional(self, kind: str) -> int:
        """An index that is 0 unless it is given."""
        return self._index(kind) if at_index(self.cursor) else 0

    def _labels_immediate(self) -> tuple[tuple[int, ...], int]:
        labels = [self._label()]
        while at_index(self.cursor):
            labels.append(self._label())
        return tuple(labels[:-1]), labels[-1]

    def _memarg(self, natural: int, lane_follows: bool = False) -> MemArg:
        memory = 0
        # Before a lane, a lone number is the lane.
        if at_index(self.cursor) and not (lane_follows and self._at_last_number()):
            memory = self._index("memory")
        offset = self._assigned("offset=") or 0
        align = self._assigned("align=")
        if align is None:
            return MemArg(natural, memory, offset)
        if align == 0 or align & (align - 1):
            raise self.cursor.error("alignment must be a power of two", self.cursor.index - 1)
        return MemArg(align.bit_length() - 1, memory, offset)

    def _at_last_number(self) -> bool:
        if self.cursor.peek().startswith("$"):
            return False
        following = self.cursor.peek(1)
        return not (following[:1].isdigit() or following.startswith(("offset=", "align=")))

    def _assigned(self, prefix: str) -> int | None:
        token = self.cursor.tokens[self.cursor.index]
        if not token.startswith(prefix):
            return None
        try:
            value = literals.parse_unsigned(token[len(prefix) :], 64)
        except literals.LiteralError as error:
            raise self.cursor.error(str(error)) from None
        if value is None:
            raise self.cursor.error(f"unknown operator {token}{proposals.of_word(token)}")
        self.cursor.index += 1
        return value

    def _numbers(self) -> list[str]:
        """The tokens up to the first that is not a number."""
        start = self.cursor.index
        while literals.is_number(self.cursor.tokens[self.cursor.index]):
            self.cursor.index += 1
        return self.cursor.tokens[start : self.cursor.index]

    def _shuffle(self) -> bytes:
        start = self.cursor.index
        lanes = bytearray()
        for place, token in enumerate(self._numbers()):
            try:
                lane = literals.parse_unsigned(token, 8)
            except literals.LiteralError:
                lane = None
            if lane is None:
                raise self.cursor.error("i8 constant out of range", start + place)
            lanes.append(lane)
        if len(lanes) != 16:
            raise self.cursor.error("invalid lane length", start)
        return bytes(lanes)

    def vector(self) -> bytes:
        """The shape and the lanes of a `v128.const`, as 16 little-endian bytes."""
        shape = literals.SHAPES.get(self.cursor.peek())
        if shape is None:
            raise self.cursor.unexpected()
        self.cursor.index += 1
        start = self.cursor.index
        count, lane = shape
        if len(self._numbers()) != count:
            raise self._lane_count_error()
        self.cursor.index = start
        return b"".join(
            self.cursor.literal(lambda token: literals.parse_lane(token, lane)) for _ in range(count)
        )

    def _lane_count_error(self) -> Exception:
        error = self.cursor.unexpected()
        if error.message.startswith("unknown operator"):
            return error
        return self.cursor.error("wrong number of lane literals")

    def _field(self, type_index: int) -> int:
        token = self.cursor.peek()
        space = self.types.fields.get(type_index)
        if space is None and token.startswith("$"):
            raise self.cursor.error(f"unknown field {token}")
        return space.resolve(self.cursor) if space else self.cursor.unsigned(32)


_Reader = Callable[[CodeParser], Any]


def _index_reader(kind: str) -> _Reader:
    return lambda parser: parser._index(kind)


def _optional_reader(kind: str) -> _Reader:
    return lambda parser: parser._optional(kind)


def _memarg_reader(natural: int, lane_follows: bool) -> _Reader:
    return lambda parser: parser._memarg(natural, lane_follows)


def _literal_reader(parse: Callable[[str], int | None]) -> _Reader:
    return lambda parser: parser.cursor.literal(parse)


_READERS: dict[str, _Reader] = {
    **{kind: _index_reader(kind) for kind in ("func", "type", "global", "tag", "elem", "data")},
    "label": CodeParser._label,
    "labels": CodeParser._labels_immediate,
    "local": lambda parser: parser.locals.resolve(parser.cursor),
    "table": _optional_reader("table"),
    "mem": _optional_reader("memory"),
    "count": lambda parser: parser.cursor.unsigned(32),
    **dict.fromkeys(("lane2", "lane4", "lane8", "lane16"), lambda parser: parser.cursor.unsigned(8)),
    "i32": _literal_reader(literals.parse_i32),
    "i64": _literal_reader(literals.parse_i64),
    "f32": _literal_reader(literals.parse_f32),
    "f64": _literal_reader(literals.parse_f64),
    "v128": CodeParser.vector,
    "shuffle": CodeParser._shuffle,
    "heap": lambda parser: parser.types.heaptype(),
}


def _reader(kind: str, row: Instruction) -> _Reader:
    if kind.startswith("memarg"):
        natural = int(kind.removeprefix("memarg")).bit_length() - 1
        return _memarg_reader(natural, len(row.immediates) == 2)
    return _READERS[kind]


_Result = tuple[Instruction, tuple[Any, ...]]
_Rows = list[Instruction]


def _select(parser: CodeParser, rows: _Rows) -> _Result:
    if not parser.cursor.at_form("result"):
        return rows[0], ()
    return rows[1], (tuple(parser.types.results()),)


def _call_indirect(parser: CodeParser, rows: _Rows) -> _Result:
    table = parser._optional("table")
    return rows[0], (parser.types.index_of(parser.types.unnamed_type_use()), table)


def _init(space: str) -> Callable[[CodeParser, _Rows], _Result]:
    """`memory.init` and `table.init`: the index of the memory or table comes first and may be left out."""

    def read(parser: CodeParser, rows: _Rows) -> _Result:
        segment = rows[0].immediates[0]
        start = parser.cursor.index
        parser.cursor.advance()
        two = at_index(parser.cursor)
        parser.cursor.index = start
        target = parser._index(space) if two else 0
        return rows[0], (parser._index(segment), target)

    return read


def _copy(space: str) -> Callable[[CodeParser, _Rows], _Result]:
    """`memory.copy` and `table.copy`: both indices or none."""

    def read(parser: CodeParser, rows: _Rows) -> _Result:
        if not at_index(parser.cursor):
            return rows[0], (0, 0)
        return rows[0], (parser._index(space), parser._index(space))

    return read


def _ref_type(parser: CodeParser, rows: _Rows) -> _Result:
    """`ref.test` and `ref.cast` have an opcode for each nullability."""
    ref: RefType = parser.types.reftype()
    wanted = "refnull" if ref.nullable else "ref"
    return next(row for row in rows if row.immediates == (wanted,)), (ref,)


def _cast(parser: CodeParser, rows: _Rows) -> _Result:
    label = parser._label()
    source = parser.types.reftype()
    return rows[0], (Cast(label, source, parser.types.reftype()),)


def _struct_field(parser: CodeParser, rows: _Rows) -> _Result:
    type_index = parser._index("type")
    return rows[0], (type_index, parser._field(type_index))


# Instructions whose text is not their immediates in the order of the binary format.
_SPECIAL: dict[str, Callable[[CodeParser, _Rows], _Result]] = {
    "select": _select,
    "call_indirect": _call_indirect,
    "return_call_indirect": _call_indirect,
    "memory.init": _init("memory"),
    "table.init": _init("table"),
    "memory.copy": _copy("memory"),
    "table.copy": _copy("table"),
    "ref.test": _ref_type,
    "ref.cast": _ref_type,
    "br_on_cast": _cast,
    "br_on_cast_fail": _cast,
    **{row.name: _struct_field for row in TABLE if row.immediates == ("type", "field")},
}
_PLANS: dict[str, tuple[Instruction, tuple[_Reader, ...]]] = {
    row.name: (row, tuple(_reader(kind, row) for kind in row.immediates))
    for row in TABLE
    if row.immediates and row.name not in _SPECIAL and row.name not in _BLOCKS
}
