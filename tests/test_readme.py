"""The README keeps its word: what it shows is run, and what it points at is there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT, environment, host

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def shell_lines(program: str) -> list[str]:
    return [line for block in blocks("sh") for line in block.splitlines() if line.startswith(program)]


def run_module(line: str, state: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """A command of ours, as the module behind its entry point."""
    program, *arguments = shlex.split(line)
    command = [sys.executable, "-m", program.replace("-", "_"), *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment(state), input=stdin, capture_output=True, text=True, timeout=60
    )


def test_the_three_lines_do_what_their_comments_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (block,) = blocks("python")
    *lines, last = block.strip().splitlines()
    namespace: dict[str, object] = {}
    exec("\n".join(lines), namespace)
    expression, expected = last.split("#")
    assert str(eval(expression, namespace)) == expected.strip()


def test_the_command_line_adds(tmp_path: Path) -> None:
    (line,) = shell_lines("tinywasm")
    done = run_module(line, tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "2"), done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="enclaves are Linux processes")
def test_the_confidential_runtime_by_hand(tmp_path: Path) -> None:
    (line,) = shell_lines("wasm-client")
    with host(tmp_path / "state") as running:
        done = run_module(line.replace("127.0.0.1:3333", running.address), running.state, "add 1 1\nq\n")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "output> 2"), done.stderr
    assert "protects nothing" in done.stderr


def test_the_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in {line.split()[1] for line in shell_lines("make")} | {"suite"}:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (help .*)", makefile, re.MULTILINE)
    done = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    listed = [line.split()[1] for line in done.stdout.splitlines()]
    assert sorted(listed) == sorted(set(phony.split()) - {"help"})


def test_the_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
