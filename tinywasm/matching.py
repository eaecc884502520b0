"""Subtyping (section 3.3) and canonicalisation of recursive types (section 3.1).

Everything here but `canonicalise` and the `close_` functions works on closed types, in which a
`DefinedType` stands for every type index. Two equal definitions are one object, so that equality is
identity and the subtype test at run time takes one look-up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final, TypeVar
from weakref import WeakValueDictionary

from tinywasm.errors import ValidationError
from tinywasm.interruption import watched
from tinywasm.loading import waited_for
from tinywasm.types import (
    AbstractHeap,
    ArrayType,
    CompositeType,
    DefinedType,
    ExternType,
    FieldType,
    FuncType,
    GlobalType,
    HeapType,
    Limits,
    MemoryType,
    NumType,
    PackedType,
    RecGroup,
    RefType,
    StorageType,
    StructType,
    SubType,
    TableType,
    TagType,
    ValType,
)

# `ancestors` of a chain of n types take n*n/2 places, so that an untrusted module could ask for
# terabytes; 63 is the limit that the JavaScript embedding sets as well.
MAX_SUBTYPE_DEPTH: Final = 63


class Bottom(ValType):
    """The type of an operand taken from the polymorphic stack of unreachable code; below all others."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "bot"


BOT: Final = Bottom()
# The heap type of a reference of which unreachable code says no more than that it is one.
BOT_HEAP: Final = DefinedType()
BOT_HEAP.composite = FuncType()
BOT_HEAP.supertypes = BOT_HEAP.ancestors = BOT_HEAP.group = ()
BOT_HEAP.final = True

_A = AbstractHeap
_ABOVE: dict[AbstractHeap, frozenset[HeapType]] = {
    _A.ANY: frozenset(),
    _A.EQ: frozenset({_A.ANY}),
    _A.I31: frozenset({_A.EQ, _A.ANY}),
    _A.STRUCT: frozenset({_A.EQ, _A.ANY}),
    _A.ARRAY: frozenset({_A.EQ, _A.ANY}),
    _A.NONE: frozenset({_A.I31, _A.STRUCT, _A.ARRAY, _A.EQ, _A.ANY}),
    _A.FUNC: frozenset(),
    _A.NOFUNC: frozenset({_A.FUNC}),
    _A.EXTERN: frozenset(),
    _A.NOEXTERN: frozenset({_A.EXTERN}),
    _A.EXN: frozenset(),
    _A.NOEXN: frozenset({_A.EXN}),
}
_KINDS: dict[type, AbstractHeap] = {FuncType: _A.FUNC, StructType: _A.STRUCT, ArrayType: _A.ARRAY}
_ABOVE_DEFINED: dict[type, frozenset[HeapType]] = {
    kind: _ABOVE[heap] | {heap} for kind, heap in _KINDS.items()
}
_TOPS: dict[AbstractHeap, AbstractHeap] = {
    heap: next(top for top in (_A.ANY, _A.FUNC, _A.EXTERN, _A.EXN) if top is heap or top in above)
    for heap, above in _ABOVE.items()
}
_BOTTOMS: dict[AbstractHeap, AbstractHeap] = {
    _A.ANY: _A.NONE,
    _A.FUNC: _A.NOFUNC,
    _A.EXTERN: _A.NOEXTERN,
    _A.EXN: _A.NOEXN,
}
_BOTTOM_OF_DEFINED: dict[type, AbstractHeap] = {
    FuncType: _A.NOFUNC,
    StructType: _A.NONE,
    ArrayType: _A.NONE,
}


def top_heap(heap: HeapType) -> AbstractHeap:
    """The abstract heap type at the top of the hierarchy of the closed type `heap`."""
    if isinstance(heap, DefinedType):
        heap = _KINDS[type(heap.composite)]
    assert isinstance(heap, AbstractHeap)
    return _TOPS[heap]


def bottom(heap: HeapType) -> AbstractHeap:
    """The abstract heap type at the bottom of the hierarchy of the closed type `heap`."""
    return _BOTTOMS[top_heap(heap)]


