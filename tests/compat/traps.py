"""What ended a call: the code of every trap, and a host function's own error."""

from wasmtime import Engine, Func, FuncType, Instance, Module, Store, Trap, TrapCode

CASES = {
    "unreachable": "unreachable",
    "memory": "i32.const -1 i32.load drop",
    "memory.fill": "i32.const 1 i32.const 0 i32.const 65536 memory.fill",
    "table.get": "i32.const 5 table.get $t drop",
    "table.init": "i32.const 0 i32.const 0 i32.const 9 table.init $t $e",
    "call_indirect": "i32.const 5 call_indirect $t (type $f)",
    "return_call_indirect": "i32.const 5 return_call_indirect $t (type $f)",
    "call_indirect null": "i32.const 0 call_indirect $t (type $f)",
    "call_indirect type": "i32.const 1 call_indirect $t (type $f)",
    "divide": "i32.const 1 i32.const 0 i32.div_s drop",
    "overflow": "i32.const 0x80000000 i32.const -1 i32.div_s drop",
    "convert": "f32.const nan i32.trunc_f32_s drop",
    "call_ref": "ref.null $f call_ref $f",
    "as_non_null": "ref.null func ref.as_non_null drop",
    "struct": "ref.null $s struct.get $s 0 drop",
    "array": "ref.null $a array.len drop",
    "i31": "ref.null i31 i31.get_s drop",
    "throw_ref": "ref.null exn throw_ref",
    "array bounds": "i32.const 1 array.new_default $a i32.const 1 array.get $a drop",
    "cast": "ref.null any ref.cast (ref any) drop",
    "stack": "call $deep",
}

engine = Engine()
store = Store(engine)
for name, body in CASES.items():
    module = Module(
        engine,
        f"""(module
          (type $f (func)) (type $s (struct (field i32))) (type $a (array (mut i32)))
          (memory 1) (table $t 2 funcref)
          (elem (table $t) (i32.const 1) func $other) (elem $e func $other)
          (func $other (param i32)) (func $deep (call $deep))
          (func (export "f") {body}))""",
    )
    try:
        Instance(store, module, []).exports(store)["f"](store)
    except Trap as trap:
        code = trap.trap_code
        print(name, code.name if isinstance(code, TrapCode) else code)
    else:
        print(name, "goes on")


def forever() -> None:
    def deeper() -> None:
        deeper()

    deeper()


def wrong() -> None:
    raise KeyError("mine")


for host in (forever, wrong):
    func = Func(store, FuncType([], []), host)
    through = Instance(
        store, Module(engine, '(module (import "" "f" (func $f)) (func (export "g") (call $f)))'), [func]
    )
    for call in (func, through.exports(store)["g"]):
        try:
            call(store)
        except (RecursionError, KeyError) as error:
            print(host.__name__, type(error).__name__)
