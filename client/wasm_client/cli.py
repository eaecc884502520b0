"""The ``wasm-client`` command."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import mmap
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from schannel.ed25519_sha3 import SigningKey
from schannel.errors import LocalError
from schannel.messages import RunResult
from schannel.policy import Policy
from schannel.release import installed_version
from schannel.wire import Buffer

from . import evidence_commands, prompt
from .errors import ClientError, RequestFailed
from .evidence_commands import DEFAULT_ADDRESS, show_evidence
from .keys import Kept, KeptPrograms, load_key
from .operations import DEFAULT_MODULE
from .places import kept_path, key_path
from .progress import bar
from .session import Session, connect
from .trust import SIMULATED, TrustOptions
from .values import printable

_PROGRAM = "wasm-client"
_COMMANDS = ("attest", "verify", "verify-receipt", "measure", "keygen")
_MAX_EXIT_STATUS = 255
EXIT_INTERRUPTED = 130
"""After Ctrl-C: 128 and the number of SIGINT, as shells have it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns its exit status: 0, 1 if anything failed, 130 after Ctrl-C, or that of the program that was run.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in _COMMANDS:
        options = _command_parser().parse_args(given)
        return guarded(lambda: int(options.command(options)))
    options = _parser().parse_args(given)
    return guarded(lambda: _run_options(options))


def guarded(command: Callable[[], int]) -> int:
    """Run a command whose failures are one line on standard error; returns its exit status."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return command()
    except (ClientError, LocalError) as error:
        print(f"{_PROGRAM}: {printable(str(error))}", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"{_PROGRAM}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Nobody reads any more; the interpreter's own last flush must not fail either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


@dataclass(frozen=True, slots=True)
class Job:
    """What to do with a session."""

    programs: Sequence[tuple[str, Path]] = ()
    kept: Sequence[str] | None = None
    """Labels of kept programs to use, none for all of them; None where `programs` are sent."""

    owner: bytes = b""
    keep: bool = False
    puts: Sequence[tuple[str, Path]] = ()
    gets: Sequence[tuple[str, Path]] = ()
    run: bool = False
    arguments: Sequence[str] = ()
    environment: Sequence[tuple[str, str]] = ()
    attestation: bool = False
    verbose: bool = False
    as_json: bool = False


def run(address: str, policy: Policy, job: Job, key: SigningKey | None = None) -> int:
    """Connect and do a job; returns the exit status: errors count where no person could see them.

    Raises:
        ClientError: the session failed, or never began, or a file cannot be used.
    """
    for _, path in (*job.programs, *job.puts):
        if not path.is_file():
            raise ClientError(f"cannot read {path}: {'not a file' if path.exists() else 'no such file'}")
    for _, path in job.programs:
        if not path.stat().st_size:
            raise ClientError(f"the program {path} is empty")
    with connect(address, policy, key=key) as session:
        print(f"connected to {address}, enclave verified", file=sys.stderr)
        if session.verified.simulated and not job.attestation:
            print(SIMULATED, file=sys.stderr)
        if job.attestation:
            show_evidence(session.verified)
        _load(session, job, key)
        for name, path in job.puts:
            with bar(str(path), path.stat().st_size) as progress:
                session.put(name, path, progress=progress)
        status = _run_command(session, job) if job.run else _prompt(session, job)
        for name, path in job.gets:
            _get(session, name, path)
    return status


def _load(session: Session, job: Job, key: SigningKey | None) -> None:
    """Have the job's programs deployed: sent, sent and kept, or kept already."""
    if key is None and (job.keep or job.kept is not None):
        raise ClientError(
            f"programs are kept for a client's key: make one with {_PROGRAM} keygen, or name it with --key"
        )
    known = KeptPrograms(kept_path(), key.public, session.verified) if key is not None else None
    if known is not None and job.kept is not None:
        _restore(session, known, job)
    for name, path in job.programs:
        with _content(path) as content, bar(str(path), len(content)) as progress:
            if job.keep and known is not None:
                sealed = session.seal(content, name, known.counter(name), progress=progress)
                known.add(Kept(name, sealed.counter, sealed.digest))
                session.restore(name, name, sealed.counter)
            else:
                session.deploy(content, name, progress=progress)


def _restore(session: Session, known: KeptPrograms, job: Job) -> None:
    recorded = {} if job.owner else {kept.label: kept for kept in known.list()}
    labels = job.kept or list(recorded) or ([DEFAULT_MODULE] if job.owner else [])
    if not labels:
        raise ClientError("this enclave keeps no program for this client: send one with --program and --keep")
    for label in labels:
        kept = recorded.get(label)
        restored = session.restore(label, label, kept.counter if kept else 0, job.owner)
        if kept is not None and (restored.counter, restored.digest) != (kept.counter, kept.digest):
            if restored.counter == kept.counter:
                raise ClientError(f"the program kept as {label} is not the one that this client knows")
            known.add(Kept(label, restored.counter, restored.digest))
        elif kept is None and not job.owner:
            known.add(Kept(label, restored.counter, restored.digest))


