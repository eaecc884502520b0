"""What an embedder chooses once: `Config`, and the `Engine` that carries it."""

from __future__ import annotations

import os
import threading
from operator import index
from typing import Any, Protocol
from weakref import WeakSet

from tinywasm.instructions import Feature
from tinywasm.loading import waited_for
from tinywasm.records import field, record, replace
from tinywasm.unique import Unique

# All of WebAssembly 3.0 is always there, so these names of wasmtime-py's can only be confirmed.
_ALWAYS_ON = frozenset(
    "wasm_" + name
    for name in (
        "tail_call", "reference_types", "simd", "bulk_memory", "multi_value", "multi_memory", "memory64",
        "relaxed_simd", "relaxed_simd_deterministic", "exceptions", "function_references", "gc",
    )
)  # fmt: skip
# The most that each number may be: more could not be counted in bytes, or be kept ready for.
_MOST = {
    "max_call_depth": 1 << 24,
    "max_nested_calls": 1 << 24,
    "max_memory_pages": (1 << 48) - 1,
    "max_table_elements": (1 << 32) - 1,
}
TIERS = ("interpreter", "auto", "compiled")
_SPELLED = {"wasm_wide_arithmetic": "wide_arithmetic", "wasm_custom_page_sizes": "custom_page_sizes"}


def _cache_of_environment() -> str:
    # Where no shell has seen it, `~` is still there.
    return os.path.expanduser(os.environ.get("TINYWASM_CACHE", ""))


@record()
class Config:
    """Options of an engine, as arguments or attributes.

    `engine`: the name of what runs the code, as `tinywasm --version` lists them, or "auto", which takes the
    fastest that is available; the default comes from the environment variable TINYWASM_ENGINE. Where
    none of that name can run, the first instance of a store raises `ValueError`.
    `tier`: "interpreter"; or "compiled", which makes machine code of all functions of a module when the first
    of them is called, but for those that it declines, which are interpreted; or "auto", which interprets them
    and makes machine code of those that prove hot, in a process of its own. Machine code takes the native
    engine and the extra `tinywasm[llvm]`: without them "auto" interprets, and for "compiled" the first
    instance of a store raises `ValueError`. "", the default, is what the environment variable TINYWASM_TIER
    says, where the engine has that tier, and else "interpreter".
    `wide_arithmetic`, `custom_page_sizes`: proposals beyond WebAssembly 3.0.
    `consume_fuel`: stores start with no fuel and every instruction costs one unit, a bulk
    instruction another one for each whole 64 bytes that it writes.
    `epoch_interruption`: stores start with an epoch deadline of 0, so that none runs without a call of
    `Store.set_epoch_deadline`.
    `max_call_depth`: activations of Wasm functions at a time; one more traps as stack exhaustion. At most
    2**24.
    `max_nested_calls`: calls from Python into Wasm at a time in a store, each from a host function that the
    one before it called; one more traps in the same way. Unlike Wasm functions that call each other, these
    take some of the thread's own stack, about 2.5 KiB each besides what host functions take. At most 2**24.
    `max_memory_pages`: a memory never grows past this number of 64 KiB pages, whatever its type says.
    One with addresses of 32 bits that names no maximum grows to 65,535 at most.
    At most 2**48 - 1.
    `max_table_elements`: the same for tables. At most 2**32 - 1.
    `debug_info`: frames of traps have source lines: of the text format, or from the DWARF line tables in
    a module's `.debug_line` section. They are read at the first trap; nothing runs slower.
    `cache`: the path of a folder, a string or what stands for one as `pathlib.Path` does, in which the tiers
    "compiled" and "auto" keep machine code of modules in the binary format, and the python engine what it
    makes of hot functions, up to 1 GiB, so that the next process need not make it, nor, for "compiled", have
    llvmlite; "" for none. The folder is made if it is missing. What lies there is trusted: where it belongs
    to another user, or others may write to it, the first instance of a store raises `ValueError`. The
    default comes from the environment variable TINYWASM_CACHE, where a `~` at the beginning is the user's
    home.

    Setting a `wasm_...` attribute that wasmtime-py has raises `ValueError` where that feature cannot be
    switched so: everything in WebAssembly 3.0 is on. Every other value that an option cannot have raises
    `TypeError` or `ValueError` as well.
    """

    engine: str = field(default_factory=lambda: os.environ.get("TINYWASM_ENGINE") or "auto")
    tier: str = ""
    wide_arithmetic: bool = False
    custom_page_sizes: bool = False
    consume_fuel: bool = False
    epoch_interruption: bool = False
    max_call_depth: int = 10_000
    max_nested_calls: int = 100
    max_memory_pages: int = 65536
    max_table_elements: int = 10_000_000
    debug_info: bool = False
    cache: str | os.PathLike[str] = field(default_factory=_cache_of_environment)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _ALWAYS_ON:
            if not value:
                raise ValueError(f"{name} cannot be switched off: it is part of WebAssembly 3.0")
        elif name == "wasm_threads":
            if value:
                raise ValueError("wasm_threads cannot be switched on: threads are not supported")
        else:
            name = _SPELLED.get(name, name)
            object.__setattr__(self, name, _checked(name, value) if name in self.__match_args__ else value)

    @property
    def features(self) -> frozenset[Feature]:
        """The proposals that are switched on."""
        chosen = {
            Feature.WIDE_ARITHMETIC: self.wide_arithmetic,
            Feature.CUSTOM_PAGE_SIZES: self.custom_page_sizes,
        }
        return frozenset(feature for feature, on in chosen.items() if on)


