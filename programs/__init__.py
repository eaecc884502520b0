"""Programs that others wrote, run on tinywasm and on wasmtime (`make programs`)."""
