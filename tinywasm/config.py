"""What an embedder chooses once: `Config`, and the `Engine` that carries it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from tinywasm.instructions import Feature


@dataclass(slots=True)
class Config:
    """Options of an engine.

    `engine`: "python", "native", or "auto", which takes native where it is built; the default comes from
    the environment variable TINYWASM_ENGINE.
    `consume_fuel`: stores start with no fuel and every instruction costs one unit.
    `max_call_depth`: activations of Wasm functions at a time; one more traps as stack exhaustion.
    `max_memory_pages`: a memory never grows past this number of 64 KiB pages, whatever its type says.
    `max_table_elements`: the same for tables.
    `debug_info`: frames of traps have source lines: of the text format, or from the DWARF line tables in
    a module's `.debug_line` section. They are read at the first trap; nothing runs slower.
    """

    engine: str = field(default_factory=lambda: os.environ.get("TINYWASM_ENGINE", "auto"))
    wide_arithmetic: bool = False
    custom_page_sizes: bool = False
    consume_fuel: bool = False
    max_call_depth: int = 10_000
    max_memory_pages: int = 65536
    max_table_elements: int = 10_000_000
    debug_info: bool = False

    @property
    def features(self) -> frozenset[Feature]:
        """The proposals that are switched on."""
        chosen = {
            Feature.WIDE_ARITHMETIC: self.wide_arithmetic,
            Feature.CUSTOM_PAGE_SIZES: self.custom_page_sizes,
        }
        return frozenset(feature for feature, on in chosen.items() if on)


@dataclass(frozen=True, slots=True)
class Engine:
    """Shared by modules and stores that belong together."""

    config: Config = field(default_factory=Config)
