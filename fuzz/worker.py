"""The other side of `limits.Examiner`: every case in a fork, with limits of its own.

A request on the standard input is `B` or `T`, the length in four bytes, little-endian, and the case; the
answer on the standard output is a line of JSON with the fields of `limits.Outcome`.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import struct
import sys
import traceback
from typing import IO

from fuzz.limits import address_space
from tinywasm import binary, text
from tinywasm.errors import WasmError
from tinywasm.instructions import Feature
from tinywasm.validation import validate

_FEATURES = frozenset(Feature)
# Where the checks after the case would come too late.
_KILL_SECONDS = 20
_KILL_BYTES = 1 << 30


def _peak() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _limit() -> None:
    signal.setitimer(signal.ITIMER_PROF, _KILL_SECONDS)
    if sys.platform == "linux":
        top = address_space() + _KILL_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (top, top))


def _read(kind: bytes, data: bytes) -> None:
    module = text.parse_module(data) if kind == b"T" else binary.decode(data, _FEATURES)
    validate(module, _FEATURES)


def _answer(kind: bytes, data: bytes) -> str:
    before = _peak()
    ending, detail = "accepted", ""
    try:
        _read(kind, data)
    except WasmError as error:
        ending, detail = type(error).__name__, str(error)[:500]
    except BaseException:
        ending, detail = "crashed", traceback.format_exc(limit=-8)
    seconds = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    outcome = {"ending": ending, "detail": detail, "seconds": seconds, "memory": _peak() - before}
    return json.dumps(outcome) + "\n"


def _examine(kind: bytes, data: bytes, answers: IO[bytes]) -> None:
    child = os.fork()
    if child == 0:
        _limit()
        os.write(answers.fileno(), _answer(kind, data).encode())
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status:
        detail = f"ended with status {os.waitstatus_to_exitcode(status)}"
        lost = {"ending": "crashed", "detail": detail, "seconds": 0.0, "memory": 0}
        os.write(answers.fileno(), (json.dumps(lost) + "\n").encode())


def main() -> None:
    """Answer requests until the input ends."""
    # Whatever stands by now is no garbage, and collecting it would copy its pages into every fork.
    gc.freeze()
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while kind := requests.read(1):
        (length,) = struct.unpack("<I", requests.read(4))
        _examine(kind, requests.read(length), answers)


if __name__ == "__main__":
    main()
