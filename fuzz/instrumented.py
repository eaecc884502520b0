"""A plugin of pytest, and a program, that refuses extensions which `sanitize` has not built.

Where one were missing, Python would do its work, and tests of it would be skipped.
"""

from __future__ import annotations

from importlib import import_module

from fuzz.sanitize import BUILD, EXTENSIONS
from tinywasm.engine.native import unavailable_because

if unavailable_because:
    raise ImportError(f"the native engine is not available: {unavailable_because}")
for name in EXTENSIONS:
    found = import_module(name).__file__ or ""
    if not (found.startswith(str(BUILD)) and found.endswith(".so")):
        raise ImportError(f"{name} is {found}, which is not what was built with sanitizers")
