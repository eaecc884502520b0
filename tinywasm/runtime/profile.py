"""Where the instructions of a run go: a record for each function, kept by the engines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinywasm.runtime.func import FuncInstance


class Record:
    """One function's part: `calls`, instructions of its own, and `total` with those of its callees.

    An activation inside another one of the same function adds to `total` once. `total` is None on an
    engine that does not follow calls and returns.
    """

    __slots__ = ("active", "calls", "func", "own", "total")

    def __init__(self, func: FuncInstance) -> None:
        self.func = func
        self.calls = 0
        self.own = 0
        self.total: int | None = None
        self.active = 0


class Profile:
    """Records of the Wasm functions that a store runs; instructions are counted as fuel is.

    It is for one store: `Store.profile`, set before the store's first instance is made.
    """

    def __init__(self) -> None:
        self._records: dict[FuncInstance, Record] = {}
        self.executed = 0
        # The calls from Python under way, the latest last.
        self._calls: list[Activations] = []
        # Engines that count elsewhere bring their counts here.
        self.settle: Callable[[], None] = lambda: None

    def record(self, func: FuncInstance) -> Record:
        """The function's record, made when it is first asked for."""
        if func not in self._records:
            self._records[func] = Record(func)
        return self._records[func]

    def records(self) -> list[Record]:
        """The functions that were called, by falling count of instructions of their own."""
        self.settle()
        called = [record for record in self._records.values() if record.calls]
        return sorted(called, key=lambda record: -record.own)

    def enter(self, record: Record) -> None:
        """The innermost activation begins to run a function; by a tail call, another one than before."""
        under_way = self._calls[-1].under_way
        self._close(under_way[-1])
        record.calls += 1
        record.active += 1
        under_way[-1] = record, self.executed

    def count(self, record: Record, instructions: int) -> None:
        record.own += instructions
        self.executed += instructions

    def begin(self, activations: Activations) -> None:
        """A call from Python begins."""
        self._calls.append(activations)

    def end(self, activations: Activations) -> None:
        """A call from Python is over, perhaps before a later one."""
        self._calls = [call for call in self._calls if call is not activations]
        while activations.under_way:
            self.leave(activations)

    def leave(self, activations: Activations) -> None:
        """The innermost activation of a call ends."""
        self._close(activations.under_way.pop())

    def _close(self, activation: tuple[Record, int] | None) -> None:
        if activation is None:
            return
        record, start = activation
        record.active -= 1
        if not record.active:
            record.total = (record.total or 0) + self.executed - start


class Activations(list[Any]):
    """A list of callers that tells a profile when activations begin and end.

    `under_way` has a record for each, and what had been executed when it began; None until `Profile.enter`
    tells of which function it is.
    """

    def __init__(self, profile: Profile) -> None:
        super().__init__()
        self._profile = profile
        self.under_way: list[tuple[Record, int] | None] = [None]
        profile.begin(self)

    def append(self, activation: Any) -> None:
        super().append(activation)
        self.under_way.append(None)

    def pop(self, index: Any = -1) -> Any:
        self._profile.leave(self)
        return super().pop(index)

    def close(self) -> None:
        """The call is over, with whatever activations a trap left."""
        self._profile.end(self)
