"""The ``wasm-client`` command."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import mmap
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from schannel.command_line import printable
from schannel.connection import DEFAULT_TIMEOUT
from schannel.ed25519_sha3 import SigningKey
from schannel.errors import LocalError
from schannel.messages import RunResult
from schannel.policy import Policy
from schannel.release import installed_version
from schannel.whole_files import LARGEST
from schannel.wire import Buffer

from . import commands, kept, prompt
from .commands import show_evidence
from .errors import ClientError, RequestFailed
from .kept import NO_KEY, Kept, KeptPrograms
from .keys import chosen_key
from .operations import DEFAULT_MODULE
from .places import kept_path, key_path
from .progress import bar
from .session import Session, connect
from .trust import TrustOptions, warn

_PROGRAM = "wasm-client"
_COMMANDS = ("attest", "verify", "verify-receipt", "measure", "keygen", "forget")
_MAX_EXIT_STATUS = 255
_INPUT = "standard input"
_PIECE = 1 << 16
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


def run(
    address: str,
    policy: Policy,
    job: Job,
    key: SigningKey | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> int:
    """Connect, within so many seconds, and do a job; returns the exit status.

    Errors count there where no person could see them.

    Raises:
        ClientError: the session failed, or never began, or a file cannot be used.
    """
    for _, path in (*job.programs, *job.puts):
        try:
            if not path.is_file():
                raise ClientError(f"cannot read {path}: {'not a file' if path.exists() else 'no such file'}")
        except OSError as error:
            raise ClientError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    for _, path in job.programs:
        if not path.stat().st_size:
            raise ClientError(f"the program {path} is empty")
    with connect(address, policy, timeout, key=key) as session:
        print(f"connected to {address}, enclave verified", file=sys.stderr)
        if not job.attestation:
            warn(session.verified)
        if job.attestation:
            show_evidence(session.verified)
        known = KeptPrograms(kept_path(), key.public, session.verified) if key is not None else None
        main_program = _load(session, job, known)
        for name, path in job.puts:
            with bar(str(path), path.stat().st_size) as progress:
                session.put(name, path, progress=progress)
        if job.run:
            status = _run_command(session, job, main_program)
        else:
            status = _prompt(session, job, main_program, known)
        for name, path in job.gets:
            _get(session, name, path)
    return status


def _load(session: Session, job: Job, known: KeptPrograms | None) -> str:
    """Have the job's programs deployed: sent, sent and kept, or kept already.

    Returns the name of the one that is meant where none is named: ``main``, or else the last.
    """
    if known is None and (job.keep or job.kept is not None):
        raise ClientError(NO_KEY)
    names = [name for name, _ in job.programs]
    if known is not None and job.kept is not None:
        names = [*kept.restore(session, known, job.kept, job.owner), *names]
    for name, path in job.programs:
        try:
            _send(session, job, known, name, path)
        except RequestFailed as error:
            raise ClientError(f"{path}: {prompt.told(error)}") from error
    return DEFAULT_MODULE if DEFAULT_MODULE in names else names[-1]


def _send(session: Session, job: Job, known: KeptPrograms | None, name: str, path: Path) -> None:
    with _content(path) as content, bar(str(path), len(content)) as progress:
        if job.keep and known is not None:
            sealed = session.seal(content, name, known.counter(name), progress=progress)
            known.add(Kept(name, sealed.counter, sealed.digest))
            session.restore(name, name, sealed.counter)
        else:
            session.deploy(content, name, progress=progress)


@contextmanager
def _content(path: Path) -> Iterator[Buffer]:
    """A file's bytes."""
    try:
        with path.open("rb") as file, _mapped(file, str(path)) as content:
            yield content
    except OSError as error:
        raise ClientError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error


@contextmanager
def _standard_input() -> Iterator[Buffer]:
    """All of standard input; nothing where a person would have to type it."""
    if sys.stdin is None or sys.stdin.isatty():
        yield b""
        return
    source = sys.stdin.buffer
    if stat.S_ISREG(os.fstat(source.fileno()).st_mode):
        with _mapped(source, _INPUT) as content:
            yield content
        return
    # A request says how long it is before the first byte goes out, and a pipe does not know.
    with tempfile.TemporaryFile() as file:
        while file.tell() <= LARGEST and (piece := source.read(_PIECE)):
            file.write(piece)
        file.seek(0)
        with _mapped(file, _INPUT) as content:
            yield content


