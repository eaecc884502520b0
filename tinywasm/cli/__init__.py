"""The `tinywasm` command."""

from tinywasm.cli.main import main

__all__ = ["main"]
