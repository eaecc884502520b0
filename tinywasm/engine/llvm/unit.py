"""A unit: what is compiled together, as one module of LLVM IR, with what its functions share.

Conventions. A function of the module with results R and parameters P is

    swiftcc {i64, R...} @f7(ptr swiftself instance, i64 room, i64 budget, P...)

and returns what is left of the budget, or -1 where a trap or a throw ends it. Swift's convention keeps
`swiftself` in one register from call to call, and returns more values in registers than C's. `room` is what
the function's own frame leaves of frames and slots: `machine.c` says more. For each signature there may be
`@call.P.R`, which calls a function that may be compiled or not, a host's or another instance's, and
`@enter.P.R`, by which the loop calls machine code, with arguments and results among the slots. `@f7.loop` is
the same function from the head of a loop on; it takes `ptr fp` in place of arguments, where the slots are.

Addresses: those of the engine's structures are read from the instance, or from each other, at `PLACES`.
Nothing is promised to LLVM that a hostile program could break: no pointer is `inbounds`, and what is said to
be invariant or dereferenceable is what the engine itself has made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

from tinywasm.engine.llvm import vectors
from tinywasm.engine.llvm.codegen import VECTORS
from tinywasm.engine.native import _loop
from tinywasm.errors import FINER_WORDINGS, TrapCode
from tinywasm.types import F32, F64, I32, I64, V128, FuncType, ValType

_TYPES: dict[ValType, str] = {I32: "i32", I64: "i64", F32: "float", F64: "double", V128: vectors.V128}
REFERENCE = "ptr"
# For names.
LETTERS = {"i32": "i", "i64": "l", "float": "f", "double": "d", vectors.V128: "v", REFERENCE: "r"}
# The numbers of `enum trap_code`.
TRAPS = {name: number + 1 for number, name in enumerate(c.name for c in TrapCode if c is not TrapCode.EXIT)}
FINER_TRAPS = {wording: number for number, wording in enumerate(FINER_WORDINGS, len(TRAPS) + 1)}
FRAME = 1 << 32
SELF = "ptr swiftself %instance"
# What memory accesses touch, so that LLVM knows that they do not touch each other's.
TAGS = ("memory", "size", "fuel", "global", "table", "slot", "field", "element", "length")
_FIRST_TAG = 10
TAG = {name: f"!tbaa !{_FIRST_TAG + 2 * number + 1}" for number, name in enumerate(TAGS)}
INVARIANT = "!invariant.load !0"
# Of structures that the instance leads to; each is at least so large.
STRUCTURE = "!invariant.load !0, !nonnull !0, !dereferenceable !1"
RARELY = "!prof !2"
# Of a function without vectors, and of one with some.
ATTRIBUTES = "#0", "#3"
_HELPER_TYPES = {
    "trap": "i64 (ptr, i64, i64, i32)",
    "trap_null": "i64 (ptr, i64, i64, i64)",
    "unwind": "i64 (ptr, i64, i64)",
    "look": "i64 (ptr, i64, i64, i64)",
    "warm": "i64 (ptr, i64, i64, i64)",
    "call": "i64 (ptr, i64, i64, ptr, i64, i64)",
    "replace": "i64 (ptr, i64, i64, ptr, i64, i64)",
    "deeper": "i64 (ptr, i64, i64, i64)",
    "is_instance": "i64 (ptr, ptr, i32)",
    "throw_ref": "i64 (ptr, ptr)",
    "thrown": "i64 (ptr)",
    "memory_grow": "i64 (ptr, i64)",
    "memmove": "ptr (ptr, ptr, i64)",
    "memset": "ptr (ptr, i32, i64)",
    "data_drop": "i64 (ptr, i64)",
    "elem_drop": "i64 (ptr, i64)",
}
BULK = ("memory_fill", "memory_copy", "memory_init", "table_copy", "table_init")
# These take their operands from the slots, and leave a reference there if they have a result.
OF_REFERENCES = (
    *("table_fill", "array_fill", "array_copy", "array_init_data", "array_init_elem"),
    *("struct_new", "struct_new_default", "array_new", "array_new_default", "array_new_fixed"),
    *("array_new_data", "array_new_elem"),
)
_HELPER_TYPES |= dict.fromkeys(
    (*BULK, *OF_REFERENCES, "table_grow", "throw"), "i64 (ptr, i64, i64, i64, i64, i32, i32, i32)"
)
_INTRINSICS = (
    *(
        f"{t} @llvm.{name}.{t}({t}, {t}, {t})"
        for name in ("fshl", "fshr")
        for t in ("i32", "i64")
    ),
    *(f"{t} @llvm.{name}.{t}({t}, i1)" for name in ("ctlz", "cttz") for t in ("i32", "i64")),
    *(f"{t} @llvm.ctpop.{t}({t})" for t in ("i32", "i64")),
    *(
        f"{t} @llvm.{name}.{f}({t})"
        for name in ("sqrt", "ceil", "floor", "trunc", "roundeven", "fabs")
        for f, t in (("f32", "float"), ("f64", "double"))
    ),
    *(
        f"{t} @llvm.{name}.{f}({t}, {t})"
        for name in ("minimum", "maximum", "copysign")
        for f, t in (("f32", "float"), ("f64", "double"))
    ),
    *(
        f"{to} @llvm.fpto{sign}i.sat.{to}.{f}({t})"
        for to in ("i32", "i64")
        for f, t in (("f32", "float"), ("f64", "double"))
        for sign in "su"
    ),
    "i64 @llvm.usub.sat.i64(i64, i64)",
    "{i64, i1} @llvm.usub.with.overflow.i64(i64, i64)",
    "i64 @llvm.smax.i64(i64, i64)",
    "i64 @llvm.read_register.i64(metadata)",
)  # fmt: skip


def llvm_type(type: ValType) -> str:
    return _TYPES.get(type, REFERENCE)


def signature_name(signature: FuncType) -> str:
    """Parameters and results as letters."""
    return ".".join(
        "".join(LETTERS[llvm_type(type)] for type in types) for types in (signature.params, signature.results)
    )


def entry_name(signature: FuncType, *, loop: bool = False) -> str:
    """Of the function by which the loop enters those of a signature."""
    return f"enter.{'loop.' if loop else ''}{signature_name(signature)}"


def placed(types: Sequence[ValType]) -> list[tuple[int, str]]:
    """In which slots values of these types lie, and LLVM's types."""
    slot, found = 0, []
    for type in types:
        found.append((slot, llvm_type(type)))
        slot += 2 if type is V128 else 1
    return found


