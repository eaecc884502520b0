"""Nonsense: every public class and method with arguments that nobody should give, in a store of its own."""

from __future__ import annotations

import copy
import gc
import pickle
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import is_dataclass
from functools import partial
from typing import Any

import tinywasm
from tinywasm import Engine, Func, FuncType, Limits, MemoryType, Store, TableType, ValType, WasmError

# What a call may end with: our tree, and what Python's own operations raise for such values.
ALLOWED = (
    WasmError, TypeError, ValueError, OverflowError, AttributeError, IndexError, KeyError, BufferError,
    OSError, RecursionError, ZeroDivisionError,
)  # fmt: skip
# Public by its name, but for the packages beside the API: nothing checks what they are given.
INNER = {
    "Engine": {"watch"},
    "MemoryTree": {"charge", "open", "open_file"},
    "Store": {"backend", "charge", "epoch_advanced", "guard", "pay", "poll", "poll_time"},
    "WasiConfig": {"preopens", "sockets", "standard_streams"},
}
# Set, and never read.
WRITE_ONLY = {"stdin_file", "stdin_bytes", "stdout_file", "stdout_custom", "stderr_file", "stderr_custom"}
FUNCTIONS = ("instantiate", "wat2wasm")
REACHED: set[str] = set()
OBJECTS = """
(module
  (type $s (struct (field (mut i32))))
  (memory (export "memory") 1 4) (table (export "table") 2 20 funcref)
  (global (export "global") (mut i32) (i32.const 1)) (tag (export "tag") (param i32))
  (func (export "f") (param i32) (result i32) (local.get 0))
  (func (export "g") (param i32 i64 f32 f64 v128 externref funcref anyref))
  (func (export "h") (param externref) (result externref) (local.get 0))
  (func (export "s") (result (ref $s)) (struct.new $s (i32.const 7)))
  (func (export "_start")))
"""
IMPORTS = """
(module
  (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
  (import "a" "b" (func (param i32) (result i32)))
  (memory (export "memory") 1))
"""


def reach(name: str) -> None:
    REACHED.add(name)


def public_names(kind: type) -> list[str]:
    """The methods and attributes of a public class, but for those of Python's own bases and of `INNER`."""
    inner = INNER.get(kind.__name__, set())
    return sorted(
        name
        for name in dir(kind)
        if not name.startswith("_") and name not in inner and not hasattr(Exception, name)
    )


def public_api() -> set[str]:
    """All there is to reach: `Memory`, `Memory.grow`, `instantiate`, and so on."""
    names = {name for name in tinywasm.__all__ if not name.startswith("__")}
    for name in list(names):
        item = getattr(tinywasm, name)
        if isinstance(item, type):
            names |= {f"{name}.{method}" for method in public_names(item)}
    return names


_CLASSES: dict[str, Any] = {
    name: getattr(tinywasm, name) for name in tinywasm.__all__ if isinstance(getattr(tinywasm, name), type)
}


class Hostile:
    """Whatever is asked of it, it does something with the store first."""

    def __init__(self, junk: Junk) -> None:
        self.junk = junk

    def _act(self, result: Any) -> Any:
        self.junk.meddle()
        return self.junk.rng.choice([result, result, result, -1, 1 << 70, None, "x"])

    def __index__(self) -> int:
        return self._act(1)  # type: ignore[no-any-return]

    def __len__(self) -> int:
        return self._act(2)  # type: ignore[no-any-return]

    def __float__(self) -> float:
        return self._act(0.5)  # type: ignore[no-any-return]

    def __eq__(self, other: object) -> bool:
        return self._act(True)  # type: ignore[no-any-return]

    def __hash__(self) -> int:
        return self._act(7)  # type: ignore[no-any-return]

    def __bool__(self) -> bool:
        return self._act(True)  # type: ignore[no-any-return]

    def __iter__(self) -> Any:
        return iter(self._act([1, 2]))

    def __getitem__(self, key: object) -> Any:
        return self._act(3)

    def __call__(self, *args: Any) -> Any:
        return self._act(4)

    def __repr__(self) -> str:
        return "hostile"

    def __del__(self) -> None:
        self.junk.meddle()


