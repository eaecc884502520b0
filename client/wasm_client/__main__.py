"""The ``wasm-client`` command, and ``python -m wasm_client``."""

import sys

from schannel.extra import start


def main() -> int:
    """Run the command; returns its exit status, 2 where its packages are not installed."""
    return start("wasm-client", _run)


def _run() -> int:
    from .cli import main

    return main()


if __name__ == "__main__":
    sys.exit(main())
