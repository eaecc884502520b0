"""The store: what one family of instances shares while it runs."""

from __future__ import annotations

from typing import Any

from tinywasm.config import Engine
from tinywasm.errors import Interrupted, OutOfFuel


class Store:
    """Owns fuel, interruption and the call depth of the instances made in it.

    `fuel` is None where the engine's configuration does not meter, else the units left.
    `depth` counts the activations under way, nested calls through host functions included.
    """

    def __init__(self, engine: Engine | None = None) -> None:
        self.engine = engine or Engine()
        self.fuel: int | None = 0 if self.engine.config.consume_fuel else None
        self.depth = 0
        self.interrupted = False
        # Where the instructions go, if somebody asks: a `runtime.profile.Profile`.
        self.profile: Any = None
        # What runs code for this store; the engine chooses it when it is first needed.
        self.backend: Any = None

    def set_fuel(self, fuel: int) -> None:
        """Give the store `fuel` units. Raises `ValueError` where the configuration does not meter."""
        if self.fuel is None:
            raise ValueError("fuel is not metered: use Config(consume_fuel=True)")
        self.fuel = fuel

    def get_fuel(self) -> int:
        """The units left. Raises `ValueError` where the configuration does not meter."""
        if self.fuel is None:
            raise ValueError("fuel is not metered: use Config(consume_fuel=True)")
        return self.fuel

    def charge(self, units: int) -> None:
        """Take `units` of fuel. Raises `OutOfFuel`, and takes nothing, where fewer are left."""
        assert self.fuel is not None
        if self.fuel < units:
            raise OutOfFuel
        self.fuel -= units

    def interrupt(self) -> None:
        """End the call under way, from another thread or a signal handler, with `Interrupted`."""
        self.interrupted = True
        if self.backend is not None:
            self.backend.interrupt()

    def poll(self) -> None:
        """Looked at on calls and back-edges. Raises `Interrupted` once for each `interrupt`."""
        if self.interrupted:
            self.interrupted = False
            raise Interrupted
