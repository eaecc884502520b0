"""Installing says what it is at."""

from __future__ import annotations

import sys
from pathlib import Path

import install
import pytest

OUTPUT = """\
Obtaining file:///checkout
  Collecting Cython>=3.0
  [1/2] Cythonizing tinywasm/engine/native/_loop.pyx
  running build_ext
  building 'tinywasm.engine.native._loop' extension
  gcc -c x.c
Collecting rich>=13 (from tinywasm==0.1.0)
  Downloading rich-15.0.0-py3-none-any.whl (310 kB)
Installing collected packages: rich, tinywasm
"""


def test_each_step_is_said_and_all_is_kept(tmp_path: Path) -> None:
    said: list[str] = []
    command = [sys.executable, "-c", f"print({OUTPUT!r}, end=''); exit(3)"]
    assert install.follow(command, tmp_path / "log", said.append) == 3
    assert said == [
        "  fetching Cython",
        "  translating tinywasm/engine/native/_loop.pyx to C",
        "  compiling tinywasm.engine.native._loop",
        "  fetching rich",
        "  installing what was built and fetched",
    ]
    assert (tmp_path / "log").read_text() == OUTPUT


def test_a_long_step_is_named_again(tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    code = f"""
import pathlib, time
print("building 'x' extension", flush=True)
while not pathlib.Path({str(go_on)!r}).exists():
    time.sleep(0.01)
"""
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if "still compiling" in line:
            go_on.touch()

    assert install.follow([sys.executable, "-c", code], tmp_path / "log", say, pulse=0.05) == 0
    said = [line for line in said if "still preparing" not in line]
    assert said[0] == "  compiling x"
    assert said[1].startswith("  still compiling x (")


def test_a_failure_shows_the_end_of_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    assert install.main([str(tmp_path / "nowhere"), str(log)]) != 0
    output, error = capsys.readouterr()
    assert output.startswith(f"Installing {tmp_path / 'nowhere'}")
    assert "nowhere" in log.read_text() and "nowhere" in error
    assert error.endswith(f"pip failed; all that it said is in {log}\n")
