"""Run the extensions under the address and undefined-behaviour sanitizers of gcc (`make sanitize`).

    python -m fuzz.sanitize [PART ...]

Builds the packages with instrumented extensions in build/sanitize and runs the parts with them, all unless
some are named, as many at once as there are processors. Each part ends with what the sanitizers have found
in it, and with the memory that the extensions' own C code allocated and lost.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fuzz.sanitize_parts import PARTS, Part

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "sanitize"
FLAGS = (
    "-O1 -g -fno-omit-frame-pointer "
    "-fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all"
)
EXTENSIONS = (
    "tinywasm.engine.native._loop",
    "tinywasm.engine.native.select",
    "tinywasm.engine.ir.build",
    "tinywasm.engine.ir.operands",
    "tinywasm.binary.columns",
    "tinywasm.validation._bodies",
    "schannel._fast",
    "schannel._transport",
    "wasm_host._pump",
)
# Where the C code of all extensions lies, as reports name it.
FOLDERS = {extension.rpartition(".")[0].replace(".", "/") + "/" for extension in EXTENSIONS}
# How a report of anything but a leak begins.
ERRORS = ("ERROR: AddressSanitizer", "runtime error:")
# An instrumented frame of the loop takes many times the stack of an ordinary one.
STACK = 1 << 30
# The most seconds that a part may take.
PATIENCE = 3600


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a part ended, and what the sanitizers wrote of it."""

    status: int
    seconds: float
    output: str
    errors: Sequence[str]
    leaks: Sequence[str]

    @property
    def clean(self) -> bool:
        return not (self.status or self.errors or self.leaks)


def build(place: Path, flags: str) -> None:
    """Build all packages into a folder. Raises `CalledProcessError` or `FileNotFoundError`."""
    environment = {"CC": "gcc", **os.environ, "CFLAGS": flags, "LDFLAGS": flags}
    places = ["--build-base", str(place / "base"), "--build-lib", str(place / "lib")]
    command = [sys.executable, "setup.py", "-q", "build", "-j", str(os.cpu_count()), *places]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    # An extension that does not build is left out without an error, and there would be nothing to find.
    for extension in EXTENSIONS:
        if not list((place / "lib").glob(f"{extension.replace('.', '/')}.*.so")):
            raise FileNotFoundError(f"{extension} was not built")


def _library(name: str) -> str:
    found = subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    return found.stdout.strip()


def _environment(place: Path, reports: Path) -> dict[str, str]:
    return {
        "FUZZ_PROFILE": "sanitized",
        **os.environ,
        "LD_PRELOAD": f"{_library('libasan.so')} {_library('libubsan.so')}",
        # Python itself loses memory at its end; leaks are told apart afterwards. The runtimes share this
        # status, so that what else they find ends with it as well: the reports tell. Memory that the system
        # refuses is an answer that programs have to expect.
        "ASAN_OPTIONS": f"detect_leaks=1:exitcode=99:allocator_may_return_null=1:log_path={reports}/report",
        "LSAN_OPTIONS": "exitcode=0:max_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        # Python's own allocator would hide where one of its objects ends.
        "PYTHONMALLOC": "malloc",
        # It loads its libraries in a way that the address sanitizer does not stand.
        "PYCRYPTODOME_DISABLE_DEEPBIND": "1",
        "PYTHONPATH": f"{place / 'lib'}{os.pathsep}{ROOT}",
        # Or the packages beside this folder would come first, with extensions that are not instrumented.
        "PYTHONSAFEPATH": "1",
        "TINYWASM_ENGINE": "native",
        "INSTRUMENTED": str(place),
    }


def _deepen() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_STACK)
    resource.setrlimit(resource.RLIMIT_STACK, (STACK if most == resource.RLIM_INFINITY else most, most))


def run(name: str, part: Part) -> Outcome:
    """Run a part, whose packages have been built."""
    reports = BUILD / "reports" / name
    shutil.rmtree(reports, ignore_errors=True)
    reports.mkdir(parents=True)
    start = time.monotonic()
    with (reports / "output").open("w+") as output:
        command = [sys.executable, "-m", *part.arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=_environment(_place(part.flags), reports), preexec_fn=_deepen,
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, timeout=PATIENCE,
        )  # fmt: skip
        seconds = time.monotonic() - start
        output.seek(0)
        text = output.read()
    written = [path.read_text(errors="replace") for path in reports.glob("report*")]
    return Outcome(done.returncode, seconds, text, errors_in([text, *written]), own_leaks(written))


def _place(flags: str) -> Path:
    """Where the build with these flags is."""
    return BUILD / (flags.replace("=", "-").strip("-") or "all")


def errors_in(texts: Sequence[str]) -> list[str]:
    """What was found besides leaks, each with what follows it."""
    return [text[found.start() :] for text in texts if (found := re.search("|".join(ERRORS), text))]


def own_leaks(reports: Sequence[str]) -> list[str]:
    """Of the leaks that were reported, those that an extension allocated itself."""
    found = []
    for report in reports:
        for leak in re.split(r"\n\n", report):
            frames = re.findall(r"#\d+ .*", leak)
            if "leak of" in leak and any(name in frame for frame in frames[1:2] for name in FOLDERS):
                found.append(leak)
    return found


def _tell(name: str, outcome: Outcome) -> None:
    lines = outcome.output.strip().splitlines()
    if not outcome.clean:
        found = [*outcome.errors, *outcome.leaks]
        print("\n".join(lines[-100:]), *(text[:20_000] for text in found), sep="\n\n")
    verdict = "nothing found" if outcome.clean else f"FOUND SOMETHING (status {outcome.status})"
    print(f"== {name}: {verdict}, {outcome.seconds:.0f} s: {lines[-1] if lines else ''}", flush=True)


def main() -> int:
    """Build, run what was asked for; 0 where nothing was found."""
    parts = "\n".join(f"  {name:12} {part.about}" for name, part in PARTS.items())
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=f"parts:\n{parts}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="*", help="what to run; everything where nothing is named")
    names = parser.parse_args().part or list(PARTS)
    for name in names:
        if name not in PARTS:
            parser.error(f"there is no part {name!r}; the parts are {', '.join(PARTS)}")
    for flags in {PARTS[name].flags for name in names}:
        build(_place(flags), f"{FLAGS} {flags}")
    failed = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, outcome in zip(names, pool.map(lambda name: run(name, PARTS[name]), names), strict=True):
            _tell(name, outcome)
            if not outcome.clean:
                failed.append(name)
    print(f"Found something in: {', '.join(failed)}." if failed else "Nothing found.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