@contextmanager
def _mapped(file: BinaryIO, name: str) -> Iterator[Buffer]:
    """A file's bytes from where it stands to its end, mapped rather than read: they may be many."""
    start, size = file.tell(), os.fstat(file.fileno()).st_size
    if start >= size:
        yield b""
        return
    if size - start > LARGEST:
        raise ClientError(f"{name} is larger than {LARGEST:,} bytes")
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    view = memoryview(mapped)[start:]
    try:
        yield view
    finally:
        # What is under way may still refer to it after a failure; then it goes with the process.
        with contextlib.suppress(BufferError):
            view.release()
            mapped.close()


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


def _run_command(session: Session, job: Job, module: str) -> int:
    environment = dict(job.environment)
    try:
        with _standard_input() as stdin, bar(_INPUT, len(stdin)) as progress:
            result = session.run(
                job.arguments, stdin=stdin, environment=environment, module=module, progress=progress
            )
    except RequestFailed as error:
        if job.as_json:
            print(json.dumps({**prompt.error_fields(error), **_output_fields(error)}))
            return 1
        _write_output(error)
        for line in prompt.backtrace_lines(error) if job.verbose else ():
            print(line, file=sys.stderr)
        raise ClientError(prompt.told(error)) from error
    if job.as_json:
        ending = {"exit_code": result.exit_code, "fuel_used": result.fuel_used}
        print(json.dumps({**ending, **_output_fields(result)}))
    else:
        _write_output(result)
    return min(result.exit_code, _MAX_EXIT_STATUS)


def _output_fields(written: RunResult | RequestFailed) -> dict[str, str]:
    """What a command wrote, as JSON shows it."""
    return {
        "stdout": bytes(written.stdout).decode(errors="replace"),
        "stderr": written.stderr.decode(errors="replace"),
    }


def _write_output(written: RunResult | RequestFailed) -> None:
    sys.stderr.buffer.write(written.stderr)
    sys.stderr.buffer.flush()
    sys.stdout.buffer.write(written.stdout)
    sys.stdout.buffer.flush()


def _prompt(session: Session, job: Job, module: str, known: KeptPrograms | None) -> int:
    if not job.as_json:
        prompt.list_functions(session.functions(module))
    errors = prompt.run(session, module, known, verbose=job.verbose, as_json=job.as_json)
    return 1 if errors and not prompt.interactive() else 0


def _run_options(options: argparse.Namespace) -> int:
    if not options.run and options.arguments and options.arguments[0] in _COMMANDS:
        command = options.arguments[0]
        raise ClientError(f"{command} comes first, options later: wasm-client {command} ...")
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
    policy, key = TrustOptions.policy(options), chosen_key(options.key)
    return run(options.connect, policy, job, key, options.timeout)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="Send a program to an enclave that passes your policy, and call its functions.",
        epilog=f"Other commands: {', '.join(_COMMANDS)}; see {_PROGRAM} COMMAND --help.",
    )
    commands.add_host(parser)
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
        "-s", "--skip", type=_text, nargs="*", metavar="NAME",
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
    parser.add_argument(
        "arguments", type=_text, nargs="*", metavar="ARGUMENT", help="after --: arguments of the program"
    )


def _command_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=_PROGRAM)
    commands.add_commands(parser.add_subparsers(metavar="COMMAND", required=True))
    return parser


def _named_program(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals:
        name, path = DEFAULT_MODULE, text
    return _name(name, text, "[NAME=]FILE"), _path(path, text, "[NAME=]FILE")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return _name(name, text, "NAME=VALUE"), _text(value)


def _put(text: str) -> tuple[str, Path]:
    path, equals, name = text.partition("=")
    local = _path(path, text, "FILE[=NAME]")
    return _name(name if equals else local.name, text, "FILE[=NAME]"), local


def _get_pair(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    local = path if equals else Path(name).name
    return _name(name, text, "NAME[=FILE]"), _path(local, text, "NAME[=FILE]")


def _name(name: str, text: str, form: str) -> str:
    if not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not {form}: the name is missing")
    return _text(name)


def _path(path: str, text: str, form: str) -> Path:
    if not Path(path).name:
        raise argparse.ArgumentTypeError(f"{text!r} is not {form}: the file is missing")
    return Path(path)


def _text(text: str) -> str:
    """What travels to the enclave, which knows text only as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise argparse.ArgumentTypeError(f"{text!a} is not UTF-8") from error
    return text


def _public_key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise argparse.ArgumentTypeError("a client's key has 64 hexadecimal digits")
    return key
