"""Types of the specification's section 2.3 (values, references, composites, functions, externals).

A heap type is an abstract one (`AbstractHeap`), a type index of the module at hand (an `int`, as the
decoder and the parser produce it), or a `DefinedType`, the closed and canonical form that
`matching.canonicalise` puts in its place. Subtyping lives in `matching`, not here.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from operator import index
from typing import Any, TypeVar, Union

from tinywasm.records import field, record
from tinywasm.unique import Unique


class AbstractHeap(enum.Enum):
    """Abstract heap types; the value is the name in the text format."""

    ANY = "any"
    EQ = "eq"
    I31 = "i31"
    STRUCT = "struct"
    ARRAY = "array"
    NONE = "none"
    FUNC = "func"
    NOFUNC = "nofunc"
    EXTERN = "extern"
    NOEXTERN = "noextern"
    EXN = "exn"
    NOEXN = "noexn"

    # Enum hashes its name on every look-up; identity is enough and much faster.
    __hash__ = object.__hash__

    def __str__(self) -> str:
        return self.value


class ValType:
    """A value type: a number type, `v128`, or a `RefType`."""

    __slots__ = ()

    @staticmethod
    def i32() -> ValType:
        return I32

    @staticmethod
    def i64() -> ValType:
        return I64

    @staticmethod
    def f32() -> ValType:
        return F32

    @staticmethod
    def f64() -> ValType:
        return F64

    @staticmethod
    def v128() -> ValType:
        return V128

    @staticmethod
    def funcref() -> RefType:
        return FUNCREF

    @staticmethod
    def externref() -> RefType:
        return EXTERNREF


@record(frozen=True, repr=False, eq=False)
class NumType(ValType):
    """A number type or the vector type; `code` is its byte in the binary format (section 5.3).

    There is one object of each, so identity is equality.
    """

    name: str
    code: int

    def __str__(self) -> str:
        return self.name

    __repr__ = __str__

    def __reduce__(self) -> str:
        return self.name.upper()


I32 = NumType("i32", 0x7F)
I64 = NumType("i64", 0x7E)
F32 = NumType("f32", 0x7D)
F64 = NumType("f64", 0x7C)
V128 = NumType("v128", 0x7B)


class DefinedType(Unique):
    """A closed type definition: one member of a canonical recursive type group.

    Made by `matching.canonicalise` only, which interns groups: two defined types are equal if and
    only if they are the same object, also across modules.
    """

    __slots__ = ("__weakref__", "ancestors", "composite", "final", "group", "supertypes")

    composite: CompositeType
    supertypes: tuple[DefinedType, ...]
    final: bool
    ancestors: tuple[DefinedType, ...]
    group: tuple[DefinedType, ...]

    def __str__(self) -> str:
        return str(self.composite)

    def __deepcopy__(self, memo: dict[int, Any]) -> DefinedType:
        return self


HeapType = Union[AbstractHeap, int, DefinedType]  # noqa: UP007  (DefinedType has no `|` at run time with int)


def heap_name(heap: HeapType) -> str:
    """The heap type for people: an abstract name, an index, or the definition's structure."""
    if isinstance(heap, DefinedType):
        return _composite_name(heap)
    return str(heap)


# Parts of a definition that a reference to it shows.
_SHOWN_PARTS = 6


def _composite_name(defined: DefinedType) -> str:
    """The definition without what its own references refer to, which may be itself."""
    composite = getattr(defined, "composite", None)
    if isinstance(composite, FuncType):
        return f"func {_parts(composite.params)} -> {_parts(composite.results)}"
    if isinstance(composite, StructType):
        return f"struct {_parts([field.storage for field in composite.fields])}"
    if isinstance(composite, ArrayType):
        return f"array {_parts([composite.field.storage])}"
    return "undefined type"


def _parts(storages: Sequence[StorageType]) -> str:
    shown = [_part_name(storage) for storage in storages[:_SHOWN_PARTS]]
    return "[" + " ".join([*shown, *["..."][: len(storages) - len(shown)]]) + "]"


