"""What running a script found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Failure:
    """One command that did not do what it should, or refused a module with other words than expected."""

    line: int
    command: str
    expected: str
    got: str

    def __str__(self) -> str:
        return f"{self.command}: expected {self.expected}, got {self.got}"


@dataclass(slots=True)
class FileReport:
    """The outcome of each command of a file, in numbers, and what is to be said about some.

    `mismatches` are assertions that passed, since the module was refused in the right phase, but in
    other words. `skip_reason` says why commands were skipped. `seconds` is the wall-clock time.
    """

    path: str
    commands: int = 0
    assertions: int = 0
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    skip_reason: str = ""
    seconds: float = 0.0
    failures: list[Failure] = field(default_factory=list)
    mismatches: list[Failure] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The report as values that `json` writes."""
        names = ("path", "commands", "assertions", "passed", "failed", "skipped", "skip_reason", "seconds")
        report: dict[str, Any] = {name: getattr(self, name) for name in names}
        for name in ("failures", "mismatches"):
            found: list[Failure] = getattr(self, name)
            report[name] = [{"line": one.line, "what": str(one)} for one in found]
        return report
