"""``python -m wasm_client``."""

import sys

from .cli import main

sys.exit(main())
