# Part of `_loop.pyx`: what the verifier knows of a module, and how code comes before it.

from tinywasm.errors import InternalError
from tinywasm.matching import top_heap


cdef TypeInfo **_infos(list types) except NULL:
    """The `TypeInfo` of each of these `_Type`, which belongs to the caller."""
    cdef Py_ssize_t index
    cdef TypeInfo **infos = <TypeInfo **>_room(len(types), sizeof(TypeInfo *))
    for index in range(len(types)):
        infos[index] = &(<_Type>types[index]).info
    return infos


cdef class NativeScope:
    """The index spaces of a module, as the verifier reads them."""

    cdef Scope c
    cdef list types, funcs, tags
    cdef bytearray globals, calls

    def __cinit__(self, context):
        """`context` is the `Context` of the whole module."""
        self.types, self.funcs, self.tags = (
            [_type_of(definition) for definition in watched(space)]
            for space in (context.types, context.funcs, context.tags)
        )
        self.c.types, self.c.type_count = _infos(self.types), len(self.types)
        self.c.funcs, self.c.func_count = _infos(self.funcs), len(self.funcs)
        self.c.tags, self.c.tag_count = _infos(self.tags), len(self.tags)
        self.globals, self.calls = bytearray(), bytearray()
        for type in watched(context.globals):
            reference = GLOBAL_REFERENCE if _letter(type.content) == "r" else 0
            self.globals.append(reference | (GLOBAL_MUTABLE if type.mutable else 0))
        for type in watched(context.tables):
            self.calls.append(top_heap(type.element.heap) is AbstractHeap.FUNC)
        self.c.globals, self.c.global_count = <uint8_t *>self.globals, len(self.globals)
        self.c.calls, self.c.table_count = <uint8_t *>self.calls, len(self.calls)
        self.c.memory_count = len(context.memories)
        self.c.data_count, self.c.elem_count = context.datas, len(context.elems)

    def __dealloc__(self):
        free(self.c.types)
        free(self.c.funcs)
        free(self.c.tags)


cdef int _verify(Code *code, const Scope *scope, _Type type, str name) except -1:
    """What kinds of references the code of the function called `name` takes slots for.

    Raises `InternalError` where it breaks a rule.
    """
    cdef uint32_t word = 0
    cdef int references = 0
    cdef const char *rule = tw_verify(code, scope, &type.info, &word, &references)
    if rule == NULL:
        return references
    if references < 0:
        raise MemoryError
    # Not before it is wanted: the table is long.
    from tinywasm.engine.native.opcodes import OPCODES

    place = f"word {word}"
    if word < code.word_count:
        opcode = (<const uint16_t *>code.words)[<uint64_t>word * 8]
        place += f" ({next((each for each, number in OPCODES.items() if number == opcode), opcode)})"
    raise InternalError(f"the native code of {name} is faulty at {place}: {rule.decode()}")
