/* Count n words, drawn from 4096 different ones, in a hash table with open addressing: byte loops,
   comparison and copying of strings. */
#include "kernel.h"

#define SLOTS 8192
#define WORDS 4096
#define LONGEST 24

typedef struct {
    uint32_t hash, count, length;
    char word[LONGEST];
} Slot;

static Slot slots[SLOTS];
static const char *const syllables[16] = {
    "ba", "che", "di", "fro", "gu", "ha", "jel", "ki", "lo", "mur", "na", "pe", "qui", "ro", "stu", "ve",
};

static uint32_t spell(char *word, uint32_t number)
{
    uint32_t length = 0;
    for (uint32_t i = 0; i < 3; i++, number >>= 4)
        for (const char *letter = syllables[number & 15]; *letter; letter++)
            word[length++] = *letter;
    return length;
}

static uint32_t hash_of(const char *word, uint32_t length)
{
    uint32_t hash = 2166136261u;
    for (uint32_t i = 0; i < length; i++)
        hash = (hash ^ (uint8_t)word[i]) * 16777619u;
    return hash;
}

static int equal(const char *a, const char *b, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++)
        if (a[i] != b[i])
            return 0;
    return 1;
}

static Slot *find(const char *word, uint32_t length, uint32_t hash)
{
    for (uint32_t i = hash % SLOTS;; i = (i + 1) % SLOTS) {
        Slot *slot = &slots[i];
        if (!slot->count || (slot->hash == hash && slot->length == length && equal(slot->word, word, length)))
            return slot;
    }
}

static void count(const char *word, uint32_t length)
{
    uint32_t hash = hash_of(word, length);
    Slot *slot = find(word, length, hash);
    if (!slot->count) {
        slot->hash = hash;
        slot->length = length;
        for (uint32_t i = 0; i < length; i++)
            slot->word[i] = word[i];
    }
    slot->count++;
}

EXPORT uint32_t run(uint32_t n)
{
    char word[LONGEST];
    uint32_t state = 7, distinct = 0, checksum = n;
    if (n == 0)
        return 0;
    for (uint32_t i = 0; i < SLOTS; i++)
        slots[i].count = 0;
    for (uint32_t i = 0; i < n; i++)
        count(word, spell(word, next_random(&state) % WORDS));
    for (uint32_t i = 0; i < SLOTS; i++)
        if (slots[i].count) {
            distinct++;
            checksum = mix(mix(checksum, slots[i].count), hash_of(slots[i].word, slots[i].length));
        }
    return mix(checksum, distinct);
}