def matches_heap(actual: HeapType, wanted: HeapType) -> bool:
    """Whether the closed heap type `actual` is a subtype of `wanted` (section 3.3, heap types)."""
    if actual is wanted:
        return True
    if type(actual) is DefinedType:
        ancestors = actual.ancestors
        if type(wanted) is DefinedType:
            depth = len(wanted.ancestors) - 1
            return (depth < len(ancestors) and ancestors[depth] is wanted) or actual is BOT_HEAP
        return wanted in _ABOVE_DEFINED[type(actual.composite)] or actual is BOT_HEAP
    if type(wanted) is DefinedType:
        return actual is _BOTTOM_OF_DEFINED[type(wanted.composite)]
    return wanted in _ABOVE[actual]  # type: ignore[index]


def matches_ref(actual: RefType, wanted: RefType) -> bool:
    """Section 3.3, of closed reference types."""
    return (wanted.nullable or not actual.nullable) and matches_heap(actual.heap, wanted.heap)


def matches_value(actual: ValType, wanted: ValType) -> bool:
    """Section 3.3, of closed value types."""
    if actual is wanted or actual is BOT:
        return True
    return isinstance(actual, RefType) and isinstance(wanted, RefType) and matches_ref(actual, wanted)


def matches_result(actual: Sequence[ValType], wanted: Sequence[ValType]) -> bool:
    """Section 3.3, of closed result types."""
    # Nearly all are equal, which is known much sooner: two bytes of code may ask for a thousand types.
    return actual == wanted or (len(actual) == len(wanted) and all(map(matches_value, actual, wanted)))


def _matches_storage(actual: StorageType, wanted: StorageType) -> bool:
    if isinstance(actual, PackedType) or isinstance(wanted, PackedType):
        return actual is wanted
    return matches_value(actual, wanted)


def matches_field(actual: FieldType, wanted: FieldType) -> bool:
    """Section 3.3, of closed field types: what can be written must be the same type."""
    if actual.mutable != wanted.mutable or not _matches_storage(actual.storage, wanted.storage):
        return False
    return not actual.mutable or _matches_storage(wanted.storage, actual.storage)


def matches_composite(actual: CompositeType, wanted: CompositeType) -> bool:
    """Section 3.3, of closed composite types."""
    if isinstance(actual, FuncType) and isinstance(wanted, FuncType):
        params = matches_result(wanted.params, actual.params)
        return params and matches_result(actual.results, wanted.results)
    if isinstance(actual, StructType) and isinstance(wanted, StructType):
        wide = len(actual.fields) >= len(wanted.fields)
        return wide and all(map(matches_field, actual.fields, wanted.fields))
    if isinstance(actual, ArrayType) and isinstance(wanted, ArrayType):
        return matches_field(actual.field, wanted.field)
    return False


def matches_limits(actual: Limits, wanted: Limits) -> bool:
    """Section 3.3, of limits."""
    if actual.min < wanted.min:
        return False
    return wanted.max is None or (actual.max is not None and actual.max <= wanted.max)


def _matches_memory(actual: MemoryType, wanted: MemoryType) -> bool:
    same = actual.address is wanted.address and actual.page_size == wanted.page_size
    return same and matches_limits(actual.limits, wanted.limits)


def _matches_table(actual: TableType, wanted: TableType) -> bool:
    return (
        actual.address is wanted.address
        and matches_limits(actual.limits, wanted.limits)
        and matches_ref(actual.element, wanted.element)
        and matches_ref(wanted.element, actual.element)
    )


def _matches_global(actual: GlobalType, wanted: GlobalType) -> bool:
    return matches_field(FieldType(actual.content, actual.mutable), FieldType(wanted.content, wanted.mutable))


def _defined(functype: ExternType) -> DefinedType | None:
    if isinstance(functype, FuncType):
        return define(functype)
    return functype if isinstance(functype, DefinedType) else None


def matches_extern(actual: ExternType, wanted: ExternType) -> bool:
    """Whether something of type `actual` can be imported as `wanted` (section 3.3, external types).

    Both closed; a `FuncType` stands for its own lone final definition.
    """
    if isinstance(actual, MemoryType) and isinstance(wanted, MemoryType):
        return _matches_memory(actual, wanted)
    if isinstance(actual, TableType) and isinstance(wanted, TableType):
        return _matches_table(actual, wanted)
    if isinstance(actual, GlobalType) and isinstance(wanted, GlobalType):
        return _matches_global(actual, wanted)
    if isinstance(actual, TagType) and isinstance(wanted, TagType):
        return actual.type is wanted.type
    actual_func, wanted_func = _defined(actual), _defined(wanted)
    return actual_func is not None and wanted_func is not None and matches_heap(actual_func, wanted_func)


