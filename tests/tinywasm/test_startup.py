"""What is loaded, and what is not: a program waits for every module before it begins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tinywasm
from tests.tinywasm.test_cli import ENVIRONMENT
from tinywasm.cli.grammar import COMMANDS

_PROGRAM = '(module (func (export "_start")) (func (export "one") (result i32) i32.const 1))'


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("startup") / "program.wasm"
    path.write_bytes(tinywasm.wat2wasm(_PROGRAM))
    return path


def loaded(code: str, *words: str) -> set[str]:
    """The modules that an interpreter without site-packages has loaded after the code."""
    last = "\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code + last, *words],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return set(done.stdout.splitlines()[-1].split())


def after(*words: str) -> set[str]:
    """Those after a command."""
    return loaded("import sys\nfrom tinywasm.cli import main\nassert main(sys.argv[1:]) == 0", *words)


def test_importing_loads_what_every_module_needs_and_no_more() -> None:
    found = loaded("import tinywasm")
    ours = {"cli", "dwarf", "numerics.operators", "text", "wasi", "wast", "engine.native.backend"}
    assert not found & {f"tinywasm.{name}" for name in ours}
    assert not found & {"argparse", "ctypes", "decimal", "hashlib", "json", "pathlib", "pkgutil", "socket"}


@pytest.mark.parametrize("name", ("MemoryTree", "WasiConfig"))
def test_what_is_loaded_late_is_there_all_the_same(name: str) -> None:
    assert "tinywasm.wasi" in loaded(f"import tinywasm; tinywasm.{name}()")
    assert "tinywasm.wasi" in loaded(f"from tinywasm import {name}")
    with pytest.raises(AttributeError, match="module 'tinywasm' has no attribute 'Wasi'"):
        tinywasm.Wasi  # noqa: B018


def test_a_command_does_without_the_others(program: Path) -> None:
    own = {"run": {"run"}, "validate": {"modules"}, "inspect": {"inspection", "features"}}
    every = {*COMMANDS.values(), "features"}
    for command, modules in own.items():
        found = {name.removeprefix("tinywasm.cli.") for name in after(command, str(program))}
        assert found & every == modules, command


def test_nothing_is_searched_for_garbage_at_the_end_of_a_process(program: Path) -> None:
    code = """
import atexit, gc, sys
from tinywasm.cli import main
atexit.register(lambda: print(gc.get_freeze_count() > 0, flush=True))
assert main(sys.argv[1:] if {given} else None) == 0
assert gc.get_freeze_count() == 0
"""
    for given in (True, False):
        done = subprocess.run(
            [sys.executable, "-S", "-c", code.format(given=given), "run", str(program)],
            env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        assert done.stdout == f"{not given}\n"


def test_running_a_program_loads_nothing_for_values_versions_and_reports(program: Path) -> None:
    unwanted = {"tinywasm.cli.value_text", "tinywasm.wast", "importlib.metadata", "json", "platform"}
    assert not after("run", str(program)) & (unwanted | {"tinywasm.text"})
    assert "tinywasm.cli.value_text" in after("run", str(program), "--invoke", "one")


@pytest.mark.parametrize("module", ["tinywasm.cli.inspection", "tinywasm.cli.features"])
def test_ctrl_c_while_a_command_is_loaded_is_no_traceback(program: Path, module: str) -> None:
    code = f"""
import os, signal, sys
from tinywasm.cli import main

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupting())
sys.exit(main())
"""
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, "inspect", str(program)],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
