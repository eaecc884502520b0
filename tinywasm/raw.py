"""Instances and calls without conversions, for programs that convert values themselves.

Raw values are what Wasm code has: i32 and i64 are unsigned integers, f32 and f64 floats whose NaN bits are
kept (`f32_from_bits` makes one of any bits), a v128 is 16 bytes, a null reference None. Only their
number is checked everywhere: give what the function's type says.
"""

from tinywasm.engine import backend
from tinywasm.instantiation import Namespace, instantiate, invoke
from tinywasm.numerics.floats import f32_from_bits, f32_to_bits, f64_from_bits, f64_to_bits
from tinywasm.runtime.func import FuncInstance
from tinywasm.runtime.module_instance import ModuleInstance
from tinywasm.runtime.profile import Profile, Record
from tinywasm.runtime.storage import Extern, Global, Memory, Table, Tag
from tinywasm.runtime.store import Store
from tinywasm.types import ExternSort, RefType

__all__ = [
    "Extern",
    "ExternSort",
    "FuncInstance",
    "Global",
    "Memory",
    "ModuleInstance",
    "Namespace",
    "Profile",
    "Record",
    "RefType",
    "Table",
    "Tag",
    "engine_name",
    "f32_from_bits",
    "f32_to_bits",
    "f64_from_bits",
    "f64_to_bits",
    "instantiate",
    "invoke",
]


def engine_name(store: Store) -> str:
    """The name of the engine that runs the store's code. Raises `ValueError` where it is not available."""
    return backend(store).name
