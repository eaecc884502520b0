"""Receipts on the client's side: kept with what they are about, verified offline, and replayed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schannel.errors import EvidenceError, MessageError, PolicyError, ReceiptError
from schannel.events import EnclaveVerified
from schannel.evidence import Report, unique
from schannel.messages import (
    CallRequest,
    CallResult,
    DeployRequest,
    ErrorReply,
    Message,
    Reply,
    Request,
    RunRequest,
    RunResult,
    Value,
    decode,
    encode,
)
from schannel.policy import Policy, verify_saved_evidence
from schannel.receipts import RUN_FUNCTION, Receipt, SignedReceipt, message_digest, outcome, verify_receipt
from schannel.whole_files import LARGEST, read_whole

from .builds import explained
from .errors import ClientError, NotVerified
from .values import format_value

_FORMAT = "tinywasm receipt 3"
_EARLIER = ("tinywasm receipt 1", "tinywasm receipt 2")
_REPLAY_TIMEOUT = 600.0


class NotGenuine(ClientError):
    """A receipt, or what came with it, is not what an enclave attested."""


@dataclass(frozen=True, slots=True)
class ReceiptFile:
    """A receipt with what makes it checkable: the enclave's evidence, the request and the reply."""

    receipt: bytes
    evidence: bytes
    request: CallRequest | RunRequest
    reply: Reply

    def to_json(self) -> str:
        """The form in which it is kept in a file."""
        return json.dumps(
            {
                "format": _FORMAT,
                "receipt": self.receipt.hex(),
                "evidence": self.evidence.hex(),
                "request": pack(self.request),
                "reply": pack(self.reply),
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, text: str) -> ReceiptFile:
        """The inverse of `to_json`.

        Raises:
            NotGenuine: it is not such a file, or holds more than that.
        """
        try:
            top = json.loads(text, object_pairs_hook=unique)
            if isinstance(top, dict) and top.get("format") in _EARLIER:
                raise NotGenuine(
                    "this receipt was made by an earlier release, whose messages were laid out "
                    "otherwise: have an enclave of this release make another"
                )
            if not isinstance(top, dict) or top.get("format") != _FORMAT:
                raise ValueError("another format")
            request, reply = unpack(top["request"]), unpack(top["reply"])
            if not isinstance(request, CallRequest | RunRequest) or not isinstance(
                reply, CallResult | RunResult | ErrorReply
            ):
                raise ValueError("not about a call")
            file = cls(bytes.fromhex(top["receipt"]), bytes.fromhex(top["evidence"]), request, reply)
            if json.dumps(json.loads(file.to_json()), sort_keys=True) != json.dumps(top, sort_keys=True):
                raise ValueError("more than a receipt")
            return file
        except (ValueError, KeyError, TypeError, RecursionError, MessageError) as error:
            raise NotGenuine("this file holds no receipt") from error

    def verify(self, policy: Policy) -> tuple[Receipt, EnclaveVerified]:
        """Check evidence, signature, and that request and reply are those of the receipt.

        Raises:
            NotVerified: the policy does not accept the enclave, or its evidence is not genuine.
            NotGenuine: the receipt is not of this enclave, or of another request or reply.
        """
        try:
            report = Report.from_bytes(self.evidence)
            # The raw form has room for bytes that nobody signed.
            if report.to_compact() != self.evidence:
                raise NotGenuine("the evidence beside the receipt is not in its compact form")
            verified = verify_saved_evidence(report, policy)
            receipt = verify_receipt(self.receipt, verified.receipt_key)
        except PolicyError as error:
            raise NotVerified(error.rule, f"the enclave is refused: {explained(error)}") from error
        except EvidenceError as error:
            raise NotVerified(error.reason.value, f"the evidence is refused: {error}") from error
        except ReceiptError as error:
            raise NotGenuine(str(error)) from error
        self._compare(receipt, verified)
        return receipt, verified

    def describe(self) -> dict[str, Any]:
        """What was called with what, and what came back, for people; to be shown once it is verified."""
        said = Receipt.parse(SignedReceipt.parse(self.receipt).body)
        shown: dict[str, Any] = {
            "call": said.counter,
            "module": said.module_digest.hex(),
            "function": said.function,
            "arguments": _texts(self.request.arguments),
        }
        if isinstance(self.reply, CallResult):
            shown["results"] = _texts(self.reply.values)
        elif isinstance(self.reply, RunResult):
            shown["exit_code"] = self.reply.exit_code
        elif isinstance(self.reply, ErrorReply):
            shown["error"] = self.reply.message
        return {**shown, "fuel_used": said.fuel_used, "session": said.session.hex()}

    def _compare(self, receipt: Receipt, verified: EnclaveVerified) -> None:
        if receipt.session != verified.handshake_hash:
            raise NotGenuine("the receipt is of another session than the evidence")
        function = self.request.function if isinstance(self.request, CallRequest) else RUN_FUNCTION
        said = (receipt.request_digest, receipt.kind, receipt.function)
        if said != (message_digest(self.request), self.request.type_byte, function):
            raise NotGenuine("the receipt is of another request than the one beside it")
        fuel_used = (
            self.reply.fuel_used if isinstance(self.reply, CallResult | RunResult) else receipt.fuel_used
        )
        answered = (receipt.reply_digest, receipt.outcome, receipt.fuel_used)
        if answered != (message_digest(self.reply), outcome(self.reply), fuel_used):
            raise NotGenuine("the receipt is of another reply than the one beside it")


def replay(programs: Mapping[str, bytes], files: Sequence[ReceiptFile], receipts: Sequence[Receipt]) -> None:
    """Run the calls of one session again, on this machine, and compare everything but the enclave's identity.

    Args:
        programs: the modules by the names under which they were deployed, in that order.
        files, receipts: of the session's calls, in order and without a gap, already verified.

    Raises:
        NotGenuine: a result, the fuel, or the state before a call differs.
        ClientError: it cannot be run again here.
    """
    requests: list[Request] = [DeployRequest(name, program) for name, program in programs.items()]
    requests += [file.request for file in files]
    again = _run_again(requests)
    if len(again) != len(receipts):
        raise NotGenuine("a call that the enclave attested cannot be made again with these programs")
    for receipt, repeated in zip(receipts, again, strict=True):
        _compare_replay(receipt, repeated)


def _run_again(requests: Sequence[Request]) -> list[Receipt]:
    # The runtime is no part of the client: it works in a process of its own, as in the enclave.
    # -P: files that lie in the working directory, perhaps beside a stranger's receipt, are not to be run.
    command = [sys.executable, "-P", "-m", "wasm_rt.replay"]
    given = json.dumps([pack(request) for request in requests])
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, timeout=_REPLAY_TIMEOUT, check=True
        )
        return [Receipt.parse(bytes.fromhex(text)) for text in json.loads(done.stdout)]
    except (OSError, subprocess.SubprocessError, ValueError, MessageError) as error:
        raise ClientError("the enclave's application cannot be run here: install the same release") from error


