"""Each script of the official suite passes whole on every engine: no failed command, no skipped one.

On the python engine, once more where each function becomes a Python function before its first call, and on
the native one where each is compiled to machine code: before its first call, or while it runs.
"""

from __future__ import annotations

import pytest

from fuzz.hot import AT_ONCE, compiled_after, hot_after
from fuzz.machine_code import compiled_with
from locate import Script
from tests.engines import needs_llvm
from tinywasm.engine import native_available
from tinywasm.wast.runner import run_script
from tinywasm.wast.suite import config_for, unsupported

ENGINES = ("python", "native") if native_available else ("python",)


@pytest.mark.parametrize("engine", ENGINES)
def test_script(script: Script, engine: str) -> None:
    passes(script, engine)


def test_script_hot(script: Script) -> None:
    with hot_after(AT_ONCE):
        passes(script, "python")


@needs_llvm
def test_script_compiled(script: Script) -> None:
    passes(script, "native", "compiled")


@needs_llvm
def test_script_auto(script: Script) -> None:
    with compiled_with("QUICK"), compiled_after(1, 1):
        passes(script, "native", "auto")


def passes(script: Script, engine: str, tier: str = "interpreter") -> None:
    reason = unsupported(script.path)
    if reason:
        pytest.skip(reason)
    config = config_for(script.path)
    config.engine, config.tier = engine, tier
    report = run_script(script.path.read_bytes(), script.name, config)
    assert report.commands > 0
    failures = [f"{script.name}:{failure.line}: {failure}" for failure in report.failures]
    assert not failures, "\n".join(failures[:20])
    assert report.skipped == 0
