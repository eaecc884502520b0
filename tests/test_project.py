"""The project's frame: what is packaged, and what tinywasm may import."""

from __future__ import annotations

import ast
import configparser
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tinywasm

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
            yield node.module or ""


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
        "schannel.storage",
        "schannel.errors",
        "schannel.release",
    }
