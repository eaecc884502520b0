"""ARCHITECTURE.md describes this code: its places exist, and a module travels as its diagram says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.processes import ROOT

PAGE = (ROOT / "ARCHITECTURE.md").read_text()
PACKAGE = ROOT / "tinywasm"
# What comes in, the file that makes something of it, and what that is.
ARROWS = re.findall(r"^[│├└─ ]*(\w+) ─+ ([\w/]+\.\w+) ─*▶ (\w+)", PAGE, re.MULTILINE)
STEPS = [(first, second) for _, first, made in ARROWS for taken, second, _ in ARROWS if made == taken]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def named(node: ast.AST | None) -> set[str]:
    """The names in an annotation."""
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)} if node else set()


def executed(path: Path) -> Iterator[ast.AST]:
    """All nodes but what only the type checker reads."""
    pending: list[ast.AST] = [tree(path)]
    while pending:
        node = pending.pop()
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            pending += ast.iter_child_nodes(node)


@cache
def imported(path: Path) -> frozenset[Path]:
    """The files of the package that a file imports, in its functions too, and those that these import."""
    found: set[Path] = set()
    pending = [path]
    while pending:
        for node in executed(pending.pop()):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tinywasm"):
                inside = ROOT.joinpath(*node.module.split("."))
                for place in (inside, *(inside / alias.name for alias in node.names)):
                    source = place.with_suffix(".py")
                    if source.is_file() and source not in found:
                        found.add(source)
                        pending.append(source)
    return frozenset(found)


def test_the_diagram_is_read_whole() -> None:
    (diagram,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    assert len(ARROWS) == diagram.count("▶") > 8


@pytest.mark.parametrize(("taken", "file", "made"), ARROWS)
def test_each_file_makes_what_the_arrow_leads_to(taken: str, file: str, made: str) -> None:
    path = PACKAGE / file
    assert path.is_file()
    if path.suffix != ".py":
        return
    functions = [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef)]
    arguments = set[str]().union(*(named(node.args) for node in functions))
    returned = set[str]().union(*(named(node.returns) for node in functions))
    known = {each.id for each in ast.walk(tree(path)) if isinstance(each, ast.Name)}
    assert taken in arguments | known or taken == "text"
    assert made in returned or made == "results"


@pytest.mark.parametrize(("first", "second"), STEPS)
def test_nothing_imports_what_comes_behind_it(first: str, second: str) -> None:
    if first.endswith(".py") and second.endswith(".py"):
        assert PACKAGE / second not in imported(PACKAGE / first)


def test_imports_are_followed() -> None:
    assert PACKAGE / "engine/ir/build.py" in imported(PACKAGE / "engine/native/backend.py")
    assert PACKAGE / "leb128.py" in imported(PACKAGE / "binary/decoder.py")


def test_the_places_of_the_map_exist() -> None:
    cells = re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
    assert len(cells) > 20
    for cell in cells:
        first, *others = re.findall(r"`(.+?)`", cell)
        assert (ROOT / first).exists(), first
        for name in others:
            assert (ROOT / name).exists() or (ROOT / first).parent.joinpath(name).exists(), name


ROWS = re.findall(r"^\| `(tinywasm/[\w/]*/|\w+/\w+/)` \| (.*) \|", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("folder", "about"), ROWS, ids=[folder for folder, _ in ROWS])
def test_the_map_names_what_is_in_a_folder(folder: str, about: str) -> None:
    there = {path.relative_to(ROOT / folder).as_posix() for path in (ROOT / folder).rglob("*.*")}
    for name in re.findall(r"`([a-z_]\w*(?:\.\w+)?)`", about):
        found = name in there or {f"{name}.py", f"{name}.pyx", f"{name}/__init__.py"} & there
        assert found or name == "tinywasm", name


# What each engine, or each layer, has of its own: one meaning in several folders.
SAME_THING = {"__init__", "backend", "cache", "func", "module_instance", "objects", "rare", "vectors"}


def test_a_name_of_a_file_says_one_thing() -> None:
    places: dict[str, list[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        places.setdefault(path.stem, []).append(path.relative_to(PACKAGE).as_posix())
    assert {stem for stem, paths in places.items() if len(paths) > 1} == SAME_THING, places


FOLDERS = sorted(
    path.name
    for path in ROOT.iterdir()
    if path.is_dir() and path.name.isidentifier() and path.name != "build"
)


@pytest.mark.parametrize("folder", [*FOLDERS, "spec-tests"])
def test_no_file_that_somebody_writes_is_long(folder: str) -> None:
    kinds = {".py", ".pyx", ".pxi", ".pxd", ".c", ".cpp", ".h", ".rs", ".sh"}
    for path in (ROOT / folder).rglob("*.*"):
        if path.suffix in kinds:
            lines = path.read_text(encoding="utf-8").splitlines()
            generated = any("enerated by" in line for line in lines[:3])
            assert generated or len(lines) < 800, path
