"""Who takes part: tinywasm's engines and the peers that are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from benchmarks.build import build_native
from benchmarks.catalogue import ROOT, Kernel
from benchmarks.runtimes import tinywasm_environment
from benchmarks.sessions import (
    CommandSession,
    Failed,
    SelfTimedSession,
    Session,
    WorkerSession,
    first_line,
    run_command,
)
from tinywasm.engine import IMPLEMENTATIONS
from tinywasm.engine.interface import Implementation

VERSION_TIMEOUT = 20
BUILD_TIMEOUT = 600


@dataclass(frozen=True, slots=True)
class Peer:
    """`slow` ones are written in Python and run the small sizes only."""

    name: str
    version: str
    slow: bool = False

    def open(self, kernel: Kernel, scratch: Path) -> Session:
        """A session on the kernel; `scratch` is a folder for whatever has to be built."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Package(Peer):
    """A Python package, timed in a process of its own. `engine` is one of tinywasm's."""

    loader: str = ""
    engine: str | None = None

    @property
    def environment(self) -> dict[str, str] | None:
        return tinywasm_environment(self.engine) if self.engine else None

    def open(self, kernel: Kernel, scratch: Path) -> Session:
        return WorkerSession(self.loader, kernel.wasm, "warm", self.environment)


@dataclass(frozen=True, slots=True)
class Command(Peer):
    """A program from the PATH: `before` goes before the module's name, the size after it."""

    program: str = ""
    before: tuple[str, ...] = ()
    pattern: str = r"^\s*(-?\d+)\s*$"

    def open(self, kernel: Kernel, scratch: Path) -> Session:
        return CommandSession([self.program, *self.before, str(kernel.wasm)], self.pattern)


@dataclass(frozen=True, slots=True)
class Native(Peer):
    """The C source compiled for this machine: the floor."""

    compiler: str = ""

    def open(self, kernel: Kernel, scratch: Path) -> Session:
        if kernel.suffix != ".c":
            raise Failed("no C source")
        program = scratch / kernel.name
        if not program.exists():
            try:
                build_native(kernel, self.compiler, program)
            except subprocess.CalledProcessError as error:
                raise Failed(first_line(error.stderr.decode(errors="replace"))) from None
        return SelfTimedSession([str(program)])


@dataclass(frozen=True, slots=True)
class Crate(Peer):
    """A runtime that comes as a crate: `benchmarks/interpreters` with this one's feature."""

    cargo: str = ""
    feature: str = ""

    def open(self, kernel: Kernel, scratch: Path) -> Session:
        target = ROOT / "build" / "interpreters" / self.feature
        manifest = ROOT / "benchmarks" / "interpreters" / "Cargo.toml"
        where = [f"--manifest-path={manifest}", f"--target-dir={target}"]
        try:
            run_command(
                [self.cargo, "build", "--quiet", "--release", *where, "--features", self.feature],
                BUILD_TIMEOUT,
            )
        except Failed as error:
            raise Failed(f"cannot be built: {error}") from None
        return SelfTimedSession([str(target / "release" / "interpreters"), self.feature, str(kernel.wasm)])


@dataclass(slots=True)
class Found:
    """The peers that take part, and why the others do not."""

    peers: list[Peer] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)


# Package, the module that it installs, loader, and whether it is written in Python.
_PACKAGES = (
    ("pwasm", "pwasm", "pwasm", True),
    ("pywasm", "pywasm", "pywasm", True),
    ("pywasm3", "wasm3", "pywasm3", False),
    ("wasmtime", "wasmtime", "wasmtime-py", False),
)
# Name, version, feature of `benchmarks/interpreters`.
_CRATES = (
    ("Silverfir-nano", "sf-nano-core 0.6.0, its interpreter", "silverfir"),
    ("Silverfir-nano, compiled", "sf-nano-core 0.6.0, its compiler", "silverfir-jit"),
    ("wasm3 0.9", "wasm3x-sys 0.2.1", "wasm3"),
)
_COMMANDS = (
    Command("wasm3", "", program="wasm3", before=("--func", "run"), pattern=r"Result: (-?\d+)"),
    Command("iwasm", "", program="iwasm", before=("-f", "run"), pattern=r"^(0x[0-9a-f]+):i32"),
    Command("wasmi", "", program="wasmi", before=("run", "--invoke", "run")),
    Command("wasmi", "", program="wasmi_cli", before=("run", "--invoke", "run")),
    Command(
        "tinywasm-rs", "", program="tinywasm", before=("run", "--invoke", "run"), pattern=r"i32\((-?\d+)\)"
    ),
    Command("wasmtime", "", program="wasmtime", before=("run", "--invoke", "run")),
)


def find_peers() -> Found:
    """tinywasm's engines first, then packages, commands, and native code."""
    found = Found()
    for engine in reversed(IMPLEMENTATIONS.values()):
        if engine.missing:
            found.missing[f"tinywasm {engine.name}"] = engine.missing
        else:
            _add_tinywasm(found, engine)
    for package, module, loader, slow in _PACKAGES:
        if find_spec(module):
            mode = " (compile)" if loader == "pwasm" else ""
            found.peers.append(Package(loader, metadata.version(package) + mode, slow, loader))
        else:
            found.missing[loader] = f"the package {package} is not installed"
    cargo = shutil.which("cargo")
    for name, version, feature in _CRATES:
        if cargo:
            found.peers.append(Crate(name, version, cargo=cargo, feature=feature))
        else:
            found.missing[name] = "no cargo on the PATH"
    for command in _COMMANDS:
        _add_command(found, command)
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler:
        found.peers.append(Native("native C", _version([compiler, "--version"]), compiler=compiler))
    else:
        found.missing["native C"] = "no C compiler on the PATH"
    return found


def _add_tinywasm(found: Found, engine: Implementation) -> None:
    name, version, slow = engine.name, _version_of("tinywasm"), engine.name == "python"
    found.peers.append(Package(f"tinywasm {name}", version, slow, "tinywasm", name))
    if not slow:
        found.peers.append(Package(f"tinywasm {name}, fuel", version, slow, "tinywasm+fuel", name))
    if engine.compiler:
        _add_compiling(found, engine, engine.compiler)


def _add_compiling(found: Found, engine: Implementation, compiler: Callable[[], str]) -> None:
    for tier in ("auto", "compiled"):
        name = f"tinywasm {engine.name}, {tier}"
        try:
            version = f"{_version_of('tinywasm')} ({compiler()})"
        except ValueError as error:
            found.missing[name] = str(error)
        else:
            found.peers.append(Package(name, version, False, f"tinywasm+{tier}", engine.name))


def _version_of(package: str) -> str:
    """The version of a package, also of a checkout that nobody installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "checkout"


def _add_command(found: Found, command: Command) -> None:
    if any(peer.name == command.name for peer in found.peers):
        return
    program = next(_programs(command.program), None)
    if program:
        version = _version([str(program), "--version"])
        found.peers.append(replace(command, version=version, program=str(program)))
        found.missing.pop(command.name, None)
    else:
        found.missing.setdefault(command.name, f"no {command.program} on the PATH")


def _programs(name: str) -> Iterator[Path]:
    """The programs of this name on the PATH, scripts left out: `tinywasm` is the name of our own."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        path = shutil.which(name, path=folder) if folder else None
        if path:
            with open(path, "rb") as file:
                if file.read(2) != b"#!":
                    yield Path(path)


def _version(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=VERSION_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return first_line(str(error), 40)
    return first_line(done.stdout or done.stderr, 60)
