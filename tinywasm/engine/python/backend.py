"""The python engine, the reference: runs the basic blocks that `bind` makes.

One Python frame runs any depth of Wasm calls; activations are a list of our own, so exhaustion is a
trap at the configured depth and a tail call grows nothing. Only a host function that calls back into
Wasm nests.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from os import fspath
from typing import Any, TypeVar
from weakref import WeakMethod

from tinywasm.engine.backtrace import add_frames
from tinywasm.engine.interface import functions
from tinywasm.engine.ir.operands import widths
from tinywasm.engine.python import entering
from tinywasm.engine.python.bind import (
    BIND,
    CALL,
    ENTER,
    GOTO,
    IF,
    RETURN,
    TABLE_BRANCH,
    TAIL_CALL,
    Block,
    Code,
    bind,
    bind_constant,
)
from tinywasm.engine.python.module_instance import PythonModuleInstance
from tinywasm.engine.python.steps import HotLoop, brought
from tinywasm.engine.python.thread_stack import thread_stack_is_low
from tinywasm.engine.recursion import STACK_SLOTS, used_up_by_nesting
from tinywasm.errors import StackExhausted, Trap, TrapCode, WasmException
from tinywasm.interruption import obeying
from tinywasm.loading import loading
from tinywasm.runtime.calls import Call, Calls
from tinywasm.runtime.func import FuncInstance
from tinywasm.runtime.globals import GlobalInstance
from tinywasm.runtime.heap import TagInstance
from tinywasm.runtime.memory import MemoryInstance
from tinywasm.runtime.module_instance import ModuleInstance
from tinywasm.runtime.profile import Activations, Profile
from tinywasm.runtime.store import Store
from tinywasm.runtime.table import TableInstance
from tinywasm.syntax import DecodedModule, Expr
from tinywasm.types import GlobalType, MemoryType, TableType, TagType, ValType
from tinywasm.validation import Context

_Made = TypeVar("_Made")
# A caller's activation: its frame, or what is kept of it, the block whose CALL is under way, and the slot
# where the frame begins.
_Activation = tuple[list[Any], Block, int]


def ready(func: FuncInstance) -> Code:
    """The function's lowered code, made at its first call."""
    if func.code is None:
        assert func.module is not None
        with obeying(func.module.store.poll):
            func.code = entering.kept(func) or _bound(func)
    code: Code = func.code
    return code


def _bound(func: FuncInstance) -> Code:
    code = bind(func)
    entering.expect(func, code)
    return code


class Tail(tuple[Callable[..., Any], tuple[Any, ...]]):
    """A tail call that is left to do: what is called, and with what."""

    __slots__ = ()


