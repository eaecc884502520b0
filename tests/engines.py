"""The engines that tests run on."""

import sys

import pytest

from tinywasm import native_available

ENGINES = ("python", "native") if native_available else ("python",)

needs_views = pytest.mark.skipif(
    sys.version_info < (3, 12) and not native_available,
    reason="memories have views where Python is 3.12 or later, or the extension is built",
)
