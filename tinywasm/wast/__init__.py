"""Scripts of the official test suite: `.wast` files, parsed and executed."""