Types = Sequence[DefinedType]
_Storage = TypeVar("_Storage", ValType, StorageType)


def close_heap(heap: HeapType, types: Types) -> HeapType:
    """`heap` with the definition in place of an index. Raises `ValidationError` ("unknown type")."""
    if isinstance(heap, int):
        if heap >= len(types):
            raise ValidationError(f"unknown type {heap}")
        return types[heap]
    return heap


def close_ref(ref: RefType, types: Types) -> RefType:
    """As `close_heap`, of a reference type."""
    return RefType(ref.nullable, close_heap(ref.heap, types)) if isinstance(ref.heap, int) else ref


def close_value(value: ValType, types: Types) -> ValType:
    """As `close_heap`, of a value type."""
    return close_ref(value, types) if isinstance(value, RefType) else value


_Substitution = Callable[[HeapType], HeapType]


def _map_storage(storage: _Storage, substitute: _Substitution) -> _Storage:
    if isinstance(storage, RefType) and not isinstance(storage.heap, AbstractHeap):
        return RefType(storage.nullable, substitute(storage.heap))
    return storage


def _map_composite(composite: CompositeType, substitute: _Substitution) -> CompositeType:
    def field(old: FieldType) -> FieldType:
        return FieldType(_map_storage(old.storage, substitute), old.mutable)

    if isinstance(composite, StructType):
        return StructType(tuple(map(field, composite.fields)))
    if isinstance(composite, ArrayType):
        return ArrayType(field(composite.field))
    return FuncType(
        [_map_storage(value, substitute) for value in composite.params],
        [_map_storage(value, substitute) for value in composite.results],
    )


def _map_group(group: RecGroup, substitute: _Substitution) -> list[SubType]:
    return [
        SubType(_map_composite(sub.composite, substitute), tuple(map(substitute, sub.supertypes)), sub.final)
        for sub in group.subtypes
    ]


# From a group's structure to its first member, which keeps the others alive and is kept by them.
_interned: WeakValueDictionary[tuple[SubType, ...], DefinedType] = WeakValueDictionary()
# Reentrant, since a finaliser that the garbage collector runs inside may define types itself.
_interned_lock = waited_for(threading.RLock())


def _structure(group: RecGroup, types: Types) -> tuple[SubType, ...]:
    """The key under which `group`, whose first index is `len(types)`, is interned.

    In-group references become relative indices (section 3.1, "rolling up"), others negative
    numbers made of the definition's identity: were it the definition itself, a chain of types that
    nobody uses any more would lose one link at each garbage collection only.
    """
    start = len(types)

    def substitute(heap: HeapType) -> HeapType:
        if isinstance(heap, int):
            if heap >= start:
                return heap - start
            heap = types[heap]
        return -1 - id(heap)

    return tuple(_map_group(group, substitute))


def _check_indices(group: RecGroup, types: Types) -> None:
    """All indices are of this group or before it, supertypes before the definition itself."""
    start = len(types)
    end = start + len(group.subtypes)

    def check(heap: HeapType) -> HeapType:
        if isinstance(heap, int) and heap >= end:
            raise ValidationError(f"unknown type {heap}")
        return heap

    for index, sub in enumerate(group.subtypes, start):
        try:
            _map_composite(sub.composite, check)
            for above in sub.supertypes:
                if isinstance(above, int) and above >= index:
                    raise ValidationError(f"unknown type {above}")
        except ValidationError as error:
            error.where = f"type {index}"
            raise


def _define_group(group: RecGroup, types: Types) -> tuple[DefinedType, ...]:
    """The closed members of a group that is not interned yet ("unrolling")."""
    start = len(types)
    members = tuple(DefinedType() for _ in group.subtypes)

    def substitute(heap: HeapType) -> HeapType:
        if isinstance(heap, int):
            return members[heap - start] if heap >= start else types[heap]
        return heap

    for index, (member, sub) in enumerate(zip(members, _map_group(group, substitute), strict=True), start):
        member.composite = sub.composite
        member.final = sub.final
        member.group = members
        member.supertypes = tuple(above for above in sub.supertypes if isinstance(above, DefinedType))
        inherited = member.supertypes[0].ancestors if member.supertypes else ()
        if len(inherited) > MAX_SUBTYPE_DEPTH:
            raise ValidationError(f"sub type depth exceeds {MAX_SUBTYPE_DEPTH}", f"type {index}")
        member.ancestors = (*inherited, member)
    return members


