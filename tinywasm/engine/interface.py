"""What an engine is to everything outside: `Engine` registers it, `Backend` is its side of one store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tinywasm.records import record
from tinywasm.runtime.func import FuncInstance
from tinywasm.runtime.module_instance import ModuleInstance
from tinywasm.runtime.storage import Global, Memory, Table, Tag
from tinywasm.runtime.store import Store
from tinywasm.syntax import DecodedModule, Expr
from tinywasm.types import GlobalType, MemoryType, TableType, TagType, ValType
from tinywasm.validation import Context

if TYPE_CHECKING:
    from mmap import mmap

_Made = TypeVar("_Made")


class Backend(Protocol):
    """What an engine does for one store: it makes the store's runtime objects and runs its functions.

    Values are raw (see `runtime`). Objects that one backend made are used with that store only.
    """

    @property
    def name(self) -> str:
        """The engine's, as it is registered."""

    def memory(self, type: MemoryType) -> Memory:
        """A memory of zeros. Raises `Trap` where the configuration or the store's limits forbid its size."""

    def table(self, type: TableType, init: Any) -> Table:
        """A table with `init` everywhere. Raises as `memory`."""

    def glob(self, type: GlobalType, value: Any) -> Global: ...

    def tag(self, type: TagType) -> Tag: ...

    def instance(self, syntax: DecodedModule, context: Context) -> ModuleInstance:
        """An instance with its types and nothing else yet."""

    def constant(self, instance: ModuleInstance, expr: Expr, type: ValType) -> Any:
        """The value of a constant expression of closed type `type`."""

    def call(
        self, func: FuncInstance, args: Sequence[Any], caller: ModuleInstance | None = None
    ) -> list[Any]:
        """Call a function, for `caller` where it is a start function.

        Raises `Trap`, `WasmException` for an uncaught throw, what a host raises, and
        `WasmError` while another thread's call is under way, or a later one in another greenlet.
        """

    def entry(self, func: FuncInstance) -> type[Entry] | None:
        """The class of shorter ways into functions of that type, or None: then `call` is the way."""

    def caller(self) -> ModuleInstance | None:
        """The instance whose code calls the host function under way, asked when that begins."""

    def collect(self) -> None:
        """Free unreachable Wasm objects now."""

    def guard(self) -> None:
        """Raises `WasmError` while another thread's call is under way."""

    def claimed(self, work: Callable[[], _Made]) -> _Made:
        """What `work` returns; meanwhile other threads are kept out, as by a call. Raises as `guard`."""

    def limits_changed(self) -> None:
        """The store's limits are others from now on."""

    def statistics(self) -> list[str]:
        """What the engine has made of the store's functions so far, in lines for people."""

    def want_poll(self) -> None:
        """Have code that runs call `Store.poll` soon; what begins to run does it first. From any thread."""


def functions(count: int) -> str:
    """So many of them, in words."""
    return f"{count:,} function{'s' * (count != 1)}"


class Entry(Protocol):
    """A function as a Python callable that takes and returns Python values, where an engine converts them."""

    func: Any
    """The handle that it stands for."""

    def __init__(
        self,
        backend: Backend,
        instance: FuncInstance,
        func: Any,
        slow: Callable[[Sequence[Any]], Any],
        shown: Callable[[Any], BaseException],
    ) -> None:
        """`slow(arguments)` calls the same function with any arguments, and refuses those that do not fit;
        `shown(thrown)` is what becomes of an exception that leaves Wasm."""

    def __call__(self, *args: Any) -> Any: ...


class Keeper(Protocol):
    """How an engine keeps what it makes of functions in a serialized module.

    What it is given back may come from anybody: it is believed no more than the module's bodies are.
    """

    def maker(self) -> str:
        """What made the code that `pack` gives: from a file that names another maker it is not taken."""

    def pack(self, context: Context, syntax: DecodedModule) -> bytes:
        """The code of a module's functions. May take long."""

    def unpack(self, context: Context, packed: memoryview) -> None:
        """Have the module, of which nothing was made yet, use what `pack` gave."""


class Ahead(Protocol):
    """How an engine makes machine code of a module ahead of time, and runs it.

    Nothing verifies what it is given back: it is for those who trust its maker.
    """

    def maker(self) -> str:
        """What made the code that `make` gives: from a file that names another maker it is not taken."""

    def make(
        self, context: Context, syntax: DecodedModule, metered: bool, cpu: str, processes: int
    ) -> tuple[bytes, bytes]:
        """What tells of the code, and the code itself. May take long.

        Raises `ValueError` for an unknown processor, or where nothing can be compiled, and
        `ChildProcessError` where one of the processes was ended.
        """

    def take(self, context: Context, head: memoryview, text: memoryview | mmap) -> None:
        """Have the module, of which nothing was made yet, run what `make` gave.

        Raises `WasmError` where it is not for this processor.
        """


@record(frozen=True)
class Implementation:
    """An engine as it registers itself.

    `load` gives what makes a `Backend` for a store; it is called when the engine is first wanted. `missing`
    says why the engine cannot run here, and is empty where it can. `exporter`, where the engine has one, is a
    base class that gives handles of memories, of any engine, the buffer protocol. `keeper` gives what keeps
    code, where the engine does, and `ahead` what makes machine code ahead of time. `tiers` are those of
    `Config` that the engine has; `compiler` gives what makes machine code for it, and raises `ValueError`
    where that is not there.
    """

    name: str
    load: Callable[[], Callable[[Store], Backend]]
    missing: str = ""
    exporter: type | None = None
    keeper: Callable[[], Keeper] | None = None
    tiers: tuple[str, ...] = ("interpreter", "auto")
    compiler: Callable[[], str] | None = None
    ahead: Callable[[], Ahead] | None = None
