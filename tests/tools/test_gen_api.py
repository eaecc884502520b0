"""The API reference is current and leaves nothing public out."""

from itertools import chain
from pathlib import Path

import gen_api
import pytest

import tinywasm


def test_page_is_current() -> None:
    assert gen_api.main(["--check"]) == 0


def test_every_public_name_has_its_place_once() -> None:
    told = [*chain(*gen_api.CHAPTERS.values()), *gen_api.OTHERS]
    assert sorted(told) == sorted(tinywasm.__all__)


def test_a_page_that_is_not_current_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gen_api, "ROOT", tmp_path)
    monkeypatch.setattr(gen_api, "PAGE", tmp_path / "api.md")
    assert gen_api.main(["--check"]) == 1
    assert "api.md is not current" in capsys.readouterr().err
    assert gen_api.main([]) == 0 and gen_api.main(["--check"]) == 0
