# Part of `_loop.pyx`: what the verifier knows of a module, and how code comes before it.

from tinywasm.errors import InternalError
from tinywasm.matching import top_heap


cdef class NativeScope:
    """The index spaces of a module, as the verifier reads them."""

    cdef Scope c
    # By their definitions.
    cdef dict types
    cdef bytearray globals, calls

    def __cinit__(self, context):
        """`context` is the `Context` of the whole module."""
        self.types = {}
        self.c.types, self.c.type_count = self._infos(context.types), len(context.types)
        self.c.funcs, self.c.func_count = self._infos(context.funcs), len(context.funcs)
        self.c.tags, self.c.tag_count = self._infos(context.tags), len(context.tags)
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

    cdef TypeInfo **_infos(self, definitions) except NULL:
        """The `TypeInfo` of each of these definitions, to `free`."""
        cdef Py_ssize_t index
        cdef list space = list(definitions)
        cdef TypeInfo **infos = <TypeInfo **>_room(len(space), sizeof(TypeInfo *))
        try:
            for index in range(len(space)):
                if index % STEPS == 0:
                    look()
                definition = space[index]
                type = self.types.get(definition)
                if type is None:
                    type = self.types[definition] = _type_of(definition)
                infos[index] = &(<_Type>type).info
        except BaseException:
            free(infos)
            raise
        return infos

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
