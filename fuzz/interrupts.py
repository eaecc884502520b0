"""Runs of generated modules that end at any look, after which their store is as good as a new one."""

from __future__ import annotations

from random import Random

from fuzz.engines import PLENTY, Record, config_of, difference, run
from fuzz.generator import Generated
from tinywasm.config import Engine
from tinywasm.engine import backend
from tinywasm.errors import Interrupted
from tinywasm.module import Module
from tinywasm.runtime.store import Store

_TIMES = 2


class _Looking(Store):
    """Counts its looks, and ends a run at the one that is the `last`."""

    looks = 0
    last = 0

    def poll(self) -> None:
        self.looks += 1
        if self.looks == self.last:
            raise Interrupted
        self._want_poll()


def compare(generated: Generated, module: Module, engine: str, expected: Record) -> tuple[str, int]:
    """How a run after an interrupt differs from what is `expected`, or nothing; and how many were ended."""
    store = _new(generated, engine)
    found = _differs(generated, module, engine, store, expected)
    if found:
        return f"with all looks: {found}", 0
    rng, looks, ended = Random(f"interrupts {generated.seed}"), store.looks, 0
    for _ in range(_TIMES if looks else 0):
        store = _new(generated, engine)
        last = store.last = 1 + rng.randrange(looks)
        _differs(generated, module, engine, store, expected)
        ended += store.looks >= last
        store.last = 0
        found = _differs(generated, module, engine, store, expected)
        if found:
            return f"after an interrupt at look {last} of {looks}: {found}", ended
    return "", ended


def _new(generated: Generated, engine: str) -> _Looking:
    store = _Looking(Engine(config_of(generated, engine, metered=True)))
    # Looks ask the store from now on.
    backend(store)
    return store


def _differs(generated: Generated, module: Module, engine: str, store: _Looking, expected: Record) -> str:
    store.set_fuel(PLENTY)
    store._want_poll()
    return difference(expected, run(generated, module, engine, PLENTY, store))
