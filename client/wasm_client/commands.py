"""Commands beside the one that runs programs: about evidence, receipts, keys, measurements, kept programs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from schannel.builds import on_keystone
from schannel.command_line import DEFAULT_ADDRESS, printable
from schannel.connection import DEFAULT_TIMEOUT
from schannel.errors import EvidenceError, PolicyError
from schannel.events import EnclaveVerified
from schannel.evidence import Claims, Report
from schannel.keystone_files import missing_layers, read_enclave_files
from schannel.measurement import EnclaveImage, installed_image
from schannel.policy import KEYSTONE_TEST_DEVICE_KEY, verify_saved_evidence
from schannel.simulation import monitor_measurement
from schannel.whole_files import LARGEST, LARGEST_TEXT, read_whole

from .builds import explained
from .errors import ClientError, NotVerified
from .kept import NO_KEY, KeptPrograms, forget
from .keys import chosen_key, generate_key
from .places import kept_path, key_path
from .receipts import ReceiptFile, read_receipt, replay
from .session import connect
from .trust import TrustOptions, warn


def evidence_fields(verified: EnclaveVerified) -> dict[str, str]:
    """What the evidence says, for people and for JSON."""
    return {
        "device": verified.device_public_key.hex(),
        "device_kind": _device_kind(verified),
        "monitor": verified.monitor_measurement.hex(),
        "enclave": verified.enclave_measurement.hex(),
        "configuration": verified.configuration_digest.hex(),
        "version": ".".join(map(str, verified.version)),
        "isolation": ", ".join(verified.isolation) or _without_layers(verified),
        "receipt_key": verified.receipt_key.hex(),
        "session": verified.handshake_hash.hex(),
    }


def _device_kind(verified: EnclaveVerified) -> str:
    if verified.device_public_key == KEYSTONE_TEST_DEVICE_KEY:
        return "published test key"
    return "simulated" if verified.simulated else "real"


def _without_layers(verified: EnclaveVerified) -> str:
    """What isolates an enclave that has none of the layers of a process."""
    claims = Claims.decode(Report.from_bytes(verified.evidence).data)
    return "Keystone's security monitor" if on_keystone(claims.built_from) else "none"


def show_evidence(verified: EnclaveVerified, *, as_json: bool = False) -> None:
    """Print what the evidence says."""
    shown = evidence_fields(verified)
    if as_json:
        print(json.dumps(shown))
    else:
        for name, value in shown.items():
            print(f"{name.replace('_', ' '):>13}: {value}")
    warn(verified)


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``attest``, ``verify``, ``verify-receipt``, ``measure``, ``keygen`` and ``forget``."""
    attest = _command(commands, "attest", _attest, "connect, verify the enclave, and show its evidence")
    attest.add_argument("--save", type=Path, metavar="FILE", help="write the evidence to a file, as JSON")
    verify = _command(commands, "verify", _verify, "check evidence that was saved")
    verify.add_argument("file", type=Path, help="evidence as JSON, or in Keystone's raw or compact form")
    receipt = _command(commands, "verify-receipt", _verify_receipt, "check receipts that were saved")
    receipt.add_argument("file", type=Path, nargs="+", help="a receipt; several are those of one session")
    receipt.add_argument("--replay", action="store_true", help="run the calls again here, and compare")
    receipt.add_argument(
        "-p", "--program", type=_named, action="append", default=[], metavar="[NAME=]FILE",
        help="for --replay: the session's programs, in the order in which they were sent",
    )  # fmt: skip
    forget = _command(commands, "forget", _forget, "have programs removed that an enclave keeps")
    forget.add_argument("name", nargs="+", help="what it was kept as")
    for parser in (attest, forget):
        add_host(parser)
    forget.add_argument(
        "-k", "--key", type=Path, metavar="FILE", help=f"this client's key (default {key_path()})"
    )
    TrustOptions.add(forget)
    for parser in (attest, verify, receipt):
        TrustOptions.add(parser)
        parser.add_argument("--json", action="store_true", help="print JSON")
    measure = _command(
        commands, "measure", _measure,
        "print the measurements of this installation's enclave and monitor, or of an enclave on Keystone",
    )  # fmt: skip
    for option, part in (("-l", "loader"), ("-r", "runtime"), ("-e", "application")):
        name = "eapp" if part == "application" else part
        measure.add_argument(
            option, f"--{name}", dest=part, type=Path, metavar="FILE",
            help=f"for an enclave on Keystone: its {part} (give all three files)",
        )  # fmt: skip
    keygen = commands.add_parser("keygen", help="make a key for this client")
    keygen.add_argument(
        "file", type=Path, nargs="?", default=key_path(), help="where to write it (default %(default)s)"
    )
    keygen.set_defaults(command=_keygen)


