"""wasm-demo.ke, with a double in the place of the machine's driver: ``demo_double.py FILE ARGUMENT ...``."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
_SERVE = "--serve"


def start(file: str, arguments: list[str]) -> None:
    """Run the file; the host that it becomes has the double."""
    execv = os.execv

    def with_double(interpreter: str, words: list[str]) -> NoReturn:
        assert words[1:3] == ["-m", "wasm_host"]
        execv(interpreter, [interpreter, __file__, _SERVE, *words[3:]])

    os.execv = with_double  # type: ignore[assignment]
    sys.argv = [file, *arguments]
    runpy.run_path(file, run_name="__main__")


def serve(arguments: list[str]) -> int:
    """Be the host that is in the file."""
    # Behind the file's own packages.
    sys.path.append(str(ROOT))
    from tests.keystone import Machine
    from wasm_host import keystone
    from wasm_host.cli import main

    host: Any = keystone
    assert host.__file__.startswith(f"{os.environ['PYTHONPATH']}/")
    command = [sys.executable, str(ROOT / "tests" / "edge_application.py"), "serve"]
    host.LinuxDriver = lambda: Machine(command)
    return main(arguments)


if __name__ == "__main__":
    # There are tests of packages beside this file, in folders of their names.
    del sys.path[0]
    if sys.argv[1] == _SERVE:
        sys.exit(serve(sys.argv[2:]))
    start(sys.argv[1], sys.argv[2:])
