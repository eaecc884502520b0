"""Hot functions of an instance as Python functions.

A function is hot when it has been called, or its loops have been taken up again, some hundred times. Then
the reference calls its Python function instead, or enters it at the head of the running loop. Python
functions call each other directly, as deep as Python's stack has room for; below that, and for what this
tier declines, the reference goes on. All count depth in the same way: see `engine.recursion`.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from math import copysign, fabs
from os import fspath
from time import perf_counter
from types import CodeType
from typing import TYPE_CHECKING, Any

from tinywasm import records
from tinywasm.engine.ir import form
from tinywasm.engine.ir.build import build
from tinywasm.engine.ir.form import Form, Record
from tinywasm.engine.python import heat
from tinywasm.engine.python.backend import PythonBackend, Tail
from tinywasm.engine.python.bind import BIND, Binder, Block, Code, bind_record
from tinywasm.engine.python.module_instance import PythonModuleInstance
from tinywasm.engine.recursion import ROOM_SHIFT
from tinywasm.engine.source import accesses, running, vectors
from tinywasm.engine.source.entries import entry_of
from tinywasm.engine.source.handlers import catcher
from tinywasm.engine.source.hosts import to_host
from tinywasm.engine.source.running import Fast
from tinywasm.engine.source.translate import PLAIN, Declined, Source, Translation
from tinywasm.errors import OutOfFuel, WasmException
from tinywasm.interruption import obeying
from tinywasm.matching import close_ref
from tinywasm.numerics.floats import CANONICAL_NAN
from tinywasm.numerics.operators import OPERATORS
from tinywasm.runtime.func import FuncInstance
from tinywasm.runtime.heap import I31, ArrayInstance, StructInstance, is_instance
from tinywasm.runtime.memory import MemoryInstance
from tinywasm.validation import Context

if TYPE_CHECKING:
    from tinywasm.engine.source.cache import Folder, Key, Made


# A function, whether it is metered, the imports that are host functions, and the memories that end early.
_Function = tuple[int, bool, frozenset[int], frozenset[int]]


@records.record(eq=False)
class _Kept:
    """What a module has in `compiled`: forms, translations, and what became of them, None where declined."""

    translations: dict[_Function, Translation] = records.field(default_factory=dict)
    made: dict[Key, Made | None] = records.field(default_factory=dict)
    forms: dict[int, Form] = records.field(default_factory=dict)


class Tier:
    """The Python functions of an instance, with the global names that they share."""

    def __init__(self, instance: PythonModuleInstance) -> None:
        self.instance = instance
        backend = instance.store.backend
        assert isinstance(backend, PythonBackend)
        self.backend = backend
        self.names: dict[str, Any] = {
            "B": backend,
            "S": instance.store,
            "NAN": CANONICAL_NAN,
            # Rounds to f32 what is written into it.
            "R": memoryview(bytearray(4)).cast("f"),
            "OutOfFuel": OutOfFuel,
            "fabs": fabs,
            "copysign": copysign,
            "is_instance": is_instance,
            "Struct": StructInstance,
            "Array": ArrayInstance,
            "I31": I31,
            "LIMITS": instance.store.limits,
            **vectors.NAMES,
            "check_callee": running.check_callee,
            "null_function": running.null_function,
            "null_reference": running.null_reference,
            "cast_failure": running.cast_failure,
            "catch": catcher(instance.store),
            "WasmException": WasmException,
            "stub": lambda func: running.fast_of(backend, func),
            "Tail": Tail,
            "tail": self.tail,
            "BYTES": [bytes([value]) for value in range(256)],
            "TIER": self,
        }
        context, folder = instance.context, backend.config.cache
        self.kept: _Kept = context.compiled.setdefault("source", _Kept())
        self.folder = _folder(fspath(folder), context) if folder else None
        packed = self.folder.packed if self.folder is not None else ()
        self.looping = {key[0] for key in packed if key[4] is not None and key[4] != PLAIN}
        backend.enter = running.enter
        backend.tell(self.tell)
        imported = instance.funcs[: instance.context.imported_funcs]
        self.hosts = frozenset(index for index, func in enumerate(imported) if func.host is not None)
        memories: Any = enumerate(instance.memories)
        self.ending = frozenset(index for index, memory in memories if accesses.ends_early(memory))
        self.codes: dict[CodeType, tuple[FuncInstance, Source]] = {}
        self.loops: dict[tuple[int, int], tuple[Fast, tuple[str, ...]]] = {}
        self.views: dict[str, tuple[MemoryInstance, str]] = {}
        self.counted: set[int] = set()

    def tell(self, poll_wanted: bool) -> None:
        """Functions then hand over to the reference, which polls, and loops poll."""
        self.names["POLL"] = poll_wanted
        # Who has asked may call a function that does not ask for itself.
        self.names["LEAST"] = sys.maxsize if poll_wanted else 2 << ROOM_SHIFT

    # Making functions

    def heat(self, func: FuncInstance, code: Code) -> Fast | None:
        """The Python function of a hot function, for all to use from now on; None where there is none."""
        made = self._made(func, code, None)
        if made is None:
            return None
        body, source = made
        func.body = self.names[f"T{func.index}"] = body
        code.fast = func.fast = running.without_tails(body) if source.tails else body
        self.names[f"f{func.index}"] = func.fast
        func.entry = entry_of(self.backend, func)
        return code.fast

    def loop(self, func: FuncInstance, code: Code, block: int) -> tuple[Fast, tuple[str, ...]] | None:
        """The Python function from the head of a loop on, and what it takes; None where there is none."""
        key = func.index, block
        if key not in self.loops:
            made = self._made(func, code, block)
            if made is None:
                return None
            fast, source = made
            self.loops[key] = running.without_tails(fast) if source.tails else fast, source.takes
        return self.loops[key]

    def kept_code(self, func: FuncInstance) -> Code | None:
        """What stands for the code of a function, where the folder has a Python function of it."""
        if not self.has(func, None):
            return None
        code = _unbound(func)
        if self.heat(func, code) is None:
            return None
        code.slots = self.codes[func.body.__code__][1].slots
        return code

    def has(self, func: FuncInstance, block: int | None) -> bool:
        """Whether the folder has a Python function, from a block on."""
        return self.folder is not None and self._key(func, block) in self.folder.packed

    def has_loop(self, func: FuncInstance) -> bool:
        """Whether the folder had a Python function from the head of a loop on."""
        return func.index in self.looping

    def _key(self, func: FuncInstance, block: int | None) -> Key:
        return func.index, self.instance.store.fuel is not None, self.hosts, self.ending, block

    def tail(self, func: FuncInstance, *args: Any) -> Any:
        """A tail call to a function that was looked up: left to do, or if it is the host's, done."""
        if func.host is None:
            return Tail((func.body or running.body_of(self.backend, func), args))
        return running.host_at_tail(self.backend, func, self.instance)(*args)

    def plain(self, func: FuncInstance, *args: Any) -> Any:
        """Call a hot function whose pointers are not aligned, which its Python function takes them for."""
        made = self._made(func, func.code, PLAIN)
        if made is None:
            return running.reference(self.backend, func, tails=True)(*args)
        self.names[f"A{func.index}"] = made[0]
        return made[0](*args)

    def _made(self, func: FuncInstance, code: Code, block: int | None) -> tuple[Fast, Source] | None:
        try:
            with obeying(self.instance.store.poll):
                source, compiled = self._source(func, block)
        except Declined:
            code.left = heat.NEVER
            return None
        except RecursionError:
            # Less of Python's stack may be taken another time.
            code.left = heat.LATER
            return None
        for name, (kind, *what) in source.names.items():
            if name not in self.names:
                self.names[name] = self._named(func, name, kind, what)
        exec(compiled, self.names)
        function: Any = self.names.pop("f")
        self.codes[function.__code__] = func, source
        return function, source

    def _source(self, func: FuncInstance, block: int | None) -> Made:
        """Raises `Declined`."""
        key, made = self._key(func, block), self.kept.made
        if key not in made:
            found = self.folder.find(key) if self.folder is not None else None
            made[key] = found or self._translated(func, key)
            self._count(func, found is not None, made[key] is not None)
        source = made[key]
        if source is None:
            raise Declined
        return source

    def _count(self, func: FuncInstance, found: bool, made: bool) -> None:
        """Count a function once, however many ways lead into it."""
        if made and func.index not in self.counted:
            self.counted.add(func.index)
            if found:
                self.backend.found += 1
            else:
                self.backend.translated += 1

    def _translated(self, func: FuncInstance, key: Key) -> Made | None:
        block, began = key[4], perf_counter()
        try:
            translation = self._translation(func, key[:4])
            source = translation.source(translation.entry if block is None else block)
            made = source, compile(source.text, f"<function {func.index}>", "exec")
        except (Declined, MemoryError, SyntaxError):
            # Python has limits of its own.
            return None
        finally:
            self.backend.seconds += perf_counter() - began
        if self.folder is not None:
            self.folder.add(key, made)
        return made

    def _translation(self, func: FuncInstance, key: _Function) -> Translation:
        """Raises `Declined`."""
        translations, definition = self.kept.translations, func.definition
        assert definition is not None
        if sys.byteorder == "big":
            raise Declined
        if key not in translations:
            translation = Translation(self.instance.context, func.index, definition, *key[1:])
            translations[key], self.kept.forms[func.index] = translation, translation.code
        return translations[key]

    def _form(self, func: FuncInstance) -> Form:
        forms, definition = self.kept.forms, func.definition
        assert definition is not None
        if func.index not in forms:
            forms[func.index] = build(self.instance.context, func.index, definition)
        return forms[func.index]

    # What names stand for

    def _named(self, func: FuncInstance, name: str, kind: str, what: Sequence[Any]) -> Any:
        instance = self.instance
        if kind == "operator":
            return OPERATORS[name]
        if kind == "value":
            return what[0]
        if kind == "step":
            return _step(instance, self._form(func), *what)
        if kind == "cast":
            return close_ref(self._form(func).objects[what[0]], instance.types)
        if kind == "view":
            return self._view(name, instance.memories[what[0]], what[1])
        if kind == "load":
            return accesses.loader(instance.memories[what[0]], what[1])
        if kind == "store":
            return accesses.storer(instance.memories[what[0]], what[1])
        if kind == "bytes":
            return instance.memories[what[0]].space
        if kind == "func":
            callee = instance.funcs[what[0]]
            if what[0] in self.hosts:
                return to_host(self.backend, callee, instance)
            return running.fast_of(self.backend, callee)
        if kind == "plain":
            return partial(self.plain, instance.funcs[what[0]])
        if kind == "reference":
            return running.reference(self.backend, instance.funcs[what[0]], tails=True)
        if kind == "tail":
            return running.body_of(self.backend, instance.funcs[what[0]])
        if kind == "clauses":
            return [(None if tag is None else instance.tags[tag], with_ref) for tag, with_ref in what]
        if kind == "table":
            return instance.tables[what[0]].elements
        return {"global": instance.globals, "type": instance.types}[kind][what[0]]

    def _view(self, name: str, memory: MemoryInstance, kind: str) -> memoryview[Any] | int:
        if not any(each is memory for each, _ in self.views.values()):
            memory.follow(weakref.WeakMethod(self._grown))
        self.views[name] = memory, kind
        return accesses.view(memory.data, kind)

    def _grown(self, memory: MemoryInstance, data: memoryview) -> Callable[[], None]:
        views = {
            name: accesses.view(data, kind) for name, (each, kind) in self.views.items() if each is memory
        }
        return partial(self.names.update, views)


