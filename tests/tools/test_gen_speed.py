from pathlib import Path

import gen_speed
import pytest

PAGE = """
## Large sizes

| kernel | tinywasm native | tinywasm native, compiled | wasmtime-py | wasmi |
| --- | ---: | ---: | ---: | ---: |
| fib | 0.4 ±1% | 0.2 ±1% | 0.1 ±1% | - |
| **geometric mean, scalar** | **0.45** of 1 | **0.15** of 1 | **0.13** of 1 | - |

## Small sizes, with the engines written in Python

| kernel | tinywasm python | pwasm | pywasm |
| --- | ---: | ---: | ---: |
| **geometric mean, scalar** | **9.5** of 1 | **10.1** of 1 | **2,897** of 1 |
"""


def test_the_row_says_what_was_measured() -> None:
    _, _, *cells = gen_speed.row(PAGE).split("|")
    assert [cell.strip() for cell in cells] == [
        "0.45; 0.15 as machine code; 9.5 in Python alone", "pywasm 2,897, pwasm 10.1", "1", "0.13", "",
    ]  # fmt: skip


def test_a_runtime_that_has_no_mean_has_no_figure() -> None:
    assert "wasmi" not in gen_speed.means(PAGE, "Large sizes")


@pytest.mark.parametrize(
    ("lost", "missing"),
    [("## Small sizes", "no row of means"), ("**0.15** of 1", "no mean of 'tinywasm native, compiled'")],
)
def test_a_page_without_it_is_refused(lost: str, missing: str) -> None:
    with pytest.raises(ValueError, match=missing):
        gen_speed.row(PAGE.replace(lost, "-"))


def test_the_readme_is_current() -> None:
    assert gen_speed.main(["--check"]) == 0


def test_a_readme_that_is_not_current_is_refused_and_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme, results = tmp_path / "README.md", tmp_path / "RESULTS.md"
    readme.write_text("| | tinywasm |\n| speed, of old | 9 |\n| size | 1 |\n")
    results.write_text(PAGE)
    monkeypatch.setattr(gen_speed, "README", readme)
    monkeypatch.setattr(gen_speed, "RESULTS", results)
    assert gen_speed.main(["--check"]) == 1
    assert "README.md is not current" in capsys.readouterr().err
    assert gen_speed.main([]) == 0
    assert readme.read_text() == f"| | tinywasm |\n{gen_speed.row(PAGE)}\n| size | 1 |\n"
    assert gen_speed.main(["--check"]) == 0