def add_host(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the host is, and for how long it is waited for."""
    parser.add_argument(
        "-c", "--connect", default=DEFAULT_ADDRESS, metavar="HOST:PORT", help="the host (default %(default)s)"
    )
    parser.add_argument(
        "--timeout", type=_seconds, default=DEFAULT_TIMEOUT, metavar="N",
        help="seconds within which an enclave has to answer (default %(default)g)",
    )  # fmt: skip


def _seconds(text: str) -> float:
    value = float(text) if text.isascii() and text.isdecimal() else 0.0
    if not 1 <= value <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 1 to 1000000")
    return value


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    command: Callable[[argparse.Namespace], int],
    text: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.set_defaults(command=command)
    return parser


def _named(text: str) -> tuple[str, Path]:
    name, equals, path = text.rpartition("=")
    return (name, Path(path)) if equals else ("main", Path(text))


def read_file(path: Path, most: int) -> bytes:
    """A file's content of at most `most` bytes; ClientError if it cannot be read, or has more."""
    try:
        return read_whole(path, most)
    except OSError as error:
        raise ClientError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error


def _attest(options: argparse.Namespace) -> int:
    with connect(options.connect, TrustOptions.policy(options), options.timeout) as session:
        show_evidence(session.verified, as_json=options.json)
        evidence = session.verified.evidence
    if options.save is not None:
        try:
            options.save.write_text(Report.from_bytes(evidence).to_json() + "\n", encoding="ascii")
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ClientError(f"cannot write {options.save}: {reason}") from error
    return 0


def _verify(options: argparse.Namespace) -> int:
    content = read_file(options.file, LARGEST_TEXT)
    try:
        # A digest and signatures are never text.
        report = Report.from_json(content.decode()) if content.isascii() else Report.from_bytes(content)
        verified = verify_saved_evidence(report, TrustOptions.policy(options))
    except PolicyError as error:
        raise NotVerified(error.rule, f"the enclave is refused: {explained(error)}") from error
    except EvidenceError as error:
        raise NotVerified(error.reason.value, f"the evidence is refused: {error}") from error
    show_evidence(verified, as_json=options.json)
    return 0


def _verify_receipt(options: argparse.Namespace) -> int:
    policy = TrustOptions.policy(options)
    files = [_receipt(path) for path in options.file]
    checked = [file.verify(policy) for file in files]
    receipts = [receipt for receipt, _ in checked]
    if len({receipt.session for receipt in receipts}) > 1:
        raise ClientError("the receipts are of different sessions")
    order = sorted(range(len(files)), key=lambda index: receipts[index].counter)
    if options.replay:
        if not options.program:
            raise ClientError("--replay needs the session's programs: give them with --program")
        programs = {name: read_file(path, LARGEST) for name, path in options.program}
        replay(programs, [files[index] for index in order], [receipts[index] for index in order])
    for index in order:
        _show_receipt(files[index], *checked[index], replayed=options.replay, as_json=options.json)
    _report_gaps([receipts[index].counter for index in order])
    return 0


def _receipt(path: Path) -> ReceiptFile:
    try:
        return read_receipt(path)
    except OSError as error:
        raise ClientError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error


def _show_receipt(
    file: ReceiptFile, receipt: object, verified: EnclaveVerified, *, replayed: bool, as_json: bool
) -> None:
    shown = {**file.describe(), "enclave": verified.enclave_measurement.hex(), "replayed": replayed}
    if as_json:
        print(json.dumps(shown))
        return
    for name, value in shown.items():
        text = " ".join(value) if isinstance(value, list) else str(value)
        print(f"{name.replace('_', ' '):>13}: {printable(text)}")
    warn(verified)


def _report_gaps(counters: list[int]) -> None:
    missing = sorted(set(range(counters[0], counters[-1] + 1)) - set(counters))
    if missing:
        print(f"note: no receipts of the calls {', '.join(map(str, missing))}", file=sys.stderr)


def _forget(options: argparse.Namespace) -> int:
    key = chosen_key(options.key)
    if key is None:
        raise ClientError(NO_KEY)
    with connect(options.connect, TrustOptions.policy(options), options.timeout, key=key) as session:
        known = KeptPrograms(kept_path(), key.public, session.verified)
        for name in options.name:
            forget(session, known, name)
    return 0


def _measure(options: argparse.Namespace) -> int:
    paths = (options.loader, options.runtime, options.application)
    if any(path is not None for path in paths):
        loader, runtime, application = read_enclave_files(*paths)
        image = EnclaveImage(loader, runtime, application)
        for name, why in missing_layers(application):
            print(f"wasm-client: enclaves run without {name}: {why}", file=sys.stderr)
        print(f'[enclave]\nmeasurements = ["{image.measurement().hex()}"]')
        return 0
    installed = installed_image()
    print(f'[enclave]\nmeasurements = ["{installed.measurement().hex()}"]\n')
    print(f'[monitor]\nmeasurements = ["{monitor_measurement(installed).hex()}"]')
    return 0


def _keygen(options: argparse.Namespace) -> int:
    key = generate_key(options.file)
    print(key.public.hex())
    return 0
