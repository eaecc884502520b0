"""``python -m wasm_host``."""

import sys

from .cli import main

sys.exit(main())