def returned(signature: FuncType) -> str:
    """What a function returns: what is left of the budget, then its results."""
    return "{" + ", ".join(["i64", *(llvm_type(type) for type in signature.results)]) + "}"


def in_registers(signature: FuncType) -> bool:
    """Whether all results come back in registers, the rest of the budget with them."""
    types = [llvm_type(type) for type in signature.results]
    integers = sum(type in ("i32", "i64", REFERENCE) for type in types)
    return integers <= 3 and len(types) - integers <= 4


class Text:
    """Lines of one LLVM function, with names for values and labels."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names = 0

    def name(self) -> str:
        self.names += 1
        return f"%v{self.names}"

    def line(self, text: str) -> None:
        self.lines.append(f"  {text}")

    def value(self, text: str) -> str:
        """A new value, which the instruction `text` makes."""
        name = self.name()
        self.lines.append(f"  {name} = {text}")
        return name

    def at(self, base: str, offset: int | str) -> str:
        """A pointer so many bytes behind another one."""
        return base if offset == 0 else self.value(f"getelementptr i8, ptr {base}, i64 {offset}")

    def load(self, type: str, base: str, place: int | str, kind: str = "") -> str:
        """What is at a place: so many bytes behind `base`, or at the named member of a structure there."""
        offset = _loop.PLACES[place] if isinstance(place, str) else place
        suffix = f", {kind}" if kind else ""
        return self.value(f"load {type}, ptr {self.at(base, offset)}{suffix}")

    def helper(self, name: str, store: str, arguments: str) -> str:
        """What a function of `machine.c` returns. Where it is called is cold."""
        table = self.load("ptr", store, "Store.helpers", INVARIANT)
        function = self.load("ptr", table, 8 * _loop.HELPERS[name], INVARIANT)
        return self.value(f"call {_HELPER_TYPES[name]} {function}({arguments})")

    def slots(self, store: str, room: str) -> str:
        """Where the slots of the frame with that room begin."""
        end = self.load("ptr", store, "Store.slots_end", INVARIANT)
        low = self.value(f"and i64 {room}, {FRAME - 1}")
        bytes = self.value(f"mul i64 {low}, -8")
        return self.at(end, bytes)

    def put(self, slots: str, index: int, type: str, value: str, tag: str = "slot") -> None:
        """Write a slot of a frame, or of what the tag says; the upper half is zero where the value has 32
        bits."""
        if type == "float":
            value, type = self.value(f"bitcast float {value} to i32"), "i32"
        if type == "i32":
            value, type = self.value(f"zext i32 {value} to i64"), "i64"
        self.line(f"store {type} {value}, ptr {self.at(slots, 8 * index)}, align 8, {TAG[tag]}")

    def get(self, slots: str, index: int, type: str) -> str:
        return self.load(type, slots, 8 * index, f"align 8, {TAG['slot']}")

    def give(self, signature: FuncType, budget: str, values: Sequence[str]) -> None:
        """Return from the function."""
        made = returned(signature)
        whole = self.value(f"insertvalue {made} poison, i64 {budget}, 0")
        for index, (type, value) in enumerate(zip(signature.results, values, strict=True), 1):
            whole = self.value(f"insertvalue {made} {whole}, {llvm_type(type)} {value}, {index}")
        self.line(f"ret {made} {whole}")

    def give_slots(self, signature: FuncType, budget: str, slots: str) -> None:
        """Return from the function, after a call of the loop left its results among the slots."""
        self.line(f"%ended = icmp slt i64 {budget}, 0")
        self.line(f"br i1 %ended, label %failed, label %done, {RARELY}")
        self.lines.append("done:")
        self.give(signature, budget, [self.get(slots, *each) for each in placed(signature.results)])
        self.lines.append("failed:")
        self.fail(signature)

    def fail(self, signature: FuncType) -> None:
        self.line(f"ret {returned(signature)} {{ i64 -1{', '.join(['', *_poison(signature)])} }}")


def _poison(signature: FuncType) -> list[str]:
    return [f"{llvm_type(type)} poison" for type in signature.results]


class Unit:
    """The text of a unit: `add` functions, then take `text`."""

    def __init__(self, members: Set[int], slots: Mapping[int, int], entered: Set[int]) -> None:
        """`members` are the indices of the functions that are compiled in this unit, or linked with it; those
        that are `entered` can be called from outside of it. `slots` are those of the frames of the former."""
        self.members = members
        self.slots = slots
        self.entered = entered
        # By which its functions look whether the run shall end.
        self.helper = "look"
        # Members that members call.
        self.called: set[int] = set()
        self.functions: list[str] = []
        # By the names of functions their index, and by which of those in `shared` the loop enters them.
        self.entries: dict[str, tuple[int, str]] = {}
        self.shared: dict[str, str] = {}
        # By the indices of structure types, where their fields lie.
        self.field_slots: dict[int, list[int]] = {}

    def bridge(self, signature: FuncType) -> str:
        """The function by which functions of a signature are called that may be anyone's."""
        name = f"@call.{signature_name(signature)}"
        if name not in self.shared:
            self.shared[name] = _bridge(name, signature)
        return name

    def look(self, text: Text, position: int, function: int, end: int) -> str:
        """What is left of the budget after it was seen whether the run shall end. Operands end at a slot."""
        self.shared.setdefault("@look", _look(self.helper))
        given = _LOOK.format(position=position, function=function, end=end)
        return text.value(f"call preserve_allcc i64 @look({given})")

    def deeper(self, signature: FuncType) -> str:
        """The function by which the loop runs calls of one that machine code has just entered."""
        name = f"@deeper.{signature_name(signature)}"
        if name not in self.shared:
            self.shared[name] = _deeper(name, signature)
        return name

    def entry(self, signature: FuncType, *, loop: bool) -> str:
        """The function by which the loop enters those of a signature, at the head of a `loop` of theirs or
        where they begin."""
        name = entry_name(signature, loop=loop)
        if name not in self.shared:
            self.shared[name] = _entry(f"@{name}", signature, loop)
        return name

    def declare(self, index: int, signature: FuncType) -> None:
        """A function that another unit of the same image defines."""
        types = "".join(f", {llvm_type(type)}" for type in signature.params)
        head = f"declare dso_local swiftcc {returned(signature)} @f{index}"
        self.functions.append(f"{head}(ptr swiftself, i64, i64{types}) #0")

    def text(self) -> str:
        metadata = [
            "!0 = !{}",
            "!1 = !{i64 24}",
            '!2 = !{!"branch_weights", i32 1, i32 1000000}',
            '!3 = !{!"rsp"}',
            '!9 = !{!"tinywasm"}',
        ]
        for number, name in enumerate(TAGS):
            type = _FIRST_TAG + 2 * number
            metadata += [f'!{type} = !{{!"{name}", !9}}', f"!{type + 1} = !{{!{type}, !{type}, i64 0}}"]
        declared = [f"declare {each}" for each in sorted({*_INTRINSICS, *vectors.DECLARED})]
        # Nothing is to be called by its name: LLVM would put the C library's functions in place of loops.
        attributes = [
            'attributes #0 = { nounwind "no-builtins" }',
            f'attributes #3 = {{ nounwind "no-builtins" {VECTORS} }}',
            'attributes #2 = { nounwind noinline "no-builtins" }',
        ]
        return "\n".join([*declared, *self.shared.values(), *self.functions, *attributes, *metadata, ""])


