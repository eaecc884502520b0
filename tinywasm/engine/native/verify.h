/* What code is held to before the loop runs it: see `verify.c`. */

#ifndef TINYWASM_VERIFY_H
#define TINYWASM_VERIFY_H

#include "native.h"

/* As the memory of an access: its index does not fit and stands in the word before. */
#define FAR_MEMORY 0xFFFF

enum { GLOBAL_REFERENCE = 1, GLOBAL_MUTABLE = 2 };

/* The index spaces of a module, as far as its code may refer to them. */
typedef struct Scope {
    TypeInfo **types, **funcs, **tags;
    uint8_t *globals;
    uint8_t *calls; /* of each table whether it holds functions */
    uint64_t type_count, func_count, tag_count, global_count, table_count, memory_count, data_count, elem_count;
} Scope;

/* What code takes a slot's content for. */
enum { TAKES_EXCEPTIONS = 1, TAKES_OTHERS = 2 };

/* The rule that `code`, of a function of type `type`, breaks at `word`; NULL where it keeps all of them. Then
   `references` tells which kinds of references it takes out of slots, whose content is not looked into; -1
   where there was no memory to look. */
const char *tw_verify(const Code *code, const Scope *scope, const TypeInfo *type, uint32_t *word, int *references);

/* Whether code that keeps all rules, and takes slots for no references but exceptions, reads only what it has
   written, as what it has written it: see `closed.c`. 0 where that is not found out. */
int tw_closed(const Code *code, const Scope *scope);

#endif
