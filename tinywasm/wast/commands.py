"""The commands of a script, as the parser hands them to the runner.

The grammar is the one in the reference interpreter's README, section "Scripts".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Union

from tinywasm.errors import ParseError
from tinywasm.instructions import Feature
from tinywasm.syntax import DecodedModule
from tinywasm.wast.result_patterns import Pattern, Value


@dataclass(frozen=True, slots=True)
class ModuleSource:
    """A module as the script gives it: text, bytes (`binary`) or quoted text (`quote`).

    `decode` reads it only when its command runs, since a malformed one is often the point. It takes the
    proposals to accept and raises `ParseError` or `DecodeError`.
    """

    name: str | None
    kind: str
    decode: Callable[[Collection[Feature]], DecodedModule]

    def __str__(self) -> str:
        kind = "" if self.kind == "text" else self.kind
        return f"module {_identifier(self.name)}{kind}".rstrip()


def _identifier(name: str | None) -> str:
    return f"${name} " if name else ""


@dataclass(frozen=True, slots=True)
class Invoke:
    """`instance` None means the latest."""

    instance: str | None
    name: str
    arguments: Sequence[Value]

    def __str__(self) -> str:
        words = [f'invoke {_identifier(self.instance)}"{self.name}"']
        return f"({' '.join([*words, *map(str, self.arguments)])})"


@dataclass(frozen=True, slots=True)
class Get:
    """The value of an exported global. `instance` None means the latest."""

    instance: str | None
    name: str

    def __str__(self) -> str:
        return f'(get {_identifier(self.instance)}"{self.name}")'


Action = Union[Invoke, Get]  # noqa: UP007


@dataclass(frozen=True, slots=True)
class DefineModule:
    """`instantiate` is False for `(module definition ...)`."""

    source: ModuleSource
    instantiate: bool

    def __str__(self) -> str:
        text = str(self.source)
        return text if self.instantiate else text.replace("module", "module definition", 1)


@dataclass(frozen=True, slots=True)
class InstantiateModule:
    """`(module instance name module)`."""

    name: str | None
    module: str | None

    def __str__(self) -> str:
        return f"module instance {_identifier(self.name)}{_identifier(self.module)}".rstrip()


@dataclass(frozen=True, slots=True)
class Register:
    """Makes an instance's exports importable under a name."""

    name: str
    instance: str | None

    def __str__(self) -> str:
        return f'register "{self.name}"'


@dataclass(frozen=True, slots=True)
class Perform:
    """An action whose results nobody looks at."""

    action: Action

    def __str__(self) -> str:
        return str(self.action)[1:-1]


@dataclass(frozen=True, slots=True)
class AssertReturn:
    action: Action
    expected: Sequence[Pattern]

    def __str__(self) -> str:
        return f"assert_return {self.action}"


@dataclass(frozen=True, slots=True)
class AssertFails:
    """An action that must end as `head` says: assert_trap, assert_exhaustion, assert_exception.

    The message must begin with `text`.
    """

    head: str
    action: Action
    text: str

    def __str__(self) -> str:
        return f"{self.head} {self.action}"


@dataclass(frozen=True, slots=True)
class AssertModule:
    """A module, or the instantiation of one, that must be refused as `head` says.

    The message should begin with `text`.
    """

    head: str
    module: ModuleSource | InstantiateModule
    text: str

    def __str__(self) -> str:
        return f"{self.head} ({self.module})"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A command that breaks the grammar of scripts, with what is wrong."""

    error: ParseError

    def __str__(self) -> str:
        return "script"


Body = Union[  # noqa: UP007
    DefineModule, InstantiateModule, Register, Perform, AssertReturn, AssertFails, AssertModule, Unreadable
]


@dataclass(frozen=True, slots=True)
class Command:
    """A command and the line on which it begins, from 1."""

    line: int
    body: Body

    @property
    def is_assertion(self) -> bool:
        return isinstance(self.body, AssertReturn | AssertFails | AssertModule)
