"""Modules that are compiled as they are: where an extension is stale, its source runs."""

from __future__ import annotations

import importlib.util
import os
import sys
from importlib.machinery import SourceFileLoader

from tinywasm.extensions import usable


def prefer_sources(*names: str) -> None:
    """Load the sources of these modules, in this order, if any of the extensions is stale."""
    stale = [name for name in names if not usable(name)]
    if not stale:
        return
    for name in names:
        package, _, module = name.rpartition(".")
        parent = importlib.import_module(package)
        path = os.path.join(parent.__path__[0], f"{module}.py")
        spec = importlib.util.spec_from_file_location(name, path, loader=SourceFileLoader(name, path))
        assert spec is not None and spec.loader is not None
        loaded = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        setattr(parent, module, loaded)
