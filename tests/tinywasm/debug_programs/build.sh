#!/bin/sh
# Builds the test programs with Debian's packages clang and lld, once for each version of DWARF.
set -eu
cd "$(dirname "$0")"
for version in 4 5; do
    clang --target=wasm32 -O1 "-gdwarf-$version" -fdebug-compilation-dir=. -nostdlib \
        -Wl,--no-entry -o "average_dwarf$version.wasm" average.c
done