def _part_name(storage: StorageType) -> str:
    if not isinstance(storage, RefType) or not isinstance(storage.heap, DefinedType):
        return str(storage)
    kinds: dict[type, str] = {FuncType: "func", StructType: "struct", ArrayType: "array"}
    kind = kinds.get(type(getattr(storage.heap, "composite", None)), "undefined")
    return f"(ref {'null ' if storage.nullable else ''}{kind} type)"


@record(frozen=True, repr=False)
class RefType(ValType):
    """A reference type `(ref null? ht)`."""

    nullable: bool
    heap: HeapType

    def __str__(self) -> str:
        if self.nullable and self in _SHORTHANDS:
            return _SHORTHANDS[self]
        return f"(ref {'null ' if self.nullable else ''}{heap_name(self.heap)})"

    __repr__ = __str__


ANYREF = RefType(True, AbstractHeap.ANY)
EQREF = RefType(True, AbstractHeap.EQ)
I31REF = RefType(True, AbstractHeap.I31)
STRUCTREF = RefType(True, AbstractHeap.STRUCT)
ARRAYREF = RefType(True, AbstractHeap.ARRAY)
NULLREF = RefType(True, AbstractHeap.NONE)
FUNCREF = RefType(True, AbstractHeap.FUNC)
NULLFUNCREF = RefType(True, AbstractHeap.NOFUNC)
EXTERNREF = RefType(True, AbstractHeap.EXTERN)
NULLEXTERNREF = RefType(True, AbstractHeap.NOEXTERN)
EXNREF = RefType(True, AbstractHeap.EXN)
NULLEXNREF = RefType(True, AbstractHeap.NOEXN)

# Section 6.4.4: abbreviations of nullable references to abstract heap types.
_SHORTHANDS: dict[ValType, str] = {
    ANYREF: "anyref",
    EQREF: "eqref",
    I31REF: "i31ref",
    STRUCTREF: "structref",
    ARRAYREF: "arrayref",
    NULLREF: "nullref",
    FUNCREF: "funcref",
    NULLFUNCREF: "nullfuncref",
    EXTERNREF: "externref",
    NULLEXTERNREF: "nullexternref",
    EXNREF: "exnref",
    NULLEXNREF: "nullexnref",
}
REF_SHORTHANDS: dict[str, RefType] = {
    name: ref for ref, name in _SHORTHANDS.items() if isinstance(ref, RefType)
}


class PackedType(enum.Enum):
    """Storage types that are no value types; the value is the width in bits."""

    I8 = 8
    I16 = 16

    __hash__ = object.__hash__

    def __str__(self) -> str:
        return self.name.lower()


StorageType = Union[ValType, PackedType]  # noqa: UP007


@record(frozen=True)
class FieldType:
    storage: StorageType
    mutable: bool = False

    def __str__(self) -> str:
        return f"(mut {self.storage})" if self.mutable else str(self.storage)


@record(frozen=True)
class FuncType:
    """A function type. `params` and `results` take any sequence of `ValType` and are kept as tuples."""

    params: Sequence[ValType] = ()
    results: Sequence[ValType] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "params", _value_types(self.params))
        object.__setattr__(self, "results", _value_types(self.results))

    def __str__(self) -> str:
        return f"[{' '.join(map(str, self.params))}] -> [{' '.join(map(str, self.results))}]"


def _value_types(types: Sequence[ValType]) -> tuple[ValType, ...]:
    types = tuple(types)
    for type in types:
        if not isinstance(type, ValType):
            raise TypeError(f"expected a ValType, not {type!r}")
    return types


@record(frozen=True)
class StructType:
    fields: tuple[FieldType, ...] = ()

    def __str__(self) -> str:
        return "struct {" + " ".join(map(str, self.fields)) + "}"


@record(frozen=True)
class ArrayType:
    field: FieldType

    def __str__(self) -> str:
        return f"array {self.field}"


CompositeType = Union[FuncType, StructType, ArrayType]  # noqa: UP007


@record(frozen=True)
class SubType:
    """A type definition as written: `(sub final? supertype* composite)`."""

    composite: CompositeType
    supertypes: tuple[HeapType, ...] = ()
    final: bool = True


