import gen_docs
import pytest

from tinywasm.instructions import TABLE


def test_the_committed_page_is_current() -> None:
    assert gen_docs.main(["--check"]) == 0


def test_the_page_has_a_row_for_each_instruction() -> None:
    rows = [line for line in gen_docs.page().splitlines() if " | `" in line]
    assert [line.split("`")[1] for line in rows] == [row.name for row in TABLE]
    assert "| 28 | `i32.load` | memarg4 | [at] → [i32] |  |" in rows
    assert "| FB 08 | `array.new_fixed` | type count | rule | const |" in rows


def test_a_page_that_is_not_current_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gen_docs, "TABLE", TABLE[:-1] + TABLE[:1])
    assert gen_docs.main(["--check"]) == 1
    assert "docs/instructions.md is not current" in capsys.readouterr().err
