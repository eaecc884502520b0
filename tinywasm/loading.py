"""Loading what is not always wanted, in a process that may be forked meanwhile."""

from __future__ import annotations

import os
import threading

# Held while something is loaded, and a fork waits for it: in the child, a module that another thread was
# loading would never be there, and whoever wants it would wait for ever.
loading = threading.RLock()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=loading.acquire, after_in_parent=loading.release, after_in_child=loading.release
    )
