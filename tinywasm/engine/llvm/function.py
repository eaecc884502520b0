"""One function as LLVM IR: its frame, its blocks, where values are; `operations` says what is done with them.

Locals and temporaries are LLVM's stack variables, of which its first pass makes values: a local has its type,
a temporary one for each type that it ever has. Within a block, and in what only the end of a block leads to,
they are the values that were computed or read, and what is computed or checked once is not computed or
checked again: that costs less here than to have LLVM find it, and where it does not look, the code is better.

Floats that a computation has just made may be any NaN (`numeric.COMPUTED`); they are made canonical where
bits are looked at or kept. So that a sum in a loop need not be, a local whose values are all computed, or
numbers, is not canonical either (`analysis.computed_locals`).

Each head of a loop, and the function itself unless it is short and calls nothing, takes off the budget what
it may cost; where nothing is left, the engine looks whether the run shall end. Fuel is paid as the loop pays
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinywasm.engine.ir import form
from tinywasm.engine.ir.form import Form, Record
from tinywasm.engine.llvm import exceptions
from tinywasm.engine.llvm.analysis import computed_locals, live_references, loop_costs
from tinywasm.engine.llvm.unit import (
    ATTRIBUTES,
    FRAME,
    INVARIANT,
    LETTERS,
    RARELY,
    REFERENCE,
    SELF,
    STRUCTURE,
    TAG,
    TRAPS,
    Text,
    Unit,
    llvm_type,
    returned,
)
from tinywasm.engine.llvm.vectors import SHAPES, V128
from tinywasm.engine.native import _loop
from tinywasm.errors import InternalError
from tinywasm.records import record
from tinywasm.syntax import Function
from tinywasm.types import FuncType
from tinywasm.validation import Context

_SIGNS = 1 << 63 | 1 << 31
_CANONICAL_LANES = {
    "<4 x float>": ("<4 x i32>", "<4 x i1>", "splat (i32 2143289344)"),
    "<2 x double>": (V128, "<2 x i1>", "splat (i64 9221120237041090560)"),
}
_CANONICAL = {"float": "bitcast (i32 2143289344 to float)", "double": "0x7FF8000000000000"}
_OF_VECTORS = [name.partition(".")[0] in ("v128", *SHAPES) for name in form.NAMES]
_ZEROS = {"i32": "0", "i64": "0", REFERENCE: "null"}
# How many checks at most branch to the same block where they fail: LLVM's time grows with their square.
_GATHERED = 256
# Up to how many records a function that neither calls nor loops leaves it to its caller to look.
_SHORT = 64


@record()
class Value:
    """`text` as LLVM's operand; `computed` is the type as which it may hold any NaN, or "".

    What is 1 or 0 by a `condition` of LLVM's has no text until it is taken as a number.
    """

    text: str
    type: str
    computed: str = ""
    condition: str = ""


def signed(bits: int, width: int) -> int:
    return bits - (1 << width) if bits >> (width - 1) & 1 else bits


def vector_bits(raw: bytes) -> str:
    low, high = (signed(int.from_bytes(half, "little"), 64) for half in (raw[:8], raw[8:]))
    return f"<i64 {low}, i64 {high}>"


def float_bits(type: str, bits: int) -> str:
    return (
        f"0x{bits & (1 << 64) - 1:016X}"
        if type == "double"
        else f"bitcast (i32 {signed(bits & 0xFFFFFFFF, 32)} to float)"
    )


class Emitter(Text):
    """One function: the block at hand, its temporaries by height, and the types of those that others find."""

    def __init__(
        self,
        unit: Unit,
        context: Context,
        index: int,
        function: Function,
        code: Form,
        metered: bool,
        loop: int | None,
    ) -> None:
        super().__init__()
        self.unit = unit
        self.context = context
        self.index = index
        self.form = code
        self.metered = metered
        # The block from which on there is something of the function, if it is not all of it.
        self.loop = loop
        signature = context.funcs[index].composite
        assert isinstance(signature, FuncType)
        self.signature = signature
        self.params = len(self.signature.params)
        self.types = [llvm_type(type) for type in signature.params]
        for count, type in function.locals:
            self.types += [llvm_type(type)] * count
        # How many slots the locals take.
        self.first = code.slots - code.heights
        self.computed = computed_locals(code, self.types, self.params)
        self.used: set[int] = set()
        self.prelude: dict[str, str] = {}
        # Those of temporaries, by their names.
        self.variables: dict[str, str] = {}
        self.temporaries: dict[int, Value | str] = {}
        # What is known in the block at hand: the values of locals, and which are not stored yet; those of
        # other variables; what instructions made; the sizes of memories; up to where addresses are inside.
        self.locals: dict[int, Value] = {}
        self.unsaved: dict[int, None] = {}
        self.held: dict[str, str] = {}
        self.made: dict[str, str] = {}
        self.sizes: dict[int, str] = {}
        self.inside: dict[tuple[int, str], int] = {}
        self.known: tuple[dict[Any, Any], ...] = (
            *(self.locals, self.unsaved, self.held, self.made, self.sizes, self.inside),
        )
        self.found: dict[int, dict[int, str]] = {}
        self.costs = loop_costs(code)
        # What calls nothing takes little more of the stack than its caller.
        self.leaf = not any(form.CALLS[row] for row in set(code.code[:: form.STRIDE]) if row < form.BLOCK)
        vectors = any(_OF_VECTORS[row] for row in set(code.code[:: form.STRIDE]))
        self.attributes = ATTRIBUTES[vectors]
        references = sum(1 << number for number, type in enumerate(self.types) if type == REFERENCE)
        self.live = live_references(code, references)
        # The slots of each type's fields.
        self.field_slots = unit.field_slots
        # After which lines so many references lie in the first slots.
        self.spilled: list[tuple[int, int]] = []
        self.number = 0
        self.label = "start"
        self.labels = 0
        self.position = 0
        self.dead = False
        # From which blocks traps of each code come, and from which positions; and the ends of callees.
        self.traps: dict[str, tuple[int, list[tuple[str, int | str]]]] = {}
        self.checks = 0
        self.unwinds: list[tuple[str, int | str]] = []
        # The handler region of the block, and by regions from where exceptions come to their clauses.
        self.region = -1
        self.catches: dict[int, list[tuple[str, int | str]]] = {}

    def finish(self) -> str:
        """The whole function, when all its records have been done."""
        signature = self.signature
        self.forget()
        self.ends(signature)
        body, self.lines = self.lines, []
        self.enter(signature)
        given = "".join(f", {type} %p{number}" for number, type in enumerate(self.types[: self.params]))
        own = f"@f{self.index}({SELF}, i64 %room, i64 %budget{given})"
        linkage = "dso_local" if self.index in self.unit.entered else "internal"
        head = f"define {linkage} swiftcc {returned(signature)} {own} {self.attributes} {{"
        return "\n".join([head, *self.lines, *body, "}"])

    def finish_loop(self, block: int) -> str:
        """The same from a block on, where locals and operands are in the slots of the loop's frame."""
        self.forget()
        self.ends(self.signature)
        body, self.lines = self.lines, []
        self.enter_loop(block)
        head = f"define dso_local swiftcc {returned(self.signature)} @f{self.index}.loop"
        given = f"({SELF}, i64 %room, i64 %budget, ptr %fp)"
        return "\n".join([f"{head}{given} {self.attributes} {{", *self.lines, *body, "}"])

    # The frame

    def enter(self, signature: FuncType) -> None:
        """What comes before the first block, once it is known what the function has."""
        self.lines.append("entry:")
        self.line("%left = alloca i64")
        self.line("store i64 %budget, ptr %left")
        for number in sorted(self.used):
            type = self.types[number]
            self.line(f"%l{number} = alloca {type}")
            zero = "zeroinitializer"
            self.line(f"store {type} {f'%p{number}' if number < self.params else zero}, ptr %l{number}")
        for name, type in self.variables.items():
            self.line(f"{name} = alloca {type}")
        place = self.at("%instance", _loop.PLACES["Instance.store"])
        self.line(f"%instance.store = load ptr, ptr {place}, {STRUCTURE}")
        self.line(f"%short = sub i64 %room, {self.form.slots}")
        self.line(f"%signs = and i64 %short, {signed(_SIGNS, 64)}")
        self.line("%full = icmp ne i64 %signs, 0")
        deep = "%full" if self.leaf else self.value(f"or i1 %full, {self.low()}")
        self.line(f"br i1 {deep}, label %deeper, label %enter, {RARELY}")
        self.deeper(signature)
        self.lines.append("enter:")
        self.lines += self.prelude.values()
        self.line("br label %start")

    def low(self) -> str:
        """Whether the thread's stack is nearly used up."""
        limit = self.load("i64", "%instance.store", "Store.machine_limit", INVARIANT)
        sp = self.value("call i64 @llvm.read_register.i64(metadata !3)")
        return self.value(f"icmp ult i64 {sp}, {limit}")

    def enter_loop(self, block: int) -> None:
        """As `enter`, for the way to a block."""
        if block not in self.found:
            raise InternalError(f"function {self.index}: nothing leads to block {block}")
        self.lines.append("entry:")
        self.line("%left = alloca i64")
        self.line("store i64 %budget, ptr %left")
        slot = 0
        for number, type in enumerate(self.types):
            if number in self.used:
                self.line(f"%l{number} = alloca {type}")
                self.line(f"store {type} {self.get('%fp', slot, type)}, ptr %l{number}")
            slot += 2 if type == V128 else 1
        for name, type in self.variables.items():
            self.line(f"{name} = alloca {type}")
        for height, type in self.found[block].items():
            value = self.get("%fp", self.first + height, type)
            self.line(f"store {type} {value}, ptr {self.variable(height, type)}")
        place = self.at("%instance", _loop.PLACES["Instance.store"])
        self.line(f"%instance.store = load ptr, ptr {place}, {STRUCTURE}")
        self.lines += self.prelude.values()
        self.line(f"br label %b{block}")

    def deeper(self, signature: FuncType) -> None:
        """The loop runs this call."""
        self.lines.append("deeper:")
        given = "".join(f"{type} %p{number}, " for number, type in enumerate(self.types[: self.params]))
        callee = f"{self.unit.deeper(signature)}({SELF}, i64 %room, i64 %budget, {given}i64 {self.index})"
        whole = self.value(f"tail call swiftcc {returned(signature)} {callee}")
        self.line(f"ret {returned(signature)} {whole}")

    def ends(self, signature: FuncType) -> None:
        """Where traps of this function, and of those that it calls, leave it."""
        for label, (code, places) in self.traps.items():
            site = self.gathered(label, places)
            self.helper("trap", self.store_again(), f"ptr %instance, i64 %room, i64 {site}, i32 {code}")
            self.fail(signature)
        exceptions.catch(self)
        if self.unwinds:
            site = self.gathered("unwind", self.unwinds)
            self.helper("unwind", self.store_again(), f"ptr %instance, i64 %room, i64 {site}")
            self.fail(signature)

    def store_again(self) -> str:
        """The store, for what is cold: so that no register has it all the way there."""
        place = self.at("%instance", _loop.PLACES["Instance.store"])
        return self.value(f"load volatile ptr, ptr {place}")

    def gathered(self, label: str, places: Sequence[tuple[str, int | str]]) -> str:
        """Begin the block to which these blocks branch, each from its position; the site."""
        position = self.value(f"zext i32 {self.position_of(label, places)} to i64")
        return self.value(f"or i64 {position}, {self.site(0)}")

    def position_of(self, label: str, places: Sequence[tuple[str, int | str]]) -> str:
        """Begin that block; the position, each a number or a value."""
        self.go_on(label)
        positions = [(signed(each, 32) if isinstance(each, int) else each, block) for block, each in places]
        return self.value(f"phi i32 {', '.join(f'[ {each}, %{block} ]' for each, block in positions)}")

    def site(self, position: int) -> int:
        return self.index << 32 | position

    def shape(self, base: int) -> int:
        """The frame's slots, and that of the operands that begin at a height."""
        return self.form.slots << 32 | self.first + base

    def once(self, name: str, text: str) -> str:
        """A value that is computed where the function begins: one that stays the same meanwhile."""
        self.prelude.setdefault(name, f"  {name} = {text}")
        return name

    def reached(self, space: str, index: int) -> str:
        """The structure with that index in one of the instance's index spaces, read where it is wanted."""
        offset = _loop.PLACES[f"Instance.{space}"]
        at = self.computed_once(f"getelementptr i8, ptr %instance, i64 {offset}")
        all = self.computed_once(f"load ptr, ptr {at}, {INVARIANT}")
        at = self.computed_once(f"getelementptr i8, ptr {all}, i64 {8 * index}")
        return self.computed_once(f"load ptr, ptr {at}, {STRUCTURE}")

    def memory_structure(self, index: int) -> str:
        """That of a memory, read where the function begins: most functions want it often."""
        offset = _loop.PLACES["Instance.memories"]
        at = self.once("%memories.at", f"getelementptr i8, ptr %instance, i64 {offset}")
        all = self.once("%memories", f"load ptr, ptr {at}, {INVARIANT}")
        at = self.once(f"%memory{index}.at", f"getelementptr i8, ptr {all}, i64 {8 * index}")
        return self.once(f"%memory{index}", f"load ptr, ptr {at}, {STRUCTURE}")

    def frame(self) -> str:
        """Where the slots of the frame begin."""
        at = self.once(
            "%slots.end.at", f"getelementptr i8, ptr %instance.store, i64 {_loop.PLACES['Store.slots_end']}"
        )
        end = self.once("%slots.end", f"load ptr, ptr {at}, {INVARIANT}")
        low = self.once("%room.slots", f"and i64 %room, {FRAME - 1}")
        bytes = self.once("%room.bytes", f"mul i64 {low}, -8")
        return self.once("%slots", f"getelementptr i8, ptr {end}, i64 {bytes}")

    def spill(self, base: int) -> None:
        """Before something that may collect: put the references that are read behind it where the collector
        looks, into the first slots of the frame. There is room for them below the operands from `base` on."""
        live = self.live.get(self.number, 0)
        places = [each << form.NUMBER | form.LOCAL for each in range(live.bit_length()) if live >> each & 1]
        for height, value in self.temporaries.items():
            if height < base and REFERENCE in (value, getattr(value, "type", "")):
                places.append(height << form.NUMBER | form.TEMPORARY)
        for slot, place in enumerate(places):
            self.put(self.frame(), slot, REFERENCE, self.seen(place))
        self.lines.append("")
        self.spilled.append((len(self.lines) - 1, len(places)))

    def forget(self) -> None:
        """Where fewer references are spilled than elsewhere, the slots behind them hold none."""
        most = max((count for _, count in self.spilled), default=0)
        body = self.lines
        for index, count in self.spilled:
            self.lines = []
            for slot in range(count, most):
                self.put(self.frame(), slot, REFERENCE, "null")
            body[index] = "\n".join(self.lines)
        self.lines = body

    def memory(self, index: int) -> str:
        """Where a memory begins, which it never leaves."""
        structure, offset = self.memory_structure(index), _loop.PLACES["Memory.base"]
        at = self.once(f"%base{index}.at", f"getelementptr i8, ptr {structure}, i64 {offset}")
        return self.once(f"%base{index}", f"load ptr, ptr {at}, {INVARIANT}")

    def size(self, memory: int) -> str:
        """The bytes of a memory, which calls may change."""
        if memory not in self.sizes:
            structure = self.memory_structure(memory)
            self.sizes[memory] = self.load("i64", structure, "Memory.size", TAG["size"])
        return self.sizes[memory]

    def helper(self, name: str, store: str, arguments: str) -> str:
        self.sizes.clear()
        return super().helper(name, store, arguments)

    # Control

    def fresh(self) -> str:
        self.labels += 1
        return f"c{self.labels}"

    def go_on(self, label: str) -> None:
        self.lines.append(f"{label}:")
        self.label = label

    def flush(self) -> None:
        """Leave locals and temporaries where other blocks find them."""
        for number in self.unsaved:
            value = self.locals[number]
            self.line(f"store {value.type} {value.text}, ptr %l{number}")
        self.unsaved.clear()
        for height, given in self.temporaries.items():
            if isinstance(given, Value):
                value = self.canonical(self.number_of(given))
                name = self.variable(height, value.type)
                self.line(f"store {value.type} {value.text}, ptr {name}")
                self.temporaries[height] = value.type
                self.held[name] = value.text

    def all_known(self) -> list[dict[Any, Any]]:
        """What is known here, for `know` where the same holds again."""
        return [each.copy() for each in self.known]

    def know(self, known: Sequence[dict[Any, Any]] = ({},) * 6) -> None:
        """Know that, or nothing where a block begins to which several may lead."""
        for each, was in zip(self.known, known, strict=True):
            each.clear()
            each.update(was)

    def variable(self, height: int, type: str) -> str:
        """Where a temporary is while it is of that type."""
        name = f"%t{height}.{LETTERS[type]}"
        self.variables[name] = type
        return name

    def leads(self, block: int) -> str:
        """The label of a block, to which a branch leads from here."""
        if block not in self.found:
            self.found[block] = {
                height: value for height, value in self.temporaries.items() if isinstance(value, str)
            }
        return f"%b{block}"

    def begin(self, record: Record) -> None:
        """A block; what nothing leads to is left out."""
        block, self.region = record.immediate, record.a
        if not self.lines:
            self.go_on("start")
            if self.loop is None:
                self.know_arguments()
            size = len(self.form.code) // form.STRIDE
            if not self.leaf or self.costs or size > _SHORT or self.unit.helper == "warm":
                self.spend(16 + size, 0)
        # Only the block before leads to what is no loop and had no branch to it yet.
        if self.dead or block in self.found or block in self.costs or block == self.loop:
            if not self.dead:
                self.flush()
                self.line(f"br label {self.leads(block)}")
            self.dead = block not in self.found
            if self.dead:
                return
            self.temporaries = dict(self.found[block])
            self.go_on(f"b{block}")
            self.know()
        if block in self.costs:
            self.spend(1 + self.costs[block], record.base)
        if self.metered and record.second:
            self.pay(record.second)

    def know_arguments(self) -> None:
        """Where the function begins: they are what the caller gave, and all other locals are zero."""
        self.held["%left"] = "%budget"
        for number, type in enumerate(self.types):
            text = f"%p{number}" if number < self.params else _ZEROS.get(type, "zeroinitializer")
            self.locals[number] = Value(text, type)

    def spend(self, cost: int, base: int) -> None:
        """Take off the budget, which is not below 0, and where it is too small look whether to end. The
        operands end at a height."""
        # Of a subtraction and a comparison LLVM would make two instructions more.
        pair = self.value(f"call {{i64, i1}} @llvm.usub.with.overflow.i64(i64 {self.budget()}, i64 {cost})")
        rest = self.value(f"extractvalue {{i64, i1}} {pair}, 0")
        spent = self.value(f"extractvalue {{i64, i1}} {pair}, 1")
        here, look, after = self.label, self.fresh(), self.fresh()
        self.line(f"br i1 {spent}, label %{look}, label %{after}, {RARELY}")
        self.go_on(look)
        self.spill(base)
        left = self.unit.look(self, signed(self.position, 32), self.index, self.first + base)
        self.sizes.clear()
        self.settle(left)
        ways = f"[ {rest}, %{here} ], [ {left}, %{self.label} ]"
        self.line(f"br label %{after}")
        self.go_on(after)
        self.set_budget(self.value(f"phi i64 {ways}"))

    def budget(self) -> str:
        """What is left until the next look."""
        return self.read("%left", "i64")

    def set_budget(self, left: str) -> None:
        self.held["%left"] = left
        self.line(f"store i64 {left}, ptr %left")

    def settle(self, left: str, *, throws: bool = False) -> None:
        """After what returns the budget: go on, unless it ended the run, or `throws`, which may be caught."""
        ended, label = self.value(f"icmp slt i64 {left}, 0"), self.fresh()
        away = "%unwind"
        if throws and self.region >= 0:
            away = exceptions.leads(self)
        else:
            self.unwinds.append((self.label, self.position))
        self.line(f"br i1 {ended}, label {away}, label %{label}, {RARELY}")
        self.go_on(label)
        self.set_budget(left)

    def pay(self, fuel: int) -> None:
        has = self.fuel()
        self.trap_if(self.value(f"icmp slt i64 {has}, {fuel}"), TRAPS["OUT_OF_FUEL"])
        self.set_fuel(self.value(f"sub i64 {has}, {fuel}"))

    def fuel(self) -> str:
        return self.load("i64", "%instance.store", "Store.fuel", TAG["fuel"])

    def set_fuel(self, value: str) -> None:
        place = self.at("%instance.store", _loop.PLACES["Store.fuel"])
        self.line(f"store i64 {value}, ptr {place}, {TAG['fuel']}")

    def trap(self, code: int) -> str:
        """The label to branch to for a trap."""
        label, places = f"trap{code}.{self.checks // _GATHERED}", (self.label, self.position)
        self.checks += 1
        self.traps.setdefault(label, (code, []))[1].append(places)
        return f"label %{label}"

    def trap_if(self, condition: str, code: int) -> None:
        label = self.fresh()
        self.line(f"br i1 {condition}, {self.trap(code)}, label %{label}, {RARELY}")
        self.go_on(label)

    def branch_table(self, record: Record) -> None:
        index = self.take(record.a)
        self.flush()
        *targets, default = self.form.lists[record.immediate : record.immediate + record.second]
        cases = " ".join(f"i32 {number}, label {self.leads(block)}" for number, block in enumerate(targets))
        self.line(f"switch i32 {index.text}, label {self.leads(default)} [ {cases} ]")
        self.dead = True

    def branch(self, record: Record) -> None:
        if record.row == form.JUMP:
            self.flush()
            self.line(f"br label {self.leads(record.immediate)}")
            self.dead = True
            return
        self.branch_on(self.condition(record.a), record.immediate, record.row == form.BRANCH_IF)

    def branch_on(self, condition: str, block: int, when: bool) -> None:
        """Branch to a block if the condition is as `when` says."""
        self.flush()
        away, label = self.leads(block), self.fresh()
        ways = f"label {away}, label %{label}" if when else f"label %{label}, label {away}"
        self.line(f"br i1 {condition}, {ways}")
        self.go_on(label)

    def leave(self, record: Record) -> None:
        values = [self.canonical(self.take(place)).text for place in form.operands(self.form, record)]
        self.give(self.signature, self.budget(), values)
        self.dead = True

    # Values

    def take(self, place: int) -> Value:
        """The operand at a place; what a temporary holds is taken out of it."""
        value = self.taken(place)
        return self.number_of(value) if value.condition else value

    def condition(self, place: int) -> str:
        """Whether the operand at a place is not 0."""
        value = self.taken(place)
        return value.condition or self.value(f"icmp ne i32 {value.text}, 0")

    def taken(self, place: int) -> Value:
        kind, number = place & form.KIND, place >> form.NUMBER
        if kind == form.CONSTANT:
            return self.constant(number)
        if kind == form.LOCAL:
            if number not in self.locals:
                self.used.add(number)
                type = self.types[number]
                text = self.value(f"load {type}, ptr %l{number}")
                self.locals[number] = Value(text, type, self.computed[number])
            return self.locals[number]
        found = self.temporaries.pop(number)
        if isinstance(found, Value):
            return found
        return Value(self.read(self.variable(number, found), found), found)

    def number_of(self, value: Value) -> Value:
        """What a condition is as a number."""
        if value.condition:
            return Value(self.computed_once(f"zext i1 {value.condition} to i32"), "i32")
        return value

    def read(self, name: str, type: str) -> str:
        """What a variable holds."""
        if name not in self.held:
            self.held[name] = self.value(f"load {type}, ptr {name}")
        return self.held[name]

    def computed_once(self, text: str) -> str:
        """What an instruction makes, whose results depend on its operands alone."""
        if text not in self.made:
            self.made[text] = self.value(text)
        return self.made[text]

    def peek(self, place: int) -> Value:
        """The operand at a place, where it stays."""
        value = self.take(place)
        if place & form.KIND == form.TEMPORARY:
            self.temporaries[place >> form.NUMBER] = value
        return value

    def seen(self, place: int) -> str:
        """The reference at a place, where it stays; nothing is known of it that was not before."""
        number = place >> form.NUMBER
        if place & form.KIND == form.LOCAL:
            self.used.add(number)
            known, name = self.locals.get(number), f"%l{number}"
        else:
            found = self.temporaries[number]
            known, name = (found, "") if isinstance(found, Value) else (None, self.variable(number, found))
        if known is not None:
            return known.text
        return self.held.get(name) or self.value(f"load {REFERENCE}, ptr {name}")

    def constant(self, number: int) -> Value:
        kind, bits = self.form.kinds[number], self.form.constants[number]
        if kind == form.CONST_NULL:
            return Value("null", REFERENCE)
        if kind == form.CONST_V128:
            return Value(vector_bits(self.form.objects[bits]), V128)
        type = ("i32", "i64", "float", "double")[kind]
        if kind <= form.CONST_I64:
            return Value(str(signed(bits, 32) if kind == form.CONST_I32 else bits), type)
        return Value(float_bits(type, bits), type)

    def make(self, place: int, value: Value) -> None:
        """Put a value where a record's result goes."""
        number = place >> form.NUMBER
        if place & form.KIND == form.TEMPORARY:
            self.temporaries[number] = value
            return
        value = self.number_of(value)
        if not self.computed[number]:
            value = self.canonical(value)
        self.used.add(number)
        self.locals[number] = value
        self.unsaved[number] = None

    def canonical(self, value: Value) -> Value:
        if not value.computed:
            return value
        if value.type == V128:
            return self.canonical_lanes(value)
        nan = self.value(f"fcmp uno {value.type} {value.text}, {value.text}")
        # As hardly any is, a branch is quicker than a choice that everything behind it waits for.
        here, other, label = self.label, self.fresh(), self.fresh()
        self.line(f"br i1 {nan}, label %{other}, label %{label}, {RARELY}")
        self.go_on(other)
        self.line(f"br label %{label}")
        self.go_on(label)
        chosen = f"[ {value.text}, %{here} ], [ {_CANONICAL[value.type]}, %{other} ]"
        return Value(self.value(f"phi {value.type} {chosen}"), value.type)

    def canonical_lanes(self, value: Value) -> Value:
        lanes = self.value(f"bitcast {V128} {value.text} to {value.computed}")
        nan = self.value(f"fcmp uno {value.computed} {lanes}, {lanes}")
        integers, mask, canonical = _CANONICAL_LANES[value.computed]
        bits = self.value(f"bitcast {V128} {value.text} to {integers}")
        chosen = self.value(f"select {mask} {nan}, {integers} {canonical}, {integers} {bits}")
        return Value(self.value(f"bitcast {integers} {chosen} to {V128}"), V128)

    def wide(self, value: Value, is64: bool) -> str:
        """An address, an index or a length as 64 bits."""
        return value.text if is64 else self.computed_once(f"zext i32 {value.text} to i64")

    def narrow(self, value: str, is64: bool) -> Value:
        return Value(value, "i64") if is64 else Value(self.value(f"trunc i64 {value} to i32"), "i32")

    def move(self, record: Record) -> None:
        self.make(record.result, self.taken(record.a))

    def move_row(self, record: Record) -> None:
        """All are taken before the first is put down."""
        first, to = record.a >> form.NUMBER, record.result >> form.NUMBER
        heights = [height for height in self.temporaries if first <= height < first + record.immediate]
        values = [(height - first + to, self.taken(height << form.NUMBER)) for height in heights]
        self.temporaries.update(values)
