"""`python -m tinywasm`."""

import sys

from tinywasm.cli import main

if __name__ == "__main__":
    sys.exit(main())
