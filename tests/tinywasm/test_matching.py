"""Subtyping and canonical types."""

from __future__ import annotations

import gc
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinywasm import matching
from tinywasm.errors import ValidationError
from tinywasm.matching import (
    BOT,
    MAX_SUBTYPE_DEPTH,
    bottom,
    canonicalise,
    close_heap,
    close_value,
    define,
    matches_extern,
    matches_heap,
    matches_ref,
    matches_result,
    matches_value,
    top_heap,
)
from tinywasm.types import (
    ANYREF,
    EQREF,
    F32,
    FUNCREF,
    I32,
    I64,
    AbstractHeap,
    ArrayType,
    ExternType,
    FieldType,
    FuncType,
    GlobalType,
    HeapType,
    Limits,
    MemoryType,
    PackedType,
    RecGroup,
    RefType,
    StructType,
    SubType,
    TableType,
    TagType,
)


def lone(composite: FuncType | StructType | ArrayType, *supertypes: int, final: bool = True) -> RecGroup:
    return RecGroup((SubType(composite, supertypes, final),))


def link(heap: HeapType) -> StructType:
    return StructType((FieldType(RefType(True, heap)),))


class TestCanonicalise:
    def test_equal_structure_is_one_object(self) -> None:
        first = canonicalise([lone(FuncType([I32]))])
        second = canonicalise([lone(FuncType()), lone(FuncType([I32]))])
        assert first[0] is second[1]

    def test_the_place_of_a_group_does_not_matter(self) -> None:
        group = [SubType(link(0)), SubType(FuncType([RefType(False, 1), RefType(False, 0)]))]
        moved = [SubType(link(2)), SubType(FuncType([RefType(False, 3), RefType(False, 2)]))]
        first = canonicalise([RecGroup(tuple(group))])
        second = canonicalise([lone(FuncType()), lone(FuncType([I64])), RecGroup(tuple(moved))])
        assert first == second[2:]

    def test_grouping_matters(self) -> None:
        apart = canonicalise([lone(FuncType()), lone(StructType())])
        together = canonicalise([RecGroup((SubType(FuncType()), SubType(StructType())))])
        assert apart[0] is not together[0]

    @pytest.mark.parametrize(
        "other",
        [
            SubType(FuncType([I32]), (), False),
            SubType(FuncType([I64])),
            SubType(FuncType([], [I32])),
            SubType(StructType((FieldType(I32),))),
        ],
    )
    def test_differences_matter(self, other: SubType) -> None:
        assert canonicalise([lone(FuncType([I32]))]) != canonicalise([RecGroup((other,))])

    def test_inside_and_outside_references_differ(self) -> None:
        types = canonicalise([lone(link(0)), lone(link(0))])
        assert types[0] is not types[1]
        assert types[1].composite == link(types[0])
        assert types[0].composite == link(types[0])

    def test_fields_of_a_definition(self) -> None:
        root, leaf = canonicalise([lone(link(0), final=False), lone(link(0), 0)])
        assert (root.final, root.supertypes, root.ancestors, root.group) == (False, (), (root,), (root,))
        assert (leaf.final, leaf.supertypes, leaf.ancestors) == (True, (root,), (root, leaf))

    def test_a_function_type_of_the_host_is_the_module_s(self) -> None:
        assert define(FuncType([I32], [I64])) is canonicalise([lone(FuncType([I32], [I64]))])[0]
        closed = canonicalise([lone(StructType()), lone(FuncType([RefType(True, 0)]))])
        assert define(FuncType([RefType(True, closed[0])])) is closed[1]

    @pytest.mark.parametrize(
        "groups",
        [
            [lone(link(1))],
            [lone(ArrayType(FieldType(RefType(True, 7))))],
            [lone(FuncType([RefType(True, 1)])), lone(FuncType())],
            [lone(FuncType(), 0, final=False)],
            [RecGroup((SubType(FuncType(), (1,), False), SubType(FuncType(), (), False)))],
        ],
    )
    def test_unknown_types(self, groups: list[RecGroup]) -> None:
        with pytest.raises(ValidationError, match=r"^unknown type") as caught:
            canonicalise(groups)
        assert caught.value.where == "type 0"

    def test_an_empty_group_takes_no_index(self) -> None:
        assert len(canonicalise([RecGroup(()), lone(FuncType())])) == 1

    def test_long_chains_need_no_recursion_and_leave_nothing(self) -> None:
        gc.collect()
        before = len(matching._interned)
        types = canonicalise([lone(link(max(0, index - 1)), final=False) for index in range(20_000)])
        assert canonicalise([lone(link(0), final=False)])[0] is types[0]
        del types
        gc.collect()
        assert len(matching._interned) == before

    def test_depth_of_subtyping_is_limited(self) -> None:
        chain = [lone(StructType(), *([index - 1] if index else []), final=False) for index in range(100)]
        assert len(canonicalise(chain[: MAX_SUBTYPE_DEPTH + 1])[-1].ancestors) == MAX_SUBTYPE_DEPTH + 1
        with pytest.raises(ValidationError, match=r"^sub type depth"):
            canonicalise(chain)


