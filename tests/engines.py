"""The engines that tests run on."""

import sys
from importlib.util import find_spec
from typing import Any

import pytest

from tinywasm import Config, native_available

ENGINES = ("python", "native") if native_available else ("python",)

COMPILED = "native, compiled"
compiles = native_available and find_spec("llvmlite") is not None
needs_llvm = pytest.mark.skipif(not compiles, reason="nothing is compiled without the extension and llvmlite")
# Engines, and the native one with what it compiles compiled.
LANES = [*ENGINES, pytest.param(COMPILED, marks=needs_llvm)]

needs_views = pytest.mark.skipif(
    sys.version_info < (3, 12) and not native_available,
    reason="memories have views where Python is 3.12 or later, or the extension is built",
)


def configured(lane: str, **options: Any) -> Config:
    """The configuration of a lane."""
    if lane == COMPILED:
        return Config(engine="native", tier="compiled", **options)
    return Config(engine=lane, **options)
