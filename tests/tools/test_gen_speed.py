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

COLD = """
## 0.1 times the work

| kernel | tinywasm native | tinywasm native, auto | wasmtime-py |
| --- | ---: | ---: | ---: |
| fib 29 | 25.0 ms | 1.01 | 0.500 |
| **geometric mean** | 20.0 ms | 1.02 | 0.400 |

## 10 times the work

| kernel | tinywasm native | tinywasm native, auto | wasmtime-py |
| --- | ---: | ---: | ---: |
| **geometric mean** | 2.00 s | 0.400 | 0.200 |
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


def test_cold_starts_are_told_by_how_long_the_interpreter_takes() -> None:
    means = gen_speed.cold(COLD)
    assert gen_speed.cold_table(means).splitlines() == [
        "| tinywasm native | tinywasm native, auto | wasmtime-py |",
        "|---|---|---|",
        "| 20.0 ms | 1.02 | 0.400 |",
        "| 2.00 s | 0.400 | 0.200 |",
    ]
    drawing = ElementTree.fromstring(gen_speed.cold_drawing(means))
    marks = [element.text for element in drawing.iter("{http://www.w3.org/2000/svg}title")]
    # The legend names each runtime first or last.
    assert marks[:4] == [
        "20.0 ms, tinywasm native, auto: 1.02", "20.0 ms, wasmtime-py: 0.4",
        "2.00 s, tinywasm native, auto: 0.4", "2.00 s, wasmtime-py: 0.2",
    ]  # fmt: skip


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
    names = {
        "README": "README.md", "PAGE": "performance.md", "RESULTS": "RESULTS.md", "COLD": "COLD.md",
        "DRAWING": "speed.svg", "COLD_DRAWING": "cold.svg",
    }  # fmt: skip
    readme, page, results, started, *drawings = (tmp_path / name for name in names.values())
    for name, path in zip(names, (readme, page, results, started, *drawings), strict=True):
        monkeypatch.setattr(gen_speed, name, path)
    readme.write_text("| | tinywasm |\n| speed, of old | 9 |\n| size | 1 |\n")
    page.write_text(f"# A\n\n{place('speed', '| |')}\nB\n\n{place('cold', '| |')}\nZ\n")
    results.write_text(PAGE)
    started.write_text(COLD)
    assert gen_speed.main(["--check"]) == 1
    assert "README.md and performance.md and speed.svg and cold.svg: not current" in capsys.readouterr().err
    assert gen_speed.main([]) == 0
    assert readme.read_text() == f"| | tinywasm |\n{gen_speed.row(PAGE)}\n| size | 1 |\n"
    means = gen_speed.cold(COLD)
    tables = place("speed", gen_speed.table(PAGE)), place("cold", gen_speed.cold_table(means))
    assert page.read_text() == f"# A\n\n{tables[0]}\nB\n\n{tables[1]}\nZ\n"
    assert [drawing.read_text() for drawing in drawings] == [
        gen_speed.drawing(PAGE),
        gen_speed.cold_drawing(means),
    ]
    assert gen_speed.main(["--check"]) == 0


def place(name: str, table: str) -> str:
    return f"<!-- generated: {name} -->\n\n{table}\n\n<!-- end of generated: {name} -->\n"
