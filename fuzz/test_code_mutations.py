"""Changed native code is refused by the verifier, or does no harm: it may give wrong values."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fuzz import profiles
from tinywasm.engine import native_available

pytestmark = pytest.mark.skipif(not native_available, reason="the native engine is not built")


def test_changed_code_does_no_harm() -> None:
    """In a process of its own, which a wild access ends."""
    command = [sys.executable, "-m", "fuzz.code_mutations", "0", str(profiles.changed_modules)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-4000:]
    counts = {name: int(count) for count, name in (each.split() for each in ended.stdout.splitlines())}
    assert counts["run"] > 100 * profiles.changed_modules
    assert counts["refused"] > 100 * profiles.changed_modules
