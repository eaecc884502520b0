"""What is said of two builds that differ, and that a hostile description says nothing."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from schannel.builds import describe, differences
from schannel.measurement import installed_image
from schannel.packages import installed_dependencies

RUNTIME = {"PYTHON": b"cpython-3.11.7", "tinywasm/__init__.py": b"a", "tinywasm/x/_loop.so": b"elf"}
APPLICATION = {
    "DEPENDENCIES": b"Crypto 1111111122\ncryptography 2222222233\n",
    "schannel/__init__.py": b"b",
    "schannel/_fast.so": b"elf",
    "wasm_rt/__init__.py": b"c",
}


def build(
    loader: bytes = b"loader",
    runtime: Mapping[str, bytes | None] | None = None,
    application: Mapping[str, bytes | None] | None = None,
) -> str:
    """A build's description, with some files changed or, where None is given, left out."""
    files = {**RUNTIME, **(runtime or {}), **APPLICATION, **(application or {})}
    return describe(loader, {name: content for name, content in files.items() if content})


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        (build(), []),
        (
            build(runtime={"PYTHON": b"cpython-3.13.1"}),
            ["Python is cpython-3.11.7 here and cpython-3.13.1 there"],
        ),
        (build(loader=b"other"), ["the sources of the loader: another release"]),
        (build(runtime={"tinywasm/__init__.py": b"z"}), ["the sources of tinywasm: another release"]),
        (build(runtime={"tinywasm/more.py": b"z"}), ["the sources of tinywasm: another release"]),
        (
            build(runtime={"tinywasm/x/_loop.so": None}, application={"schannel/_fast.so": None}),
            ["the compiled modules of tinywasm: only here", "the compiled modules of schannel: only here"],
        ),
        (
            build(runtime={"tinywasm/x/_loop.so": b"other"}),
            ["the compiled modules of tinywasm: another compiler, or other options"],
        ),
        (
            build(application={"DEPENDENCIES": b"Crypto 1111111122\n"}),
            ["the package cryptography: only here"],
        ),
        (
            build(application={"DEPENDENCIES": b"Crypto 9\ncryptography 2222222233\n_cffi_backend 4\n"}),
            ["the package Crypto: another version or build of it", "the package _cffi_backend: only there"],
        ),
    ],
)
def test_differences_in_words(theirs: str, words: list[str]) -> None:
    assert differences(build(), theirs) == words


def test_what_is_installed_describes_itself() -> None:
    image = installed_image()
    text = describe(image.loader, image.files())
    assert differences(text, text) == []
    assert all(f";{name}=" in text for name in installed_dependencies())
    assert len(text) < 600, "it fits into evidence"


@pytest.mark.parametrize(
    "hostile",
    [
        "\x1b[2J\x1b[31m=1;\x07=2",
        "trust me=\x1b]0;owned\x07",
        "python=\n\n$ sudo",
        "=;" * 500,
        "x" * 100_000,
        "python",
        "evil (compiled) (compiled)=1",
    ],
)
def test_a_hostile_description_says_nothing_of_its_own(hostile: str) -> None:
    said = "".join(differences(build(), hostile))
    assert said.isprintable()
    assert not any(word in said for word in ("owned", "sudo", "evil", "trust"))