def _folder(folder: str, context: Context) -> Folder:
    # Whoever names no folder need not load this.
    from tinywasm.engine.source import cache

    return cache.of(folder, context)


def _unbound(func: FuncInstance) -> Code:
    """What stands for the code of a function that has a Python function from the beginning."""
    assert func.definition is not None
    block = Block(func)
    block.kind, block.first, block.exit_position = BIND, 0, func.definition.body.start
    return Code(block, [], 0, 0, 0, [], -1, 0)


def of(func: FuncInstance) -> Tier:
    """The tier of a function's instance."""
    instance = func.module
    assert isinstance(instance, PythonModuleInstance)
    if instance.tier is None:
        instance.tier = Tier(instance)
    return instance.tier


# What the reference does


class _Recorder(Binder):
    """Binds one record, whose operands are at the beginning of a frame, and its results behind them."""

    def __init__(self, instance: PythonModuleInstance, code: Form, places: dict[int, int]) -> None:
        self.instance = instance
        self.memories, self.globals, self.funcs = instance.memories, instance.globals, instance.funcs
        self.form = code
        self.places = places
        self.steps: list[Any] = []
        self.positions: list[int] = []
        self.position = 0

    def at(self, place: int) -> int:
        return self.places[place]

    def all_at(self, places: Sequence[int]) -> Sequence[int]:
        return [self.places[place] for place in places]

    def listed(self, first: int, start: int, count: int, base: int) -> Sequence[int]:
        return range(count)


def _step(instance: PythonModuleInstance, code: Form, record: Record) -> Callable[..., Any]:
    """The reference's way of doing a record, as a function of its operands."""
    # The same place may be that of several operands, and of a result.
    operands = [*form.operands(code, record)]
    places = {place: number for number, place in enumerate(operands)}
    results = form.results(code, record)
    result = places.setdefault(results[0], len(operands)) if results else -1
    recorder = _Recorder(instance, code, places)
    bind_record(recorder, record)
    bound = recorder.steps

    def run(*args: Any) -> Any:
        frame = [*args, None]
        for step in bound:
            step[0](frame, step)
        return frame[result] if results else None

    return run
