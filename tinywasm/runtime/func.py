"""Function instances (section 4.2.7)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tinywasm import matching
from tinywasm.syntax import Function
from tinywasm.types import AbstractHeap, DefinedType, FuncType

if TYPE_CHECKING:
    from tinywasm.runtime.module_instance import ModuleInstance


class DirectHost(NamedTuple):
    """The Python callable behind a host function, for an engine that converts numbers itself.

    `raw_results` judges what it returns where that is no plain number, and `hidden` makes an exception that
    it raises one of raw values.
    """

    func: Callable[..., Any]
    raw_results: Callable[[Any], Sequence[Any]]
    hidden: Callable[[Any], Any]


class FuncInstance:
    """A Wasm function of an instance, or a host function.

    A Wasm function has `module` and `index`; `code` is what an engine made of it, None until its first
    call; it may be swapped between calls. A host function
    has `host`, which takes the arguments and returns a sequence of results, all raw values.
    `direct` may be a shorter way to the same, `fast` one that an engine has, and `body` one that may leave a
    tail call to do. `entry` may be one for values as Python sees them: it takes a tuple, and returns
    `NotImplemented` where the call has to go the long way.
    """

    kind = "func"
    heap = AbstractHeap.FUNC
    __slots__ = (
        "body", "code", "direct", "entry", "fast", "host", "index", "module", "params", "results", "type",
    )  # fmt: skip

    def __init__(
        self,
        type: DefinedType,
        *,
        host: Callable[..., Sequence[Any]] | None = None,
        module: ModuleInstance | None = None,
        index: int = 0,
    ) -> None:
        signature = type.composite
        assert isinstance(signature, FuncType)
        self.type = type
        self.params = len(signature.params)
        self.results = len(signature.results)
        self.host = host
        self.module = module
        self.index = index
        self.code: Any = None
        self.fast: Any = None
        self.body: Any = None
        self.entry: Callable[[tuple[Any, ...]], Any] | None = None
        self.direct: DirectHost | None = None

    @property
    def signature(self) -> FuncType:
        assert isinstance(self.type.composite, FuncType)
        return self.type.composite

    @property
    def definition(self) -> Function | None:
        """The decoded form of a Wasm function."""
        return self.module.definition(self.index) if self.module else None

    @property
    def name(self) -> str | None:
        """The function's name from the name section, if it has one."""
        return self.module.syntax.names.functions.get(self.index) if self.module else None


def host_function(type: FuncType, host: Callable[..., Sequence[Any]]) -> FuncInstance:
    """A function instance that calls `host` with raw values and takes a sequence of raw results."""
    return FuncInstance(matching.define(type), host=host)
