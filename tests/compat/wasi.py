"""A WASI command: its output, arguments, files and exit status."""

import os
import tempfile

from wasmtime import Engine, ExitTrap, Linker, Module, Store, WasiConfig

COMMAND = """
(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $env_sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "output.txt../x")
  (data (i32.const 96) "hello\\n")
  (func $put (param $fd i32) (param $address i32) (param $length i32)
    (i32.store (i32.const 16) (local.get $address))
    (i32.store (i32.const 20) (local.get $length))
    (drop (call $write (local.get $fd) (i32.const 16) (i32.const 1) (i32.const 24))))
  (func (export "_start") (local $fd i32)
    (call $put (i32.const 1) (i32.const 96) (i32.const 6))
    (drop (call $args_sizes (i32.const 0) (i32.const 4)))
    (drop (call $args (i32.const 200) (i32.const 300)))
    (call $put (i32.const 1) (i32.const 300) (i32.load (i32.const 4)))
    ;; Create a file, and try one outside of the directory.
    (drop (call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 10) (i32.const 1)
      (i64.const 0x40) (i64.const 0) (i32.const 0) (i32.const 28)))
    (call $put (i32.load (i32.const 28)) (i32.const 96) (i32.const 5))
    (drop (call $close (i32.load (i32.const 28))))
    (if (i32.eqz (call $open (i32.const 3) (i32.const 0) (i32.const 74) (i32.const 4) (i32.const 1)
        (i64.const 0x40) (i64.const 0) (i32.const 0) (i32.const 28)))
      (then (unreachable)))
    (drop (call $env_sizes (i32.const 32) (i32.const 36)))
    (call $exit (i32.add (i32.mul (i32.load (i32.const 32)) (i32.const 10)) (i32.load (i32.const 36))))))
"""

engine = Engine()
linker = Linker(engine)
linker.define_wasi()
module = Module(engine, COMMAND)

with tempfile.TemporaryDirectory() as folder:
    output = os.path.join(folder, "stdout.log")
    shared = os.path.join(folder, "shared")
    os.mkdir(shared)
    wasi = WasiConfig()
    wasi.argv = ("program", "argument", "ümläut")
    wasi.env = [["NAME", "value"], ["OTHER", ""]]
    wasi.stdout_file = output
    wasi.preopen_dir(shared, "/data")
    store = Store(engine)
    store.set_wasi(wasi)
    instance = linker.instantiate(store, module)
    try:
        instance.exports(store)["_start"](store)
    except ExitTrap as exit:
        print("exit status", exit.code)
    with open(output, "rb") as file:
        print(file.read())
    with open(os.path.join(shared, "output.txt"), "rb") as file:
        print(file.read(), sorted(os.listdir(folder)))