class Liar(int):
    """An integer whose arithmetic is wrong."""

    def __and__(self, other: object) -> Any:
        return "and"

    __rand__ = __add__ = __le__ = __lt__ = __and__


class Junk:
    """A store whose objects get everything."""

    def __init__(self, rng: random.Random, engine: Engine) -> None:
        self.rng = rng
        self.engine = engine
        self.depth = 0
        self.begin()

    def begin(self) -> None:
        self.store = Store(self.engine)
        self.module = tinywasm.Module(self.engine, OBJECTS)
        self.importing = tinywasm.Module(self.engine, IMPORTS)
        self.instance = tinywasm.instantiate(OBJECTS, store=self.store)
        self.callers: list[Any] = []
        func = Func(self.store, FuncType(), self.callers.append, access_caller=True)
        func(self.store)
        self.pool: dict[str, list[Any]] = {}
        for item in (
            self.store, self.engine, self.module, self.importing, self.instance, self.instance.exports, func,
            *self.instance.exports(self.store).values(), *self.instance.exports.values(), *self.callers,
            tinywasm.Linker(self.engine), tinywasm.WasiConfig(), tinywasm.MemoryTree({"a": b"b"}),
            tinywasm.Config(), ValType.i32(), FuncType([ValType.i32()]), Limits(1, 2), MemoryType(Limits(1)),
            TableType(ValType.funcref(), Limits(1)), tinywasm.GlobalType(ValType.i32(), True),
            tinywasm.TagType(FuncType()), self.module.exports[0], self.importing.imports[0],
            tinywasm.Val.i32(5), tinywasm.Frame(1, "f", "m", 2, 3), tinywasm.TrapCode.UNREACHABLE,
            tinywasm.WasmError("x"), tinywasm.Trap("x"), tinywasm.ExitTrap(1), tinywasm.OutOfFuel(),
            tinywasm.Interrupted(), tinywasm.StackExhausted(), tinywasm.LinkError("x"),
            tinywasm.ParseError("x", 1, 2), tinywasm.DecodeError("x", 1), tinywasm.ValidationError("x"),
            tinywasm.WasmException(None, []),
        ):  # fmt: skip
            self.keep(item)
        self.keep(self.instance.exports.s())

    def keep(self, item: Any) -> None:
        """Into the pool, by each public class that it is of."""
        for name, kind in _CLASSES.items():
            if isinstance(item, kind):
                found = self.pool.setdefault(name, [])
                found.append(item)
                del found[:-8]
        others = self.pool.setdefault("", [])
        others.append(item)
        del others[:-40]

    def meddle(self) -> None:
        """What a hostile object does; not for ever."""
        if self.depth >= 2:
            return
        self.depth += 1
        try:
            self.step()
        except ALLOWED:
            return
        finally:
            self.depth -= 1

    def value(self) -> Any:
        """An argument."""
        rng = self.rng
        choices: list[Callable[[], Any]] = [
            lambda: self.store,
            lambda: self.store,
            lambda: rng.choice(self.pool[""]),
            lambda: rng.choice(self.pool[""]),
            lambda: rng.choice(
                [0, 1, 2, -1, 5, 65536, 1 << 31, 1 << 32, 1 << 63, 1 << 64, 1 << 70, -(1 << 70)]
            ),
            lambda: rng.choice([0.5, float("nan"), float("inf"), -float("inf"), 1e10, 1e300]),
            lambda: rng.choice(
                [None, True, "", "f", "memory", "wasi_snapshot_preview1", "(module)", "é\ud800\0"]
            ),
            lambda: rng.choice(
                [b"", b"\0asm", bytes(16), bytearray(16), memoryview(bytes(17)), range(3), {}, []]
            ),
            lambda: rng.choice([self.module.serialize(), OBJECTS, {"a": {"b": print}}, [("a", "b")], ["a"]]),
            lambda: Hostile(self),
            lambda: Liar(rng.getrandbits(40)),
            lambda: rng.choice(list(_CLASSES.values())),
            object,
        ]
        return rng.choice(choices)()

    def step(self) -> None:
        """One call of anything with anything."""
        rng = self.rng
        kinds = [self._method, self._method, self._method, self._make, self._function, self._odd, self._anew]
        try:
            rng.choice(kinds)()
        except ALLOWED:
            return

    def _method(self) -> None:
        name = self.rng.choice([name for name in _CLASSES if self.pool.get(name)])
        names = public_names(_CLASSES[name])
        if names:
            self._use(name, self.rng.choice(names))

    def _use(self, name: str, method: str) -> None:
        """A method or attribute of an object of the class `name`."""
        item = self.rng.choice(self.pool[name])
        if method in WRITE_ONLY or (name == "WasiConfig" and method in ("argv", "env")):
            reach(f"{name}.{method}")
            setattr(item, method, self.value())
            return
        reach(f"{name}.{method}")
        found = getattr(item, method)
        if isinstance(found, type):
            return
        if callable(found):
            found = found(*(self.value() for _ in range(self.rng.randrange(5))))
        self.keep(found)

    def tour(self) -> None:
        """Everything once: chance alone would leave something out of a short run."""
        for name, kind in _CLASSES.items():
            calls = [
                partial(self._make, name),
                *(partial(self._use, name, each) for each in public_names(kind)),
            ]
            for call in calls:
                with suppress(*ALLOWED):
                    call()
            self.begin()
        for name in FUNCTIONS:
            with suppress(*ALLOWED):
                self._function(name)

    def _make(self, name: str = "") -> None:
        name = name or self.rng.choice(list(_CLASSES))
        kind = _CLASSES[name]
        reach(name)
        if name in ("Instance", "Linker", "Store", "Memory", "Table") and self.rng.random() < 0.3:
            # Rightly, for once.
            made: dict[str, Callable[[], Any]] = {
                "Instance": lambda: kind(self.store, self.module, []),
                "Linker": lambda: kind(self.engine),
                "Store": lambda: kind(self.engine),
                "Memory": lambda: kind(self.store, MemoryType(Limits(1))),
                "Table": lambda: kind(self.store, TableType(ValType.funcref(), Limits(1)), None),
            }
            self.keep(made[name]())
        elif self.rng.random() < 0.1:
            self.keep(kind.__new__(kind))
        else:
            self.keep(kind(*(self.value() for _ in range(self.rng.randrange(5)))))

    def _function(self, name: str = "") -> None:
        name = name or self.rng.choice(FUNCTIONS)
        reach(name)
        self.keep(getattr(tinywasm, name)(*(self.value() for _ in range(self.rng.randrange(1, 3)))))

    def _odd(self) -> None:
        """What every object has: items, attributes, calls, copies, comparison, its class."""
        item = self.rng.choice(self.pool[""])
        odd: list[Callable[[], Any]] = [
            lambda: item[self.value()],
            lambda: item.__setitem__(self.value(), self.value()),
            lambda: setattr(item, "value", self.value()),
            lambda: delattr(item, "f"),
            lambda: item(*(self.value() for _ in range(self.rng.randrange(3)))),
            lambda: copy.copy(item),
            lambda: copy.deepcopy(item),
            lambda: pickle.loads(pickle.dumps(item)),
            lambda: item == self.value(),
            lambda: hash(item),
            lambda: repr(item),
            lambda: str(item),
            lambda: bool(item),
            lambda: list(item),
            lambda: len(item),
            lambda: memoryview(item),
            lambda: type(item)(),
            lambda: item.__class__.__new__(item.__class__),
            # A frozen dataclass is shared, and Python lets nothing else but this change it.
            lambda: None if is_dataclass(item) else item.__init__(self.value()),
            lambda: gc.get_referents(item),
        ]
        if isinstance(item, type):
            return
        found = self.rng.choice(odd)()
        if type(found).__module__.startswith("tinywasm"):
            self.keep(found)

    def _anew(self) -> None:
        if self.rng.random() < 0.05 and self.depth == 0:
            self.begin()
