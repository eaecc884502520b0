"""The native engine: register code in a compiled dispatch loop (`_loop`).

`native_available` tells whether the extension is built and fits this instruction table;
`unavailable_because` is the reason where it is not.
"""

from __future__ import annotations

import importlib

from tinywasm.engine.native.opcodes import DIGEST

_INTERFACE = 11


def _reason() -> str:
    """Why the extension cannot be used, or an empty string."""
    try:
        _loop = importlib.import_module("tinywasm.engine.native._loop")
    except ModuleNotFoundError:
        return "the extension was not built"
    except ImportError as error:
        return f"the extension does not load: {error}"
    if _loop.TABLE_DIGEST != DIGEST or getattr(_loop, "INTERFACE", 0) != _INTERFACE:
        return "the extension was built from other sources; build it again"
    return ""


unavailable_because = _reason()
native_available = not unavailable_because
