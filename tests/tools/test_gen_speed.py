import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import gen_speed
import pytest

PAGE = """
## Large sizes

| kernel | tinywasm native | tinywasm native, auto | tinywasm native, compiled | wasmtime-py | wasmi |
| --- | ---: | ---: | ---: | ---: | ---: |
| fib | 0.4 ±1% | 0.3 ±1% | 0.2 ±1% | 0.1 ±1% | - |
| simd_dot | 11.0 ±1% | 1.5 ±2% | 1.02 ±6% | 1 | - |
| gc_list | 1.4 ±1% | 1.4 ±2% | 1.3 ±6% | 1 | - |
| gc_tree | 0.9 ±1% | 0.9 ±2% | 0.8 ±6% | 1 | - |
| **geometric mean, scalar** | **0.45** of 1 | **0.25** of 1 | **0.15** of 1 | **0.13** of 1 | - |

## Small sizes, with the engines written in Python

| kernel | tinywasm python | pwasm | pywasm |
| --- | ---: | ---: | ---: |
| simd_dot | 1,224 ±28% | - | 69,887 ±0% |
| gc_list | 9.9 ±5% | - | - |
| gc_tree | 6.7 ±5% | - | - |
| **geometric mean, scalar** | **9.5** of 1 | **10.1** of 1 | **2,897** of 1 |

## Calls over the border

| one call, processor time | tinywasm python | tinywasm native | pwasm |
| --- | ---: | ---: | ---: |
| from Python: `(i32, i32) -> i32` | 6.14 µs ±1% | 129 ns ±2% | 1.10 µs ±1% |
| to Python: `(i32, i32) -> i32` | 2.02 µs ±32% | 145 ns ±2% | 1.09 µs ±0% |
"""


def test_the_row_says_what_was_measured() -> None:
    _, _, *cells = gen_speed.row(PAGE).split("|")
    assert [cell.strip() for cell in cells] == [
        "0.45; 0.15 [compiled](docs/performance.md), 0.25 with `auto`; 9.5 in Python alone",
        "pywasm 2,897, pwasm 10.1", "1", "0.13", "",
    ]  # fmt: skip


def test_the_drawing_has_every_runtime_with_a_mean_the_fastest_first() -> None:
    drawing = ElementTree.fromstring(gen_speed.drawing(PAGE))
    texts = [element.text for element in drawing.iter("{http://www.w3.org/2000/svg}text")]
    shown = [(name, figure) for name, figure in pairwise(texts) if re.match(r"[a-z]", name or "")]
    assert shown[1:] == [
        ("wasmtime-py", "0.130"),
        ("tinywasm native, compiled", "0.150"),
        ("tinywasm native, auto", "0.250"),
        ("tinywasm native", "0.450"),
        ("tinywasm python", "9.50"),
        ("pwasm", "10.1"),
        ("pywasm", "2,897"),
    ]


def test_the_table_has_each_runtime_in_its_column() -> None:
    lines = [line.split(" | ") for line in gen_speed.table(PAGE).splitlines()]
    native, compiled, python, pwasm = (
        [line[lines[0].index(name)] for line in lines[2:]]
        for name in ("tinywasm native", "tinywasm native, compiled", "tinywasm python", "pwasm |")
    )
    assert native == ["0.45", "11.0", "1.4", "0.9", "129 ns", "145 ns"]
    assert compiled == ["0.15", "1.02", "1.3", "0.8", "-", "-"]
    assert python == ["9.5", "1,224", "9.9", "6.7", "6.14 µs", "2.02 µs"]
    assert pwasm == ["10.1 |", "- |", "- |", "- |", "1.10 µs |", "1.09 µs |"]


@pytest.mark.parametrize(
    ("lost", "missing"),
    [
        ("## Small sizes", "no table in its chapter 'Small sizes'"),
        ("tinywasm native, compiled", "no figure of 'tinywasm native, compiled'"),
        ("**geometric mean, scalar**", "no row .* in its chapter 'Large sizes'"),
    ],
)
def test_results_without_it_are_refused(lost: str, missing: str) -> None:
    with pytest.raises(ValueError, match=missing):
        gen_speed.row(PAGE.replace(lost, "other"))


def test_what_is_committed_is_current() -> None:
    assert gen_speed.main(["--check"]) == 0


def test_pages_that_are_not_current_are_refused_and_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme, page, results = (tmp_path / name for name in ("README.md", "performance.md", "RESULTS.md"))
    readme.write_text("| | tinywasm |\n| speed, of old | 9 |\n| size | 1 |\n")
    page.write_text("# A\n\n<!-- generated: speed -->\n\n| |\n\n<!-- end of generated: speed -->\n\nZ\n")
    results.write_text(PAGE)
    drawing = tmp_path / "speed.svg"
    for name, path in (("README", readme), ("PAGE", page), ("RESULTS", results), ("DRAWING", drawing)):
        monkeypatch.setattr(gen_speed, name, path)
    assert gen_speed.main(["--check"]) == 1
    assert "README.md and performance.md and speed.svg: not current" in capsys.readouterr().err
    assert gen_speed.main([]) == 0
    assert readme.read_text() == f"| | tinywasm |\n{gen_speed.row(PAGE)}\n| size | 1 |\n"
    table = gen_speed.table(PAGE)
    assert page.read_text() == (
        f"# A\n\n<!-- generated: speed -->\n\n{table}\n\n<!-- end of generated: speed -->\n\nZ\n"
    )
    assert drawing.read_text() == gen_speed.drawing(PAGE)
    assert gen_speed.main(["--check"]) == 0
