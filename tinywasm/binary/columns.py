# cython: wraparound=False, initializedcheck=False, annotation_typing=False, cdivision=True
"""What a module may have very many of, read as numbers (compiled where there is a compiler).

A reader goes on as long as things are as they usually are, and leaves the rest, malformed ones too, to the
decoder.
"""

from __future__ import annotations

from array import array

_I32_CONST, _END = 0x41, 0x0B


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


def read_datas(data: bytes, pos: int, places: array[int], most: int) -> tuple[int, int]:
    """Up to `most` data segments for the first memory at an `i32.const` (section 5.5.14).

    For each, `places` gets four numbers: the address, where the constant begins, and where the contents begin
    and end. Gives the position behind them, and how many they are.
    """
    size, number = len(data), 0
    most = min(most, len(places) // 4)
    while number < most:
        # The last bytes of the input are left to the decoder, and no index leads out of it.
        if size - pos < 16 or data[pos] != 0 or data[pos + 1] != _I32_CONST:
            break
        constant = _short(data, pos + 2)
        at = pos + 2 + (constant & 7)
        if constant < 0 or data[at] != _END:
            break
        length = _short(data, at + 1)
        start = at + 1 + (length & 7)
        end = start + (length >> 3)
        if length < 0 or end > size:
            break
        bits = 7 * (constant & 7)
        address = constant >> 3
        if address >> (bits - 1):
            address = address - (1 << bits) & 0xFFFFFFFF
        places[4 * number] = address
        places[4 * number + 1] = pos + 1
        places[4 * number + 2] = start
        places[4 * number + 3] = end
        number += 1
        pos = end
    return pos, number