def _intern(group: RecGroup, types: Types) -> tuple[DefinedType, ...]:
    if not group.subtypes:
        return ()
    _check_indices(group, types)
    key = _structure(group, types)
    with _interned_lock:
        known = _interned.get(key)
        if known is not None:
            return known.group
        return _interned.setdefault(key, _define_group(group, types)[0]).group


def canonicalise(groups: Sequence[RecGroup]) -> tuple[DefinedType, ...]:
    """The closed definitions of a module's type index space.

    `ancestors` of a definition are the chain of its first supertypes from the root down to the
    definition itself. Whether the declared supertypes are fitting is not looked at here.

    Raises `ValidationError` ("unknown type") for an index behind the group that uses it or a
    supertype that is not declared before, and for chains of more than `MAX_SUBTYPE_DEPTH` supertypes.
    """
    types: list[DefinedType] = []
    # Groups that name no index mean the same wherever they stand, and a reader may use one object for many.
    closed: dict[int, tuple[DefinedType, ...]] = {}
    for group in watched(groups):
        members = closed.get(id(group))
        if members is None:
            members = _intern(group, types)
            if _is_closed(group):
                closed[id(group)] = members
        types.extend(members)
    return tuple(types)


def _is_closed(group: RecGroup) -> bool:
    """Whether a lone function type has numbers and vectors only."""
    sub = group.subtypes[0] if len(group.subtypes) == 1 else None
    if sub is None or sub.supertypes or not isinstance(sub.composite, FuncType):
        return False
    return all(isinstance(value, NumType) for value in (*sub.composite.params, *sub.composite.results))


def define(functype: FuncType) -> DefinedType:
    """The canonical lone and final definition of a closed function type."""
    return _intern(RecGroup((SubType(functype),)), ())[0]


def contrast(wanted: ExternType, actual: ExternType, text: str) -> tuple[str, str]:
    """Two types that both read as `text` and do not match, as texts that tell them apart."""
    first, second = ([type] if isinstance(type, DefinedType) else _roots(type) for type in (wanted, actual))
    pairs, seen = list(zip(first, second, strict=False)), set()
    while pairs:
        pair = pairs.pop(0)
        if pair[0] is pair[1] or pair in seen:
            continue
        seen.add(pair)
        one, other = map(_spelled, pair)
        if one != other:
            return (f"{text} with {one}", f"{text} with {other}")
        first, second = ([*each.supertypes, *each.group, *_definitions(each)] for each in pair)
        pairs += zip(first, second, strict=False)
    return text, f"another {text}"


def _roots(type: ExternType) -> list[DefinedType]:
    if isinstance(type, TagType):
        return [type.type] if isinstance(type.type, DefinedType) else []
    value = type.content if isinstance(type, GlobalType) else getattr(type, "element", None)
    heap = getattr(value, "heap", None)
    return [heap] if isinstance(heap, DefinedType) else []


def _definitions(defined: DefinedType) -> list[DefinedType]:
    """The definitions in a definition, from left to right."""
    heaps = [part.heap for part in _parts(defined.composite) if isinstance(part, RefType)]
    return [heap for heap in heaps if isinstance(heap, DefinedType)]


def _parts(composite: CompositeType) -> list[object]:
    if isinstance(composite, FuncType):
        return [*composite.params, *composite.results]
    fields = composite.fields if isinstance(composite, StructType) else (composite.field,)
    return [field.storage for field in fields]


def _spelled(defined: DefinedType) -> str:
    """A definition with what distinguishes it besides its structure."""
    words = [f"`{defined.composite}`"]
    if defined.supertypes or not defined.final:
        words.append("final" if defined.final else "open to subtypes")
        words.append(f"with {len(defined.supertypes)} supertypes")
    if len(defined.group) > 1:
        place = next(number for number, each in enumerate(defined.group) if each is defined)
        words.append(f"number {place} in a recursive group of {len(defined.group)}")
    return ", ".join(words)
