"""Runs a session's requests again, outside of an enclave: both engines are deterministic.

Standard input holds a JSON list of requests, each as its type and its bytes in hexadecimal; standard output
gets a JSON list of what receipts of the calls and runs among them say, in their canonical encoding.
"""

from __future__ import annotations

import json
import sys

from schannel.ed25519_sha3 import SEED_SIZE
from schannel.errors import MessageError
from schannel.handshake import identity_key
from schannel.messages import (
    CallRequest,
    ReceiptRequest,
    ReceiptResult,
    RunRequest,
    decode,
)
from schannel.primitives import random_bytes
from schannel.receipts import verify_receipt

from .application import Application
from .configuration import Configuration


def main() -> int:
    """Entry point of the process; its exit status is 1 if the input is no list of requests."""
    key = identity_key(random_bytes(SEED_SIZE))
    application = Application(Configuration(), None, key)
    said: list[str] = []
    try:
        for number, (kind, text) in enumerate(json.load(sys.stdin), 1):
            request = decode(kind, bytes.fromhex(text))
            application.handle(request, number)  # type: ignore[arg-type]
            if isinstance(request, CallRequest | RunRequest):
                reply = application.handle(ReceiptRequest(number))
                if isinstance(reply, ReceiptResult):
                    said.append(verify_receipt(reply.receipt, key.public).build().hex())
    except (ValueError, TypeError, MessageError, RecursionError) as error:
        print(f"not a list of requests: {error}", file=sys.stderr)
        return 1
    json.dump(said, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
