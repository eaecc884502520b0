"""What the suite's folders need."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinywasm.config import Config
from tinywasm.instructions import Feature
from tinywasm.wast.suite import config_for, scripts, unsupported


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("suite/core/gc/array.wast", None),
        ("suite/proposals/wide-arithmetic/wide-arithmetic.wast", None),
        ("suite/proposals/custom-page-sizes/binary.wast", None),
        ("suite/proposals/threads/atomic.wast", "the proposal threads"),
        ("suite/proposals/custom-descriptors/exact.wast", "the proposal custom-descriptors"),
        ("suite/legacy/exceptions/core/throw.wast", "legacy exception handling"),
        ("mirror/legacy/try_delegate.wast", "legacy exception handling"),
        ("mirror/throw.wast", None),
        ("legacy/mine.wast", None),
    ],
)
def test_unsupported_folders_have_a_reason(path: str, reason: str | None) -> None:
    found = unsupported(Path(path))
    assert found == reason or (reason and found and found.startswith(reason))


def test_folders_switch_their_proposal_on() -> None:
    assert config_for(Path("core/i32.wast")) == Config()
    assert config_for(Path("proposals/wide-arithmetic/x.wast")) == Config(wide_arithmetic=True)
    assert config_for(Path("proposals/custom-page-sizes/x.wast")) == Config(custom_page_sizes=True)
    assert config_for(Path("x.wast"), [Feature.WIDE_ARITHMETIC]) == Config(wide_arithmetic=True)


def test_folders_give_their_scripts_sorted(tmp_path: Path) -> None:
    for name in ("b.wast", "a.wast", "c.txt"):
        (tmp_path / name).touch()
    assert scripts([tmp_path]) == [tmp_path / "a.wast", tmp_path / "b.wast"]
    assert scripts([tmp_path / "c.txt"]) == [tmp_path / "c.txt"]
    with pytest.raises(FileNotFoundError):
        scripts([tmp_path / "missing"])
