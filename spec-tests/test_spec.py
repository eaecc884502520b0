"""Each script of the official suite passes whole: no failed command, no skipped one."""

from __future__ import annotations

import pytest

from locate import Script
from tinywasm.wast.runner import run_script
from tinywasm.wast.suite import config_for, unsupported


def test_script(script: Script) -> None:
    reason = unsupported(script.path)
    if reason:
        pytest.skip(reason)
    report = run_script(script.path.read_bytes(), script.name, config_for(script.path))
    assert report.commands > 0
    failures = [f"{script.name}:{failure.line}: {failure}" for failure in report.failures]
    assert not failures, "\n".join(failures[:20])
    assert report.skipped == 0
