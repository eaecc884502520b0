"""Writes the modules that the application is made of as one file of bytes, and the C that lists them.

Run by the Python that is linked in, built for this machine: bytecode is for one version of Python.
"""

from __future__ import annotations

import _imp
import ast
import marshal
import re
import sys
from modulefinder import ModuleFinder
from pathlib import Path
from types import CodeType
from typing import Any

ROOTS = ("boot", "wasm_rt.keystone", "encodings.ascii", "encodings.utf_8")

ABSENT = (
    # What no enclave on Keystone has: sockets, files, threads, processes, libraries to load.
    "_hashlib", "_pyio", "_socket", "argparse", "asyncio", "bz2", "concurrent", "ctypes", "email", "getopt",
    "getpass", "gettext", "gzip", "importlib.metadata", "importlib.resources", "locale", "logging", "lzma",
    "multiprocessing", "pwd", "pydoc", "queue", "random", "runpy", "shutil", "site", "socket", "ssl",
    "subprocess", "sysconfig", "tempfile", "tomllib", "unittest", "urllib", "zipfile", "zlib",
    # What some module would ask for that nobody asks.
    "_strptime", "_threading_local", "calendar", "doctest", "encodings.mbcs", "importlib.readers",
    "linecache", "ntpath", "pkgutil", "plistlib", "timeit", "tokenize", "tracemalloc",
    # What construct has for other formats, and pickle where it was compiled.
    "arrow", "cloudpickle", "cryptography", "lz4", "numpy", "ruamel", "_pickle",
    # Other providers and engines, and what is for people.
    "Crypto", "greenlet", "schannel.provider_cryptography", "schannel.provider_pycryptodome", "tinywasm.cli",
    "tinywasm.engine.python.backend", "tinywasm.wasi.host", "tinywasm.wast",
)  # fmt: skip

ANNOTATED = "wasm_rt.application"
"""Which request each of its methods takes is read from their types."""

EMPTY = ("pdb", "pickle", "traceback")
"""What is imported, and never used."""

STAND_INS = {
    file.stem.removeprefix("no_"): file for file in (Path(__file__).parent / "stand_ins").glob("no_*.py")
}
"""What stands in the place of modules of which little is used."""

_IMPORT = re.compile(r"^ *((?:from [\w.]+ )?import (?:\([^)]*\)|[\w., ]+)$)", re.M)


def modules(path: list[str], linked: list[str], imports: Path) -> dict[str, tuple[Path, bool]]:
    """The files of what is imported and Python has not frozen, and whether each is a package's."""
    finder = ModuleFinder(path, excludes=[*ABSENT, *EMPTY, *STAND_INS, *linked])
    finder.run_script(str(imports))
    for root in ROOTS:
        finder.import_hook(root)
    found: dict[str, Any] = finder.modules
    theirs = frozenset(vars(_imp)["_frozen_module_names"]())
    return {
        name: (Path(module.__file__), module.__path__ is not None)
        for name, module in found.items()
        if module.__file__ and name != "__main__" and name not in theirs
    }


def write_imports(file: Path, path: list[str], linked: list[str]) -> None:
    """Write a script of what the modules import that are compiled: nobody sees it in what is linked."""
    stems = [Path(folder, name.replace(".", "/")) for folder in path for name in linked]
    sources = [stem.with_suffix(suffix) for stem in stems for suffix in (".py", ".pyx")]
    sources += [part for stem in stems for part in stem.parent.glob("*.pxi")]
    found = [line for each in sources if each.exists() for line in _IMPORT.findall(each.read_text())]
    file.write_text("\n".join(sorted(set(found))))


class Unannotated(ast.NodeTransformer):
    """Takes away the types of arguments and results, which take memory; those of fields are used."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Of a function, and those within."""
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        """Of an argument."""
        node.annotation = None
        return node


def compiled(source: bytes, name: str) -> CodeType:
    """The code of a module, without docstrings, assertions and the types of functions."""
    tree = ast.parse(source)
    if name != ANNOTATED:
        tree = Unannotated().visit(tree)
    return compile(tree, f"<{name}>", "exec", dont_inherit=True, optimize=2)


def main(folder: Path, path: list[str], linked: list[str]) -> None:
    """Write `frozen.bin` and `linked.c` into a folder."""
    blob, rows = bytearray(), []
    imports = folder / "imports.py"
    write_imports(imports, path, linked)
    found = modules(path, linked, imports)
    sources = {name: (file.read_bytes(), package) for name, (file, package) in found.items()}
    sources |= dict.fromkeys(EMPTY, (b"", False))
    sources |= {name: (file.read_bytes(), False) for name, file in STAND_INS.items()}
    for name, (source, package) in sorted(sources.items()):
        content = marshal.dumps(compiled(source, name))
        rows.append(f'    {{"{name}", linked_blob + {len(blob)}, {len(content)}, {int(package)}, NULL}},')
        blob += content
    (folder / "frozen.bin").write_bytes(blob)
    entries = {
        name: "PyInit_" + name.replace(".", "_") if "." in name else f"PyInit_{name}" for name in linked
    }
    lines = [
        '#include "linked.h"',
        "extern const unsigned char linked_blob[];",
        "const struct _frozen linked_frozen[] = {",
        *rows,
        "    {NULL, NULL, 0, 0, NULL},",
        "};",
        *(f"PyObject *{entry}(void);" for entry in entries.values()),
        "struct _inittab linked_modules[] = {",
        *(f'    {{"{name}", {entry}}},' for name, entry in entries.items()),
        "    {NULL, NULL},",
        "};",
        "",
    ]
    (folder / "linked.c").write_text("\n".join(lines))
    print(len(sources), "modules,", len(blob), "bytes")


if __name__ == "__main__":
    given = sys.argv[1:]
    at = given.index("--")
    try:
        main(Path(given[0]), given[1:at], given[at + 1 :])
    except OSError as error:
        sys.exit(str(error))
