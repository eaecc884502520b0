"""The project's frame: what is packaged, and what tinywasm may import."""

from __future__ import annotations

import ast
import configparser
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tinywasm
from schannel.extra import PACKAGES

ROOT = Path(__file__).resolve().parent.parent
CONFIG = configparser.ConfigParser()
CONFIG.read(ROOT / "setup.cfg")
FOLDERS = {
    name: ROOT / folder
    for name, _, folder in (line.split() for line in CONFIG["options"]["package_dir"].strip().splitlines())
}


def test_every_package_is_listed() -> None:
    found = {
        ".".join([name, *init.parent.relative_to(folder).parts])
        for name, folder in FOLDERS.items()
        for init in folder.rglob("__init__.py")
    }
    assert set(CONFIG["options"]["packages"].split()) == found


@pytest.mark.parametrize("folder", FOLDERS.values(), ids=FOLDERS.keys())
def test_every_package_is_typed(folder: Path) -> None:
    assert (folder / "py.typed").is_file()


def test_the_version_is_the_release() -> None:
    assert tinywasm.__version__ == CONFIG["metadata"]["version"]


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            # From a package of ours itself, modules are imported.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from names if node.module in FOLDERS else [node.module or ""]


# Used where it is installed, by who types at a terminal.
OPTIONAL = {("tinywasm/cli/lines.py", "prompt_toolkit")}


def test_tinywasm_imports_only_the_standard_library() -> None:
    allowed = sys.stdlib_module_names | {"tinywasm"}
    foreign = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in FOLDERS["tinywasm"].rglob("*.py")
        for name in _imports(path)
        if name.split(".")[0] not in allowed
        and (str(path.relative_to(ROOT)), name.split(".")[0]) not in OPTIONAL
    ]
    assert not foreign


def test_the_host_imports_nothing_of_the_channel_but_framing() -> None:
    found = {name for path in FOLDERS["wasm_host"].rglob("*.py") for name in _imports(path)}
    assert {name for name in found if name.split(".")[0] == "schannel"} <= {
        "schannel.framing",
        "schannel.command_line",
        "schannel.control",
        "schannel.edge",
        "schannel.storage",
        "schannel.structs",
        "schannel.errors",
        "schannel.endings",
        "schannel.extensions",
        "schannel.extra",
        "schannel.keystone_files",
        "schannel.packages",
        "schannel.regular_files",
        "schannel.release",
        "schannel.whole_files",
    }


COMMANDS = {
    name: module
    for name, module, _ in (
        line.replace("=", ":").replace(" ", "").split(":")
        for line in CONFIG["options.entry_points"]["console_scripts"].strip().splitlines()
    )
}
CONFIDENTIAL = [
    line.split()[0] for line in CONFIG["options.extras_require"]["confidential"].strip().splitlines()
]


def _bare(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run an interpreter that has our packages and the standard library, and nothing else."""
    parents = [str(folder.parent) for folder in FOLDERS.values()]
    return subprocess.run(
        [sys.executable, "-S", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(parents)},
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("wasm-host", ["wasm_host"]),
        ("wasm-host", ["wasm_host", "measure"]),
        ("wasm-host", ["wasm_host", "--check"]),
        ("wasm-client", ["wasm_client", "keygen"]),
        ("wasm-client", ["wasm_client", "--help"]),
        ("wasm-client-demo", ["wasm_client.demo"]),
    ],
)
def test_commands_name_the_extra_that_is_missing(program: str, words: list[str]) -> None:
    told = _bare("-m", *words)
    assert (told.returncode, told.stdout) == (2, "")
    package = "construct" if program == "wasm-host" else "pycryptodome"
    line = f"{program}: the package {package} is not installed; it comes with the extra `confidential`: "
    assert told.stderr.startswith(line)
    assert "pip install 'tinywasm[confidential]'" in told.stderr
    assert told.stderr.count("\n") == 1, "no traceback"


@pytest.mark.parametrize(("name", "module"), COMMANDS.items(), ids=COMMANDS.keys())
def test_installed_commands_start_without_any_extra(name: str, module: str) -> None:
    code = f"import sys; sys.argv[0] = {name!r}; from {module} import main; sys.exit(main())"
    told = _bare("-c", code, "--version")
    if told.returncode == 0:
        assert told.stdout.startswith(f"{name} ")
    else:
        assert told.stderr.startswith(f"{name}: the package ") and told.stderr.count("\n") == 1


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_of_the_extra_is_named_when_it_is_missing(package: str) -> None:
    command = f"start('any', lambda: __import__('{package}.any'))"
    told = _bare("-c", f"import sys; from schannel.extra import start; sys.exit({command})")
    assert told.returncode == 2
    assert told.stderr.startswith(f"any: the package {PACKAGES[package]} is not installed")
    assert told.stderr.count("\n") == 1


def test_the_extra_has_the_packages_that_are_explained() -> None:
    assert sorted(PACKAGES.values()) == sorted(CONFIDENTIAL)


def test_other_missing_modules_are_not_blamed_on_the_extra() -> None:
    code = "from schannel.extra import start; start('any', lambda: __import__('nowhere'))"
    assert "No module named 'nowhere'" in _bare("-c", code).stderr


@pytest.mark.parametrize("module", ["wasm_host", "wasm_client"])
def test_ctrl_c_while_a_command_is_imported_is_no_traceback(module: str) -> None:
    code = f"""
import os, runpy, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}.cli":
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupting())
runpy.run_module({module!r}, run_name="__main__")
"""
    done = _bare("-c", code)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize(
    "module", ["wasm_rt.enclave", "wasm_rt.monitor_server", "wasm_rt.replay", "schannel.session"]
)
def test_importing_what_needs_the_extra_names_it(module: str) -> None:
    last = _bare("-c", f"import {module}").stderr.splitlines()[-1]
    assert re.match("ModuleNotFoundError: the package .* is not installed; it comes with", last)
