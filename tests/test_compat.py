"""Scripts for wasmtime-py print the same with tinywasm after a changed import, on both engines."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tinywasm.engine import native_available

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted((ROOT / "tests" / "compat").glob("*.py"))

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("wasmtime") is None,
    reason="wasmtime is not installed (tinywasm[test] brings it)",
)


def _run(script: Path, engine: str = "auto") -> str:
    environment = os.environ | {"TINYWASM_ENGINE": engine, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


_reference = cache(_run)


def test_there_are_twelve() -> None:
    assert len(SCRIPTS) == 12


@pytest.mark.parametrize("engine", ["python", "native"])
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_output_is_that_of_wasmtime(script: Path, engine: str, tmp_path: Path) -> None:
    if engine == "native" and not native_available:
        pytest.skip("the native engine is not built")
    source = script.read_text(encoding="utf-8")
    assert source.count("from wasmtime import") == 1
    changed = tmp_path / script.name
    changed.write_text(source.replace("from wasmtime import", "from tinywasm import"), encoding="utf-8")
    assert _run(changed, engine) == _reference(script)
