"""A plugin of pytest, and a program, that refuses extensions which `sanitize` has not built.

Where one were missing, Python would do its work, and tests of it would be skipped.
"""

from __future__ import annotations

import os
from importlib import import_module

# Before `sanitize`, which has the path lead to the packages beside this folder first.
import tinywasm.engine.native as native
from fuzz.sanitize import EXTENSIONS

if native.IMPLEMENTATION.missing:
    raise ImportError(f"the native engine is not available: {native.IMPLEMENTATION.missing}")
for name in EXTENSIONS:
    found = import_module(name).__file__ or ""
    if not (found.startswith(os.environ["INSTRUMENTED"]) and found.endswith(".so")):
        raise ImportError(f"{name} is {found}, which is not what was built with sanitizers")
