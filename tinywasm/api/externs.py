"""Memories, tables, globals and tags for Python programs."""

from __future__ import annotations

from collections.abc import Iterator
from operator import index
from typing import TYPE_CHECKING, Any, Self

from tinywasm.api.func import Func, from_raw, to_raw
from tinywasm.api.handles import Handle, Storelike, store_of
from tinywasm.engine import IMPLEMENTATIONS, backend
from tinywasm.errors import Trap, TrapCode, WasmError
from tinywasm.matching import define
from tinywasm.runtime.store import Store
from tinywasm.types import GlobalType, MemoryType, TableType, TagType
from tinywasm.validation import check_own_type

if TYPE_CHECKING:
    import ctypes

_exporters = [each.exporter for each in IMPLEMENTATIONS.values() if each.exporter is not None]
if _exporters and not TYPE_CHECKING:
    _Buffered = _exporters[0]
else:
    # From Python 3.12 on, Python itself gives a class with `__buffer__` the buffer protocol.
    class _Buffered:
        __slots__ = ()
        _raw: Any

        def __buffer__(self, flags: int, /) -> memoryview:
            view = memoryview(self._raw.data)
            _exported[id(view)] = view
            return view

        def __release_buffer__(self, view: memoryview, /) -> None:
            del _exported[id(view)]


# CPython 3.12 crashes where the collector clears a memoryview that somebody has a view of: here they are
# never garbage before their views are.
_exported: dict[int, memoryview] = {}


class Memory(Handle, _Buffered, kind="memory"):
    """A linear memory.

    The bytes never move. Views of them (`memoryview(memory)`, `numpy.frombuffer(memory)`,
    `get_buffer_ptr`) share them without copying and stay valid when the memory grows, showing what they
    showed before. `memory[i]` and `memory[i:j]` read and write bytes by index and slice.
    """

    __slots__ = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        # The base of an extension has one of its own, which refuses to make this class.
        return object.__new__(cls)

    def __init__(self, store: Storelike, ty: MemoryType) -> None:
        """A memory of zeros of type `ty`.

        Raises `ValidationError` for a type that no module could declare, and `Trap` (ALLOCATION_TOO_LARGE)
        where the configuration or the store's limits do not allow the size.
        """
        owner = store_of(store)
        check_own_type(ty, MemoryType, owner.engine.config.features)
        self._bind(owner, backend(owner).memory(ty))

    def type(self, store: Storelike) -> MemoryType:
        self._check(store)
        result: MemoryType = self._raw.type
        return result

    def grow(self, store: Storelike, delta: int) -> int:
        """Grow by `delta` pages; the old size in pages. Raises `WasmError` where that is refused."""
        self._check(store)
        delta = index(delta)
        if delta < 0:
            raise WasmError("cannot grow by negative amount")
        self._store.guard()
        old: int = self._raw.grow(delta)
        if old < 0:
            raise WasmError(f"failed to grow memory by `{delta}`")
        return old

    def size(self, store: Storelike) -> int:
        """The size in pages."""
        self._check(store)
        pages: int = self._raw.pages
        return pages

    def data_len(self, store: Storelike) -> int:
        """The size in bytes."""
        self._check(store)
        return len(self)

    def page_size(self, store: Storelike) -> int:
        """The size of a page in bytes: 65,536 except with custom-page-sizes."""
        return self.type(store).page_size

    def page_size_log2(self, store: Storelike) -> int:
        """The same as the exponent of 2."""
        return self.type(store).page_size_log2

    def data_ptr(self, store: Storelike) -> ctypes._Pointer[ctypes.c_ubyte]:
        """The address of the first byte, for `ctypes`, which checks no bounds; valid while it is kept."""
        import ctypes

        return ctypes.cast(self.get_buffer_ptr(store), ctypes.POINTER(ctypes.c_ubyte))

    def get_buffer_ptr(
        self, store: Storelike, size: int | None = None, offset: int = 0
    ) -> ctypes.Array[ctypes.c_ubyte]:
        """A `ctypes` array over `size` bytes from `offset`, all of the rest by default; not a copy.

        Raises `ValueError` where that is not inside.
        """
        self._check(store)
        if size is None:
            size = max(0, len(self) - offset)
        import ctypes

        return (ctypes.c_ubyte * size).from_buffer(self._raw.data, offset)

    def read(self, store: Storelike, start: int | None = 0, stop: int | None = None) -> bytearray:
        """A copy of the bytes from `start` up to `stop`, which mean what they mean in a slice."""
        self._check(store)
        return bytearray(self._raw.data[start:stop])

    def write(self, store: Storelike, value: bytes | bytearray | memoryview, start: int | None = None) -> int:
        """Write the bytes of `value` from `start`, negative from the end; their number.

        Raises `IndexError` where they do not all fit inside, and then writes nothing.
        """
        self._check(store)
        data = self._raw.data
        first = slice(start, None).indices(len(data))[0]
        value = memoryview(value).cast("B")
        if first >= len(data) or first + len(value) > len(data):
            raise IndexError(f"{len(value)} bytes from {first} do not fit into a memory of {len(data)} bytes")
        data[first : first + len(value)] = value
        return len(value)

    def __len__(self) -> int:
        return len(self._raw.data)

    def __getitem__(self, key: int | slice) -> Any:
        found = self._raw.data[key]
        return bytes(found) if isinstance(key, slice) else found

    def __setitem__(self, key: int | slice, value: Any) -> None:
        self._raw.data[key] = value


