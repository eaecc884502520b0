"""Which clauses of a function take an exception.

An exception ends machine code as a trap does, with -1. A call in a handler region goes on from there to the
clauses, if it was an exception; the innermost region is the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinywasm.engine.ir.form import Clause
from tinywasm.engine.llvm.unit import INVARIANT, REFERENCE, TAG, placed
from tinywasm.engine.native import _loop
from tinywasm.types import EXNREF, FuncType

if TYPE_CHECKING:
    from tinywasm.engine.llvm.function import Emitter


def leads(e: Emitter) -> str:
    """The label to which an exception leads from here, in a handler region."""
    e.flush()
    if e.region not in e.catches:
        e.catches[e.region] = []
        region = e.region
        while region >= 0:
            for clause in e.form.regions[region].clauses:
                _declare(e, clause)
            region = e.form.regions[region].parent
    e.catches[e.region].append((e.label, e.position))
    return f"%catch{e.region}"


def _declare(e: Emitter, clause: Clause) -> None:
    """What the block of a clause finds."""
    if clause.block not in e.found:
        below = {
            height: type
            for height, type in e.temporaries.items()
            if isinstance(type, str) and height < clause.height
        }
        e.found[clause.block] = below | dict(_brought(e, clause))


def _brought(e: Emitter, clause: Clause) -> list[tuple[int, str]]:
    """The heights and types of what a clause brings, the exception last if it goes along."""
    values: list[tuple[int, str]] = []
    if clause.tag is not None:
        signature = e.context.tags[clause.tag].composite
        assert isinstance(signature, FuncType)
        values = placed([*signature.params, EXNREF] if clause.reference else signature.params)
    elif clause.reference:
        values = [(0, REFERENCE)]
    return [(clause.height + slot, type) for slot, type in values]


def catch(e: Emitter) -> None:
    """What becomes of exceptions in handler regions, innermost first.

    A region's number is larger than that of the region around it.
    """
    for region in range(len(e.form.regions) - 1, -1, -1):
        if region in e.catches:
            _catch(e, region)


def _catch(e: Emitter, region: int) -> None:
    position = e.position_of(f"catch{region}", e.catches[region])
    caught = e.helper("thrown", "%instance.store", "ptr %instance.store")
    exception = e.value(f"inttoptr i64 {caught} to ptr")
    look, miss = e.fresh(), e.fresh()
    e.line(f"br i1 {e.value(f'icmp eq i64 {caught}, 0')}, label %{miss}, label %{look}")
    e.go_on(look)
    tag = e.load("ptr", exception, "Exn.tag", INVARIANT)
    for clause in e.form.regions[region].clauses:
        take, other = e.fresh(), e.fresh()
        if clause.tag is None:
            e.line(f"br label %{take}")
        else:
            same = e.value(f"icmp eq ptr {tag}, {_tag(e, clause.tag)}")
            e.line(f"br i1 {same}, label %{take}, label %{other}")
        e.go_on(take)
        _take(e, clause, exception)
        e.go_on(other)
    e.line(f"br label %{miss}")
    e.go_on(miss)
    parent = e.form.regions[region].parent
    if parent >= 0:
        e.catches.setdefault(parent, []).append((e.label, position))
    else:
        e.unwinds.append((e.label, position))
    e.line(f"br label %{f'catch{parent}' if parent >= 0 else 'unwind'}")


def _tag(e: Emitter, number: int) -> str:
    tags = e.load("ptr", "%instance", "Instance.tags", INVARIANT)
    return e.load("ptr", tags, 8 * number, INVARIANT)


def _take(e: Emitter, clause: Clause, exception: str) -> None:
    place = e.at("%instance.store", _loop.PLACES["Store.thrown"])
    e.line(f"store ptr null, ptr {place}")
    # As the loop has it, which takes up an exception that comes from machine code.
    e.line("store i64 0, ptr %left")
    brought = _brought(e, clause)
    if clause.reference:
        height, _ = brought.pop()
        e.line(f"store ptr {exception}, ptr {e.variable(height, REFERENCE)}")
    values = e.at(exception, _loop.PLACES["Exn.values"])
    for height, type in brought:
        value = e.load(type, values, 8 * (height - clause.height), f"align 8, {TAG['field']}")
        e.line(f"store {type} {value}, ptr {e.variable(height, type)}")
    e.line(f"br label {e.leads(clause.block)}")
