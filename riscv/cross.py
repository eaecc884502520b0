"""Extensions of Python packages, compiled here for the machine's processor.

The `setup.py` of a package says what its extensions are made of; the compiler is called directly, since
setuptools knows the headers, flags and names of the interpreter that runs it, and no other.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import RiscvError
from .needs import COMPILER
from .processes import run, run_together

_DESCRIBE = """
import json, sys
from distutils.core import run_setup
made = run_setup("setup.py", stop_after="config")
fields = ("name", "sources", "include_dirs", "define_macros", "extra_compile_args", "py_limited_api")
with open(sys.argv[1], "w") as file:
    json.dump([{name: getattr(each, name) for name in fields} for each in made.ext_modules], file)
"""
_FLAGS = ("-shared", "-fPIC", "-O2", "-DNDEBUG", "-fwrapv", "-s", "-w")


@dataclass(frozen=True, slots=True)
class Python:
    """The guest's interpreter: its version, such as 3.13.5, and the folder of its C headers."""

    version: str
    headers: Path

    @classmethod
    def of(cls, headers: Path) -> Python:
        """The one whose headers are in a folder `include`."""
        (patchlevel,) = headers.glob("python3.*/patchlevel.h")
        (line,) = (text for text in patchlevel.read_text().splitlines() if "define PY_VERSION " in text)
        return cls(line.split('"')[1], headers)

    @property
    def name(self) -> str:
        """Such as python3.13."""
        return "python" + self.version.rpartition(".")[0]

    @property
    def suffix(self) -> str:
        """What the names of its extensions end with."""
        major, minor, *_ = self.version.split(".")
        return f".cpython-{major}{minor}-riscv64-linux-gnu.so"


def compile_extensions(source: Path, target: Path, python: Python, log: Path) -> None:
    """Compile the extensions of the package in `source` to files in `target`, named as modules are.

    Raises:
        RiscvError: one does not compile.
    """
    target.mkdir()
    compiled = []
    for each in _described(source, target / "extensions.json", log):
        suffix = ".abi3.so" if each["py_limited_api"] else python.suffix
        path = target / (each["name"].replace(".", "/") + suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        compiled.append(
            [
                *(COMPILER, *_FLAGS, *each["extra_compile_args"]),
                *(f"-I{folder}" for folder in (*each["include_dirs"], python.headers / python.name)),
                *(f"-I{python.headers}", *_defined(each["define_macros"]), *each["sources"], "-o", path),
            ]
        )
    # The longest first.
    compiled.sort(key=lambda command: -len(command))
    run_together("compiling for riscv64", compiled, log, at_once=os.cpu_count() or 1, folder=source)


def _described(source: Path, answer: Path, log: Path) -> list[dict[str, Any]]:
    # Packages try out what the compiler can do.
    environment = {"CC": COMPILER}
    command = [sys.executable, "-W", "ignore", "-c", _DESCRIBE, str(answer)]
    run(f"reading {source / 'setup.py'}", command, log, folder=source, environment=environment)
    described: list[dict[str, Any]] = json.loads(answer.read_text())
    answer.unlink()
    if not described:
        raise RiscvError(f"{source / 'setup.py'} has no extensions: is Cython installed? ({log} says more)")
    return described


def _defined(macros: list[tuple[str, str | None]]) -> Iterator[str]:
    for name, value in macros:
        yield f"-D{name}" if value is None else f"-D{name}={value}"
