"""Gets the sources that are linked in: CPython and the C library from Debian, pycryptodome from PyPI."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

PYTHON = "python3.11"
C_LIBRARY = "musl"
PYCRYPTODOME = "pycryptodome==4.4.0"
"""Of one version: its C code has no stable interface."""

_SHA256 = "eab7620c60c85f3fa251d026ec06e094f036d96187bebb9752e46fbcebabbb55"
"""Of that version's archive on PyPI."""

_LISTS = Path("/etc/apt")
_SECTION = re.compile(r"\n\s*\n")
_ERROR = re.compile(r"E: |ERROR: |dpkg-source: error: ")


class Failed(Exception):
    """A command failed; with the first line that it marked as an error, or else its last."""


def debian(package: str, folder: Path) -> Path:
    """The source of a package of Debian's, with its patches, in the folder of its name in `folder`."""
    source = folder / package
    if not source.exists():
        try:
            _get(package, folder / "apt", aside := folder / f"{package}.draft")
        except Failed as error:
            raise SystemExit(
                f"Debian's source package {package} is not to be had from the sources that apt has here: "
                f"{error}"
            ) from None
        aside.rename(source)
    return source


def _get(package: str, apt: Path, aside: Path) -> None:
    """Unpack a source package into a folder; Failed where it is not to be had."""
    for part in ("parts", "lists/partial", "cache/archives/partial"):
        (apt / part).mkdir(parents=True, exist_ok=True)
    (apt / "parts/sources.sources").write_text("\n\n".join(_source_lists()) + "\n")
    options = [
        f"Dir::Etc::SourceParts={apt}/parts",
        "Dir::Etc::SourceList=/dev/null",
        f"Dir::State::Lists={apt}/lists",
        f"Dir::Cache={apt}/cache",
        "APT::Sandbox::User=",
    ]
    arguments = [argument for option in options for argument in ("-o", option)]
    _run(["apt-get", *arguments, "-qq", "update"], apt)
    listed = _run(["apt-cache", *arguments, "showsrc", package], apt)
    # What a mirror lists newest is not always there yet.
    for version in sorted(set(re.findall(r"^Version: (.+)$", listed, re.M)), reverse=True):
        with contextlib.suppress(Failed):
            _run(["apt-get", *arguments, "-qq", "source", "--download-only", f"{package}={version}"], apt)
            break
    else:
        raise Failed("they list no version that could be downloaded")
    upstream = version.partition(":")[2] or version
    shutil.rmtree(aside, ignore_errors=True)
    _run(["dpkg-source", "--extract", f"{package}_{upstream}.dsc", str(aside)], apt)


def _source_lists() -> list[str]:
    """The machine's own sources, as sources of source packages."""
    sections = []
    for file in sorted(_LISTS.glob("sources.list.d/*.sources")):
        for section in _SECTION.split(file.read_text()):
            if "debian" in section.lower() and re.search(r"^Types:.*\bdeb\b", section, re.M):
                sections.append(re.sub(r"^Types:.*$", "Types: deb-src", section, flags=re.M).strip())
    for file in [_LISTS / "sources.list", *sorted(_LISTS.glob("sources.list.d/*.list"))]:
        for line in file.read_text().splitlines() if file.exists() else ():
            if found := re.match(r"deb(?:-src)?\s+(?:\[(.*?)\]\s+)?(\S*debian\S*)\s+(\S+)\s+(.+)", line):
                options, address, suite, components = found.groups()
                signed = re.search(r"signed-by=(\S+)", options or "")
                key = f"\nSigned-By: {signed[1]}" if signed else ""
                sections.append(
                    f"Types: deb-src\nURIs: {address}\nSuites: {suite}\nComponents: {components}{key}"
                )
    return sections


def pycryptodome(folder: Path) -> Path:
    """The C sources of pycryptodome, in a folder of `folder`."""
    source = folder / PYCRYPTODOME.replace("==", "-")
    if not source.exists():
        (folder / "requirements.txt").write_text(f"{PYCRYPTODOME} --hash=sha256:{_SHA256}\n")
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
        try:
            _run([*command, "-r", "requirements.txt"], folder)
        except Failed as error:
            raise SystemExit(f"{PYCRYPTODOME} is not to be had from PyPI: {error}") from None
        aside = folder / "pycryptodome.draft"
        shutil.rmtree(aside, ignore_errors=True)
        with tarfile.open(f"{source}.tar.gz") as archive:
            archive.extractall(aside, filter="data")
        (aside / source.name).rename(source)
        aside.rmdir()
    return source / "src"


def _run(command: list[str], folder: Path) -> str:
    """What a command writes; Failed where it fails."""
    if shutil.which(command[0]) is None:
        raise SystemExit(f"{command[0]} is needed to get the sources, and is not installed")
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"{command[0]} failed"]
        raise Failed(next(filter(_ERROR.match, lines), lines[-1]).strip())
    return done.stdout