class PythonBackend:
    """See `engine.Backend`."""

    name = "python"

    def __init__(self, store: Store) -> None:
        self.store = store
        self.config = store.engine.config
        self.calls = Calls()
        self.guard = self.calls.guard
        # Whether code that runs should poll the store, and what wants to be told.
        self.poll_wanted = True
        self.told: list[WeakMethod[Callable[[bool], None]]] = []
        # For Python functions: the call under way, how deep activations are where they hand over to the
        # reference, and the slot where the frame of the first one begins.
        self.hot = Call(run=False), 0, 0
        # Of how many functions such were made, and found in the folder, and the seconds that this took.
        self.translated = self.found = 0
        self.seconds = 0.0
        # The way into them, when there are any.
        self.enter: Callable[..., list[Any]]

    def claimed(self, work: Callable[[], _Made]) -> _Made:
        claim = Call(run=False)
        try:
            self.calls.begin(claim)
            return work()
        finally:
            claim.over = True
            self.calls.end(claim)

    def memory(self, type: MemoryType) -> MemoryInstance:
        self.guard()
        self.store.limits.count_memory(type)
        return MemoryInstance(
            type, self.config.max_memory_pages, self.store.limits.lease(type.limits.min * type.page_size)
        )

    def table(self, type: TableType, init: Any) -> TableInstance:
        self.guard()
        self.store.limits.count_table(type)
        return TableInstance(
            type, init, self.config.max_table_elements, self.store.limits.lease(8 * type.limits.min)
        )

    def glob(self, type: GlobalType, value: Any) -> GlobalInstance:
        self.guard()
        return GlobalInstance(type, value)

    def tag(self, type: TagType) -> TagInstance:
        self.guard()
        return TagInstance(type)

    def instance(self, syntax: DecodedModule, context: Context) -> ModuleInstance:
        self.guard()
        if self.config.cache:
            with loading:
                from tinywasm.engine.source import cache
            # Before anything runs: it may refuse the folder.
            cache.of(fspath(self.config.cache), context)
        return PythonModuleInstance(self.store, syntax, context)

    def constant(self, instance: ModuleInstance, expr: Expr, type: ValType) -> Any:
        self.guard()
        # Fuel is for calls: constants, which the module's size bounds, cost none.
        fuel, self.store.fuel = self.store.fuel, None
        try:
            code = bind_constant(instance, expr, type)
            for step in code.entry.steps:
                step[0](code.frame, step)
        finally:
            self.store.fuel = fuel
        (place,) = code.entry.operands
        return code.frame[place]

    def call(
        self, func: FuncInstance, args: Sequence[Any], caller: ModuleInstance | None = None
    ) -> list[Any]:
        if len(args) != func.params:
            raise TypeError(f"{len(args)} values where {func.type} has {func.params}")
        call, calls, profile = Call(), self.calls, self.store.profile
        try:
            below = calls.begin(call)
            if func.host is not None:
                call.caller = caller
                return list(func.host(*args))
            most = self.config.max_nested_calls
            if len(calls.open) > most and calls.running() > most:
                raise StackExhausted
            if below is None or not below.roomy:
                if thread_stack_is_low():
                    raise StackExhausted
                if below is not None:
                    below.roomy = True
            if self.poll_wanted:
                self.poll()
            if profile is not None:
                return self._profiled(call, func, args, profile)
            code = func.code
            if code is not None and code.fast is not None:
                room = entering.room(self, entering.levels(self, call), call.depth, call.top)
                if room:
                    return self.enter(self, call, func, code.fast, args, call.depth, call.top, room)
            results: list[Any] = _run(self, call, func, list(args), [], call.depth, call.top)
            return results
        finally:
            call.over = True
            calls.end(call)

    def _profiled(self, call: Call, func: FuncInstance, args: Sequence[Any], profile: Profile) -> list[Any]:
        activations = Activations(profile)
        try:
            results: list[Any] = _run(self, call, func, list(args), activations, call.depth, call.top)
            return results
        finally:
            activations.close()

    def call_host(self, call: Call, func: FuncInstance, args: list[Any], caller: FuncInstance | None) -> Any:
        """Call a host function from Wasm code: that of the function `caller`."""
        assert func.host is not None
        call.caller = caller.module if caller else None
        try:
            results = func.host(*args)
        except (RecursionError, WasmException) as error:
            self.thrown(call, error)
            raise
        finally:
            call.caller = None
        self.returned(call)
        return results

    def returned(self, call: Call) -> None:
        """Whether the call may go on, when a host function that it called has returned."""
        self.calls.in_order(call)
        if self.poll_wanted:
            self.poll()

    def thrown(self, call: Call, error: RecursionError | WasmException) -> None:
        """The same, when the host function raised an exception. Raises another one where that is due."""
        if isinstance(error, WasmException):
            self.calls.in_order(call)
            self.store.limits.lease_object(len(error.values))
        elif used_up_by_nesting(error, self.calls.running()):
            raise StackExhausted from error

    def run(
        self, func: FuncInstance, args: list[Any], depth: int, start: int, most: int, tails: bool
    ) -> list[Any] | Tail:
        """Run a function for a Python function, as activation `depth`, with its frame at slot `start`, where
        at most `most` Python functions may be under way. With `tails` it may end in a `Tail`."""
        results: list[Any] | Tail = _run(self, self.hot[0], func, args, [], depth, start, most, tails)
        return results

    def entry(self, func: FuncInstance) -> None:
        """Values are converted outside."""

    def caller(self) -> ModuleInstance | None:
        call = self.calls.latest()
        instance: ModuleInstance | None = call.caller if call else None
        return instance

    def limits_changed(self) -> None:
        """They are looked up where something is taken."""

    def statistics(self) -> list[str]:
        lines = ["the python engine makes no machine code"]
        if self.translated:
            lines.append(f"translated {functions(self.translated)} to Python in {self.seconds:.2f} s")
        if self.found:
            lines.append(f"read {functions(self.found)} from the cache, translated before")
        return lines

    def want_poll(self) -> None:
        self._set_poll_wanted(True)

    def _set_poll_wanted(self, wanted: bool) -> None:
        self.poll_wanted = wanted
        for each in tuple(self.told):
            if (tell := each()) is not None:
                tell(wanted)

    def tell(self, method: Callable[[bool], None]) -> None:
        """Tell a method, as long as its object lives, whether a poll is wanted."""
        self.told.append(WeakMethod(method, self.told.remove))
        method(self.poll_wanted)

    def poll(self) -> None:
        """Raises `Interrupted` where something asks for it."""
        # Before the look: what asks meanwhile is seen at the next one.
        self._set_poll_wanted(False)
        self.store.poll()

    def collect(self) -> None:
        self.guard()
        gc.collect()


