"""The store: what one family of instances shares while it runs."""

from __future__ import annotations

import math
import os
import threading
import time
import weakref
from operator import index
from typing import TYPE_CHECKING, Any, NoReturn

from tinywasm.config import Engine
from tinywasm.errors import Interrupted, OutOfFuel, WasmError
from tinywasm.runtime.limits import ResourceLimits
from tinywasm.types import DefinedType
from tinywasm.unique import Unique

if TYPE_CHECKING:
    from tinywasm.engine.interface import Backend
    from tinywasm.runtime.profile import Profile

# The same as in engine/native/bulk.c.
BYTES_A_UNIT = 64


class Store(Unique):
    """Owns the instances made in it, and their fuel, time, limits and call depth.

    A store is used by one thread at a time: while a thread's call is under way, or it makes an instance,
    everything that another one does with the store or what lives in it raises `WasmError`, except
    `interrupt`, `clear_interrupt` and reading and writing memories. Calls end in the reverse order of their
    beginning: where greenlets would break that order, the call out of turn ends with `WasmError`. In a
    forked process only the thread that forked goes on; a store that another one was using raises
    `WasmError` there for good.
    """

    # What runs code for this store, chosen when it is first needed.
    backend: Backend | None = None

    def __init__(self, engine: Engine | None = None, data: Any = None) -> None:
        """`data` is anything of the embedder's; `data()` gives it back, also to a host function."""
        if engine is not None and not isinstance(engine, Engine):
            raise TypeError(f"expected an Engine, not {engine!r}")
        self.engine = engine or Engine()
        # None where the engine's configuration does not meter.
        self.fuel: int | None = 0 if self.engine.config.consume_fuel else None
        # Where the instructions go, if somebody asks.
        self.profile: Profile | None = None
        self.limits = ResourceLimits()
        self.wasi: Any = None
        # The embedding API's converters, by function type.
        self.signatures: dict[DefinedType, Any] = {}
        self._data = data
        self._requested = False
        self._deadline: float | None = None
        self._timer: threading.Timer | None = None
        self._epoch_deadline: int | None = None
        if self.engine.config.epoch_interruption:
            self.set_epoch_deadline(0)

    def data(self) -> Any:
        """What the embedder gave to the constructor."""
        return self._data

    def set_fuel(self, fuel: int) -> None:
        """Give the store `fuel` units, one for each instruction and for each 64 bytes that a bulk one writes.

        Raises `WasmError` where the configuration does not meter, `OverflowError` beyond 64 bits.
        """
        if self.fuel is None:
            raise WasmError("fuel is not metered: use Config(consume_fuel=True)")
        fuel = index(fuel)
        if not 0 <= fuel < 1 << 64:
            raise OverflowError(f"{fuel} is not an amount of fuel: it is 0 to 2**64 - 1")
        self.guard()
        # The native engine counts in 63 bits, more than anybody lives to see used.
        self.fuel = min(fuel, (1 << 63) - 1)

    def get_fuel(self) -> int:
        """The units left. Raises `WasmError` where the configuration does not meter."""
        if self.fuel is None:
            raise WasmError("fuel is not metered: use Config(consume_fuel=True)")
        self.guard()
        return self.fuel

    def charge(self, units: int) -> None:
        """Take `units` of fuel. Raises `OutOfFuel`, and takes nothing, where fewer are left."""
        assert self.fuel is not None
        if self.fuel < units:
            raise OutOfFuel
        self.fuel -= units

    def pay(self, size: int) -> None:
        """Where fuel is metered, pay for `size` bytes that a bulk instruction is about to write: a unit for
        each whole 64. Raises `OutOfFuel`."""
        if self.fuel is not None and size >= BYTES_A_UNIT:
            self.charge(size // BYTES_A_UNIT)

    def interrupt(self) -> None:
        """End the call under way, or else the next one, with `Interrupted`. May be called from any thread."""
        self._requested = True
        self._want_poll()

    def clear_interrupt(self) -> None:
        """Take back an `interrupt` that has ended no call yet, because it came as the last one ended.

        An interrupt that comes later holds, and a deadline or epoch that has passed stays passed.
        May be called from any thread.
        """
        self._requested = False

    def set_deadline(self, seconds: float | None) -> None:
        """End calls with `Interrupted` from `seconds` after now on; None takes the deadline away.

        Raises `ValueError` for a NaN.
        """
        if seconds is not None:
            if math.isnan(seconds):
                raise ValueError("a deadline is a number of seconds, not a NaN")
            # Beyond, the clock cannot wait. Nobody will.
            seconds = min(float(seconds), threading.TIMEOUT_MAX / 2)
        self.guard()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._deadline = None
        if seconds is not None:
            self._deadline = time.monotonic() + seconds
            _timed.add(self)
            self._start_timer()
        self._want_poll()

    def _start_timer(self) -> None:
        if self._deadline is not None:
            left = max(0, self._deadline - time.monotonic())
            self._timer = threading.Timer(left, _expire, [weakref.ref(self)])
            self._timer.daemon = True
            self._timer.start()

    def set_epoch_deadline(self, ticks_after_current: int) -> None:
        """End calls with `Interrupted` once the engine's epoch has been incremented so many times."""
        self.guard()
        self._epoch_deadline = self.engine.epoch + index(ticks_after_current)
        self.engine.watch(self)
        self._want_poll()

    def set_limits(
        self,
        memory_size: int = -1,
        table_elements: int = -1,
        instances: int = -1,
        tables: int = -1,
        memories: int = -1,
        total_memory: int = -1,
    ) -> None:
        """Limit what instances of this store may take; negative numbers leave a limit as it is.

        `memory_size` is in bytes for each memory, `table_elements` for each table; the others count
        everything made in the store. `total_memory` is in bytes for all memories, tables (8 a reference),
        structures, arrays and exceptions together; set it before the store runs code. Beyond a limit,
        `memory.grow` and `table.grow` answer -1, and what makes objects and instances raises `Trap` with
        the code ALLOCATION_TOO_LARGE.
        """
        self.guard()
        counts = {"instances": instances, "tables": tables, "memories": memories}
        total_memory = index(total_memory)
        self.limits.set(memory_size, table_elements, counts)
        self.limits.set_total(total_memory)
        if self.backend is not None:
            self.backend.limits_changed()

    def set_wasi(self, wasi: Any) -> None:
        """What programs of this store see of the system, a `WasiConfig`; for `Linker.define_wasi`."""
        self.guard()
        self.wasi = wasi

    def gc(self) -> None:
        """Free what only unreachable Wasm objects hold. This happens by itself in time."""
        if self.backend is not None:
            self.backend.collect()

    def epoch_advanced(self) -> None:
        """The engine's epoch was incremented, perhaps by another thread."""
        if self._expired():
            self._want_poll()

    def guard(self) -> None:
        """Raises `WasmError` while another thread's call is under way."""
        if self.backend is not None:
            self.backend.guard()

    def poll(self) -> None:
        """Raises `Interrupted` where something asks for it.

        That answers `interrupt`, while a deadline or epoch that passed stays so.
        """
        if self._requested or self._expired():
            self._interrupted()

    def poll_time(self) -> None:
        """As `poll`, for work that is not Wasm code: epochs are only for that, as in wasmtime."""
        if self._requested or self._late():
            self._interrupted()

    def _interrupted(self) -> NoReturn:
        self._requested = False
        self._want_poll()
        raise Interrupted

    def _late(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _expired(self) -> bool:
        return self._late() or (
            self._epoch_deadline is not None and self.engine.epoch >= self._epoch_deadline
        )

    def _want_poll(self) -> None:
        # No more than a hint, raised after what it points to, and lowered before that is looked at.
        if self.backend is not None:
            self.backend.want_poll()


# Those that were given a deadline, whose timers a fork leaves behind.
_timed: weakref.WeakSet[Store] = weakref.WeakSet()


def _forked() -> None:
    for store in list(_timed):
        # The old timer is not cancelled: its thread, now gone, may hold its lock.
        store._timer = None
        store._start_timer()


os.register_at_fork(after_in_child=_forked)


def _expire(reference: weakref.ref[Store]) -> None:
    """A timer's end; it shall not keep the store alive."""
    store = reference()
    if store is not None:
        store._want_poll()
