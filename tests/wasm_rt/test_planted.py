"""Code that somebody has left where Python would run it, and whether monitor and enclaves run it.

An installation of its own is planted with it: cached bytecode of every module, of ours, of third-party
packages and of the standard library, which Python does not compare with the source; what ``site`` runs; and
what the environment and the working directory offer. All of it notes that it was run by another process than
the host, which is not trusted, and then does what the module does.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib._bootstrap_external import _code_to_hash_pyc  # type: ignore[attr-defined]
from pathlib import Path

import pytest

from schannel.control import Ready
from schannel.measurement import installed_image
from schannel.packages import installed_packages, package_folder
from tests.processes import Host, descendants, host, run_monitor
from wasm_client.session import connect
from wasm_host.simulated import BOOT, INTERPRETER_OPTIONS, LOADER, START

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="enclaves are Linux processes")

PACKAGES = {name: Path(folder) for name, folder in installed_packages().items()}

# Of what is there when the first module is loaded.
_NOTE = """
import posix, sys
if "-m" not in getattr(sys, "orig_argv", ["-m"]):
    opened = posix.open({marks!r}, posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND)
    posix.write(opened, {kind!r})
    posix.close(opened)
"""
_PLANT = (
    _NOTE
    + """
opened, source = posix.open(__file__, posix.O_RDONLY), b""
while part := posix.read(opened, 1 << 20):
    source += part
