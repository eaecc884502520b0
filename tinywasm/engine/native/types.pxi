# Part of `_loop.pyx`: type definitions as C reads them, and the letters that stand for value types.

# From a definition's identity to the address of its `_Type`, which takes itself out.
cdef dict _types = {}
_LETTERS = {I32: "i", I64: "l", F32: "f", F64: "d", V128: "v"}


def _letter(storage):
    if isinstance(storage, PackedType):
        return "b" if storage is PackedType.I8 else "h"
    return _LETTERS.get(storage, "r")


# What is cleared with garbage could still be found in `_types`.
@cython.no_gc_clear
cdef class _Type:
    """Owns the `TypeInfo` of a canonical definition. Whatever has a pointer to that holds the owner, too.

    Objects need not: the instances of their store do, which live as long as it does.
    """

    cdef TypeInfo info
    cdef object definition
    cdef list ancestors
    cdef bytes kinds, params, results

    def __cinit__(self, definition):
        composite = definition.composite
        self.definition = definition
        self.info.python = <void *>definition
        chain = definition.ancestors
        self.ancestors = [_type_of(each) for each in chain[: len(chain) - 1]]
        self.info.depth = len(chain) - 1
        self.info.display = <TypeInfo **>_room(len(chain), sizeof(TypeInfo *))
        for index, each in enumerate(self.ancestors):
            self.info.display[index] = &(<_Type>each).info
        self.info.display[self.info.depth] = &self.info
        if isinstance(composite, FuncType):
            self._function(composite)
        elif isinstance(composite, StructType):
            self._structure(composite)
        else:
            self._array(composite)
        _types[id(definition)] = <uintptr_t><void *>self

    def __dealloc__(self):
        if _types.get(id(self.definition)) == <uintptr_t><void *>self:
            del _types[id(self.definition)]
        free(self.info.display)

    cdef _function(self, composite):
        self.info.kind = KIND_FUNC
        self.params = "".join(map(_letter, composite.params)).encode()
        self.results = "".join(map(_letter, composite.results)).encode()
        self.info.params, self.info.results = self.params, self.results
        self.info.param_slots = len(self.params) + self.params.count(b"v")
        self.info.result_slots = len(self.results) + self.results.count(b"v")
        self.info.references = b"r" in self.params or b"r" in self.results

    cdef _structure(self, composite):
        self.info.kind = KIND_STRUCT
        kinds = ""
        for field in composite.fields:
            letter = _letter(field.storage)
            kinds += {"v": "..", "r": "r", "b": "b", "h": "h"}.get(letter, ".")
        self.kinds = kinds.encode()
        self.info.kinds = self.kinds
        self.info.slots = len(kinds)

    cdef _array(self, composite):
        self.info.kind = KIND_ARRAY
        letter = _letter(composite.field.storage)
        self.info.element = <char>ord(letter)
        self.info.element_size = {"b": 1, "h": 2, "i": 4, "f": 4, "v": 16}.get(letter, 8)


cdef _Type _type_of(definition):
    found = _types.get(id(definition))
    if found is None:
        return _Type(definition)
    return <_Type><void *><uintptr_t>found


# As tools/gen_loop.py numbers `enum heap_kind`.
_HEAP_NUMBERS = {heap: number for number, heap in enumerate(AbstractHeap)}
