"""The engines that tests run on."""

from tinywasm import native_available

ENGINES = ("python", "native") if native_available else ("python",)
