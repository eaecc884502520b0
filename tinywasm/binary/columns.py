# cython: wraparound=False, initializedcheck=False, annotation_typing=False, cdivision=True
"""What a module may have very many of, read as numbers (compiled where there is a compiler).

A reader goes on as long as things are as they usually are, and leaves the rest, malformed ones too, to the
decoder.
"""

from __future__ import annotations

from array import array

_I32_CONST, _END = 0x41, 0x0B
# Value types of one byte (section 5.3.5): abstract heap types, vectors and numbers.
_LEAST_HEAP, _MOST_HEAP, _LEAST_NUMBER, _MOST_NUMBER = 0x69, 0x74, 0x7B, 0x7F


def _short(data: bytes, pos: int) -> int:
    """An integer of at most four bytes (section 5.2.2), times 8, plus how many they are; -1 for any other."""
    byte = data[pos]
    number, count = byte & 0x7F, 1
    while byte > 0x7F:
        if count == 4:
            return -1
        byte = data[pos + count]
        number |= (byte & 0x7F) << 7 * count
        count += 1
    return number << 3 | count


def read_short(data: bytes, pos: int, numbers: array[int], most: int) -> tuple[int, int]:
    """Up to `most` unsigned integers of at most four bytes, into `numbers`.

    Gives the position behind them, and how many they are.
    """
    size, number = len(data), 0
    most = min(most, len(numbers))
    while number < most and size - pos >= 4:
        found = _short(data, pos)
        if found < 0:
            break
        numbers[number] = found >> 3
        number += 1
        pos += found & 7
    return pos, number


def read_codes(data: bytes, pos: int, places: array[int], most: int) -> tuple[int, int]:
    """Up to `most` entries of the code section (section 5.5.13), with locals of one-byte types.

    For each, `places` gets two numbers: where its locals begin, and where its body ends. Gives the position
    behind them, and how many they are.
    """
    size, number = len(data), 0
    most = min(most, len(places) // 2)
    while number < most and size - pos >= 8:
        length = _short(data, pos)
        start = pos + (length & 7)
        end = start + (length >> 3)
        if length < 16 or end > size or data[end - 1] != _END:
            break
        body = _behind_locals(data, start, end)
        if body < 0 or body >= end:
            break
        places[2 * number] = start
        places[2 * number + 1] = end
        number += 1
        pos = end
    return pos, number


def _behind_locals(data: bytes, pos: int, end: int) -> int:
    """Where the body begins whose locals are at `pos`; -1 where they are unusual or very many."""
    if data[pos] == 0:
        return pos + 1
    total, runs = 0, data[pos]
    if runs > 0x7F:
        return -1
    pos += 1
    while runs:
        # A run, and the body's end behind it.
        if end - pos < 6 and (end - pos < 3 or data[pos] > 0x7F):
            return -1
        count = _short(data, pos)
        if count < 0:
            return -1
        pos += count & 7
        type = data[pos]
        if not (_LEAST_HEAP <= type <= _MOST_HEAP or _LEAST_NUMBER <= type <= _MOST_NUMBER):
            return -1
        total += count >> 3
        pos += 1
        runs -= 1
    return pos if total >> 32 == 0 else -1


def read_datas(data: bytes, pos: int, places: array[int], most: int) -> tuple[int, int]:
    """Up to `most` data segments, passive ones or for the first memory at an `i32.const` (section 5.5.14).

    For each, `places` gets four numbers: the address, where the constant begins, and where the contents begin
    and end; -1 for the first two of a passive one. Gives the position behind them, and how many they are.
    """
    size, number = len(data), 0
    most = min(most, len(places) // 4)
    while number < most:
        # The last bytes of the input are left to the decoder, and no index leads out of it.
        if size - pos < 16 or data[pos] > 1:
            break
        address = at = -1
        before = pos + 1
        if data[pos] == 0:
            at = before
            constant = _short(data, at + 1)
            before = at + 2 + (constant & 7)
            if data[at] != _I32_CONST or constant < 0 or data[before - 1] != _END:
                break
            bits = 7 * (constant & 7)
            address = constant >> 3
            if address >> (bits - 1):
                address = address - (1 << bits) & 0xFFFFFFFF
        length = _short(data, before)
        start = before + (length & 7)
        end = start + (length >> 3)
        if length < 0 or end > size:
            break
        places[4 * number] = address
        places[4 * number + 1] = at
        places[4 * number + 2] = start
        places[4 * number + 3] = end
        number += 1
        pos = end
    return pos, number
