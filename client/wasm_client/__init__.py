"""The client: verify an enclave, send it a program, call its functions.

::

    from pathlib import Path
    from wasm_client import Policy, connect

    with connect("127.0.0.1:3333", Policy.from_file("policy.toml")) as session:
        session.deploy(Path("calculator.wat").read_bytes())
        for function in session.functions():
            print(function)                       # add (param i32 i32) (result i32) ...
        print(session.call("add", 1, 1))          # 2

Nothing of the program leaves this process before the enclave's evidence has passed the policy. Whatever goes
wrong is a `ClientError`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schannel.policy import Policy

    from .aio import AsyncSession, connect_async
    from .errors import ArgumentError, CannotConnect, ClientError, ConnectionLost, NotVerified, RequestFailed
    from .keys import load_key
    from .receipts import ReceiptFile
    from .session import Session, connect
    from .values import FunctionType

__all__ = [
    "ArgumentError",
    "AsyncSession",
    "CannotConnect",
    "ClientError",
    "ConnectionLost",
    "FunctionType",
    "NotVerified",
    "Policy",
    "ReceiptFile",
    "RequestFailed",
    "Session",
    "connect",
    "connect_async",
    "load_key",
]

_HOMES = {
    "schannel.policy": ("Policy",),
    "wasm_client.aio": ("AsyncSession", "connect_async"),
    "wasm_client.errors": (
        "ArgumentError",
        "CannotConnect",
        "ClientError",
        "ConnectionLost",
        "NotVerified",
        "RequestFailed",
    ),
    "wasm_client.keys": ("load_key",),
    "wasm_client.receipts": ("ReceiptFile",),
    "wasm_client.session": ("Session", "connect"),
    "wasm_client.values": ("FunctionType",),
}


def __getattr__(name: str) -> object:
    # Imported when they are used: the command must be able to say that a package is missing.
    for home, names in _HOMES.items():
        if name in names:
            value: object = getattr(import_module(home), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
