"""Options that several commands share, and what they stand for."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from tinywasm.config import TIERS, Config
from tinywasm.engine import IMPLEMENTATIONS
from tinywasm.errors import DecodeError, LinkError, ParseError, ValidationError, WasmError
from tinywasm.instructions import Feature

# Not subscriptable when the program runs.
Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

# A conversion is no place to refuse a proposal's instructions.
ALL_FEATURES = Config(wide_arithmetic=True, custom_page_sizes=True)

_SIZE = re.compile(r"([0-9]+)\s*([kmgt]?)i?b?", re.IGNORECASE)
_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


def actions_of(parser: argparse.ArgumentParser) -> Sequence[argparse.Action]:
    """A parser's options and positional arguments, in order. argparse has no public name for them."""
    return parser._actions


class InFile(ValueError):
    """A module that was refused: the error, and the file that it is about."""

    def __init__(self, path: Path, error: WasmError) -> None:
        super().__init__(f"{path}: {error}")
        self.path, self.error = path, error

    def __reduce__(self) -> tuple[type[InFile], tuple[Path, WasmError]]:
        return type(self), (self.path, self.error)


@contextmanager
def refusals_of(path: Path) -> Iterator[None]:
    """Errors of reading the module at `path` become `InFile`. What its execution raises is no such error."""
    try:
        yield
    except (ParseError, DecodeError, ValidationError, LinkError) as error:
        raise InFile(path, error) from error


def add_command(commands: Subparsers, name: str, help: str, more: str = "") -> argparse.ArgumentParser:
    """A command; `help` is its line in the list of commands, `more` follows in its own description."""
    description = f"{help[0].upper()}{help[1:]}. {more}".rstrip()
    return commands.add_parser(name, help=help, description=description)


def add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="a module, text or binary")


def add_features(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--feature",
        action="append",
        default=[],
        choices=[feature.value for feature in Feature],
        help="switch on a proposal that is not in the standard yet",
    )


def add_engine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--engine",
        choices=("auto", *IMPLEMENTATIONS),
        help="what runs the code (default: auto, the fastest that is there)",
    )
    parser.add_argument(
        "--tier",
        choices=TIERS,
        help="which functions become machine code: none, those that prove hot, or all (default: interpreter)",
    )
    parser.add_argument(
        "--cache", metavar="DIR", help="keep code that was made in this folder, which only you may write to"
    )


def configuration(options: argparse.Namespace) -> Config:
    """The configuration that the options of `add_features` and `add_engine` ask for."""
    config = Config(
        wide_arithmetic=Feature.WIDE_ARITHMETIC.value in options.feature,
        custom_page_sizes=Feature.CUSTOM_PAGE_SIZES.value in options.feature,
    )
    if getattr(options, "engine", None):
        config.engine = options.engine
    if getattr(options, "tier", None):
        config.tier = options.tier
    if getattr(options, "cache", None):
        config.cache = options.cache
    return config


def size(text: str) -> int:
    """A size in bytes: digits and perhaps a unit, K, M, G or T, which are powers of 1,024."""
    match = _SIZE.fullmatch(text)
    if not match or len(match[1]) > 20:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: write 1048576, 1024K, 1M or 1MiB")
    return int(match[1]) << _UNITS[match[2].lower()]


def seconds(text: str) -> float:
    """A time that is longer than none."""
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time: write seconds, such as 2 or 0.5")
    return value


def fuel(text: str) -> int:
    """A number of instructions."""
    try:
        value = int(text.replace("_", ""))
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 63:
        raise argparse.ArgumentTypeError(f"{text!r} is not an amount of fuel: write digits, as in 1_000_000")
    return value
