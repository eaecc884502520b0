# cython: language_level=3
"""What a call's round trip spends its time on, in C; `fast` says what the functions do.

They take the plain case and decline every other, and every doubt, by None: the layouts decide then. The
layouts in the comments are those of `layouts`.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_GET_SIZE, PyTuple_New, PyTuple_SET_ITEM
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from schannel.events import ReplyReceived, RequestReceived
from schannel.messages import CallRequest, CallResult
from schannel.records import CHUNK_HEADER_SIZE, HEADER_SIZE, PADDING, RecordKind
from schannel.values import VALUE_TYPES, Value, ValueType

cdef extern from "Python.h":
    ctypedef struct PyTypeObject:
        object (*tp_alloc)(PyTypeObject *, Py_ssize_t)
    const char *PyUnicode_AsUTF8AndSize(object, Py_ssize_t *) except NULL
    object PyUnicode_DecodeUTF8(const char *, Py_ssize_t, const char *)

cdef type _REQUEST = CallRequest, _RESULT = CallResult, _VALUE = Value
cdef type _RECEIVED = RequestReceived, _REPLIED = ReplyReceived
cdef int _CALL_BYTE = CallRequest.type_byte, _RESULT_BYTE = CallResult.type_byte
cdef int _MESSAGE = RecordKind.MESSAGE
cdef Py_ssize_t _RECORD = PADDING, _HEAD = HEADER_SIZE, _HEADS = HEADER_SIZE + CHUNK_HEADER_SIZE
cdef object _I32 = ValueType.I32, _I64 = ValueType.I64
cdef list _KINDS = [VALUE_TYPES.get(number) for number in range(256)]


def body(message):
    """See `fast.body`."""
    cdef Py_ssize_t size = _body_size(message)
    if size < 0:
        return None
    cdef bytes packed = PyBytes_FromStringAndSize(NULL, size)
    try:
        return packed if _pack(message, PyBytes_AS_STRING(packed)) else None
    except (OverflowError, TypeError):
        return None


def write(uint32_t number, message):
    """See `fast.write`."""
    # Head of the record: kind u8, size of the body u16; of the chunk: type u8, last u8, request u32.
    cdef Py_ssize_t size = _body_size(message)
    if size < 0 or size > _RECORD - _HEADS:
        return None
    cdef bytes plaintext = PyBytes_FromStringAndSize(NULL, _RECORD)
    cdef char *head = PyBytes_AS_STRING(plaintext)
    memset(head, 0, _RECORD)
    head[0] = _MESSAGE
    _put(head + 1, _HEADS - _HEAD + size, 2)
    head[3] = <char>(_CALL_BYTE if type(message) is _REQUEST else _RESULT_BYTE)
    head[4] = 1
    _put(head + 5, number, 4)
    try:
        return plaintext if _pack(message, head + _HEADS) else None
    except (OverflowError, TypeError):
        return None


def read(bytes plaintext not None):
    """See `fast.read`."""
    cdef const unsigned char *data = <const unsigned char *>PyBytes_AS_STRING(plaintext)
    cdef Py_ssize_t at, end
    if PyBytes_GET_SIZE(plaintext) != _RECORD or data[0] != _MESSAGE:
        return None
    end = _HEAD + _get(data + 1, 2)
    if end > _RECORD or end < _HEADS or data[4] != 1:
        return None
    for at in range(end, _RECORD):
        if data[at]:
            return None
    try:
        if data[3] == _CALL_BYTE:
            event, message = _RECEIVED, _read_request(data + _HEADS, end - _HEADS)
        elif data[3] == _RESULT_BYTE:
            event, message = _REPLIED, _read_result(data + _HEADS, end - _HEADS)
        else:
            return None
    except UnicodeDecodeError:
        return None
    return None if message is None else _named(event, (_get(data + 5, 4), message))


def values(tuple kinds not None, numbers):
    """See `fast.values`."""
    cdef Py_ssize_t at, count = PyTuple_GET_SIZE(kinds)
    cdef int64_t number
    if len(numbers) != count:
        return None
    cdef tuple made = PyTuple_New(count)
    for at in range(count):
        item = numbers[at]
        kind = kinds[at]
        if type(item) is not int:
            return None
        try:
            if kind is _I32:
                number = item
                if number < -0x80000000 or number > 0xFFFFFFFF:
                    return None
                value = _named(_VALUE, (kind, <uint32_t>number))
            elif kind is _I64:
                value = _named(_VALUE, (kind, <uint64_t>item if item >= 0 else <uint64_t><int64_t>item))
            else:
                return None
        except OverflowError:
            return None
        Py_INCREF(value)
        PyTuple_SET_ITEM(made, at, value)
    return made


def bits(tuple kinds not None, values):
    """See `fast.bits`."""
    cdef list taken = []
    if type(values) is not tuple or PyTuple_GET_SIZE(values) != PyTuple_GET_SIZE(kinds):
        return None
    for kind, value in zip(kinds, <tuple>values):
        if type(value) is not _VALUE or (<tuple>value)[0] is not kind:
            return None
        taken.append((<tuple>value)[1])
    return taken


def numbers(values):
    """See `fast.numbers`."""
    cdef list signed = []
    if type(values) is not tuple:
        return None
    for value in <tuple>values:
        if type(value) is not _VALUE:
            return None
        kind, item = (<tuple>value)[0], (<tuple>value)[1]
        try:
            if kind is _I32:
                signed.append(<int32_t><uint32_t>item)
            elif kind is _I64:
                signed.append(<int64_t><uint64_t>item)
            else:
                return None
        except OverflowError:
            return None
    return signed


cdef Py_ssize_t _body_size(message):
    """Bytes of a message's body; -1 where it is not plain."""
    cdef Py_ssize_t size, total
    if type(message) is _RESULT:
        # values, fuel_used u64
        size = _values_size((<tuple>message)[0])
        return -1 if size < 0 else size + 8
    if type(message) is not _REQUEST:
        return -1
    # module text, function text, arguments, fuel u64, timeout_ms u32
    total = 12
    for text in (<tuple>message)[:2]:
        if type(text) is not str:
            return -1
        try:
            PyUnicode_AsUTF8AndSize(text, &size)
        except UnicodeEncodeError:
            return -1
        if size > 0xFFFF:
            return -1
        total += 2 + size
    size = _values_size((<tuple>message)[2])
    return -1 if size < 0 else total + size


