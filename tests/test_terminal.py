"""What a person at a terminal has of the prompt: completion, history, the table of functions, Ctrl-C."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.processes import CALCULATOR, Host, environment, host

pexpect = pytest.importorskip("pexpect")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="enclaves are Linux processes")

UP, TAB, CTRL_C, CTRL_D = "\x1b[A", "\t", "\x03", "\x04"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with host(tmp_path_factory.mktemp("state")) as started:
        yield started


@contextmanager
def terminal(running: Host, folder: Path, *options: str) -> Iterator[Any]:
    """A client at a terminal of its own, at its prompt."""
    child = pexpect.spawn(
        sys.executable,
        ["-m", "wasm_client", "-c", running.address, "--allow-simulation", "-p", str(CALCULATOR), *options],
        env={**environment(running.state), "XDG_STATE_HOME": str(folder)},
        encoding="utf-8",
        timeout=60,
        dimensions=(40, 120),
        cwd=str(folder),
    )
    try:
        child.expect_exact("input>")
        yield child
    finally:
        child.close(force=True)


def shown(text: str) -> str:
    """A pattern of text on the screen: it may come in pieces, and the cursor may move between them."""
    moves = r"(?:\x1b\[[0-9;?]*[a-zA-Z])*"
    return moves.join(r"(?:\x1b\[[0-9;?]*[a-zA-Z]|\s)+" if c == " " else re.escape(c) for c in text)


def plain(text: str) -> str:
    """Text without what only moves the cursor or colours it, blanks as one."""
    return " ".join(re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", " ", text).split())


def test_functions_are_completed_with_their_types(running: Host, tmp_path: Path) -> None:
    with terminal(running, tmp_path) as child:
        child.send("mu" + TAB)
        child.expect(shown("mul"))
        child.send(" 6 7\r")
        child.expect(shown("output> 42"))
        child.expect(shown("input>"))
        child.send(TAB)
        # The menu is below the line: the last function's type, then whatever follows.
        child.expect(shown("div (param i32 i32) (result i32)"))
        menu = plain(child.before + child.after)
        for name in ("add", "sub", "mul"):
            assert f"{name} (param i32 i32) (result i32)" in menu
        child.send(CTRL_C)
        child.expect(shown("(q ends)"))
        child.expect(shown("input>"))


def test_commands_are_completed_with_what_they_do(running: Host, tmp_path: Path) -> None:
    with terminal(running, tmp_path) as child:
        child.send(":rec" + TAB)
        child.expect(shown(":receipt"))
        child.send("\r")
        child.expect(shown("error> nothing was called yet"))
        child.expect(shown("input>"))
        child.send(":re" + TAB)
        child.expect(shown("ADDRESS SIZE show bytes of memory"))
        child.expect(shown("an attested receipt of the latest call"))


def test_lines_are_remembered(running: Host, tmp_path: Path) -> None:
    with terminal(running, tmp_path) as child:
        child.send("add 20 22\r")
        child.expect(shown("output> 42"))
        child.expect(shown("input>"))
        child.send(CTRL_D)
        child.expect(pexpect.EOF)
        child.wait()
    assert child.exitstatus == 0
    history = tmp_path / "wasm-client" / "history"
    assert "add 20 22" in history.read_text()
    assert history.stat().st_mode & 0o077 == 0, "nobody else reads what was typed"
    with terminal(running, tmp_path) as child:
        child.send(UP)
        child.expect(shown("add 20 22"))
        child.send("\r")
        child.expect(shown("output> 42"))


def test_history_that_cannot_be_kept_is_told(running: Host, tmp_path: Path) -> None:
    (tmp_path / "wasm-client").write_text("a file where the folder should be")
    with terminal(running, tmp_path) as child:
        assert "the history is not kept: " in child.before
        child.send("add 1 1\r")
        child.expect(shown("output> 2"))


def test_table_of_functions(running: Host, tmp_path: Path) -> None:
    with terminal(running, tmp_path) as child:
        table = plain(child.before)
    assert "function parameters results add i32 i32 i32 sub i32 i32 i32" in table