def _compare_replay(receipt: Receipt, again: Receipt) -> None:
    where = f"call {receipt.counter}, {receipt.function}:"
    if receipt.module_digest != again.module_digest:
        raise NotGenuine(f"{where} the program is not the one that the enclave ran")
    if receipt.history != again.history:
        raise NotGenuine(
            f"{where} the session had done before what is not here: programs, calls, files or memory"
        )
    for field, shown in (("outcome", "outcome"), ("fuel_used", "fuel"), ("reply_digest", "answer")):
        if getattr(receipt, field) != getattr(again, field):
            raise NotGenuine(f"{where} the {shown} differs when it is run again")


def _texts(items: Sequence[Value | str]) -> list[str]:
    return [item if isinstance(item, str) else format_value(item) for item in items]


def pack(message: Message) -> list[Any]:
    """A message as JSON holds it: its type and its bytes."""
    return [message.type_byte, b"".join(encode(message)).hex()]


def unpack(item: Any) -> Message:
    """The inverse of `pack`; ValueError, TypeError or MessageError for what is none."""
    kind, text = item
    return decode(kind, bytes.fromhex(text))


def read_receipt(path: Path) -> ReceiptFile:
    """A receipt's file; NotGenuine if it is none, OSError as well."""
    try:
        return ReceiptFile.from_json(read_whole(path, LARGEST).decode())
    except UnicodeDecodeError as error:
        raise NotGenuine("this file holds no receipt") from error
