"""What a pattern claims, for the solver: that its word does what the two words do, one after the other.

The frame is an array from slot numbers to 64 bits, and the numbers are unknowns, so any fields may name the
same slot but where the claim says otherwise. Between the two words an operand of the second may be put into
a scratch slot, as selection does with what no word holds; it is there before the word that is made.

The same is: the way on (the next word, a branch, a trap and its kind, a call, a return) from the same place,
and every slot, every byte of memory, every global and the fuel. Only what a dead slot holds is left open.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import z3
from gen_loop import Arm, arms

from tests.tinywasm.proofs import c_syntax
from tests.tinywasm.proofs.c_meaning import Machine, Outcome, Place, initial, run
from tests.tinywasm.proofs.c_syntax import Tree
from tinywasm.engine.native.patterns import Pattern
from tinywasm.instructions import TABLE

FIELDS = ("a", "b", "c", "imm")
# A solver that needs more than this, in its own units, does not know: that is no proof.
PATIENCE = 50_000_000
_ARMS = arms()
# Macros that read 32 bits of a slot.
_NARROW = ("R32", "RF32")
# Accesses to memory 0 with an address of 32 bits.
_SHORT = {
    row.name.replace(".", "_")
    for row in TABLE
    if row.immediates and row.immediates[0].startswith("memarg") and len(row.immediates) == 1
}


@dataclass(frozen=True)
class Claim:
    """That where the premises hold, `made` is what the `parts` are, but for what slot `dead` holds.

    `written` are the slots that the second of the parts writes, which is not dead any more.
    """

    premises: list[Any]
    parts: list[Outcome]
    made: list[Outcome]
    dead: Any = None
    written: tuple[Any, ...] = ()


def word(number: int) -> dict[str, Any]:
    """The fields of the first or second word: anything."""
    fields = {each: z3.BitVec(f"{each}{number}", 16) for each in "abc"}
    return {**fields, "imm": z3.BitVec(f"i{number}", 64)}


def slot(term: Any) -> Any:
    """A field as the number of a slot."""
    return z3.ZeroExt(64 - term.size(), term) if term.size() < 64 else term


# Words


def plain(name: str) -> Arm:
    """What the generator of the loop knows of a word."""
    return _ARMS[name]


def slots_read(name: str, fields: dict[str, Any]) -> dict[str, list[Any]]:
    """The slots that a word reads, by its fields."""
    found = {each: [slot(fields[each])] for each in plain(name).reads}
    if name == "move2":
        found["imm"] = [slot(fields["imm"])]
    if "RV(pc->b)" in plain(name).before:
        found["b"] = [slot(fields["b"]), slot(fields["b"]) + 1]
    return found


def slots_written(name: str, fields: dict[str, Any]) -> tuple[Any, ...]:
    """The slots in which a word leaves its result."""
    if "WV(pc->a" in plain(name).before:
        return slot(fields["a"]), slot(fields["a"]) + 1
    return (slot(fields["a"]),) if plain(name).value else ()


def well_formed(name: str, fields: dict[str, Any], machine: Machine) -> list[Any]:
    """What holds when a word is run: a slot of 32 bits has nothing above them, an offset has 32 bits."""
    reads = [field for field, macro in plain(name).reads.items() if macro in _NARROW]
    premises = [z3.ULE(machine.state["memory_size"], 1 << 32)]
    if name in _SHORT:
        premises.append(z3.ULT(fields["imm"], 1 << 32))
    premises += [z3.Extract(63, 32, machine.slot(slot(fields[field]))) == 0 for field in reads]
    return premises


def in_order(
    first: str, second: str, start: Machine, scratch: tuple[Any, Any] | None, premises: list[Any]
) -> Iterator[Outcome]:
    """All ways through two words; between them a value is put into a scratch slot. Adds to the premises."""
    premises += well_formed(first, start.words[0], start)
    for reached, exit in run(c_syntax.arm(first), start):
        following = z3.simplify(reached.state["pc"])
        if exit.kind != "*" or not z3.is_bv_value(following):
            yield reached, exit
            continue
        assert following.as_long() == 1
        if scratch is not None:
            reached.state["frame"] = z3.Store(reached.state["frame"], *scratch)
        whenever = z3.And(*reached.path)
        premises += [z3.Implies(whenever, each) for each in well_formed(second, start.words[1], reached)]
        yield from run(c_syntax.arm(second), reached)


# Claims


def of_pattern(pattern: Pattern, arm: Tree | None = None) -> Claim:
    """What a row of `patterns.PATTERNS` claims, of the arm of its word or of another one."""
    first, second = word(1), word(2)
    if pattern.joint:
        second[pattern.joint] = first["a"]
        if pattern.first == "const" and plain(pattern.second).reads[pattern.joint] in _NARROW:
            # As a premise this would be the same, with more for the solver to think about.
            first["imm"] = z3.ZeroExt(32, z3.BitVec("i1", 32))
    scratch = z3.BitVec("scratch", 64), z3.BitVec("brought", 64)
    premises: list[Any] = [_guard(pattern.guard, first, second)]
    read = [each for slots in slots_read(pattern.first, first).values() for each in slots]
    apart = [(scratch[0], each) for each in (slot(first["a"]), *read)]
    if pattern.dead:
        # Nothing else reads it.
        for field, slots in slots_read(pattern.second, second).items():
            apart += [(slot(first["a"]), each) for each in slots if field != pattern.joint]
    premises += [one != other for one, other in apart]
    start = initial({0: first, 1: second})
    start.apart = frozenset(
        (one.get_id(), other.get_id()) for pair in apart for one, other in (pair, pair[::-1])
    )
    parts = list(in_order(pattern.first, pattern.second, start, scratch, premises))
    machine = initial({1: made_fields(pattern, first, second)})
    machine.apart = start.apart
    machine.state["frame"] = z3.Store(machine.state["frame"], *scratch)
    made = list(run(arm or c_syntax.arm(pattern.made), machine))
    dead = slot(first["a"]) if pattern.dead else None
    return Claim(premises, parts, made, dead, slots_written(pattern.second, second))


def of_pair(first: str, second: str, taken: str, both: str) -> Claim:
    """What two words that are done in one claim: field `taken` of the second is what the first has made."""
    words = {0: word(1), 1: word(2)}
    premises: list[Any] = []
    if taken:
        words[1][taken] = slot(words[0]["a"]) if taken == "imm" else words[0]["a"]
    parts = list(in_order(first, second, initial(words), None, premises))
    return Claim(premises, parts, list(run(c_syntax.arm(both), initial(words))))


def _guard(guard: str, first: dict[str, Any], second: dict[str, Any]) -> Any:
    i1, i2 = first["imm"], second["imm"]
    match guard:
        case "":
            return z3.BoolVal(True)
        case "half":
            return i1 == z3.SignExt(32, z3.Extract(31, 0, i1))
        case "single":
            return z3.fpEQ(_doubled(_SINGLE), z3.fpBVToFP(i1, z3.Float64()))
        case "step":
            return z3.And(i1 == z3.SignExt(48, z3.Extract(15, 0, i1)), first["a"] == first["b"])
        case "halves":
            return z3.And(z3.ULT(i1, 1 << 32), z3.ULT(i2, 1 << 32))
    raise ValueError(guard)


# The bits of the float that a guard asks for.
_SINGLE = z3.BitVec("single", 32)


def _doubled(bits: Any) -> Any:
    return z3.fpFPToFP(z3.RNE(), z3.fpBVToFP(bits, z3.Float32()), z3.Float64())


def made_fields(pattern: Pattern, first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """The fields of the word that a pattern makes."""
    sources = {"0": z3.BitVecVal(0, 64)}
    for number, fields in ((1, first), (2, second)):
        sources |= {f"{each}{number}": slot(fields[each]) for each in "abc"}
        sources[f"i{number}"] = fields["imm"]
    i1 = first["imm"]
    sources["s1"] = z3.SignExt(32, z3.Extract(31, 0, i1))
    sources["f1"] = z3.ZeroExt(32, _SINGLE)
    *slots, immediate = pattern.fields.split()
    low, sign, high = immediate.partition(":")
    if sign:
        made = z3.Concat(z3.Extract(31, 0, sources[high]), z3.Extract(31, 0, sources[low]))
    else:
        made = sum((sources[each] for each in immediate.split("+")), z3.BitVecVal(0, 64))
    fields = {name: z3.Extract(15, 0, sources[source]) for name, source in zip("abc", slots, strict=True)}
    return {**fields, "imm": made}


# Proofs


def refute(claim: Claim) -> str:
    """An example that refutes a claim, "unknown" where the solver does not know, or nothing: it is proved."""
    if _solve(claim.premises).check() != z3.sat:
        return "no frame at all, as far as the solver knows, is as the premises want it"
    # Ways that are missing would differ from nothing.
    missing = [
        z3.Not(z3.Or(*(z3.And(*machine.path) for machine, _ in ways))) for ways in (claim.parts, claim.made)
    ]
    differences = [_differ(claim, part, made) for part in claim.parts for made in claim.made]
    solver = _solve([*claim.premises, z3.Or(*missing, *differences)])
    found = solver.check()
    if found == z3.unsat:
        return ""
    return str(solver.model()) if found == z3.sat else f"unknown: {solver.reason_unknown()}"


def _solve(conditions: list[Any]) -> Any:
    """A solver for one question: with several, each takes longer."""
    solver = z3.Solver()
    solver.set("rlimit", PATIENCE)
    solver.add(*conditions)
    return solver


def _differ(claim: Claim, part: Outcome, made: Outcome) -> Any:
    """That both are ways through, and not the same."""
    (one, exit), (other, way) = part, made
    taken = [*one.path, *other.path]
    if exit.kind != way.kind:
        return z3.And(*taken)
    at = z3.BitVec("anywhere", 64)
    here = z3.BoolVal(True)
    if claim.dead is not None:
        here = at != claim.dead
        if exit.kind != "trapped":
            here = z3.Or(here, *(at == each for each in claim.written))
    different = [
        z3.And(here, one.state["frame"][at] != other.state["frame"][at]),
        *(one.state[name][at] != other.state[name][at] for name in ("memory", "globals")),
        *(one.state[name] != other.state[name] for name in ("pc", "fuel", "budget")),
    ]
    for name in {"trapped": ("trap",), "enter": ("callee", "args")}.get(exit.kind, ()):
        first, second = (machine.levels[0][name].term for machine in (one, other))
        if isinstance(first, Place):
            assert first.space == second.space == "frame"
            first, second = first.offset, second.offset
        different.append(first != second)
    return z3.And(*taken, z3.Or(*different))