class Table(Handle, kind="table"):
    """A table of references. `table[i]` reads and writes an element, as a list does."""

    __slots__ = ("_guard", "_seen", "_shown", "_to_raw")

    def __init__(self, store: Storelike, ty: TableType, init: Any) -> None:
        """A table of type `ty` with `init` in all its elements.

        Raises `ValidationError` for a type that no module could declare, `TypeError` for an `init` of
        another type, and `Trap` (ALLOCATION_TOO_LARGE) where the configuration or the store's limits do not
        allow the size.
        """
        owner = store_of(store)
        check_own_type(ty, TableType, owner.engine.config.features)
        self._bind(owner, backend(owner).table(ty, to_raw(owner, ty.element)(init)))

    def _bind(self, store: Store, raw: Any) -> None:
        super()._bind(store, raw)
        self._guard = (store.backend or backend(store)).guard
        self._shown, self._to_raw = from_raw(store, raw.type.element), to_raw(store, raw.type.element)
        # By index, the handle that was given last.
        self._seen: dict[int, Func] = {}

    def type(self, store: Storelike) -> TableType:
        self._check(store)
        result: TableType = self._raw.type
        return result

    def size(self, store: Storelike) -> int:
        """The number of elements."""
        self._check(store)
        return len(self)

    def grow(self, store: Storelike, amt: int, init: Any) -> int:
        """Add `amt` elements with the value `init`; the old size. Raises `WasmError` where refused."""
        self._check(store)
        amt, value = index(amt), self._to_raw(init)
        if amt < 0:
            raise WasmError("cannot grow by negative amount")
        self._guard()
        old: int = self._raw.grow(amt, value)
        if old < 0:
            raise WasmError(f"failed to grow table by `{amt}`")
        return old

    def get(self, store: Storelike, idx: int) -> Any:
        """The element: a `Func`, a Python object, or None for a null reference or beyond the end."""
        if store is not self._store:
            self._check(store)
        self._guard()
        idx, table = index(idx), self._raw
        if not 0 <= idx < len(table):
            return None
        raw, seen = table.get(idx), self._seen.get(idx)
        if seen is not None and seen._raw is raw:
            return seen
        shown = self._shown(raw)
        if isinstance(shown, Func):
            self._seen[idx] = shown
        return shown

    def set(self, store: Storelike, idx: int, val: Any) -> None:
        """Raises `Trap` (TABLE_OUT_OF_BOUNDS) beyond the end, `TypeError` for a value of another type."""
        self._check(store)
        if not 0 <= idx < len(self):
            raise Trap(TrapCode.TABLE_OUT_OF_BOUNDS)
        self[idx] = val

    def __len__(self) -> int:
        self._guard()
        return len(self._raw)

    def __iter__(self) -> Iterator[Any]:
        return (self[place] for place in range(len(self)))

    def __getitem__(self, idx: int) -> Any:
        return self._shown(self._raw.get(self._place(idx)))

    def __setitem__(self, idx: int, val: Any) -> None:
        value = self._to_raw(val)
        self._raw.set(self._place(idx), value)

    def _place(self, idx: int) -> int:
        idx, size = index(idx), len(self)
        place = idx + (size if idx < 0 else 0)
        if not 0 <= place < size:
            raise IndexError(f"a table of {size} elements has no element {idx}")
        return place


class Global(Handle, kind="global"):
    """A global variable."""

    __slots__ = ("_guard", "_shown", "_to_raw")

    def __init__(self, store: Storelike, ty: GlobalType, val: Any) -> None:
        """A global of type `ty` with the value `val`.

        Raises `ValidationError` for a type that no module could declare, `TypeError` for a value of another
        type, and `OverflowError` for an integer out of range.
        """
        owner = store_of(store)
        check_own_type(ty, GlobalType, owner.engine.config.features)
        self._bind(owner, backend(owner).glob(ty, to_raw(owner, ty.content)(val)))

    def _bind(self, store: Store, raw: Any) -> None:
        super()._bind(store, raw)
        self._guard = (store.backend or backend(store)).guard
        self._shown, self._to_raw = from_raw(store, raw.type.content), to_raw(store, raw.type.content)

    def type(self, store: Storelike) -> GlobalType:
        self._check(store)
        result: GlobalType = self._raw.type
        return result

    def value(self, store: Storelike) -> Any:
        """The present value as a Python value."""
        if store is not self._store:
            self._check(store)
        self._guard()
        return self._shown(self._raw.value)

    def set_value(self, store: Storelike, val: Any) -> None:
        """Raises `WasmError` where the global is immutable, and as the constructor."""
        if store is not self._store:
            self._check(store)
        if not self._raw.type.mutable:
            raise WasmError("immutable global cannot be set")
        value = self._to_raw(val)
        self._guard()
        self._raw.value = value


class Tag(Handle, kind="tag"):
    """The identity of a kind of exceptions: `raise WasmException(tag, values)` in a host function throws."""

    __slots__ = ()

    def __init__(self, store: Storelike, ty: TagType) -> None:
        """A new tag, different from any other; `ty` holds the types of the exceptions' values.

        Raises `ValidationError` for a type that no module could declare.
        """
        owner = store_of(store)
        check_own_type(ty, TagType, owner.engine.config.features)
        self._bind(owner, backend(owner).tag(TagType(define(ty.functype))))

    def type(self, store: Storelike) -> TagType:
        self._check(store)
        return TagType(self._raw.type.functype)

    def eq(self, store: Storelike, other: Tag) -> bool:
        """Whether both are the same tag."""
        self._check(store)
        return self == other
