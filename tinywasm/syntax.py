"""A decoded module: plain data, the same from the binary and from the text format (section 2.5).

Expressions stay encoded: a slice of bytes that `codec` iterates. Type indices inside are those of the
module; `matching.canonicalise` closes them.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Union, overload

from tinywasm.records import field, record
from tinywasm.types import GlobalType, MemoryType, RecGroup, RefType, SubType, TableType, TagType, ValType

# Characters of a part that are shown.
_SHOWN = 60


def _brief(item: Any) -> str:
    """A representation whose length does not grow with the module."""
    shown = (f"{name}={_abridged(getattr(item, name))}" for name in item.__match_args__)
    return f"{type(item).__name__}({', '.join(shown)})"


def _abridged(value: object) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, list | tuple | dict | DataSegments | Functions):
        return f"<{len(value)} items>"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


@record(eq=False, repr=False)
class Expr:
    """An encoded expression: `code[start:end]`, its final `end` opcode included.

    `code` is shared with other expressions (the whole input, for a binary module), so positions in
    it are module offsets there. `lines` maps positions to source lines for a text module: pairs
    (position, line), ascending; None for a binary one. `number` is the value, unsigned, where the decoder
    saw nothing but an `i32.const`: a module may have 100,000 segments with such offsets.
    """

    code: bytes
    start: int
    end: int
    lines: Sequence[tuple[int, int]] | None = None
    number: int | None = None

    # Written out, like that of functions: a module may have 100,000 of both.
    def __init__(
        self,
        code: bytes,
        start: int,
        end: int,
        lines: Sequence[tuple[int, int]] | None = None,
        number: int | None = None,
    ) -> None:
        self.code = code
        self.start = start
        self.end = end
        self.lines = lines
        self.number = number

    @property
    def bytes(self) -> bytes:
        return self.code[self.start : self.end]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expr) and self.bytes == other.bytes

    def __hash__(self) -> int:
        return hash(self.bytes)


@record(repr=False)
class Function:
    """A function defined in the module.

    `locals` is run-length encoded, (count, type), and must never be expanded before its sum is
    checked against the limit.
    """

    type: int
    locals: Sequence[tuple[int, ValType]]
    body: Expr

    def __init__(self, type: int, locals: Sequence[tuple[int, ValType]], body: Expr) -> None:
        self.type = type
        self.locals = locals
        self.body = body


Body = tuple[Sequence[tuple[int, ValType]], Expr]


# How many functions of a module are kept decoded.
_LATEST = 256


class Functions(Sequence[Function]):
    """The functions of a binary module: there may be 100,000, and few are ever asked for.

    `types` has the type index of each, `places` two numbers: where the locals begin in `code`, and where the
    body ends. `read` gives locals and body of what lies between two such places. The latest are kept: each
    instance and each trap asks for the same ones.
    """

    __slots__ = ("_latest", "code", "places", "read", "types")

    def __init__(self, code: bytes, types: array[int], read: Callable[[bytes, int, int], Body]) -> None:
        self.code = code
        self.types = types
        self.places = array("q")
        self.read = read
        self._latest: dict[int, Function] = {}

    def __len__(self) -> int:
        return len(self.places) // 2

    @overload
    def __getitem__(self, index: int) -> Function: ...
    @overload
    def __getitem__(self, index: slice) -> list[Function]: ...
    def __getitem__(self, index: int | slice) -> Function | list[Function]:
        number = range(len(self))[index]
        if isinstance(number, range):
            return [self[each] for each in number]
        found = self._latest.get(number)
        if found is None:
            start, end = self.places[2 * number : 2 * number + 2]
            found = Function(self.types[number], *self.read(self.code, start, end))
            if len(self._latest) >= _LATEST:
                self._latest.clear()
            self._latest[number] = found
        return found

    def __iter__(self) -> Iterator[Function]:
        read, code, places = self.read, self.code, self.places
        for type, start, end in zip(self.types, places[::2], places[1::2], strict=True):
            yield Function(type, *read(code, start, end))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)


@record()
class FuncImport:
    """`type` is the index of a function type."""

    type: int


ImportDesc = Union[FuncImport, TableType, MemoryType, GlobalType, TagType]  # noqa: UP007


@record(repr=False)
class Import:
    module: str
    name: str
    desc: ImportDesc


EXTERN_KINDS = ("func", "table", "memory", "global", "tag")


@record(repr=False)
class Export:
    """`kind` is one of EXTERN_KINDS."""

    name: str
    kind: str
    index: int


@record(repr=False)
class Table:
    """`init` is the initial element, or None for the default of a nullable element type."""

    type: TableType
    init: Expr | None = None


@record(repr=False)
class Global:
    type: GlobalType
    init: Expr


@record(repr=False)
class ElementSegment:
    """`mode` is "active", "passive" or "declarative"; `table` and `offset` belong to active ones.

    `init` holds either function indices (`type` is then `(ref func)`) or expressions.
    """

    type: RefType
    init: Sequence[int] | Sequence[Expr]
    mode: str
    table: int = 0
    offset: Expr | None = None


@record(repr=False)
class DataSegment:
    """`offset` None means passive."""

    init: bytes
    memory: int = 0
    offset: Expr | None = None


class DataSegments(Sequence[DataSegment]):
    """The data segments of a binary module: there may be 100,000, and most are never asked for.

    `places` has four numbers for each that is passive, or that an `i32.const` puts into the first memory: the
    address, where that constant begins in `code`, and where the contents begin and end. A passive one has -1
    for the first two. Any other is in `others`, by its index.
    """

    __slots__ = ("code", "others", "places")

    def __init__(self, code: bytes) -> None:
        self.code = code
        self.places = array("q")
        self.others: dict[int, DataSegment] = {}

    def __len__(self) -> int:
        return len(self.places) // 4

    @overload
    def __getitem__(self, index: int) -> DataSegment: ...
    @overload
    def __getitem__(self, index: slice) -> list[DataSegment]: ...
    def __getitem__(self, index: int | slice) -> DataSegment | list[DataSegment]:
        number = range(len(self))[index]
        if isinstance(number, range):
            return [self[each] for each in number]
        other = self.others.get(number)
        if other is not None:
            return other
        address, constant, start, end = self.places[4 * number : 4 * number + 4]
        if constant < 0:
            return DataSegment(self.code[start:end])
        after = constant + 1
        while self.code[after] & 0x80:
            after += 1
        return DataSegment(self.code[start:end], 0, Expr(self.code, constant, after + 2, None, address))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def add(self, other: DataSegment) -> None:
        """Append one that is kept as it is."""
        self.others[len(self)] = other
        self.places.extend((0, 0, 0, 0))

    def contents(self) -> list[bytes]:
        """Of each segment."""
        ends = zip(self.places[2::4], self.places[3::4], strict=True)
        found = [self.code[start:end] for start, end in ends]
        for index, other in self.others.items():
            found[index] = other.init
        return found

    def runs(self, most: int) -> Iterator[tuple[int, int]]:
        """Ranges of indices, first and behind the last: up to `most` of `places`, or one of `others`."""
        first = 0
        for index in (*self.others, len(self)):
            while first < index:
                last = min(first + most, index)
                yield first, last
                first = last
            if index < len(self):
                yield index, index + 1
                first = index + 1


@record(repr=False)
class CustomSection:
    """`after` is the id of the non-custom section before it, 0 when it is the first (section 5.5.2)."""

    name: str
    payload: bytes
    after: int = 0


@record(repr=False)
class Names:
    """The name section's maps (appendix 7.7.1); empty where nothing is named."""

    module: str | None = None
    functions: dict[int, str] = field(default_factory=dict)
    locals: dict[int, dict[int, str]] = field(default_factory=dict)
    labels: dict[int, dict[int, str]] = field(default_factory=dict)
    types: dict[int, str] = field(default_factory=dict)
    tables: dict[int, str] = field(default_factory=dict)
    memories: dict[int, str] = field(default_factory=dict)
    globals: dict[int, str] = field(default_factory=dict)
    elems: dict[int, str] = field(default_factory=dict)
    datas: dict[int, str] = field(default_factory=dict)
    fields: dict[int, dict[int, str]] = field(default_factory=dict)
    tags: dict[int, str] = field(default_factory=dict)