def _parameters(signature: FuncType) -> str:
    return "".join(f", {llvm_type(type)} %p{index}" for index, type in enumerate(signature.params))


# The registers between are those of arguments, which stay where they are. Constants of more than 32 bits
# would be made where a function begins, for all that is cold in it.
_LOOK = f"{SELF}, i64 %room, i64 poison, i64 poison, i32 {{position}}, i32 {{function}}, i32 {{end}}"


def _look(helper: str) -> str:
    """It keeps all registers, so that those who call it need not: hardly ever do they.

    #1 is what `codegen.py` adds: attributes that depend on the processor.
    """
    text = Text()
    text.lines.append("entry:")
    store = text.load("ptr", "%instance", "Instance.store", STRUCTURE)
    low, high, end = (text.value(f"zext i32 %{name} to i64") for name in ("position", "function", "end"))
    site = text.value(f"or i64 {low}, {text.value(f'shl i64 {high}, 32')}")
    shape = text.value(f"or i64 {end}, {text.value(f'shl i64 {end}, 32')}")
    left = text.helper(helper, store, f"ptr %instance, i64 %room, i64 {site}, i64 {shape}")
    text.line(f"ret i64 {left}")
    given = _LOOK.format(position="%position", function="%function", end="%end").replace(" poison", "")
    return "\n".join([f"define internal preserve_allcc i64 @look({given}) #1 {{", *text.lines, "}"])


