"""What runs first: makes what is compiled of our packages importable, then starts the application."""

from __future__ import annotations

import sys
from importlib.machinery import BuiltinImporter, ModuleSpec
from importlib.util import spec_from_loader


class LinkedFinder:
    """Finds modules that are linked in within packages; Python's own finder knows those outside of any."""

    @staticmethod
    def find_spec(fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        """The module's spec; None where it is not linked in."""
        if fullname not in sys.builtin_module_names:
            return None
        return spec_from_loader(fullname, BuiltinImporter, origin="built-in")


def main() -> int:
    """The status to exit with."""
    sys.meta_path.insert(0, LinkedFinder)
    from built import BUILD

    from wasm_rt import keystone

    return keystone.main(BUILD)