@record(repr=False)
class DecodedModule:
    """All of a module. Index spaces begin with the imports of their kind, in order.

    `data_count` is the data count section's value, None where there is no such section; the parser
    sets it as soon as an instruction needs it.
    `branch_hints` maps a function index to (offset in the body from its locals on, hint) pairs.
    """

    types: list[RecGroup] = field(default_factory=list)
    imports: list[Import] = field(default_factory=list)
    functions: Sequence[Function] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    memories: list[MemoryType] = field(default_factory=list)
    tags: list[TagType] = field(default_factory=list)
    globals: list[Global] = field(default_factory=list)
    exports: list[Export] = field(default_factory=list)
    start: int | None = None
    elems: list[ElementSegment] = field(default_factory=list)
    data_count: int | None = None
    datas: Sequence[DataSegment] = field(default_factory=list)
    customs: list[CustomSection] = field(default_factory=list)
    branch_hints: dict[int, list[tuple[int, int]]] = field(default_factory=dict, compare=False)
    _names: Names | Callable[[], Names] = field(default_factory=Names, compare=False)

    @property
    def names(self) -> Names:
        """What the name section names. What reads it may be set too: it is called when a name is asked for.

        A section of names may be larger than that of the code, and without an error nobody asks.
        """
        if not isinstance(self._names, Names):
            self._names = self._names()
        return self._names

    @names.setter
    def names(self, names: Names | Callable[[], Names]) -> None:
        self._names = names

    def subtypes(self) -> list[SubType]:
        """The type index space: the members of all groups in order."""
        return [sub for group in self.types for sub in group.subtypes]

    def imported(self, kind: type) -> list[Import]:
        """The imports whose description is a `kind`, in order."""
        return [imp for imp in self.imports if isinstance(imp.desc, kind)]


for _class in (
    Expr, Function, Import, Export, Table, Global, ElementSegment, DataSegment, CustomSection, Names,
    DecodedModule,
):  # fmt: skip
    _class.__repr__ = _brief  # type: ignore[method-assign]
