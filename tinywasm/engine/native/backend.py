"""The native engine as a backend: lowering in Python, everything that runs in `_loop`."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Sequence
from functools import partial
from os import fspath
from typing import TYPE_CHECKING, Any, TypeVar

from tinywasm.config import wanted_tier
from tinywasm.engine.native import _loop, kept
from tinywasm.engine.native.frame import RegisterCode
from tinywasm.interruption import obeying
from tinywasm.loading import loading
from tinywasm.matching import define
from tinywasm.runtime.func import FuncInstance
from tinywasm.runtime.module_instance import ModuleInstance
from tinywasm.runtime.profile import Profile
from tinywasm.runtime.storage import Extern, Global, Memory, Table, Tag
from tinywasm.runtime.store import Store
from tinywasm.syntax import DataSegment, DataSegments, DecodedModule, Expr
from tinywasm.types import FuncType, GlobalType, MemoryType, TableType, TagType, ValType
from tinywasm.validation import Context

if TYPE_CHECKING:
    from tinywasm.engine.llvm.auto import Auto
    from tinywasm.engine.llvm.machine import Machine
    from tinywasm.engine.native.ahead import Compiled, MachineCode, Precompiled

_Made = TypeVar("_Made")


class NativeModuleInstance(ModuleInstance):
    """A module instance whose index spaces the loop sees as well, through `native`."""

    __slots__ = ("native", "shared")

    def __init__(self, store: Store, native_store: Any, syntax: DecodedModule, context: Context) -> None:
        super().__init__(store, syntax, context)
        self.shared = kept.shared(context)
        self.native = _loop.NativeInstance(native_store, self.shared, self)

    def add(self, extern: Extern) -> None:
        super().add(extern)
        self.native.add(extern)

    def define_functions(self) -> None:
        super().define_functions()
        self.native.define_functions()

    def set_segments(self, datas: Sequence[DataSegment], elems: Sequence[list[Any] | array[int]]) -> None:
        self.native.set_segments(datas, elems)

    def run_elem(self, index: int, table: int, offset: int) -> None:
        self.native.run_elem(index, table, offset)

    def run_datas(self, datas: DataSegments, first: int, last: int) -> None:
        self.native.run_datas(datas.places, first, last)

    def drop_data(self, index: int) -> None:
        self.native.drop_data(index)

    def drop_elem(self, index: int) -> None:
        self.native.drop_elem(index)


def lower(*args: Any, **kwargs: Any) -> RegisterCode:
    """As `select.lower`, which is loaded when it is first wanted: kept code needs none of it."""
    with loading:
        from tinywasm.engine.native import select
    return select.lower(*args, **kwargs)


def lower_constant(*args: Any) -> RegisterCode:
    """As `select.lower_constant`."""
    with loading:
        from tinywasm.engine.native import select
    return select.lower_constant(*args)


def compile_module(
    context: Context, syntax: DecodedModule, metered: bool, folder: str
) -> Machine | Precompiled:
    """The machine code of a module, from the tier that is loaded when it is first wanted; it is kept in the
    folder, if there is one."""
    with loading:
        from tinywasm.engine.llvm.machine import Machine
        from tinywasm.engine.native import ahead, cache
    if not folder:
        return Machine(context, syntax, metered)
    start = time.monotonic()
    head, text = ahead.make(context, syntax, metered, "host", times=1)
    cache.keep(folder, cache.name(context, metered, "all"), head, text)
    seconds = time.monotonic() - start
    return ahead.Precompiled(context, memoryview(head), memoryview(text), seconds)


class NativeBackend:
    """See `engine.Backend`."""

    __slots__ = ("config", "machines", "native", "profiled", "store", "tier", "uncompiled")
    name = "native"

    def __init__(self, store: Store) -> None:
        self.store = store
        self.config = store.engine.config
        self.tier = wanted_tier(self.config)
        # Why nothing is compiled.
        self.uncompiled = 'the tier is "interpreter"'
        if self.tier == "compiled":
            self.uncompiled = "no function was called"
        elif self.tier == "auto":
            with loading:
                from tinywasm.engine.llvm.auto import missing
            self.uncompiled = missing() or "no function was hot"
            if missing():
                self.tier = "interpreter"
        if store.profile is not None:
            self.uncompiled = "there is a profile"
        # Of the modules whose functions were called, or hot.
        self.machines: list[Compiled] = []
        self.native = _loop.NativeStore(store, self)
        # A list where there is a profile; stores are many.
        self.profiled: list[tuple[FuncInstance, Any]] | None = None
        if store.profile is not None:
            store.profile.settle = partial(self._settle, store.profile)

    def code(self, instance: NativeModuleInstance, index: int) -> Any:
        """A function's code: one for all instances of its module, but its own where it is profiled."""
        if self.store.profile is not None:
            code = self._lower(instance, index)
            if self.profiled is None:
                self.profiled = []
            self.profiled.append((instance.funcs[index], code))
            return code
        codes, key = instance.shared.codes, (index, self.store.fuel is not None, self.tier)
        code = codes.get(key)
        # In one step: the first that is there stays, for another thread's store may run it.
        return codes.setdefault(key, self._lower(instance, index)) if code is None else code

    def _lower(self, instance: NativeModuleInstance, index: int) -> Any:
        context = instance.context
        metered, profiled = self.store.fuel is not None, self.store.profile is not None
        tier = "interpreter" if profiled else self.tier
        ahead = None if profiled else instance.shared.machine.get((metered, "ahead"))
        machine = self._machine_code(instance, index, ahead, tier)
        # Machine code that was made here, or is in the cache, is of the words that are made here.
        anew = metered or profiled or (machine is not None and ahead is None)
        code = None if anew else kept.taken(context, index)
        if code is None:
            with obeying(self.store.poll):
                definition = instance.definition(index)
                lowered = lower(context, index, definition, metered=metered, profiled=profiled)
            scope = instance.shared.scope
            code = _loop.NativeCode(lowered, scope, context.funcs[index], f"function {index}")
        if machine is not None:
            code.enter(machine)
        if tier == "auto" and ahead is None:
            code.cool = self._auto(instance.context, instance.syntax).looks(index)
        return code

    def _machine_code(
        self, instance: NativeModuleInstance, index: int, ahead: Precompiled | None, tier: str
    ) -> MachineCode | None:
        """That of a function, where it has some before it is called."""
        if ahead is not None:
            self._use(ahead)
            return ahead.code(index)
        if (self.store.fuel is None, "ahead") in instance.shared.machine:
            self.uncompiled = "what was compiled ahead of time is for stores " + (
                "without fuel" if self.store.fuel is not None else "with fuel"
            )
        if tier == "compiled":
            return self._machine(instance).code(index)
        return self._kept(instance, index) if tier == "auto" else None

    def _compilable(self, context: Context) -> None:
        """Before anything runs, there has to be machine code, or what makes it. Raises `ValueError`."""
        metered, machines = self.store.fuel is not None, kept.shared(context).machine
        if (metered, "ahead") in machines or (metered, "compiled") in machines:
            return
        folder = fspath(self.config.cache)
        if folder:
            from tinywasm.engine.native import cache

            name = cache.name(context, metered, "all")
            found = cache.find(folder, name, context)
            if found is not None:
                machines.setdefault((metered, "compiled"), found)
                return
        with loading:
            from tinywasm.engine.llvm.machine import version

            version()

    def _machine(self, instance: NativeModuleInstance) -> Machine | Precompiled:
        """The machine code of a module, which is made of all of it."""
        metered, machines = self.store.fuel is not None, instance.shared.machine
        machine: Machine | Precompiled | None = machines.get((metered, "compiled"))
        if machine is None:
            self.uncompiled = "compiling was ended"
            with obeying(self.store.poll):
                made = compile_module(instance.context, instance.syntax, metered, fspath(self.config.cache))
            # In one step, as in `code`.
            machine = machines.setdefault((metered, "compiled"), made)
        self._use(machine)
        return machine

    def _auto(self, context: Context, syntax: DecodedModule) -> Auto:
        """What is compiled of a module as it proves hot. Raises `ValueError` as `kept_folder.find`."""
        metered, shared = self.store.fuel is not None, kept.shared(context)
        auto: Auto | None = shared.machine.get((metered, "auto"))
        if auto is None:
            from tinywasm.engine.llvm.auto import Auto

            made = Auto(context, syntax, metered, shared.codes, fspath(self.config.cache))
            auto = shared.machine.setdefault((metered, "auto"), made)
        return auto

    def _kept(self, instance: NativeModuleInstance, index: int) -> MachineCode | None:
        """What an earlier process found hot and compiled of a function."""
        auto = self._auto(instance.context, instance.syntax)
        if index in auto.codes:
            self._use(auto)
        return auto.codes.get(index)

    def hot(self, instance: NativeModuleInstance, index: int, word: int | None) -> None:
        """Looks have met a function as often as its code says, this time in a loop that begins at `word`."""
        auto = self._auto(instance.context, instance.syntax)
        self._use(auto)
        auto.heat(index, word)

    def _use(self, machine: Compiled) -> None:
        if machine not in self.machines:
            self.machines.append(machine)

    def _settle(self, profile: Profile) -> None:
        for func, code in self.profiled or ():
            record = profile.record(func)
            record.calls, record.own = code.calls, code.own

    def guard(self) -> None:
        self.native.guard()

    def claimed(self, work: Callable[[], _Made]) -> _Made:
        made: _Made = self.native.claimed(work)
        return made

    def memory(self, type: MemoryType) -> Memory:
        self.guard()
        self.store.limits.count_memory(type)
        return _loop.NativeMemory(self.native, type, self.config.max_memory_pages)

    def table(self, type: TableType, init: Any) -> Table:
        self.guard()
        self.store.limits.count_table(type)
        return _loop.NativeTable(self.native, type, init, self.config.max_table_elements)

    def glob(self, type: GlobalType, value: Any) -> Global:
        return _loop.NativeGlobal(self.native, type, value)

    def tag(self, type: TagType) -> Tag:
        self.guard()
        return _loop.NativeTag(type)

    def instance(self, syntax: DecodedModule, context: Context) -> ModuleInstance:
        if self.tier == "compiled":
            self._compilable(context)
        elif self.tier == "auto" and self.config.cache:
            self._auto(context, syntax)
        return NativeModuleInstance(self.store, self.native, syntax, context)

    def constant(self, instance: ModuleInstance, expr: Expr, type: ValType) -> Any:
        assert isinstance(instance, NativeModuleInstance)
        definition = define(FuncType((), (type,)))
        lowered = lower_constant(instance.context, expr, type)
        scope = instance.shared.scope
        code = _loop.NativeCode(lowered, scope, definition, "a constant expression", instance.native)
        return instance.native.evaluate(code, definition)

    def call(
        self, func: FuncInstance, args: Sequence[Any], caller: ModuleInstance | None = None
    ) -> list[Any]:
        if func.host is None:
            return self.native.call(func, args)
        return self.native.call_host(func, args, caller)

    def entry(self, func: FuncInstance) -> type[_loop.Entry] | None:
        return _loop.Entry if _loop.Entry.serves(func) else None

    def caller(self) -> ModuleInstance | None:
        return self.native.caller()

    def collect(self) -> None:
        self.native.collect()

    def limits_changed(self) -> None:
        self.native.set_limits(self.store.limits)

    def statistics(self) -> list[str]:
        if not self.machines:
            return [f"nothing was compiled: {self.uncompiled}"]
        return [line for machine in self.machines for line in machine.summary()]

    def want_poll(self) -> None:
        self.native.want_poll()
