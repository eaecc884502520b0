"""What an enclave was built from, in words, for people whose policy refuses it.

An enclave says it in its evidence. Of an enclave that a policy does not accept it proves nothing: whoever
runs it can have it say anything.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

from .measurement import DEPENDENCIES_ENTRY, PYTHON_ENTRY
from .packages import OUR_PACKAGES

_LONGEST = 1024
_DIGITS = 8
_COMPILED = " (compiled)"
_RANDOMNESS = "randomness"
_PART = re.compile(r"([A-Za-z0-9_]{1,40}(?: \(compiled\))?)=([A-Za-z0-9._+-]{1,40})")


def describe(loader: bytes, files: Mapping[str, bytes]) -> str:
    """The parts of a build: the version of Python, and a few digits of the digest of every other part.

    `loader` is the first measured file, and `files` are those in the two others.
    """
    parts = {"python": files.get(PYTHON_ENTRY, b"").decode(errors="replace")}
    parts["loader"] = _digits([loader])
    for package in OUR_PACKAGES:
        names = sorted(name for name in files if name.startswith(f"{package}/"))
        for key, compiled in ((package, False), (package + _COMPILED, True)):
            chosen = [
                part
                for name in names
                if name.endswith(".py") is not compiled
                for part in (name.encode(), files[name])
            ]
            if chosen:
                parts[key] = _digits(chosen)
    for line in files.get(DEPENDENCIES_ENTRY, b"").decode(errors="replace").splitlines():
        name, _, value = line.partition(" ")
        parts[name] = value[:_DIGITS]
    return ";".join(f"{name}={value}" for name, value in parts.items())[:_LONGEST]


def differences(ours: str, theirs: str) -> list[str]:
    """What distinguishes two builds, in words; what is not a build's description counts for nothing."""
    here, there = _read(ours), _read(theirs)
    names = [*here, *(name for name in there if name not in here)]
    return [_difference(name, here, there) for name in names if here.get(name) != there.get(name)]


def on_keystone(build: str) -> bool:
    """Whether it describes an application for Keystone: these alone say what their randomness is made of."""
    return _RANDOMNESS in _read(build)


def _difference(name: str, here: Mapping[str, str], there: Mapping[str, str]) -> str:
    if name == "python":
        return f"Python is {here.get(name, 'unknown')} here and {there.get(name, 'unknown')} there"
    package = name.removesuffix(_COMPILED)
    if package != name:
        what, why = f"the compiled modules of {package}", "another compiler, or other options"
    elif name == "loader" or name in OUR_PACKAGES:
        what, why = f"the sources of {'the loader' if name == 'loader' else name}", "another release"
    elif name == _RANDOMNESS:
        what, why = "the randomness", "another kind of machine"
    else:
        what, why = f"the package {name}", "another version or build of it"
    if name in here and name in there:
        return f"{what}: {why}"
    return f"{what}: only {'here' if name in here else 'there'}"


def _read(text: str) -> dict[str, str]:
    """The parts in a description; whatever else somebody wrote there is left out."""
    found = (_PART.fullmatch(item) for item in text[:_LONGEST].split(";"))
    return {match[1]: match[2] for match in found if match}


def _digits(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:_DIGITS]
