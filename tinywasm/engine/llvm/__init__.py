"""Machine code for the native engine, made by LLVM where llvmlite is there: the extra `tinywasm[llvm]`."""