posix.close(opened)
exec(compile(source, __file__, "exec"))
"""
)


@dataclass
class Planted:
    """An interpreter with its own standard library and packages, and the file in which plants are noted."""

    python: str
    library: Path
    packages: Path
    marks: Path

    def run(self) -> set[str]:
        """The kinds of plants that were run."""
        return set(self.marks.read_text().split()) if self.marks.exists() else set()

    def cache(self, source: Path, kind: str) -> None:
        """Plant cached bytecode that is used without a look at the source (PEP 552, unchecked)."""
        text = _PLANT.format(marks=str(self.marks), kind=f"{kind}\n".encode())
        cached = Path(importlib.util.cache_from_source(str(source)))
        cached.parent.mkdir(exist_ok=True)
        cached.write_bytes(_code_to_hash_pyc(compile(text, str(source), "exec"), bytes(8), checked=False))

    def write(self, path: Path, kind: str) -> None:
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(_NOTE.format(marks=str(self.marks), kind=f"{kind}\n".encode()))


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    prefix = tmp_path_factory.mktemp("prefix")
    ours = Path(sysconfig.get_path("stdlib"))
    (prefix / "bin").mkdir()
    python = prefix / "bin" / ours.name
    shutil.copy(Path(sys.executable).resolve(), python)
    library = prefix / "lib" / ours.name
    packages = library / "site-packages"
    planted = Planted(str(python), library, packages, prefix / "marks")
    _link(ours, library)
    for path in ours.parent.glob("libpython*"):
        (library.parent / path.name).symlink_to(path)
    for name, folder in {**PACKAGES, "wasm_host": Path(package_folder("wasm_host"))}.items():
        if folder.is_file():
            shutil.copy(folder, packages / folder.name)
        else:
            shutil.copytree(folder, packages / name, ignore=shutil.ignore_patterns("__pycache__"))
    for source in packages.rglob("*.py"):
        planted.cache(source, source.relative_to(packages).parts[0])
    for source in library.glob("*.py"):
        planted.cache(source, "standard-library")
    for source in (library / "encodings").glob("*.py"):
        planted.cache(source, "encodings")
    for name in ("sitecustomize", "usercustomize"):
        planted.write(packages / f"{name}.py", name)
    (packages / "planted.pth").write_text("import planted_path\n")
    planted.write(packages / "planted_path.py", "pth")
    return planted


def _link(ours: Path, library: Path) -> None:
    """Make a folder of the standard library that shares all but what is to be planted."""
    (library / "site-packages").mkdir(parents=True)
    (library / "encodings").mkdir()
    for path in ours.iterdir():
        if path.name not in ("__pycache__", "site-packages", "encodings"):
            (library / path.name).symlink_to(path)
    for path in (ours / "encodings").glob("*.py"):
        (library / "encodings" / path.name).symlink_to(path)


@pytest.fixture
def outside(planted: Planted, tmp_path: Path) -> dict[str, str]:
    """What the environment can name."""
    for name in ("tomllib", "hmac", "ctypes", "sitecustomize"):
        planted.write(tmp_path / "path" / f"{name}.py", "PYTHONPATH")
    planted.write(tmp_path / "startup.py", "PYTHONSTARTUP")
    user = tmp_path / "user" / "lib" / planted.library.name / "site-packages"
    planted.write(user / "usercustomize.py", "PYTHONUSERBASE")
    (tmp_path / "libraries").mkdir()
    return {
        "PYTHONPATH": str(tmp_path / "path"),
        "PYTHONSTARTUP": str(tmp_path / "startup.py"),
        "PYTHONUSERBASE": str(tmp_path / "user"),
        "LD_LIBRARY_PATH": str(tmp_path / "libraries"),
    }


@pytest.fixture
def started(planted: Planted, outside: dict[str, str], tmp_path: Path) -> Iterator[Host]:
    planted.marks.unlink(missing_ok=True)
    state = tmp_path / "state"
    # Its working directory.
    for name in ("tomllib", "hmac", "ctypes", "sitecustomize"):
        planted.write(state / f"{name}.py", "working-directory")
    with host(state, interpreter=planted.python, environ=outside) as running:
        yield running


def test_plants_are_run_where_nothing_is_done_about_it(planted: Planted, outside: dict[str, str]) -> None:
    planted.marks.unlink(missing_ok=True)
    code = "import hmac, tinywasm, schannel, wasm_rt, cryptography, Crypto"
    for environ, run in ({}, code), (outside, "import tomllib"):
        subprocess.run([planted.python, "-c", run], env=environ, cwd=planted.library, check=True)
    assert planted.run() >= {
        *("tinywasm", "schannel", "wasm_rt", "Crypto", "cryptography", "standard-library", "encodings"),
        *("sitecustomize", "usercustomize", "pth", "PYTHONPATH"),
    }


def test_nothing_planted_is_run(planted: Planted, started: Host) -> None:
    """The policy is that of the installation without the plants: the measurements are the same."""
    with connect(started.address, started.policy) as session:
        session.deploy(b'(module (func (export "f") (result i32) i32.const 7))')
        assert session.call("f") == 7
    assert not planted.run()


def test_packages_that_change_after_they_were_read(planted: Planted, tmp_path: Path) -> None:
    folders = json.dumps({name: str(planted.packages / path.name) for name, path in PACKAGES.items()})
    gone = planted.packages.with_name("gone")
    # All that runs from here on was read before.
    move = f"os.rename({str(planted.packages)!r}, {str(gone)!r})"
    try:
        ready = run_monitor(tmp_path, code=START + move + BOOT.removeprefix(START), folders=folders)
    finally:
        gone.rename(planted.packages)
    assert isinstance(ready, Ready) and ready.enclave == installed_image().measurement()


def test_package_that_changes_while_it_is_read(planted: Planted, tmp_path: Path) -> None:
    folders = json.dumps({name: str(path) for name, path in PACKAGES.items()})
    code = LOADER + "module.boot(folders, loader + b'#')"
    done = subprocess.run(
        [sys.executable, *INTERPRETER_OPTIONS, "-c", code, folders], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.endswith("RuntimeError: wasm_rt/loader.py was changed while the monitor started\n")


def test_monitor_and_enclaves_get_no_environment(started: Host) -> None:
    with connect(started.address, started.policy):
        below = descendants(started.process.pid)
        names = {
            pid: {
                entry.partition(b"=")[0].decode()
                for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                if entry
            }
            for pid in below
        }
    assert len(below) == 3, "a monitor, a zygote and an enclave"
    allowed = {"TINYWASM_STATE_DIR", "XDG_STATE_HOME", "HOME"}
    assert all(found <= allowed for found in names.values()), names
    assert sorted(map(len, names.values()))[:2] == [0, 0]