def _run(
    backend: PythonBackend,
    call: Call,
    func: FuncInstance,
    args: list[Any],
    activations: list[_Activation],
    base: int,
    start: int,
    most: int = -1,
    tails: bool = False,
) -> Any:
    room = backend.config.max_call_depth - base - 1
    if room < 0:
        raise StackExhausted
    code = func.code or ready(func)
    if start + code.slots > STACK_SLOTS:
        raise StackExhausted
    code.left -= 1
    if code.left < 0:
        if most < 0:
            most = entering.levels(backend, call)
        entered = entering.function(backend, call, func, code, args, base, start, most)
        if entered is not None:
            return entered
    frame, block = code.frame.copy(), code.entry
    frame[code.locals : code.locals + len(args)] = args
    while True:
        remaining = iter(block.steps)
        try:
            for step in remaining:
                step[0](frame, step)
            kind = block.kind
            if kind == GOTO:
                block = block.next
            elif kind == IF:
                block = block.target if frame[block.place] else block.next
            elif kind == RETURN:
                results = [frame[place] for place in block.operands]
                if not activations:
                    return results
                frame, block, start = activations.pop()
                if block.kept >= 0:
                    frame = _whole(frame, block)
                block = _returned(frame, block, results)
            elif kind == TABLE_BRANCH:
                index = frame[block.place]
                block = block.arg[index] if index < len(block.arg) else block.target
            elif kind == ENTER:
                if most < 0:
                    most = entering.levels(backend, call)
                depth = base + len(activations)
                rest = entering.loop(backend, call, block.next, frame, depth, start, most)
                if rest is None:
                    block = block.next
                    continue
                if not activations:
                    block = _NOBODY
                    return rest()
                # From now on this function is what its caller calls.
                frame, block, start = activations.pop()
                if block.kept >= 0:
                    frame = _whole(frame, block)
                block = _returned(frame, block, rest())
            elif kind == BIND:
                assert block.func is not None
                with obeying(backend.store.poll):
                    code = bind(block.func)
                code.left, code.fast = -1, block.func.fast
                block.func.code = code
                args, frame, block = frame, code.frame.copy(), code.entry
                frame[code.locals : code.locals + len(args)] = args
            else:
                callee = block.arg if block.arg is not None else frame[block.place]
                if callee is None:
                    raise Trap(TrapCode.NULL_REFERENCE, "null function reference")
                args = [frame[place] for place in block.operands]
                if kind == CALL:
                    if callee.host is not None:
                        call.depth = base + len(activations) + 1
                        call.top = start + block.top
                        results = backend.call_host(call, callee, args, block.func)
                        block = _returned(frame, block, results)
                        continue
                    # Before the caller is put away, or a trap here would show it twice.
                    code = callee.code or ready(callee)
                    below = start + block.below
                    if len(activations) >= room or below + code.slots > STACK_SLOTS:
                        raise StackExhausted
                    code.left -= 1
                    if code.left < 0:
                        if most < 0:
                            most = entering.levels(backend, call)
                        depth = base + len(activations) + 1
                        entered = entering.function(backend, call, callee, code, args, depth, below, most)
                        if entered is not None:
                            block = _returned(frame, block, entered)
                            continue
                    activations.append((frame if block.kept < 0 else _kept(frame, block), block, start))
                    start = below
                elif callee.host is not None:
                    call.depth = base + len(activations) + 1
                    call.top = start + host_slots(callee)
                    results = list(backend.call_host(call, callee, args, block.func))
                    if not activations:
                        return results
                    frame, block, start = activations.pop()
                    if block.kept >= 0:
                        frame = _whole(frame, block)
                    block = _returned(frame, block, results)
                    continue
                else:
                    code = callee.code or ready(callee)
                    if start + code.slots > STACK_SLOTS:
                        raise StackExhausted
                    code.left -= 1
                    if code.left < 0:
                        if tails and not activations and callee.body is not None:
                            return Tail((callee.body, tuple(args)))
                        if most < 0:
                            most = entering.levels(backend, call)
                        depth = base + len(activations)
                        rest = entering.way(backend, call, callee, code, args, depth, start, most)
                        if rest is not None:
                            if not activations:
                                block = _NOBODY
                                return rest()
                            frame, block, start = activations.pop()
                            if block.kept >= 0:
                                frame = _whole(frame, block)
                            block = _returned(frame, block, rest())
                            continue
                frame, block = code.frame.copy(), code.entry
                frame[code.locals : code.locals + len(args)] = args
        except HotLoop:
            head, block = block, Block(block.func)
            block.kind, block.next, block.scope = ENTER, head, head.scope
            assert block.func is not None
            # The head's first step asked for this.
            block.exit_position = block.func.code.positions[head.first]
        except WasmException as thrown:
            frame, block, start = _catch(backend.store, thrown, frame, block, start, activations)
        except Trap as trap:
            add_frames(trap, _places(activations, block, remaining))
            raise


