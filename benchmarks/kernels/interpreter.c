/* An interpreter inside the interpreter: a stack machine with 16 opcodes whose `switch` becomes a
   br_table. Its program adds up the Collatz lengths of 1 to n. */
#include "kernel.h"

enum {
    HALT, PUSH, LOAD, STORE, ADD, SUB, MUL, AND, SHIFT_RIGHT, EQUAL, LESS, JUMP, JUMP_IF, JUMP_UNLESS, DUP, XOR,
};
enum { LIMIT, INDEX, VALUE, TOTAL };

static const uint8_t program[] = {
    /*  0 */ PUSH, 1, STORE, INDEX,
    /*  4: while index <= limit */ LOAD, LIMIT, LOAD, INDEX, LESS, JUMP_IF, 61,
    /* 11 */ LOAD, INDEX, STORE, VALUE,
    /* 15: while value != 1 */ LOAD, VALUE, PUSH, 1, EQUAL, JUMP_IF, 52,
    /* 22 */ LOAD, VALUE, DUP, PUSH, 1, AND, JUMP_UNLESS, 38,
    /* 30 */ PUSH, 3, MUL, PUSH, 1, ADD, JUMP, 41,
    /* 38 */ PUSH, 1, SHIFT_RIGHT,
    /* 41 */ STORE, VALUE, LOAD, TOTAL, PUSH, 1, ADD, STORE, TOTAL, JUMP, 15,
    /* 52 */ LOAD, INDEX, PUSH, 1, ADD, STORE, INDEX, JUMP, 4,
    /* 61 */ LOAD, TOTAL, LOAD, LIMIT, XOR, HALT,
};

static NOINLINE uint32_t interpret(const uint8_t *code, uint32_t *variables)
{
    uint32_t stack[16], *top = stack;
    for (uint32_t at = 0;;) {
        switch (code[at++]) {
        case HALT: return top[-1];
        case PUSH: *top++ = code[at++]; break;
        case LOAD: *top++ = variables[code[at++]]; break;
        case STORE: variables[code[at++]] = *--top; break;
        case ADD: top--; top[-1] += *top; break;
        case SUB: top--; top[-1] -= *top; break;
        case MUL: top--; top[-1] *= *top; break;
        case AND: top--; top[-1] &= *top; break;
        case SHIFT_RIGHT: top--; top[-1] >>= *top; break;
        case EQUAL: top--; top[-1] = top[-1] == *top; break;
        case LESS: top--; top[-1] = top[-1] < *top; break;
        case JUMP: at = code[at]; break;
        case JUMP_IF: at = *--top ? code[at] : at + 1; break;
        case JUMP_UNLESS: at = *--top ? at + 1 : code[at]; break;
        case DUP: *top = top[-1]; top++; break;
        case XOR: top--; top[-1] ^= *top; break;
        }
    }
}

EXPORT uint32_t run(uint32_t n)
{
    uint32_t variables[4] = { n, 0, 0, 0 };
    return interpret(program, variables);
}
