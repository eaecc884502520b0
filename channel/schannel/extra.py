"""The extra ``confidential``: the packages that the commands need, and what is said without them.

Only the standard library is imported here, so that a command can say what is missing.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable

PACKAGES = {
    "Crypto": "pycryptodome",
    "construct": "construct",
    "prometheus_client": "prometheus_client",
    "prompt_toolkit": "prompt_toolkit",
    "rich": "rich",
}
"""The packages by the names under which they are imported, with those of their distributions."""

EXIT_NOT_INSTALLED = 2
_EXIT_INTERRUPTED = 130


def start(program: str, command: Callable[[], int]) -> int:
    """Run a command and return its exit status.

    Where it fails to import a package of the extra, that is one line on standard error. Ctrl-C ends the
    command silently while it imports what it needs, with status 130.
    """
    try:
        return command()
    except ModuleNotFoundError as error:
        if _package(error) is None:
            raise
        print(f"{program}: {explained(error)}", file=sys.stderr)
        return EXIT_NOT_INSTALLED
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED


def require(package: str) -> None:
    """Make sure that a package of the extra is there, without importing it.

    Raises:
        ModuleNotFoundError: it is not.
    """
    if importlib.util.find_spec(package) is None:
        raise explained(ModuleNotFoundError(name=package))


def explained(error: ModuleNotFoundError) -> ModuleNotFoundError:
    """The same error, which says what to install where it is about a package of the extra."""
    package = _package(error)
    if package is None:
        return error
    return ModuleNotFoundError(
        f"the package {package} is not installed; it comes with the extra `confidential`: "
        "pip install 'tinywasm[confidential]', or in a checkout pip install '.[confidential]'",
        name=error.name,
    )


def _package(error: ModuleNotFoundError) -> str | None:
    return PACKAGES.get((error.name or "").partition(".")[0])
