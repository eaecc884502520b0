"""A plugin of pytest that imports tinywasm first, and refuses one that `sanitize` has not built."""

from __future__ import annotations

import tinywasm
from fuzz.sanitize import BUILD

if not tinywasm.__path__[0].startswith(str(BUILD)):
    raise ImportError(f"{tinywasm.__path__[0]} is not what was built with sanitizers")
