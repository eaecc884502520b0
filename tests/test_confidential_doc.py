"""docs/confidential.md keeps its word: its examples run, and print what their comments say."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import ROOT, Host, environment, host
from wasm_client import cli, connect

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="enclaves are Linux processes")

TEXT = (ROOT / "docs" / "confidential.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with host(tmp_path_factory.mktemp("state")) as started:
        yield started


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_examples(example: str, running: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(example, {"ADDRESS": running.address, "POLICY": running.policy, "connect": connect})
    for expected in re.findall(r"\) +# (.+)", example):
        assert expected in printed.getvalue().splitlines()


def test_first_program(running: Host, tmp_path: Path) -> None:
    (commands,) = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    here = f"""wasm-host() {{ "{sys.executable}" -m wasm_host "$@"; }}
        wasm-client() {{ "{sys.executable}" -m wasm_client -c {running.address} "$@"; }}\n"""
    done = subprocess.run(
        ["bash", "-ec", here + commands],
        cwd=tmp_path,
        env=environment(running.state),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    (last,) = re.findall(r"The last line of the output is `(.*?)`", TEXT)
    assert done.stdout.splitlines()[-1] == last


def test_commands_have_options_that_exist(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    helps = ""
    for arguments in ([], ["attest"], ["verify"], ["verify-receipt"], ["measure"], ["keygen"], ["forget"]):
        with pytest.raises(SystemExit):
            cli.main([*arguments, "--help"])
        helps += capsys.readouterr().out
    for line in re.findall(r"^    wasm-client (.*)", TEXT, re.MULTILINE):
        for option in re.findall(r"(?<!\S)--?[a-z][a-z-]*", line):
            assert option in helps, option
