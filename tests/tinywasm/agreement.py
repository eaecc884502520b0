"""What the engines give for a module, and that it is the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tinywasm
from tinywasm import Config, Engine, Store, Trap, WasmException

Imports = Callable[[], dict[str, Any]]


def outcome(
    engine: str, source: bytes, name: str, args: Any, imports: Imports | None, fuel: int
) -> tuple[Any, int]:
    """What a call gives, and the fuel that is left.

    `imports` makes the module's imports; it may read `store` and `exports` from what it made, which are
    put there before the call.
    """
    store = Store(Engine(Config(engine=engine, consume_fuel=True, max_call_depth=500)))
    store.set_fuel(100_000_000)
    made = {} if imports is None else imports()
    exports = tinywasm.instantiate(source, imports=made, store=store).exports
    made["exports"] = {"it": exports}
    made["store"] = {"it": store}
    store.set_fuel(fuel)
    try:
        result: Any = exports[name](*args)
    except Trap as trap:
        result = type(trap), str(trap), [(frame.func_index, frame.module_offset) for frame in trap.frames]
    except WasmException as thrown:
        result = type(thrown), thrown.values
    return result, store.get_fuel()


def agreed(
    source: str | bytes,
    name: str = "f",
    *args: Any,
    imports: Imports | None = None,
    fuel: int = 100_000_000,
) -> Any:
    """What both engines give."""
    if isinstance(source, str):
        # Once for both: some texts are long.
        source = tinywasm.wat2wasm(source)
    first, second = (outcome(engine, source, name, args, imports, fuel) for engine in ("python", "native"))
    assert first == second
    return first[0]
