"""Engines: what runs validated code. `backend` gives a store the one that its configuration asks for.

Each registers itself in `IMPLEMENTATIONS`, and nothing outside of this package names one.
"""

from __future__ import annotations

from tinywasm.compiled import prefer_sources
from tinywasm.engine.interface import Backend, Implementation
from tinywasm.engine.native import IMPLEMENTATION as NATIVE
from tinywasm.engine.python import IMPLEMENTATION as PYTHON
from tinywasm.loading import loading
from tinywasm.runtime.store import Store

__all__ = ["IMPLEMENTATIONS", "Backend", "Implementation", "backend", "choose", "native_available"]

# In this order "auto" looks for one that can run.
IMPLEMENTATIONS = {each.name: each for each in (NATIVE, PYTHON)}

native_available = not NATIVE.missing


def backend(store: Store) -> Backend:
    """The store's backend.

    Raises `ValueError` for an engine that is unknown, that is not available, or that has not the tier.
    """
    if store.backend is not None:
        return store.backend
    with loading:
        config = store.engine.config
        load = choose(config.engine, config.tier).load()
    made = load(store)
    # In one step: another thread, or a signal handler, may have made one meanwhile.
    chosen: Backend = vars(store).setdefault("backend", made)
    # They may have become others before it was there to be told.
    chosen.limits_changed()
    return chosen


def choose(name: str, tier: str = "") -> Implementation:
    """The engine of that name, with that tier; for "auto" the first that can run. Raises as `backend`."""
    chosen = _named(name)
    if tier and tier not in chosen.tiers:
        raise ValueError(f'the {chosen.name} engine has no tier "{tier}"')
    return chosen


def _named(name: str) -> Implementation:
    if name == "auto":
        return next(each for each in IMPLEMENTATIONS.values() if not each.missing)
    if name not in IMPLEMENTATIONS:
        known = [f'"{each}"' for each in ("auto", *IMPLEMENTATIONS)]
        raise ValueError(f'unknown engine "{name}": use {", ".join(known[:-1])} or {known[-1]}')
    chosen = IMPLEMENTATIONS[name]
    if chosen.missing:
        raise ValueError(f"the {name} engine is not available: {chosen.missing}")
    return chosen


# Selection reads the arrays that the others make only where they are compiled.
prefer_sources("tinywasm.engine.ir.operands", "tinywasm.engine.ir.build", "tinywasm.engine.native.select")
