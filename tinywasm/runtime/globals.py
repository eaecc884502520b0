"""Global instances (section 4.2.10)."""

from __future__ import annotations

from typing import Any

from tinywasm.types import GlobalType


class GlobalInstance:
    __slots__ = ("type", "value")
    kind = "global"

    def __init__(self, type: GlobalType, value: Any) -> None:
        self.type = type
        self.value = value
