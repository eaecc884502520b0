"""A memory read, written and grown from both sides."""

from wasmtime import Instance, Limits, Memory, MemoryType, Module, Store, Trap, TrapCode, WasmtimeError

MEMORY = """
(module
  (memory (export "memory") 2 3)
  (func (export "size") (result i32) (memory.size))
  (func (export "load") (param i32) (result i32) (i32.load8_s (local.get 0)))
  (func (export "store") (param i32 i32) (i32.store8 (local.get 0) (local.get 1)))
  (data (i32.const 0x1000) "\\01\\02\\03\\04"))
"""

store = Store()
exports = Instance(store, Module(store.engine, MEMORY), []).exports(store)
memory, size, load, put = exports["memory"], exports["size"], exports["load"], exports["store"]

print("checking memory...", memory.size(store), memory.data_len(store), size(store))
print(memory.data_ptr(store)[0], memory.data_ptr(store)[0x1000], memory.data_ptr(store)[0x1003])
print(load(store, 0), load(store, 0x1000), load(store, 0x1003), load(store, 0x1FFFF))
try:
    load(store, 0x20000)
except Trap as trap:
    print("trap", trap.trap_code is TrapCode.MEMORY_OUT_OF_BOUNDS, len(trap.frames))
    print(trap.frames[0].func_index, trap.frames[0].func_name, trap.frames[0].module_name)

print("mutating memory...")
memory.data_ptr(store)[0x1003] = 5
put(store, 0x1002, -6)
print(memory.read(store, 0x1000, 0x1004), load(store, 0x1002), load(store, 0x1003))
print(memory.write(store, b"hello", 0x1000), memory.read(store, 0x1000, 0x1005), memory.read(store, -2))
try:
    memory.write(store, b"too long", memory.data_len(store) - 4)
except IndexError:
    print("does not fit")
buffer = memory.get_buffer_ptr(store, 3, 0x1000)
print(len(buffer), buffer[0], bytes(buffer))

print("growing memory...", memory.grow(store, 1), memory.size(store), load(store, 0x20000))
print(memory.grow(store, 0))
for pages in (1, -1):
    try:
        memory.grow(store, pages)
    except WasmtimeError:
        print("cannot grow by", pages)

limits = memory.type(store).limits
print(limits.min, limits.max, memory.type(store).is_64, memory.type(store).page_size)
own = Memory(store, MemoryType(Limits(5, 5)))
print(own.size(store), own.type(store).limits == Limits(5, 5))
try:
    own.grow(store, 1)
except WasmtimeError:
    print("its maximum is 5")
