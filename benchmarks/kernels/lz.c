/* Compress n bytes of text-like data, n at most 2^20, with a byte-oriented LZ77 of our own, decompress
   them, and compare. Returns a checksum of the compressed form, or 0 when the round trip failed.

   A control byte below 128 is followed by that many literal bytes plus one; from 128 on it is the length
   of a match, less 128, plus 4, followed by its distance in two bytes. */
#include "kernel.h"

#define MAX (1 << 20)
#define HASH_BITS 13
#define SHORTEST 4
#define LONGEST (127 + SHORTEST)
#define FARTHEST 65535

static uint8_t plain[MAX], packed[MAX + MAX / 64 + 16], restored[MAX];
static uint32_t latest[1 << HASH_BITS];

static void generate(uint32_t n)
{
    uint32_t state = 99, i = 0;
    while (i < n) {
        uint32_t length = next_random(&state) % 24 + 3;
        if (i > 64 && next_random(&state) % 3) {
            uint32_t from = next_random(&state) % (i - 32);
            while (length-- && i < n)
                plain[i++] = plain[from++];
        } else {
            while (length-- && i < n)
                plain[i++] = (uint8_t)('a' + next_random(&state) % 26);
        }
    }
}

static uint32_t hash_at(uint32_t i)
{
    uint32_t word = plain[i] | (uint32_t)plain[i + 1] << 8 | (uint32_t)plain[i + 2] << 16 |
                    (uint32_t)plain[i + 3] << 24;
    return word * 2654435761u >> (32 - HASH_BITS);
}

static uint32_t put_literals(uint32_t out, uint32_t from, uint32_t to)
{
    while (from < to) {
        uint32_t count = to - from < 128 ? to - from : 128;
        packed[out++] = (uint8_t)(count - 1);
        while (count--)
            packed[out++] = plain[from++];
    }
    return out;
}

static uint32_t match_length(uint32_t from, uint32_t at, uint32_t n)
{
    uint32_t length = 0;
    while (length < LONGEST && at + length < n && plain[from + length] == plain[at + length])
        length++;
    return length;
}

static uint32_t compress(uint32_t n)
{
    uint32_t out = 0, at = 0, literals = 0;
    for (uint32_t i = 0; i < 1 << HASH_BITS; i++)
        latest[i] = 0;
    while (at + SHORTEST <= n) {
        uint32_t hash = hash_at(at), candidate = latest[hash];
        uint32_t length = 0;
        latest[hash] = at + 1;
        if (candidate && at - (candidate - 1) <= FARTHEST)
            length = match_length(candidate - 1, at, n);
        if (length < SHORTEST) {
            at++;
            continue;
        }
        uint32_t distance = at - (candidate - 1);
        out = put_literals(out, literals, at);
        packed[out++] = (uint8_t)(length - SHORTEST + 128);
        packed[out++] = (uint8_t)distance;
        packed[out++] = (uint8_t)(distance >> 8);
        at += length;
        literals = at;
    }
    return put_literals(out, literals, n);
}

static uint32_t decompress(uint32_t size)
{
    uint32_t in = 0, out = 0;
    while (in < size) {
        uint32_t control = packed[in++];
        if (control < 128) {
            for (uint32_t i = 0; i <= control; i++)
                restored[out++] = packed[in++];
        } else {
            uint32_t distance = packed[in] | (uint32_t)packed[in + 1] << 8;
            in += 2;
            for (uint32_t i = 0; i < control - 128 + SHORTEST; i++, out++)
                restored[out] = restored[out - distance];
        }
    }
    return out;
}

EXPORT uint32_t run(uint32_t n)
{
    if (n == 0)
        return 0;
    generate(n);
    uint32_t size = compress(n), checksum = mix(n, size);
    if (decompress(size) != n)
        return 0;
    for (uint32_t i = 0; i < n; i++)
        if (plain[i] != restored[i])
            return 0;
    for (uint32_t i = 0; i < size; i++)
        checksum = mix(checksum, packed[i]);
    return checksum;
}
