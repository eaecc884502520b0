"""docs/cli.md keeps its word: its commands are run in order, and print what it shows."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engines import compiles
from tinywasm.cli.main import _parse

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The document's files, and a `tinywasm` that is this one."""
    path = tmp_path_factory.mktemp("cli")
    for block in blocks("wat"):
        name = re.match(r";; (\S+)\n", block)
        assert name
        (path / name[1]).write_text(block)
    shim = path / "bin" / "tinywasm"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tinywasm "$@"\n')
    shim.chmod(0o755)
    return path


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not here")
def test_every_command_prints_what_stands_below_it(folder: Path) -> None:
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    compiled = compiles and os.environ.get("TINYWASM_ENGINE", "auto") != "python"
    for block in blocks("console"):
        if "tinywasm compile" in block and not compiled:
            continue
        commands = [line[2:] for line in block.splitlines() if line.startswith("$ ")]
        # One shell a block, that `$?` is the status of the command before.
        script = "".join(
            f"echo {shlex.quote(f'$ {command}')}; (exit $last); {command}\nlast=$?\n" for command in commands
        )
        done = subprocess.run(
            ["bash", "-c", f"exec 2>&1; last=0\n{script}"],
            cwd=folder, env=environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.stdout == block


def test_every_command_and_option_is_described() -> None:
    headings = " ".join(re.findall(r"^## (.*)$", DOCUMENT, re.MULTILINE))
    for command in (
        "run", "validate", "wat2wasm", "wasm2wat", "compile", "inspect", "objdump", "wast", "repl",
        "completion",
    ):  # fmt: skip
        assert command in headings
    described = set(re.findall(r"--[a-z][a-z-]+", DOCUMENT))
    for command in ("run", "wast", "repl", "validate", "compile", "inspect"):
        words = [command, "a.wat"]
        options = {f"--{name.replace('_', '-')}" for name in vars(_parse(words))}
        assert options - {"--command", "--arguments", "--file", "--files"} <= described


def test_the_links_lead_somewhere() -> None:
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", DOCUMENT, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", DOCUMENT)) <= anchors
