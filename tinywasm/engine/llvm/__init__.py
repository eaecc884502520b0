"""Machine code for the native engine, made by LLVM where llvmlite is there: the extra `tinywasm[llvm]`."""

INSTALL = 'pip install "tinywasm[llvm]", or in a checkout pip install ".[llvm]"'
"""What to do where it is missing."""
