"""What `sanitize` runs: each part a few minutes of one processor."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "spec-tests"))

from locate import find_suite

# A greenlet's stack is copied away and another one put in its place; what the address sanitizer knows of the
# variables there stays behind. The build for greenlets watches the heap and not the stack.
MOVED_STACKS = "--param=asan-stack=0"
# A script with one of these words makes objects that the collector frees.
COLLECTED = (b"struct.new", b"array.new", b"throw", b"try_table")
# Nothing of pytest's configuration comes in front of the instrumented packages, and what the
# undefined-behaviour sanitizer writes, past Python, is seen.
PLUGINS = ("-p", "no:cacheprovider", "-p", "fuzz.instrumented")
PYTEST = ("pytest", "-q", "--capture=sys", "-o", "pythonpath=", *PLUGINS)
# What the python engine does runs no C code of ours.
NATIVE = ("-k", "not [python and not -python")
NOT_HERE = (
    # Has a stack of 32 KiB, which an instrumented frame of the loop is larger than.
    "tests/tinywasm/test_compiled.py::test_a_thread_with_a_small_stack_has_its_functions_compiled",
    # Reads the source of the verifier, which is not where the build is.
    "tests/tinywasm/test_verifier.py::test_every_rule_is_tested",
    # The sanitizer itself takes more than the limit that it sets.
    "tests/tinywasm/api/test_api_memory.py::test_reserved_space_counts_toward_no_limit_of_the_process",
    # Forks sixty times, which takes minutes where the sanitizer has terabytes of address space.
    "tests/tinywasm/test_fork.py::test_a_fork_finds_none_of_our_locks_held",
    # Measures memory, which the sanitizer keeps for a while when it is freed, to notice who uses it.
    "tests/tinywasm/test_native_types.py::test_types_are_freed_with_the_last_store_that_uses_them",
)


@dataclass(frozen=True, slots=True)
class Part:
    """The arguments of `python -m`, and compiler flags beside those that all parts have."""

    about: str
    arguments: Sequence[str]
    flags: str = ""


def _tests(*files: str) -> list[str]:
    return [*PYTEST, *NATIVE, *files, *(f"--deselect={test}" for test in NOT_HERE)]


def _engine_tests(*names: str) -> list[str]:
    return _tests(*(f"tests/tinywasm/test_{name}.py" for name in names))


def _of_the_suite() -> Iterator[tuple[str, Part]]:
    suite = [script.path for script in find_suite().scripts]
    if not suite:
        return
    scripts = ["tinywasm", "wast", *map(str, suite)]
    collecting = [str(path) for path in suite if any(word in path.read_bytes() for word in COLLECTED)]
    yield "suite", Part("the official suite", scripts)
    yield "windows", Part("the official suite, with small windows", ["fuzz.small_windows", *scripts])
    yield (
        "gc",
        Part("garbage collection in the suite, always", ["fuzz.stress", "tinywasm", "wast", *collecting]),
    )


def _parts() -> Iterator[tuple[str, Part]]:
    yield from _of_the_suite()
    engine = ("engines", "engine", "native_types", "references_from_outside", "native_pairs", "operand_order")
    yield "engine", Part("tests of the engine", _engine_tests(*engine, "ir", "matching", "profile"))
    yield "frames", Part("tests of wide frames and windows", _engine_tests("wide_frames", "windows"))
    yield "numbers", Part("tests of numeric instructions", _engine_tests("native_numerics"))
    yield "bulk", Part("tests of bulk instructions and limits", _engine_tests("bulk", "limits"))
    yield "verifier", Part("tests of the verifier", _engine_tests("verifier", "kept_code"))
    machine_code = (
        "compiled",
        "auto",
        "compiled_objects",
        "compiled_exceptions",
        "compiled_tail_calls",
        "heap",
    )
    yield (
        "compiled",
        Part("machine code, and the ways into it and out of it", _engine_tests(*machine_code)),
    )
    yield "words", Part("changed native code", ["fuzz.code_mutations", "0", "4"])
    yield "forged", Part("forged native code in serialized modules", ["fuzz.forged_modules", "200"])
    sharing = ("shared_code", "fork", "many_instances", "interruption")
    yield "sharing", Part("tests of what modules, stores and processes share", _engine_tests(*sharing))
    yield "greenlets", Part("tests of greenlets", _engine_tests("greenlets"), MOVED_STACKS)
    yield "api", Part("tests of the embedding API", _tests("tests/tinywasm/api"))
    rules = ("validation", "validation_bodies", "validation_code", "validation_rules")
    yield "validator", Part("tests of the validator", _engine_tests(*rules))
    yield "relay", Part("tests of the host's relay", _tests("tests/wasm_host/test_relay.py"))
    channel = [f"tests/schannel/test_{name}.py" for name in ("fast", "transport")]
    channel += ["fuzz/test_confidential_parsers.py", "-k", "fast or soon or small"]
    yield "channel", Part("small calls over the channel", [*PYTEST, *channel])
    mutants = ("fuzz/test_execution.py", "fuzz/test_acceptance.py")
    yield "mutants", Part("changed and damaged modules", [*PYTEST, *mutants, "-k", "not mutants_run"])
    artifacts = ("fuzz/test_artifacts.py", *NATIVE)
    yield "artifacts", Part("damaged and forged serialized modules", [*PYTEST, *artifacts])
    modules = (*PYTEST, "fuzz/test_engines_agree.py", "-k", "engines_agree or from_a_view")
    shapes = (*PYTEST, "fuzz/test_shapes.py", "-k", "test_engines_agree")
    yield "modules", Part("generated modules", modules)
    yield "shapes", Part("functions of every shape", shapes)
    yield "gc-modules", Part("generated modules, always collecting", ["fuzz.stress", *modules])
    yield "gc-shapes", Part("functions of every shape, always collecting", ["fuzz.stress", *shapes])
    user = (*PYTEST, "fuzz/test_api_user.py", "-k", "native")
    yield "user", Part("a random user of the API", user, MOVED_STACKS)


PARTS = dict(_parts())
