"""Serialized modules with forged code are refused, have their code made anew, or do no harm."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fuzz import profiles
from tinywasm.engine import native_available

pytestmark = pytest.mark.skipif(not native_available, reason="the native engine is not built")


def test_forged_modules_do_no_harm() -> None:
    """In a process of its own, which a wild access ends."""
    command = [sys.executable, "-m", "fuzz.forged_modules", str(profiles.forged)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-4000:]
    counts = {name: int(count) for count, name in (each.split(" ", 1) for each in ended.stdout.splitlines())}
    assert counts["loaded"] > profiles.forged // 2
    assert counts["refused"] and counts["taken"] and counts["made anew"]