@record(frozen=True)
class RecGroup:
    """A recursive type group (section 2.3); a lone definition is a group of one."""

    subtypes: tuple[SubType, ...]


_Kind = TypeVar("_Kind")


@record(frozen=True)
class Limits:
    """Size limits: of memories in pages, of tables in elements. `max` None means no limit."""

    min: int
    max: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "min", index(self.min))
        if self.max is not None:
            object.__setattr__(self, "max", index(self.max))

    def __str__(self) -> str:
        return f"{self.min}" if self.max is None else f"{self.min} {self.max}"


def _expect(value: Any, kind: type[_Kind]) -> _Kind:
    if not isinstance(value, kind):
        raise TypeError(f"expected a {kind.__name__}, not {value!r}")
    return value


def _address(address: Any) -> NumType:
    if address is not I32 and address is not I64:
        raise TypeError(f"an address type is i32 or i64, not {address!r}")
    return _expect(address, NumType)


@record(frozen=True, init=False)
class MemoryType:
    """`address` is I32 or I64; `page_size` in bytes is 65,536 except with custom-page-sizes.

    Also made as wasmtime-py does: `MemoryType(limits, is_64, page_size_log2=...)`.
    """

    limits: Limits
    address: NumType
    page_size: int

    def __init__(
        self,
        limits: Limits,
        address: NumType | bool = False,
        page_size: int = 65536,
        *,
        is_64: bool = False,
        page_size_log2: int | None = None,
    ) -> None:
        if isinstance(address, bool):
            address = I64 if address or is_64 else I32
        if page_size_log2 is not None:
            if not 0 <= page_size_log2 < 64:
                raise ValueError("page_size_log2 is 16, or 0 with custom-page-sizes")
            page_size = 1 << page_size_log2
        object.__setattr__(self, "limits", _expect(limits, Limits))
        object.__setattr__(self, "address", _address(address))
        object.__setattr__(self, "page_size", index(page_size))

    @property
    def is_64(self) -> bool:
        return self.address is I64

    @property
    def page_size_log2(self) -> int:
        return self.page_size.bit_length() - 1

    def __str__(self) -> str:
        pages = "" if self.page_size == 65536 else f" (pagesize {self.page_size})"
        return f"{self.address} {self.limits}{pages}"


@record(frozen=True)
class TableType:
    """`address` is I32 or I64."""

    element: RefType
    limits: Limits
    address: NumType = field(default=I32)

    def __post_init__(self) -> None:
        if not isinstance(self.element, RefType):
            raise TypeError(f"a table holds references, such as ValType.funcref(), not {self.element!r}")
        _expect(self.limits, Limits)
        _address(self.address)

    def __str__(self) -> str:
        return f"{self.address} {self.limits} {self.element}"


@record(frozen=True)
class GlobalType:
    content: ValType
    mutable: bool = False

    def __post_init__(self) -> None:
        _expect(self.content, ValType)
        _expect(self.mutable, bool)

    def __str__(self) -> str:
        return f"(mut {self.content})" if self.mutable else str(self.content)


@record(frozen=True)
class TagType:
    """A tag's function type: itself, an index (as decoded), or its canonical definition."""

    type: int | DefinedType | FuncType

    @property
    def functype(self) -> FuncType:
        """The type of the exceptions' values, as parameters. Raises `TypeError` for any other."""
        functype = self.type.composite if isinstance(self.type, DefinedType) else self.type
        return _expect(functype, FuncType)

    def __str__(self) -> str:
        return f"tag {self.type}"


ExternType = Union[FuncType, DefinedType, MemoryType, TableType, GlobalType, TagType]  # noqa: UP007
# The same for embedders: without definitions.
ExternSort = Union[FuncType, MemoryType, TableType, GlobalType, TagType]  # noqa: UP007


@record(frozen=True)
class ImportType:
    """One import of a module: its two names, and the type that it asks for."""

    module: str
    name: str
    type: ExternSort


@record(frozen=True)
class ExportType:
    """One export of a module."""

    name: str
    type: ExternSort
