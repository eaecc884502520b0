"""LLVM at work: from the text of a unit to an object file, with more or less effort."""

from __future__ import annotations

import importlib
import os
import struct
import sys
import threading
from functools import cache
from queue import SimpleQueue
from typing import Any

# WebAssembly has mostly been optimised before. So what LLVM makes of FULL is some twentieth faster than what
# it makes of LIGHT, and takes three times as long. QUICK takes a third of LIGHT, for code that is some tenths
# slower: instructions are selected one by one, while registers are still allocated well.
QUICK, LIGHT, FULL = range(3)
# The attribute of a function in which there are vectors.
VECTORS = '"vectors"'
# Up to how many records of a module are worth all effort, which is then done within a second.
FULL_RECORDS = 2_000
# Beyond how many it would take minutes to make more effort than QUICK.
LIGHT_RECORDS = 200_000
# What LLVM's own pipeline has less; without the first, each variable would stay in memory. Constants
# are folded here: the code generator, which would do that too, fails over lanes of another width.
_PASSES = {
    QUICK: ("sroa", "sccp"),
    LIGHT: ("sroa", "simplify_cfg", "instruction_combine", "simplify_cfg"),
}


@cache
def binding() -> Any:
    """llvmlite's. Raises `ImportError` for whatever keeps it from being used."""
    try:
        found = importlib.import_module("llvmlite.binding")
        found.initialize_native_target()
        found.initialize_native_asmprinter()
        # Older ones lack it.
        _ = found.create_pass_builder
    except Exception as error:
        raise ImportError(str(error) or type(error).__name__) from error
    return found


def object_code(text: str, cpu: str, features: str, effort: int) -> bytes:
    """An object file for x86-64, for a processor by LLVM's names of it."""
    llvm = binding()
    # Where vectors have 256 bits, LLVM clears their upper halves even at the end of what keeps registers.
    text += f'attributes #1 = {{ nounwind noinline "target-features"="{features},-vzeroupper" }}\n'
    # Of what LLVM makes on the way nothing stays: all ends here, the context last.
    with llvm.create_context() as context, llvm.parse_assembly(text, context) as module:
        target = llvm.Target.from_triple("x86_64-unknown-linux-gnu")
        machine = target.create_target_machine(
            cpu=cpu, features=features, opt=1, reloc="pic", codemodel="small"
        )
        options = llvm.create_pipeline_tuning_options(speed_level=2)
        options.loop_vectorization = options.slp_vectorization = False
        with llvm.create_pass_builder(machine, options) as builder, _passes(builder, effort) as passes:
            passes.run(module, builder)
        if effort == QUICK:
            _select_quickly(module)
        made: bytes = machine.emit_object(module)
    return made


def _select_quickly(module: Any) -> None:
    for function in module.functions:
        # Where nothing optimises vectors, a later pass fails over some of them.
        if not function.is_declaration and VECTORS.encode() not in b"".join(function.attributes):
            function.add_function_attribute("noinline")
            function.add_function_attribute("optnone")


def _passes(builder: Any, effort: int) -> Any:
    if effort == FULL:
        return builder.getModulePassManager()
    passes = binding().create_new_module_pass_manager()
    for name in _PASSES[effort]:
        getattr(passes, f"add_{name}_pass")()
    return passes


# The other end of `apart.py`: a process that imports nothing of ours, and ends when nobody can ask it.

REQUEST = struct.Struct("<BQ")
ANSWER = struct.Struct("<?Q")


def main() -> None:
    """Answer requests on the standard input; arguments are llvmlite's folder, a processor, its features."""
    _, folder, cpu, features = sys.argv
    sys.path.append(folder)
    requests: SimpleQueue[tuple[int, str]] = SimpleQueue()
    threading.Thread(target=_read, args=(requests,), daemon=True).start()
    answers = os.fdopen(os.dup(1), "wb")
    # What LLVM says is no answer.
    os.dup2(2, 1)
    # While the first request is made. The first answer says that LLVM is there.
    binding()
    answer = True, b""
    while True:
        answers.write(ANSWER.pack(answer[0], len(answer[1])) + answer[1])
        answers.flush()
        effort, text = requests.get()
        try:
            answer = True, object_code(text, cpu, features, effort)
        except Exception as error:
            answer = False, (str(error) or type(error).__name__).encode()


def _read(requests: SimpleQueue[tuple[int, str]]) -> None:
    """A thread of its own, which sees the end while LLVM works."""
    with os.fdopen(0, "rb") as stream:
        while len(head := stream.read(REQUEST.size)) == REQUEST.size:
            effort, size = REQUEST.unpack(head)
            requests.put((effort, stream.read(size).decode()))
    os._exit(0)


if __name__ == "__main__":
    main()