def _deeper(name: str, signature: FuncType) -> str:
    text = Text()
    text.lines.append("entry:")
    store = text.load("ptr", "%instance", "Instance.store", STRUCTURE)
    slots = text.slots(store, "%room")
    for number, (slot, type) in enumerate(placed(signature.params)):
        text.put(slots, slot, type, f"%p{number}")
    given = "ptr %instance, i64 %room, i64 %budget, i64 %index"
    text.give_slots(signature, text.helper("deeper", store, given), slots)
    given = f"{SELF}, i64 %room, i64 %budget{_parameters(signature)}, i64 %index"
    head = f"define internal swiftcc {returned(signature)} {name}({given})"
    return "\n".join([f"{head} #2 {{", *text.lines, "}"])


def _bridge(name: str, signature: FuncType) -> str:
    text = Text()
    text.lines.append("entry:")
    machine = text.load("ptr", "%callee", "Func.machine")
    text.line(f"%interpreted = icmp eq ptr {machine}, null")
    owner = text.load("ptr", "%callee", "Func.instance")
    text.line(f"%foreign = icmp ne ptr {owner}, %instance")
    text.line("%away = or i1 %interpreted, %foreign")
    text.line(f"br i1 %away, label %slow, label %go, {RARELY}")
    text.lines.append("go:")
    shift = text.value(f"and i64 %shape, {FRAME - 1}")
    room = text.value(f"sub i64 {text.value(f'sub i64 %room, {shift}')}, {FRAME}")
    made = returned(signature)
    given = f"{SELF}, i64 {room}, i64 %budget{_parameters(signature)}"
    whole = text.value(f"tail call swiftcc {made} {machine}({given})")
    text.line(f"ret {made} {whole}")
    text.lines.append("slow:")
    store = text.load("ptr", "%instance", "Instance.store", STRUCTURE)
    fp = text.slots(store, "%room")
    first = text.value(f"and i64 %shape, {FRAME - 1}")
    slots = text.at(fp, text.value(f"mul i64 {first}, 8"))
    for index, (slot, type) in enumerate(placed(signature.params)):
        text.put(slots, slot, type, f"%p{index}")
    given = "ptr %instance, i64 %room, i64 %budget, ptr %callee, i64 %site, i64 %shape"
    text.give_slots(signature, text.helper("call", store, given), slots)
    head = (
        f"define internal swiftcc {made} {name}"
        f"({SELF}, i64 %room, i64 %budget, ptr %callee, i64 %site, i64 %shape{_parameters(signature)})"
    )
    return "\n".join([f"{head} #0 {{", *text.lines, "}"])


def _entry(name: str, signature: FuncType, loop: bool) -> str:
    text = Text()
    text.lines.append("entry:")
    made = returned(signature)
    values = [] if loop else [(type, text.get("%fp", slot, type)) for slot, type in placed(signature.params)]
    given = ", ptr %fp" if loop else "".join(f", {type} {value}" for type, value in values)
    whole = text.value(f"call swiftcc {made} %machine({SELF}, i64 %room, i64 %budget{given})")
    budget = text.value(f"extractvalue {made} {whole}, 0")
    text.line(f"%ended = icmp slt i64 {budget}, 0")
    text.line(f"br i1 %ended, label %failed, label %done, {RARELY}")
    text.lines.append("done:")
    for index, (slot, type) in enumerate(placed(signature.results), 1):
        text.put("%fp", slot, type, text.value(f"extractvalue {made} {whole}, {index}"))
    text.line(f"ret i64 {budget}")
    text.lines.append("failed:")
    text.line("ret i64 -1")
    head = f"define dso_local i64 {name}(ptr %instance, i64 %room, i64 %budget, ptr %fp, ptr %machine)"
    return "\n".join([f"{head} #0 {{", *text.lines, "}"])
