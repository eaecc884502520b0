"""``python -m fuzz.guided [--runs N] [PARSER...]``: the confidential runtime's parsers, guided by coverage.

Atheris keeps an input that reaches something new in `schannel`, `wasm_rt`, `wasm_host` or `wasm_client`, or
in the readers of TOML, JSON and zip files that they use, and goes on from there. Every parser is tried in a
process of its own, from the inputs that `channel_inputs` and `end_inputs` give. What counts as well ended is
the same as for inputs that are damaged at random: `target.Target.accepts`. An input that takes ten seconds
or half a gigabyte is a finding, too.

The status is 0 when all went well, 1 when there are findings, 2 when there is no atheris.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

_RUNS = 100_000
_LIMITS = ("-timeout=10", "-rss_limit_mb=512", "-verbosity=1")
_INSTRUMENTED = ["schannel", "wasm_rt", "wasm_host", "wasm_client", "tomllib", "json", "zipfile"]
_STATE = re.compile(r"^#(\d+)\s+(INITED|DONE)\s+cov: (\d+).*?exec/s: (\d+) rss: (\d+)Mb", re.MULTILINE)
_FINDING = re.compile(r"=== Uncaught Python exception: ===|^==\d+== ?ERROR: ", re.MULTILINE)
_SHOWN = 4000
_MISSING = """coverage-guided fuzzing did not run: atheris is not installed for {python}.
Where it has a wheel (Linux on x86-64, Python 3.11 to 3.13) "pip install atheris" gets it. Without it,
"pytest fuzz/test_confidential_parsers.py" tries the same parsers with inputs damaged at random."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the parsers named, by default all of them, and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.guided", description=__doc__.split("\n\n")[0])
    parser.add_argument("--runs", type=int, default=_RUNS, help="inputs of each parser (default %(default)s)")
    parser.add_argument("--worker", metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument("parser", nargs="*", help="a parser's name; all by default")
    options = parser.parse_args(arguments)
    if importlib.util.find_spec("atheris") is None:
        print(_MISSING.format(python=sys.executable), file=sys.stderr)
        return 2
    if options.worker:
        _work(options.parser[0], options.runs, Path(options.worker))
    from fuzz.end_inputs import every_target

    known = [target.name for target in every_target()]
    unknown = set(options.parser) - set(known)
    if unknown:
        parser.error(f"no parser {min(unknown)!r}; there are: {', '.join(known)}")
    print(f"{'parser':22} {'inputs':>8} {'a second':>9} {'edges: inputs given, reached':>29} {'memory':>7}")
    return max([_try(name, options.runs) for name in options.parser or known])


def _try(name: str, runs: int) -> int:
    """Have a parser tried in another process; 1 if it has findings."""
    with tempfile.TemporaryDirectory(prefix="tinywasm-guided-") as folder:
        done = subprocess.run(
            [sys.executable, "-m", "fuzz.guided", f"--runs={runs}", f"--worker={folder}", name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        states = {what: numbers for number, what, *numbers in _STATE.findall(done.stdout)}
        if done.returncode == 0 and states.keys() == {"INITED", "DONE"}:
            edges, speed, memory = states["DONE"]
            reached = f"{states['INITED'][0]}, {edges}"
            print(f"{name:22} {runs:8} {speed:>9} {reached:>29} {memory:>4} MB", flush=True)
            return 0
        found = _FINDING.search(done.stdout)
        print(f"{name:22} FINDING\n{done.stdout[found.start() if found else 0 :][:_SHOWN]}")
        for path in Path(folder).glob("finding-*"):
            print(f"input: {path.read_bytes().hex()}", flush=True)
    return 1


def _work(name: str, runs: int, folder: Path) -> None:
    """Try a parser in this process, which ends with it."""
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=_INSTRUMENTED):
        from fuzz.end_inputs import every_target
    (target,) = (target for target in every_target() if target.name == name)
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(target.seeds):
        (corpus / str(number)).write_bytes(seed)

    def one_input(data: bytes) -> None:
        target.accepts(data)

    prefix = f"-artifact_prefix={folder}/finding-"
    atheris.Setup([sys.argv[0], f"-runs={runs}", *_LIMITS, prefix, str(corpus)], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
