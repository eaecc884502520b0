"""Bodies of generated functions: expressions of a wanted type, and statements around them.

Everything is directed by types: `Body.value` emits code that leaves one value of the wanted type, by one
of the producers in PRODUCERS; `Body.statement` emits code that leaves the stack as it was. Loops and
calls count down the module's budget (a global), so that every run ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fuzz.generator_env import NUMBERS, Env, unpacked
from tinywasm.codec import MemArg, write_instruction
from tinywasm.instructions import AT, BY_NAME, TABLE, Instruction
from tinywasm.types import F32, F64, I32, I64, V128, AbstractHeap, FuncType, NumType, RefType, ValType

MAX_DEPTH = 7
_LANES = {"lane2": 2, "lane4": 4, "lane8": 8, "lane16": 16}
_CONSTANTS = {I32: "i32.const", I64: "i64.const", F32: "f32.const", F64: "f64.const", V128: "v128.const"}

CLOSED = [row for row in TABLE if not row.rule and row.name != "nop"]
# By one of their results; those whose result is an address stand under both types.
BY_RESULT: dict[ValType, list[Instruction]] = {type: [] for type in NUMBERS}
WITHOUT_RESULT = [row for row in CLOSED if not row.results]
for _row in CLOSED:
    for _type in {I32, I64} if _row.results == (AT,) else set(_row.results):
        if _type in BY_RESULT:
            BY_RESULT[_type].append(_row)


class Body:
    """One body under construction.

    `labels` has the types that a branch to each label takes, the innermost last; `ready` the locals that
    hold a value. In a constant expression `constant` is true and only what is allowed there is emitted.
    `left` is how many more values and statements may be chosen freely, `index` that of the function.
    """

    def __init__(
        self, env: Env, signature: FuncType, size: int = 0, index: int = 0, *, constant: bool = False
    ) -> None:
        self.env = env
        self.rng = env.rng
        self.signature = signature
        self.code = bytearray()
        self.locals: list[ValType] = list(signature.params)
        self.ready = set(range(len(self.locals)))
        self.labels: list[tuple[ValType, ...]] = [tuple(signature.results)]
        self.index = index
        self.left = size
        self.depth = 0
        self.constant = constant

    def emit(self, name: str, *immediates: Any) -> None:
        self.code += write_instruction(BY_NAME[name][0], immediates)

    def emit_row(self, row: Instruction, *immediates: Any) -> None:
        self.code += write_instruction(row, immediates)

    # Locals and labels

    def add_local(self, type: ValType) -> int:
        self.locals.append(type)
        if not isinstance(type, RefType) or type.nullable:
            self.ready.add(len(self.locals) - 1)
        return len(self.locals) - 1

    def set_local(self, local: int) -> None:
        self.emit("local.set", local)
        self.ready.add(local)

    def open(self, name: str, block: Any, branch: Sequence[ValType], *immediates: Any) -> set[int]:
        """Begin a structured instruction; what to give to `close`."""
        self.emit(name, block, *immediates)
        self.labels.append(tuple(branch))
        return set(self.ready)

    def otherwise(self, ready: set[int]) -> None:
        self.emit("else")
        self.ready = set(ready)

    def close(self, ready: set[int]) -> None:
        self.emit("end")
        self.labels.pop()
        self.ready = ready

    # Values

    def value(self, wanted: ValType) -> None:
        """Leave one value of type `wanted` or of a subtype."""
        self.left -= 1
        if self.constant or self.left <= 0 or self.depth > MAX_DEPTH:
            self.leaf(wanted)
            return
        self.depth += 1
        for _ in range(8):
            if self.env.pick(PRODUCERS[isinstance(wanted, RefType)])(self, wanted):
                break
        else:
            self.leaf(wanted)
        self.depth -= 1

    def values(self, wanted: Sequence[ValType]) -> None:
        for type in wanted:
            self.value(type)

    def leaf(self, wanted: ValType) -> None:
        """A value without operands, or nearly so."""
        local = self.env.some(i for i in self.ready if self.env.matches(self.locals[i], wanted))
        if local is not None and not self.constant and self.env.chance(0.6):
            self.emit("local.get", local)
        elif isinstance(wanted, NumType):
            self.number(wanted)
        else:
            assert isinstance(wanted, RefType)
            if wanted.nullable and (self.env.chance(0.4) or wanted.heap is AbstractHeap.EXN):
                heaps = [
                    wanted.heap,
                    self.env.bottom(wanted),
                    *(each.heap for each in self.env.below(wanted)),
                ]
                self.emit("ref.null", self.env.pick(heaps))
            else:
                # Constructors take leaves as operands, so the two modules need each other.
                from fuzz.generator_refs import construct

                construct(self, wanted)

    def number(self, type: NumType) -> None:
        env = self.env
        constant: Any
        if type is V128:
            constant = env.vector()
        elif type in (I32, I64):
            constant = env.integer(32 if type is I32 else 64)
        else:
            constant = env.float_bits(32 if type is F32 else 64)
        self.emit(_CONSTANTS[type], constant)

    def small(self, type: ValType, below: int) -> None:
        """An integer of type `type`, mostly less than `below`, which is a power of two."""
        assert isinstance(type, NumType)
        if self.env.chance(0.3):
            self.emit(_CONSTANTS[type], self.rng.randrange(below))
            return
        self.value(type)
        if self.env.chance(0.97):
            self.emit(_CONSTANTS[type], below - 1)
            self.emit(f"{type}.and")

    def length(self, type: ValType) -> None:
        """A count of elements to allocate: small, or more than anybody grants, but never in between."""
        assert isinstance(type, NumType)
        if self.env.chance(0.95):
            self.value(type)
            self.emit(_CONSTANTS[type], self.env.pick([3, 7, 15]))
            self.emit(f"{type}.and")
            self.emit(_CONSTANTS[type], self.rng.randrange(4))
            self.emit(f"{type}.or")
        else:
            self.emit(_CONSTANTS[type], -1 - self.rng.randrange(1 << 20))

    def discard(self, types: Sequence[ValType]) -> None:
        """Take values of these types off the stack."""
        for type in reversed(types):
            local = self.env.some(i for i, each in enumerate(self.locals) if self.env.matches(type, each))
            if local is not None and self.env.chance(0.6):
                self.set_local(local)
            else:
                self.emit("drop")

    def keep(self, types: Sequence[ValType], index: int) -> None:
        """Of values of these types on the stack keep only one."""
        self.discard(types[index + 1 :])
        if index:
            local = self.add_local(types[index])
            self.set_local(local)
            self.discard(types[:index])
            self.emit("local.get", local)

    # Rows with a closed signature

    def row(self, row: Instruction, wanted: ValType | None = None) -> bool:
        """Emit the instruction with its operands; false where the module has not what it needs.

        An address must be of type `wanted` where that is the result.
        """
        address: ValType = I32
        memory = -1
        if any(kind.startswith("mem") for kind in row.immediates):
            found = self.env.some(
                index
                for index, type in enumerate(self.env.memories)
                if row.results != (AT,) or type.address is wanted
            )
            if found is None:
                return False
            memory = found
            address = self.env.memories[memory].address
        if row.name == "table.size":
            found = self.env.some(i for i, type in enumerate(self.env.tables) if type.address is wanted)
            if found is None:
                return False
            memory = found
        if not self._segment(row):
            return False
        for place, param in enumerate(row.params):
            self._operand(row, place, address if param is AT else param, param is AT, memory)
        self.emit_row(row, *(self._immediate(kind, memory) for kind in row.immediates))
        return True

    def _segment(self, row: Instruction) -> bool:
        """Whether there are segments for the row's immediates."""
        if "data" in row.immediates and not self.env.datas:
            return False
        return "elem" not in row.immediates or bool(self.env.elems)

    def _operand(self, row: Instruction, place: int, type: ValType, address: bool, memory: int) -> None:
        suffix = row.name.partition(".")[2]
        if row.name == "memory.grow":
            self.length(type)
        elif row.name == "memory.fill":
            self.small(type, 1 << self.env.pick([4, 4, 8, 12]))
        elif row.name == "memory.init":
            self.small(type, 8)
        elif address:
            self.address(memory)
        elif place == 1 and suffix[:4] in ("div_", "rem_") and self.env.chance(0.9):
            self.value(type)
            self.number_of(type, 1)
            self.emit(f"{type}.or")
        elif suffix.startswith("trunc_f") and self.env.chance(0.8):
            self.value(I32)
            self.number_of(I32, 0xFFFF)
            self.emit("i32.and")
            self.emit(f"{type}.convert_i32_u")
        elif isinstance(type, RefType) and row.name != "ref.eq" and self.env.chance(0.9):
            self.value(RefType(False, type.heap))
        else:
            self.value(type)

    def number_of(self, type: ValType, number: int) -> None:
        assert isinstance(type, NumType)
        self.emit(_CONSTANTS[type], number)

    def address(self, memory: int) -> None:
        """An address, mostly inside."""
        type = self.env.memories[memory]
        size = type.limits.min * type.page_size
        choice = self.rng.random()
        if choice < 0.85:
            self.small(type.address, 1 << (size // 2).bit_length() - 1)
        elif choice < 0.97:
            self.number_of(type.address, max(0, size - self.rng.randrange(48)))
        else:
            self.value(type.address)

    def _immediate(self, kind: str, memory: int) -> Any:
        env = self.env
        if kind.startswith("memarg"):
            return self._memarg(int(kind[6:]), memory)
        if kind in _LANES:
            return self.rng.randrange(_LANES[kind])
        simple: dict[str, Callable[[], Any]] = {
            "mem": lambda: memory,
            "table": lambda: memory,
            "data": lambda: self.rng.randrange(len(env.datas)),
            "elem": lambda: self.rng.randrange(len(env.elems)),
            "i32": lambda: env.integer(32),
            "i64": lambda: env.integer(64),
            "f32": lambda: env.float_bits(32),
            "f64": lambda: env.float_bits(64),
            "v128": env.vector,
            "shuffle": lambda: bytes(self.rng.randrange(32) for _ in range(16)),
        }
        return simple[kind]()

    def _memarg(self, size: int, memory: int) -> MemArg:
        env = self.env
        bits = 64 if env.memories[memory].address is I64 else 32
        align = self.rng.randrange(size.bit_length())
        if env.chance(0.03):
            return MemArg(align, memory, env.integer(bits) & ((1 << bits) - 1))
        offsets = [0, 0, 1, 4, 8] if env.memories[memory].page_size == 1 else [0, 0, 1, 4, 60, 255, 4096]
        return MemArg(align, memory, env.pick(offsets))

    # Statements

    def statement(self) -> None:
        """Code that leaves the stack as it was."""
        self.left -= 1
        if self.left <= 0 or self.depth > MAX_DEPTH:
            return
        self.depth += 1
        for _ in range(4):
            if self.env.pick(STATEMENTS)(self):
                break
        self.depth -= 1

    def statements(self, most: int) -> None:
        for _ in range(self.rng.randrange(most + 1)):
            self.statement()

    def tick(self) -> None:
        """Count down the budget, and trap when it is used up."""
        self.emit("global.get", self.env.budget)
        self.emit("i32.eqz")
        self.emit("if", None)
        self.emit("unreachable")
        self.emit("end")
        self.emit("global.get", self.env.budget)
        self.emit("i32.const", 1)
        self.emit("i32.sub")
        self.emit("global.set", self.env.budget)

    def finish(self, statements: int) -> None:
        """The whole body of a function."""
        self.tick()
        for _ in range(statements):
            self.statement()
        self.values(self.signature.results)
        self.emit("end")


Producer = Callable[[Body, ValType], bool]
Statement = Callable[[Body], bool]

# Chosen evenly: what shall come more often stands there more than once. Filled by the modules below.
PRODUCERS: tuple[list[Producer], list[Producer]] = ([], [])
STATEMENTS: list[Statement] = []


def producer(times: int, *, numbers: bool = True, refs: bool = True) -> Callable[[Producer], Producer]:
    """Register a producer of numbers, of references, or of both."""

    def register(function: Producer) -> Producer:
        if numbers:
            PRODUCERS[0].extend([function] * times)
        if refs:
            PRODUCERS[1].extend([function] * times)
        return function

    return register


def statement(times: int) -> Callable[[Statement], Statement]:
    def register(function: Statement) -> Statement:
        STATEMENTS.extend([function] * times)
        return function

    return register


@producer(30, refs=False)
def _closed(b: Body, wanted: ValType) -> bool:
    row = b.env.pick(BY_RESULT[wanted])
    if not b.row(row, wanted):
        return False
    if len(row.results) > 1:
        b.keep(row.results, b.rng.randrange(len(row.results)))
    return True


@producer(4)
def _leaf(b: Body, wanted: ValType) -> bool:
    b.leaf(wanted)
    return True


@producer(2)
def _local_tee(b: Body, wanted: ValType) -> bool:
    local = b.env.some(i for i, type in enumerate(b.locals) if b.env.matches(type, wanted))
    if local is None:
        return False
    b.value(b.locals[local])
    b.emit("local.tee", local)
    b.ready.add(local)
    return True


@producer(3)
def _global_get(b: Body, wanted: ValType) -> bool:
    found = b.env.some(i for i, each in enumerate(b.env.globals) if b.env.matches(each.content, wanted))
    if found is None:
        return False
    b.emit("global.get", found)
    return True


@producer(2)
def _select(b: Body, wanted: ValType) -> bool:
    b.value(wanted)
    b.value(wanted)
    b.value(I32)
    if isinstance(wanted, NumType) and b.env.chance(0.7):
        b.emit("select")
    else:
        b.emit_row(BY_NAME["select"][1], (wanted,))
    return True


@statement(8)
def _local_set(b: Body) -> bool:
    if b.env.chance(0.2):
        b.add_local(b.env.value_type())
    if not b.locals:
        return False
    local = b.rng.randrange(len(b.locals))
    b.value(b.locals[local])
    b.set_local(local)
    return True


@statement(4)
def _global_set(b: Body) -> bool:
    found = b.env.some(i for i, each in enumerate(b.env.globals) if each.mutable and i != b.env.budget)
    if found is None:
        return False
    b.value(b.env.globals[found].content)
    b.emit("global.set", found)
    return True


@statement(2)
def _drop(b: Body) -> bool:
    b.value(b.env.value_type())
    b.emit("drop")
    return True


@statement(1)
def _nop(b: Body) -> bool:
    b.emit("nop")
    return True


@statement(12)
def _closed_statement(b: Body) -> bool:
    return b.row(b.env.pick(WITHOUT_RESULT))


@statement(4)
def _closed_results(b: Body) -> bool:
    """Every closed row is reached from here as well, whatever it results in."""
    row = b.env.pick(CLOSED)
    address = b.env.pick([I32, I64])
    if not b.row(row, address):
        return False
    b.discard([address if type is AT else unpacked(type) for type in row.results])
    return True
