"""Every kernel gives its result on the reference engine, and what is built here is up to date."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

import tinywasm
from benchmarks import large_module
from benchmarks.build import build_wasm
from benchmarks.catalogue import BY_NAME, CALLS, KERNELS, Kernel
from tinywasm import Module

# The results of the others at their tiny sizes were computed by the same C, compiled by gcc.
INDEPENDENT: dict[str, Callable[[int], int]] = {
    "fib": lambda n: fibonacci(n),
    "sieve": lambda n: n * sum(all(p % d for d in range(2, int(p**0.5) + 1)) for p in range(2, 8192)),
    "sha256": lambda n: int(
        hashlib.sha256(bytes((7 * k + 3) & 255 for k in range(n * 1024))).hexdigest()[:8], 16
    ),
    "interpreter": lambda n: sum(collatz(i) for i in range(1, n + 1)) ^ n,
}


def fibonacci(n: int) -> int:
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


def collatz(value: int) -> int:
    steps = 0
    while value != 1:
        value = 3 * value + 1 if value & 1 else value // 2
        steps += 1
    return steps


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_result(kernel: Kernel) -> None:
    run = tinywasm.instantiate(kernel.wasm).exports.run
    assert run(kernel.tiny) & 0xFFFFFFFF == kernel.expected
    # A second call begins anew: the harness calls many times.
    assert run(kernel.tiny) & 0xFFFFFFFF == kernel.expected
    run(0)


@pytest.mark.parametrize("name", INDEPENDENT)
def test_expected_results(name: str) -> None:
    kernel = BY_NAME[name]
    assert INDEPENDENT[name](kernel.tiny) & 0xFFFFFFFF == kernel.expected


@pytest.mark.parametrize("kernel", [k for k in (*KERNELS, CALLS) if k.suffix == ".wat"], ids=lambda k: k.name)
def test_text_kernels_are_built(kernel: Kernel, tmp_path: Path) -> None:
    built = tmp_path / "built.wasm"
    build_wasm(kernel, built)
    assert built.read_bytes() == kernel.wasm.read_bytes()


def test_large_module_is_valid_and_of_its_size() -> None:
    data = large_module.build(100_000)
    assert 70_000 < len(data) < 130_000
    module = Module(tinywasm.Engine(), data)
    assert len(module.syntax.functions) > 50
    assert data == large_module.build(100_000)
    assert data != large_module.build(100_000, seed=2)


def test_large_module_from_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "large.wasm"
    assert large_module.main(["20000", str(file)]) == 0
    tinywasm.instantiate(file)
