"""A WebAssembly runtime in Python."""
