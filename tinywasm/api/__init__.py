"""The embedding API: wasmtime-py's names and meanings over the runtime's objects."""