# By which a traceback tells that the reference went on from there.
RUN = _run.__code__
# Where a call from Python has nothing of its function left.
_NOBODY = Block(None)


def host_slots(func: FuncInstance) -> int:
    """What a host function takes in place of a frame: its arguments or results, whichever are more."""
    signature = func.signature
    return max(sum(widths(signature.params)), sum(widths(signature.results)))


def _kept(frame: list[Any], block: Block) -> list[Any]:
    """What a caller needs of its frame: the temporaries below the arguments, and the locals."""
    assert block.func is not None
    code: Code = block.func.code
    return frame[: block.kept] + frame[code.locals : code.constants]


def _whole(kept: list[Any], block: Block) -> list[Any]:
    """The frame of which that was kept."""
    assert block.func is not None
    code: Code = block.func.code
    frame = code.frame.copy()
    frame[: block.kept] = kept[: block.kept]
    frame[code.locals : code.constants] = kept[block.kept :]
    return frame


def _returned(frame: list[Any], block: Block, results: Sequence[Any]) -> Block:
    """Give a caller its results; the block where it goes on."""
    places = block.results
    if len(places) == 1:
        (place,) = places
        (frame[place],) = results
    else:
        for place, result in zip(places, results, strict=True):
            frame[place] = result
    return block.next


def _catch(
    store: Store,
    thrown: WasmException,
    frame: list[Any],
    block: Block,
    start: int,
    activations: list[_Activation],
) -> _Activation:
    """Where execution goes on: the innermost clause that takes the exception (section 4.6.4)."""
    while True:
        # A host function called at the tail throws where this activation is gone (section 4.6.5).
        scope = None if block.kind == TAIL_CALL else block.scope
        while scope is not None:
            for tag, with_ref, target, places in scope.clauses:
                if tag is None or tag is thrown.tag:
                    values = brought(store, thrown, tag, with_ref)
                    for place, value in zip(places, values, strict=True):
                        frame[place] = value
                    return frame, target, start
            scope = scope.parent
        if not activations:
            raise thrown
        frame, block, start = activations.pop()
        if block.kept >= 0:
            frame = _whole(frame, block)


def _places(
    activations: list[_Activation], block: Block, remaining: Iterator[Any]
) -> list[tuple[FuncInstance, int]]:
    """The functions that were running, innermost first, and where in them."""
    if block.func is None:
        return []
    # How far a tuple iterator came stands nowhere but in its pickling state; counting in the loop
    # would cost every step.
    state = remaining.__reduce__()
    assert isinstance(state, tuple)
    positions = block.func.code.positions
    position = positions[block.first + state[2] - 1] if len(state) > 2 else block.exit_position
    places: list[tuple[FuncInstance | None, int]] = [(block.func, position)]
    places += [(caller.func, caller.exit_position) for _, caller, _ in reversed(activations)]
    return [(func, position) for func, position in places if func is not None]
