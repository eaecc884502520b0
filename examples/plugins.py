"""A plugin system: text filters, each in an instance of its own, that know nothing of each other.

A plugin exports `memory`, `alloc(size) -> address` and `filter(address, size) -> size`; it may import
`host.log`. The host checks that before it runs anything.

Prints:

    shout: HELLO, PLUGINS!
    reverse: !snigulp ,olleH
      log of reverse: 15
    greedy: refused: allocation too large: a memory of 67108864 bytes, where the store allows 1048576
    broken: refused: it exports no function filter [i32 i32] -> [i32]
    shout, reverse: !SNIGULP ,OLLEH
      log of reverse: 15
"""

from dataclasses import dataclass, field

from tinywasm import Engine, FuncType, Instance, Linker, Module, Store, ValType, WasmError

_COMMON = """
  (memory (export "memory") 1)
  (func (export "alloc") (param i32) (result i32) (i32.const 1024))"""

# Files in a folder, in a real program: `Module.from_file(engine, path)`.
SOURCES = {
    "shout": f"""
(module {_COMMON}
  (func (export "filter") (param $at i32) (param $size i32) (result i32) (local $end i32) (local $c i32)
    (local.set $end (i32.add (local.get $at) (local.get $size)))
    (loop $next
      (local.set $c (i32.load8_u (local.get $at)))
      (if (i32.lt_u (i32.sub (local.get $c) (i32.const 97)) (i32.const 26))
        (then (i32.store8 (local.get $at) (i32.sub (local.get $c) (i32.const 32)))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $at) (local.get $end))))
    (local.get $size)))""",
    "reverse": f"""
(module (import "host" "log" (func $log (param i32))) {_COMMON}
  (func (export "filter") (param $at i32) (param $size i32) (result i32)
    (local $end i32) (local $c i32)
    (call $log (local.get $size))
    (local.set $end (i32.sub (i32.add (local.get $at) (local.get $size)) (i32.const 1)))
    (loop $next
      (if (i32.lt_u (local.get $at) (local.get $end))
        (then
          (local.set $c (i32.load8_u (local.get $at)))
          (i32.store8 (local.get $at) (i32.load8_u (local.get $end)))
          (i32.store8 (local.get $end) (local.get $c))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (local.set $end (i32.sub (local.get $end) (i32.const 1)))
          (br $next))))
    (local.get $size)))""",
    "greedy": '(module (memory (export "memory") 1024) (func (export "filter") (param i32 i32) (result i32) '
    '(i32.const 0)) (func (export "alloc") (param i32) (result i32) (i32.const 0)))',
    "broken": f"(module {_COMMON})",
}
_I32 = ValType.i32()
_EXPECTED = {"alloc": FuncType([_I32], [_I32]), "filter": FuncType([_I32, _I32], [_I32])}


@dataclass
class Plugin:
    """One plugin, ready to use."""

    name: str
    instance: Instance
    log: list[int] = field(default_factory=list)

    def filter(self, text: str) -> str:
        exports, data = self.instance.exports, text.encode()
        store, memory = self.instance.store, exports.memory
        store.set_deadline(1)
        address = exports.alloc(len(data))
        memory.write(store, data, address)
        size = exports.filter(address, len(data))
        return memory.read(store, address, address + size).decode("utf-8", "replace")


def load(engine: Engine, name: str, source: str) -> Plugin:
    """Raises `WasmError` for a plugin that is malformed, too large, or not to the interface."""
    module = Module(engine, source)
    exported = {export.name: export.type for export in module.exports}
    for function, type in _EXPECTED.items():
        if exported.get(function) != type:
            raise WasmError(f"it exports no function {function} {type}")
    store = Store(engine)
    store.set_limits(memory_size=1 << 20, table_elements=1000, instances=1)
    linker = Linker(engine)
    log: list[int] = []
    linker.define_func("host", "log", FuncType([_I32]), log.append)
    return Plugin(name, linker.instantiate(store, module), log)


def run(plugins: list[Plugin], text: str) -> None:
    for plugin in plugins:
        text = plugin.filter(text)
    print(f"{', '.join(plugin.name for plugin in plugins)}: {text}")
    for plugin in plugins:
        if plugin.log:
            print(f"  log of {plugin.name}:", *plugin.log)
            plugin.log.clear()


engine = Engine()
loaded = []
for name, source in SOURCES.items():
    try:
        plugin = load(engine, name, source)
    except WasmError as error:
        print(f"{name}: refused: {error}")
    else:
        loaded.append(plugin)
        run([plugin], "Hello, plugins!")
run(loaded, "Hello, plugins!")