def wanted_tier(config: Config) -> str:
    """Its tier, or what the environment asks for. Raises `ValueError` where that is unknown."""
    if config.tier:
        return config.tier
    try:
        tier: str = _checked("tier", os.environ.get("TINYWASM_TIER", ""))
    except ValueError as error:
        raise ValueError(f"TINYWASM_TIER: {error}") from None
    return tier or "interpreter"


def _checked(name: str, value: Any) -> Any:
    if name in _MOST:
        value = index(value)
        if not 0 <= value <= _MOST[name]:
            raise ValueError(f"{name} takes 0 to {_MOST[name]}")
        return value
    kind = str if name in ("engine", "tier", "cache") else bool
    if name == "cache" and isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, kind):
        raise TypeError(f"{name} takes a {kind.__name__}, not {value!r}")
    if name == "tier" and value and value not in TIERS:
        *known, last = (f'"{each}"' for each in TIERS)
        raise ValueError(f'unknown tier "{value}": use {", ".join(known)} or {last}')
    return value


class _Watcher(Protocol):
    def epoch_advanced(self) -> None: ...


# Held while an engine's epoch or who watches it changes: one lock for all, which a fork can wait for.
# Reentrant, since signal handlers and finalizers may come here.
_epochs = waited_for(threading.RLock())


class Engine(Unique):
    """Shared by modules and stores that belong together; it keeps a copy of the configuration."""

    def __init__(self, config: Config | None = None) -> None:
        if config is not None and not isinstance(config, Config):
            raise TypeError(f"expected a Config, not {config!r}")
        self.config = replace(config) if config else Config()
        self.epoch = 0
        self._watchers: WeakSet[_Watcher] = WeakSet()

    def increment_epoch(self) -> None:
        """Begin the next epoch: calls end in stores that have it as deadline.

        May be called from any thread.
        """
        with _epochs:
            self.epoch += 1
            watchers = list(self._watchers)
        for watcher in watchers:
            watcher.epoch_advanced()

    def watch(self, watcher: _Watcher) -> None:
        """Tell `watcher` of every new epoch, for as long as it lives."""
        with _epochs:
            self._watchers.add(watcher)