@contextmanager
def _content(path: Path) -> Iterator[Buffer]:
    """A file's bytes, mapped rather than read: it may be large."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                yield b""
                return
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                view = memoryview(mapped)
                try:
                    yield view
                finally:
                    # What is under way may still refer to it after a failure; then it goes with the process.
                    with contextlib.suppress(BufferError):
                        view.release()
    except BufferError:
        pass
    except OSError as error:
        raise ClientError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error


def _get(session: Session, name: str, path: Path) -> None:
    draft = path.with_name(f"{path.name}.part")
    try:
        with draft.open("wb") as file, bar(name, None) as progress:
            session.get(name, file, progress=progress)
        draft.replace(path)
    except OSError as error:
        raise ClientError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from error
    finally:
        draft.unlink(missing_ok=True)


def _run_command(session: Session, job: Job) -> int:
    stdin = b"" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.buffer.read()
    try:
        result = session.run(job.arguments, stdin=stdin, environment=dict(job.environment))
    except RequestFailed as error:
        if job.as_json:
            print(json.dumps(prompt.error_fields(error)))
            return 1
        for line in prompt.backtrace_lines(error) if job.verbose else ():
            print(line, file=sys.stderr)
        raise
    _write_output(result, job)
    return min(result.exit_code, _MAX_EXIT_STATUS)


def _write_output(result: RunResult, job: Job) -> None:
    if job.as_json:
        print(
            json.dumps(
                {
                    "exit_code": result.exit_code,
                    "fuel_used": result.fuel_used,
                    "stdout": bytes(result.stdout).decode(errors="replace"),
                    "stderr": result.stderr.decode(errors="replace"),
                }
            )
        )
        return
    sys.stderr.buffer.write(result.stderr)
    sys.stderr.buffer.flush()
    sys.stdout.buffer.write(result.stdout)
    sys.stdout.buffer.flush()


def _prompt(session: Session, job: Job) -> int:
    if not job.as_json:
        prompt.list_functions(session.functions())
    errors = prompt.run(session, verbose=job.verbose, as_json=job.as_json)
    return 1 if errors and not prompt.interactive() else 0


def _run_options(options: argparse.Namespace) -> int:
    if options.skip is None and not options.program:
        raise ClientError("no program: give a .wasm or .wat file with --program")
    if options.arguments and not options.run:
        raise ClientError("arguments are for a program that is run: add --run before --")
    job = Job(
        programs=options.program,
        kept=options.skip,
        owner=options.owner,
        keep=options.keep,
        puts=options.put,
        gets=options.get,
        run=options.run,
        arguments=options.arguments,
        environment=options.env,
        attestation=options.attestation,
        verbose=options.verbose,
        as_json=options.json,
    )
    return run(options.connect, TrustOptions.policy(options), job, _key(options.key))


def _key(path: Path | None) -> SigningKey | None:
    if path is None and not key_path().exists():
        return None
    return load_key(path or key_path())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="Send a program to an enclave that passes your policy, and call its functions.",
        epilog=f"Other commands: {', '.join(_COMMANDS)}; see {_PROGRAM} COMMAND --help.",
    )
    parser.add_argument(
        "-c", "--connect", default=DEFAULT_ADDRESS, metavar="HOST:PORT", help="the host (default %(default)s)"
    )
    parser.add_argument(
        "-p", "--program", type=_named_program, action="append", default=[], metavar="[NAME=]FILE",
        help=f"a program to send, .wasm or .wat; several are linked by name (default {DEFAULT_MODULE})",
    )  # fmt: skip
    _add_keeping(parser)
    _add_running(parser)
    parser.add_argument("-a", "--attestation", action="store_true", help="show the verified evidence")
    TrustOptions.add(parser)
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each answer")
    parser.add_argument("-v", "--verbose", action="store_true", help="show backtraces of traps")
    parser.add_argument("-V", "--version", action="version", version=f"{_PROGRAM} {installed_version()}")
    return parser


def _add_keeping(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-k", "--key", type=Path, metavar="FILE", help=f"this client's key (default {key_path()})"
    )
    parser.add_argument("--keep", action="store_true", help="have the programs kept, sealed, for later")
    parser.add_argument(
        "-s", "--skip", nargs="*", metavar="NAME",
        help="use programs that the enclave has kept, all of them if none is named, instead of sending any",
    )  # fmt: skip
    parser.add_argument(
        "--owner", type=_public_key, default=b"", metavar="KEY",
        help="with --skip: use programs that another client had kept, as the enclave's configuration allows",
    )  # fmt: skip


def _add_running(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", action="store_true", help="run the program, a WASI command, to its end")
    parser.add_argument(
        "--env", type=_pair, action="append", default=[], metavar="NAME=VALUE", help="for --run"
    )
    parser.add_argument(
        "--put", type=_put, action="append", default=[], metavar="FILE[=NAME]",
        help="first store a file in the enclave's memory, under its own name or another",
    )  # fmt: skip
    parser.add_argument(
        "--get", type=_get_pair, action="append", default=[], metavar="NAME[=FILE]",
        help="at the end fetch a file from the enclave's memory",
    )  # fmt: skip
    parser.add_argument("arguments", nargs="*", metavar="ARGUMENT", help="after --: arguments of the program")


def _command_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=_PROGRAM)
    evidence_commands.add_commands(parser.add_subparsers(metavar="COMMAND", required=True))
    return parser


def _named_program(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    return (name, Path(path)) if equals else (DEFAULT_MODULE, Path(text))


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _put(text: str) -> tuple[str, Path]:
    path, equals, name = text.partition("=")
    return (name if equals else Path(path).name), Path(path)


def _get_pair(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    return name, Path(path if equals else Path(name).name)


def _public_key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise argparse.ArgumentTypeError("a client's key has 64 hexadecimal digits")
    return key