ROOT, LEFT, RIGHT, LEAF, FUNC, ARRAY = canonicalise(
    [
        lone(StructType(), final=False),
        lone(link(0), 0, final=False),
        lone(StructType((FieldType(I32),)), 0, final=False),
        lone(link(0), 1),
        lone(FuncType(), final=False),
        lone(ArrayType(FieldType(PackedType.I8))),
    ]
)
A = AbstractHeap
# The immediate steps of section 3.3; the rest is reflexivity and transitivity.
STEPS: set[tuple[HeapType, HeapType]] = {
    (A.EQ, A.ANY),
    (A.I31, A.EQ),
    (A.STRUCT, A.EQ),
    (A.ARRAY, A.EQ),
    (A.NONE, A.I31),
    (A.NONE, LEAF),
    (A.NONE, RIGHT),
    (A.NONE, ARRAY),
    (LEAF, LEFT),
    (LEFT, ROOT),
    (RIGHT, ROOT),
    (ROOT, A.STRUCT),
    (ARRAY, A.ARRAY),
    (FUNC, A.FUNC),
    (A.NOFUNC, FUNC),
    (A.NOEXTERN, A.EXTERN),
    (A.NOEXN, A.EXN),
}
HEAPS: list[HeapType] = [*A, ROOT, LEFT, RIGHT, LEAF, FUNC, ARRAY]


def closure() -> set[tuple[HeapType, HeapType]]:
    pairs = STEPS | {(heap, heap) for heap in HEAPS}
    while True:
        more = {(a, d) for a, b in pairs for c, d in pairs if b is c} - pairs
        if not more:
            return pairs
        pairs |= more


def test_heap_types_match_as_the_specification_orders_them() -> None:
    wanted = closure()
    for pair in itertools.product(HEAPS, HEAPS):
        assert matches_heap(*pair) == (pair in wanted), pair


@pytest.mark.parametrize("heap", HEAPS)
def test_top_and_bottom_bound_every_heap_type(heap: HeapType) -> None:
    assert matches_heap(heap, top_heap(heap))
    assert matches_heap(bottom(heap), heap)
    assert all(matches_heap(other, top_heap(heap)) for other in HEAPS if matches_heap(heap, other))


@given(st.booleans(), st.sampled_from(HEAPS), st.booleans(), st.sampled_from(HEAPS))
def test_references_match_with_their_nullability(
    null: bool, heap: HeapType, wanted_null: bool, wanted: HeapType
) -> None:
    expected = matches_heap(heap, wanted) and (wanted_null or not null)
    assert matches_ref(RefType(null, heap), RefType(wanted_null, wanted)) == expected
    assert matches_value(RefType(null, heap), RefType(wanted_null, wanted)) == expected


def test_value_types_match() -> None:
    assert matches_value(I32, I32)
    assert not matches_value(I32, I64)
    assert not matches_value(I32, ANYREF)
    assert not matches_value(ANYREF, I32)
    assert all(matches_value(BOT, value) for value in (I32, ANYREF))
    assert not matches_value(I32, BOT)
    assert matches_result([I32, EQREF], [I32, ANYREF])
    assert not matches_result([I32], [I32, I32])


def test_closing_replaces_indices() -> None:
    types = (ROOT, LEFT)
    assert close_heap(1, types) is LEFT
    assert close_heap(A.ANY, types) is A.ANY
    assert close_value(RefType(True, 0), types) == RefType(True, ROOT)
    assert close_value(I32, types) is I32
    with pytest.raises(ValidationError, match=r"^unknown type 2"):
        close_value(RefType(True, 2), types)


def memory(least: int, most: int | None = None, page_size: int = 65536) -> MemoryType:
    return MemoryType(Limits(least, most), I32, page_size)


EXTERNS: list[tuple[ExternType, ExternType, bool]] = [
    (memory(2), memory(1), True),
    (memory(1), memory(2), False),
    (memory(1), memory(1, 2), False),
    (memory(1, 2), memory(1, 2), True),
    (memory(1, 3), memory(1, 2), False),
    (memory(1, 2), memory(1), True),
    (memory(1, 2), memory(1, 2, 1), False),
    (MemoryType(Limits(1), I64), memory(1), False),
    (TableType(FUNCREF, Limits(1)), TableType(FUNCREF, Limits(1)), True),
    (TableType(FUNCREF, Limits(1), I64), TableType(FUNCREF, Limits(1)), False),
    (TableType(RefType(True, FUNC), Limits(1)), TableType(FUNCREF, Limits(1)), False),
    (TableType(FUNCREF, Limits(1)), TableType(RefType(True, FUNC), Limits(1)), False),
    (GlobalType(EQREF), GlobalType(ANYREF), True),
    (GlobalType(ANYREF), GlobalType(EQREF), False),
    (GlobalType(EQREF, True), GlobalType(ANYREF, True), False),
    (GlobalType(EQREF, True), GlobalType(EQREF, True), True),
    (GlobalType(F32, True), GlobalType(F32), False),
    (TagType(FUNC), TagType(FUNC), True),
    (TagType(FUNC), TagType(define(FuncType([I32]))), False),
    (FUNC, FUNC, True),
    (FuncType([I32]), define(FuncType([I32])), True),
    (FuncType([I32]), FuncType([I64]), False),
    (FuncType(), memory(1), False),
    (memory(1), GlobalType(I32), False),
]


@pytest.mark.parametrize(("actual", "wanted", "expected"), EXTERNS)
def test_external_types_match(actual: ExternType, wanted: ExternType, expected: bool) -> None:
    assert matches_extern(actual, wanted) is expected
