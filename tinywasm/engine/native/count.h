/* Counts which words follow each other while a program runs; only for tools/count_pairs.py, which builds
   with COUNT_PAIRS and lets no two words be done in one. */

#include <stdio.h>

/* By opcode, the opcode behind it, and which of the latter's fields a, b, c, imm name the slot that the
   first has in field a. */
static uint64_t pair_counts[OPCODE_COUNT][OPCODE_COUNT][16];
static uint64_t word_count;

static void count_pair(const Instr *pc) {
    static const Instr *last;
    if (pc == last + 1) {
        int same = (pc->a == last->a) | (pc->b == last->a) << 1 | (pc->c == last->a) << 2 | (pc->imm == last->a) << 3;
        pair_counts[last->op][pc->op][same]++;
    }
    word_count++;
    last = pc;
}

__attribute__((destructor)) static void write_counts(void) {
    const char *path = getenv("TINYWASM_PAIR_COUNTS");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (!file) return;
    fprintf(file, "%llu\n", (unsigned long long)word_count);
    for (int i = 0; i < OPCODE_COUNT; i++)
        for (int j = 0; j < OPCODE_COUNT; j++)
            for (int same = 0; same < 16; same++)
                if (pair_counts[i][j][same])
                    fprintf(file, "%d %d %d %llu\n", i, j, same, (unsigned long long)pair_counts[i][j][same]);
    fclose(file);
}
