"""`tinywasm completion`: scripts that the shells take, and what bash makes of its own."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tinywasm.cli import main
from tinywasm.engine import IMPLEMENTATIONS

COMMANDS = [
    "run", "validate", "wat2wasm", "wasm2wat", "compile", "inspect", "objdump", "wast", "repl", "completion",
]  # fmt: skip


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_command_and_its_options_are_there(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = script(shell, capsys)
    for word in [*COMMANDS, "max-memory", " ".join(["auto", *IMPLEMENTATIONS]), "bash fish zsh"]:
        assert word in text


@pytest.mark.parametrize(("shell", "check"), [("bash", "-n"), ("zsh", "-n"), ("fish", "-n")])
def test_the_shell_reads_it(shell: str, check: str, capsys: pytest.CaptureFixture[str]) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not here")
    done = subprocess.run(
        [shell, check], input=script(shell, capsys), capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not here")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["tinywasm", "wa"], ["wasm2wat", "wast", "wat2wasm"]),
        (["tinywasm", "--v"], ["--version"]),
        (["tinywasm", "run", "--en"], ["--engine", "--env"]),
        (["tinywasm", "run", "--engine", ""], ["auto", "native", "python"]),
        (["tinywasm", "completion", ""], ["bash", "fish", "zsh"]),
        (["tinywasm", "run", ""], []),
    ],
)
def test_what_bash_offers(words: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    quoted = " ".join(f"'{word}'" for word in words)
    program = (
        f"{script('bash', capsys)}\nCOMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1};"
        ' _tinywasm; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, timeout=30)
    assert (sorted(done.stdout.split()), done.stderr) == (expected, "")