cdef Py_ssize_t _values_size(values):
    """Bytes of values: a count u16, for each its type u8 and its bits; -1 where they are not plain."""
    cdef Py_ssize_t size = 2
    cdef int width
    if type(values) is not tuple or PyTuple_GET_SIZE(values) > 0xFFFF:
        return -1
    for value in <tuple>values:
        if type(value) is not _VALUE:
            return -1
        width = _width((<tuple>value)[0])
        if not width:
            return -1
        size += 1 + width
    return size


cdef int _width(int kind) except -1:
    """Bytes of a number's bits; 0 for what is no number."""
    if kind == 0x7F or kind == 0x7D:
        return 4
    return 8 if kind == 0x7E or kind == 0x7C else 0


cdef bint _pack(message, char *into) except -1:
    """Write a body for which there is room; False where a field does not fit."""
    cdef tuple fields = <tuple>message
    cdef Py_ssize_t size
    cdef const char *text
    cdef uint64_t timeout
    if type(message) is _RESULT:
        into = _pack_values(<tuple>fields[0], into)
        if into:
            _put(into, <uint64_t>fields[1], 8)
        return into != NULL
    for name in fields[:2]:
        text = PyUnicode_AsUTF8AndSize(name, &size)
        _put(into, size, 2)
        memcpy(into + 2, text, size)
        into += 2 + size
    into = _pack_values(<tuple>fields[2], into)
    timeout = fields[4]
    if not into or timeout >> 32:
        return False
    _put(into, <uint64_t>fields[3], 8)
    _put(into + 8, timeout, 4)
    return True


cdef char *_pack_values(tuple values, char *into) except? NULL:
    """Write values; where to go on, or NULL where the bits of one do not fit."""
    cdef uint64_t bits
    cdef int kind, width
    _put(into, PyTuple_GET_SIZE(values), 2)
    into += 2
    for value in values:
        kind = (<tuple>value)[0]
        bits = (<tuple>value)[1]
        width = _width(kind)
        if width == 4 and bits >> 32:
            return NULL
        into[0] = <char>kind
        _put(into + 1, bits, width)
        into += 1 + width
    return into


cdef _read_request(const unsigned char *data, Py_ssize_t size):
    cdef Py_ssize_t at = 0, length
    cdef list names = []
    for _ in range(2):
        if at + 2 > size:
            return None
        length = _get(data + at, 2)
        at += 2
        if at + length > size:
            return None
        names.append(PyUnicode_DecodeUTF8(<const char *>data + at, length, NULL))
        at += length
    arguments = _read_values(data, size, &at)
    if arguments is None or at + 12 != size:
        return None
    return _named(
        _REQUEST, (names[0], names[1], arguments, _get(data + at, 8), _get(data + at + 8, 4))
    )


cdef _read_result(const unsigned char *data, Py_ssize_t size):
    cdef Py_ssize_t at = 0
    values = _read_values(data, size, &at)
    if values is None or at + 8 != size:
        return None
    return _named(_RESULT, (values, _get(data + at, 8)))


cdef _read_values(const unsigned char *data, Py_ssize_t size, Py_ssize_t *position):
    cdef Py_ssize_t at = position[0], left
    cdef int width
    cdef list values = []
    if at + 2 > size:
        return None
    left = _get(data + at, 2)
    at += 2
    while left:
        if at >= size:
            return None
        width = _width(data[at])
        if not width or at + 1 + width > size:
            return None
        values.append(_named(_VALUE, (_KINDS[data[at]], _get(data + at + 1, width))))
        at += 1 + width
        left -= 1
    position[0] = at
    return tuple(values)


cdef _named(type cls, tuple fields):
    """A named tuple of fields that are known to fit it, without running its constructor."""
    cdef PyTypeObject *named = <PyTypeObject *>cls
    made = named.tp_alloc(named, PyTuple_GET_SIZE(fields))
    for at in range(PyTuple_GET_SIZE(fields)):
        item = fields[at]
        Py_INCREF(item)
        PyTuple_SET_ITEM(made, at, item)
    return made


cdef void _put(char *into, uint64_t number, int size) noexcept:
    """Write a big-endian number."""
    while size:
        size -= 1
        into[size] = <char>(number & 0xFF)
        number >>= 8


cdef uint64_t _get(const unsigned char *data, int size) noexcept:
    """Read a big-endian number."""
    cdef uint64_t number = 0
    for at in range(size):
        number = number << 8 | data[at]
    return number
