/* The dispatch loop. The arms of numeric, compare-and-branch and memory access instructions are
   generated from the instruction table (dispatch.h); the rest stand here. Dispatch jumps through a
   table of labels at the end of each arm, so that the processor predicts each arm on its own. */

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "native.h"
#include "numerics.h"
#include "opcodes.h"
#include "vectors.h"
#include "verify.h"
#ifdef COUNT_PAIRS
#include "count.h"
#endif

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* What `budget` counts down between two looks at whether a poll is wanted: words, and what takes as long. A
   function counts with its length when it is entered. A jump counts the distance back, and takes off the
   distance forward, and counts itself, which may be all of a loop. */
#define UNWIND_WORDS 16

const char *tw_table_digest(void) { return TABLE_DIGEST; }

/* Whole units of 64 KiB, which are whole pages of any system. */
static uint64_t mapped(uint64_t size) { return (size + 0xFFFF) & ~(uint64_t)0xFFFF; }

int tw_memory_open(Memory *memory, uint64_t size) {
    uint64_t from = memory->opened, to = mapped(size);
    if (to > from) {
        if (mprotect(memory->base + from, to - from, PROT_READ | PROT_WRITE) != 0) return -1;
        memory->opened = to;
    }
    memory->budget->used += size - memory->size;
    memory->size = size;
    return 0;
}

int64_t tw_memory_grow(Memory *memory, uint64_t pages) {
    uint64_t old = memory->pages;
    if (pages > memory->max_pages - old) return -1;
    uint64_t size = (old + pages) * memory->page_size;
    if (pages && size > memory->budget->memory_size) return -1;
    if (size > memory->reserved || !tw_fits(memory->budget, size - memory->size)) return -1;
    if (tw_memory_open(memory, size) != 0) return -1;
    memory->pages = old + pages;
    return (int64_t)old;
}

static inline float imm_f32(uint64_t imm) { return f32_reinterpret_i32((uint32_t)imm); }
static inline double imm_f64(uint64_t imm) { return f64_reinterpret_i64(imm); }

static inline v128 read_vector(const uint64_t *slot) { v128 v; memcpy(&v, slot, 16); return v; }

static uint64_t sign_extended(uint64_t value, unsigned bits) {
    return bits == 8 ? (uint32_t)(int8_t)value : (uint32_t)(int16_t)value;
}

/* What calls, collections and backtraces go by. */
static inline void save(Store *store, Frame *frame, Instr *pc, uint64_t *fp) {
    const Code *code = frame->func->code;
    frame->pc = pc;
    frame->fp = fp;
    store->depth = frame - store->frames;
    store->top = fp + code->near_slots;
    if (unlikely(code->window_count)) store->top -= window_base(code, (uint32_t)(pc - code->words));
}

static inline int fits_stack(Store *store, const uint64_t *end) {
    return likely(end <= store->stack_end) || tw_go_deeper(store, end);
}

/* The clause of `code` that takes `exn` thrown at `word`, or NULL; `walked` counts those that were looked at. */
static const Clause *find_clause(
    const Code *code, const Instance *instance, uint32_t word, const Exn *exn, int64_t *walked
) {
    for (uint32_t i = 0; i < code->handler_count; i++) {
        const Handler *handler = &code->handlers[i];
        if (word < handler->start || word >= handler->end) continue;
        for (uint32_t j = 0; j < handler->count; j++) {
            const Clause *clause = &handler->clauses[j];
            ++*walked;
            if (clause->tag < 0 || instance->tags[clause->tag] == exn->tag) return clause;
        }
    }
    return NULL;
}

#define R32(i) ((uint32_t)fp[i])
#define R64(i) (fp[i])
#define RF32(i) imm_f32(fp[i])
#define RF64(i) imm_f64(fp[i])
#define RV(i) read_vector(fp + (i))
#define W32(i, v) (fp[i] = (uint32_t)(v))
#define W64(i, v) (fp[i] = (uint64_t)(v))
#define WF32(i, v) do { float value_ = (v); fp[i] = i32_reinterpret_f32(value_); } while (0)
#define WF64(i, v) do { double value_ = (v); fp[i] = i64_reinterpret_f64(value_); } while (0)
#define WV(i, v) do { v128 value_ = (v); memcpy(fp + (i), &value_, 16); } while (0)

#define OP(name) L_##name:
#ifdef COUNT_PAIRS
#define DISPATCH do { count_pair(pc); goto *labels[pc->op]; } while (0)
#else
#define DISPATCH goto *labels[pc->op]
#endif
#define NEXT do { pc++; DISPATCH; } while (0)
/* The compiler takes what is in it for something else than before. */
#define HIDE(pointer) __asm__ volatile("" : "+r"(pointer))
/* To the word at `to`. Its address is read from words and structures, one after the other, and nothing of what
   is there can be done before it is known. Most often it is where the last jump of its kind led: then a
   prediction, which the processor does not wait for, says so, and `last` is where it goes on. So the compiler may
   not know that the two are the same. */
#define GO_TO(to, last) do { \
        Instr *target_ = (to); \
        Instr *known_ = last; \
        Instr *guess_ = last; \
        HIDE(known_); \
        HIDE(guess_); \
        if (unlikely(target_ != known_)) { HIDE(target_); last = guess_ = target_; } \
        pc = guess_; \
    } while (0)
/* By the distance in the word at hand. */
#define JUMP do { \
        int64_t distance = (int32_t)pc->low; \
        if (unlikely((budget += distance - 1) < 0)) goto poll_jump; \
        pc += distance; \
        DISPATCH; \
    } while (0)
/* The same on a condition, as loops go on. */
#define BRANCH do { \
        int64_t distance = (int32_t)pc->low; \
        if (unlikely((budget += distance - 1) < 0)) goto poll_jump; \
        if (likely(distance < 0)) GO_TO(pc + distance, last_loop); else pc += distance; \
        DISPATCH; \
    } while (0)
#define FAIL(code) do { trap = (code); goto trapped; } while (0)
#define CHECK_TRAP do { if (unlikely(trap)) goto trapped; } while (0)
#define TRY(call) do { trap = (call); CHECK_TRAP; } while (0)
#define REF(i) ((Object *)(uintptr_t)fp[i])

#define ADDRESS(address, static_offset, width) \
    uint64_t at = (address) + (static_offset); \
    if (unlikely(at + ((width) - 1) >= memory_size)) goto trap_memory; \
    uint8_t *place = memory + at;

/* The address wraps at 32 bits before the offset is added. */
#define ADDRESS_A(address, imm, width) \
    uint64_t at = (uint64_t)((address) + pc->high) + pc->low; \
    if (unlikely(at + ((width) - 1) >= memory_size)) goto trap_memory; \
    uint8_t *place = memory + at;

#define ADDRESS_S(none, imm, width) \
    if (unlikely((imm) + ((width) - 1) >= memory_size)) goto trap_memory; \
    uint8_t *place = memory + (imm);

#define ADDRESS_U(address, imm, width) \
    uint64_t at = (uint32_t)((address) + pc->high); \
    fp[pc->c] = at; \
    at += pc->low; \
    if (unlikely(at + ((width) - 1) >= memory_size)) goto trap_memory; \
    uint8_t *place = memory + at;

#define ADDRESS_X(address, static_offset, width) \
    uint64_t at; \
    Memory *chosen = instance->memories[unlikely(pc->c == FAR_MEMORY) ? pc[-1].imm : pc->c]; \
    if (unlikely(__builtin_add_overflow((uint64_t)(address), static_offset, &at) || !tw_inside(at, width, chosen->size))) goto trap_memory; \
    uint8_t *place = chosen->base + at;

/* The bytes of as many references as slot `i` says. */
#define REFERENCES(i) (R64(i) > UINT64_MAX / 8 ? UINT64_MAX : R64(i) * 8)

/* Locals of the loop that follow the instance. */
#define LOAD_MEMORY do { \
        Memory *first = instance->memory_count ? instance->memories[0] : NULL; \
        memory = first ? first->base : NULL; \
        memory_size = first ? first->size : 0; \
    } while (0)

#define SAVE save(store, frame, pc, fp)

/* Between two words: whether the run shall end, and whether the function is hot, in a loop that begins at `word`. */
#define LOOK(word) do { \
        budget = tw_next_budget(store); \
        SAVE; \
        TRY(tw_look(store)); \
        TRY(tw_warm(store, frame->func, word)); \
        LOAD_MEMORY; \
    } while (0)

/* An instruction that works through so many bytes: at once where they are few, else in pieces. */
#define BULK(bytes, call) do { \
        uint64_t size_ = (bytes); \
        if (likely(size_ <= TW_PIECE && (int64_t)size_ <= budget)) { \
            budget -= (int64_t)size_; \
            TRY(call); \
            NEXT; \
        } \
        SAVE; \
        budget = tw_poll_words; \
        TRY(tw_pause(store)); \
        TRY(call); \
        LOAD_MEMORY; \
        NEXT; \
    } while (0)

/* The same for one that allocates, which may collect and scans the frames. */
#define ALLOCATE(bytes, call) do { \
        uint64_t words_ = ALLOCATION_WORDS + (bytes); \
        SAVE; \
        if (unlikely((int64_t)words_ > budget)) { budget = tw_poll_words; TRY(tw_pause(store)); } \
        else budget -= (int64_t)words_; \
        TRY(call); \
        NEXT; \
    } while (0)

/* Whether the thread's stack is large enough for machine code, which runs the rest of the function. */
#define MACHINE_FITS ((uintptr_t)__builtin_frame_address(0) >= store->machine_limit)
#define RUN_MACHINE(entry, machine) do { \
        budget = (entry)(instance, tw_room(store, frame - store->frames, fp), budget, fp, machine); \
        LOAD_MEMORY; \
        if (likely(budget >= 0)) goto leave; \
        if (store->status != STATUS_THROWN) return store->status; \
        exn = store->thrown; \
        store->thrown = NULL; \
        budget = 0; \
        goto unwind_caller; \
    } while (0)

#define HOLD_GIL do { if (store->thread_state) store->acquire(store); } while (0)

int tw_run(Store *store, Func *func, uint64_t *fp) {
    return tw_run_within(store, func, fp, &store->left, 0);
}

int tw_run_within(Store *store, Func *func, uint64_t *fp, int64_t *const volatile left, int by_words) {
    static const void *const labels[] = {
#define X(name) &&L_##name,
        FOR_EACH_OPCODE(X)
#undef X
    };
    /* volatile: what few words use stays in memory, which leaves the registers to the program counter, the
       frame, the budget and the memory's base and size. */
    Frame *const volatile base = store->frames + store->depth;
    Frame *frame = base;
    Instr *pc = NULL;
    /* Where the last loop and the last function that was called begin: guesses, see `GO_TO`. */
    Instr *last_loop = NULL, *last_entry = NULL;
    Instance *volatile instance = func->instance;
    uint8_t *memory;
    uint64_t memory_size;
    int64_t budget = *left;
    int trap = 0;
    Func *callee;
    uint64_t *args;
    Exn *volatile exn;

    /* A trap before the first word has no frame of its own. */
    if (store->depth + 1 > store->max_depth) { store->trap = TRAP_STACK_OVERFLOW; return STATUS_TRAP; }
    if (!func->code) {
        HOLD_GIL;
        int status = store->prepare(store, func);
        if (status != STATUS_DONE) return status;
    }
    if (!fits_stack(store, fp + func->code->frame_slots)) { store->trap = TRAP_STACK_OVERFLOW; return STATUS_TRAP; }
    (++frame)->func = func;
    if (func->code->zeros) memset(fp + func->code->param_slots, 0, func->code->zeros * 8);
    LOAD_MEMORY;
    pc = func->code->words;
    if (by_words) DISPATCH;
    if (unlikely((budget -= func->code->cost) < 0)) goto poll_entry;
    pc = tw_start(func->code);
    DISPATCH;

#include "dispatch.h"

    /* Profiles. */
    OP(enter) { frame->func->code->calls++; NEXT; }
    OP(count) { frame->func->code->own += pc->imm; NEXT; }
    /* Unless the thread's stack is used up, in place of the function's words. */
    OP(compiled) {
        const Code *code = frame->func->code;
        EnterMachine entry = __atomic_load_n(&code->entry, __ATOMIC_ACQUIRE);
        if (likely(entry && MACHINE_FITS)) RUN_MACHINE(entry, code->machine);
        pc = code->words;
        DISPATCH;
    }
    OP(unreachable) FAIL(TRAP_UNREACHABLE);
    OP(move128) { WV(pc->a, RV(pc->b)); NEXT; }
    OP(move_row) {
        memmove(fp + pc->a, fp + pc->a + pc->low, (uint64_t)pc->high * 8);
        budget -= pc->high;
        NEXT;
    }
    OP(const128) { memcpy(fp + pc->a, pc + 1, 16); pc++; NEXT; }
    OP(select128) { WV(pc->a, R32(pc->imm) ? RV(pc->b) : RV(pc->c)); NEXT; }
    OP(global_get128) { memcpy(fp + pc->a, instance->globals[pc->imm]->value, 16); NEXT; }
    OP(global_set128) { memcpy(instance->globals[pc->imm]->value, fp + pc->a, 16); NEXT; }

    /* Calls. The callee's frame begins at its first argument. */

    OP(call_ref) {
        callee = (Func *)REF(pc->b);
        if (unlikely(!callee)) FAIL(TRAP_NULL_FUNCTION_REFERENCE);
        args = fp + pc->a;
        goto enter;
    }
    OP(call_indirect) {
        Table *table = instance->tables[pc->imm >> 32];
        uint64_t index = R64(pc->b);
        if (unlikely(index >= table->size)) FAIL(TRAP_UNDEFINED_ELEMENT);
        callee = (Func *)(uintptr_t)table->elements[index];
        if (unlikely(!callee)) { store->element = index; FAIL(TRAP_INDIRECT_CALL_TO_NULL); }
        TypeInfo *type = instance->types[(uint32_t)pc->imm];
        if (unlikely(callee->head.type != type) && !tw_is_instance((uintptr_t)callee, type, 0, 0))
            FAIL(TRAP_BAD_SIGNATURE);
        args = fp + pc->a;
        goto enter;
    }
enter: {
        Code *code = callee->code;
        if (unlikely(!code)) goto enter_slowly;
        if (unlikely(frame >= store->frames_mark || args + code->frame_slots > store->stack_end) &&
            (!tw_go_deeper(store, args + code->frame_slots) || frame >= store->frames_mark))
            FAIL(TRAP_STACK_OVERFLOW);
        frame->pc = pc;
        frame->fp = fp;
        (++frame)->func = callee;
        fp = args;
        for (uint32_t i = 0; i < code->zeros; i++) fp[code->param_slots + i] = 0;
        GO_TO(tw_start(code), last_entry);
        if (unlikely(callee->instance != instance)) { instance = callee->instance; LOAD_MEMORY; }
        if (unlikely((budget -= code->cost) < 0)) goto poll_entry;
        DISPATCH;
    }
enter_slowly: {
        SAVE;
        HOLD_GIL;
        int status = callee->host ? store->call_host(store, callee, args) : store->prepare(store, callee);
        LOAD_MEMORY;
        if (unlikely(status != STATUS_DONE)) {
            if (status == STATUS_THROWN) {
                exn = store->thrown;
                store->thrown = NULL;
                budget -= HOST_CALL_WORDS;
                goto unwind;
            }
            if (status == STATUS_TRAP) FAIL(store->trap);
            return status;
        }
        if (!callee->host) goto enter;
        pc++;
        if (unlikely((budget -= HOST_CALL_WORDS) < 0 || store->poll_wanted)) goto poll;
        DISPATCH;
    }

    OP(return_call) { callee = instance->funcs[pc->imm]; args = fp + pc->a; goto replace; }
    OP(return_call_ref) {
        callee = (Func *)REF(pc->b);
        if (unlikely(!callee)) FAIL(TRAP_NULL_FUNCTION_REFERENCE);
        args = fp + pc->a;
        goto replace;
    }
    OP(return_call_indirect) {
        Table *table = instance->tables[pc->imm >> 32];
        uint64_t index = R64(pc->b);
        if (unlikely(index >= table->size)) FAIL(TRAP_UNDEFINED_ELEMENT);
        callee = (Func *)(uintptr_t)table->elements[index];
        if (unlikely(!callee)) { store->element = index; FAIL(TRAP_INDIRECT_CALL_TO_NULL); }
        if (unlikely(!tw_is_instance((uintptr_t)callee, instance->types[(uint32_t)pc->imm], 0, 0)))
            FAIL(TRAP_BAD_SIGNATURE);
        args = fp + pc->a;
        goto replace;
    }
replace: {
        Code *code = callee->code;
        if (unlikely(!code)) goto replace_slowly;
        if (!fits_stack(store, fp + code->frame_slots)) FAIL(TRAP_STACK_OVERFLOW);
        memmove(fp, args, code->param_slots * 8);
        frame->func = callee;
        for (uint32_t i = 0; i < code->zeros; i++) fp[code->param_slots + i] = 0;
        pc = tw_start(code);
        if (unlikely(callee->instance != instance)) { instance = callee->instance; LOAD_MEMORY; }
        if (unlikely((budget -= code->cost) < 0)) goto poll_entry;
        DISPATCH;
    }
replace_slowly: {
        SAVE;
        HOLD_GIL;
        if (callee->host) {
            /* In place of the frame, like a function that is not the host's. */
            const TypeInfo *type = callee->head.type;
            args = memmove(fp, args, type->param_slots * 8);
            store->top = fp + (type->param_slots > type->result_slots ? type->param_slots : type->result_slots);
        }
        int status = callee->host ? store->call_host(store, callee, args) : store->prepare(store, callee);
        LOAD_MEMORY;
        if (unlikely(status != STATUS_DONE)) {
            if (status == STATUS_THROWN) {
                /* The frame is gone as far as handlers are concerned. */
                exn = store->thrown;
                store->thrown = NULL;
                budget -= HOST_CALL_WORDS;
                goto unwind_caller;
            }
            if (status == STATUS_TRAP) FAIL(store->trap);
            return status;
        }
        if (!callee->host) goto replace;
        budget -= HOST_CALL_WORDS;
        goto leave;
    }

    OP(return_n) { memmove(fp, fp + pc->a, pc->imm * 8); goto leave; }
leave: {
        if (--frame == base) {
            *left = budget > 0 ? budget : 0;
            store->depth = frame - store->frames;
            return STATUS_DONE;
        }
        pc = frame->pc;
        fp = frame->fp;
        if (unlikely(frame->func->instance != instance)) { instance = frame->func->instance; LOAD_MEMORY; }
        NEXT;
    }

poll_jump: {
        pc += (int32_t)pc->low;
        LOOK(pc - frame->func->code->words);
        const LoopEntry *loop = tw_loop_at(frame->func->code, pc);
        if (unlikely(loop) && MACHINE_FITS) RUN_MACHINE(loop->entry, loop->machine);
        DISPATCH;
    }
poll: {
        LOOK(-1);
        DISPATCH;
    }
poll_entry: {
        /* The way into machine code is no word of the function. */
        Code *code = frame->func->code;
        pc = code->words;
        __atomic_store_n(&code->begun, code->begun + 1, __ATOMIC_RELAXED);
        LOOK(-1);
        pc = tw_start(frame->func->code);
        DISPATCH;
    }

    /* Memory and tables. */

    OP(memory_size) { W64(pc->a, instance->memories[pc->imm]->pages); NEXT; }
    OP(memory_grow) {
        Memory *m = instance->memories[pc->imm];
        int64_t old = tw_memory_grow(m, R64(pc->a));
        W64(pc->a, m->is64 ? (uint64_t)old : (uint32_t)old);
        LOAD_MEMORY;
        if (old >= 0) budget -= GROWTH_WORDS;
        NEXT;
    }
    OP(memory_fill) { BULK(R64(pc->a + 2), tw_memory_fill(store, pc->c, instance->memories[pc->imm], fp + pc->a)); }
    OP(memory_copy) {
        Memory *to = instance->memories[(uint32_t)pc->imm], *from = instance->memories[pc->imm >> 32];
        BULK(R64(pc->a + 2), tw_memory_copy(store, pc->c, to, from, fp + pc->a));
    }
    OP(memory_init) {
        Memory *to = instance->memories[pc->imm >> 32];
        BULK(R64(pc->a + 2), tw_memory_init(store, pc->c, to, &instance->datas[(uint32_t)pc->imm], fp + pc->a));
    }
    OP(data_drop) { instance->datas[pc->imm].length = 0; NEXT; }
    OP(table_get) {
        Table *table = instance->tables[pc->imm];
        if (unlikely(R64(pc->b) >= table->size)) FAIL(TRAP_TABLE_OUT_OF_BOUNDS);
        fp[pc->a] = table->elements[R64(pc->b)];
        NEXT;
    }
    OP(table_set) {
        Table *table = instance->tables[pc->imm];
        if (unlikely(R64(pc->a) >= table->size)) FAIL(TRAP_TABLE_OUT_OF_BOUNDS);
        table->elements[R64(pc->a)] = fp[pc->b];
        NEXT;
    }
    OP(table_size) { W64(pc->a, instance->tables[pc->imm]->size); NEXT; }
    OP(table_grow) { BULK(REFERENCES(pc->a + 1), tw_table_grow(store, pc->c, instance->tables[pc->imm], fp + pc->a)); }
    OP(table_fill) { BULK(REFERENCES(pc->a + 2), tw_table_fill(store, pc->c, instance->tables[pc->imm], fp + pc->a)); }
    OP(table_copy) {
        Table *to = instance->tables[(uint32_t)pc->imm], *from = instance->tables[pc->imm >> 32];
        BULK(REFERENCES(pc->a + 2), tw_table_copy(store, pc->c, to, from, fp + pc->a));
    }
    OP(table_init) {
        Table *to = instance->tables[pc->imm >> 32];
        BULK(REFERENCES(pc->a + 2), tw_table_init(store, pc->c, to, &instance->elems[(uint32_t)pc->imm], fp + pc->a));
    }
    OP(elem_drop) { tw_elem_drop(&instance->elems[pc->imm]); NEXT; }

    /* References. */

    OP(ref_func) { W64(pc->a, (uintptr_t)instance->funcs[pc->imm]); NEXT; }
    OP(ref_as_non_null) { if (unlikely(!R64(pc->a))) FAIL(TRAP_NULL_REFERENCE); NEXT; }
    OP(ref_test) {
        TypeInfo *concrete = pc->c ? instance->types[(uint32_t)pc->imm] : NULL;
        W64(pc->a, tw_is_instance(R64(pc->b), concrete, (int)(uint32_t)pc->imm, (int)(pc->imm >> 32)));
        NEXT;
    }
    OP(ref_cast) {
        TypeInfo *concrete = pc->c ? instance->types[(uint32_t)pc->imm] : NULL;
        if (unlikely(!tw_is_instance(R64(pc->a), concrete, (int)(uint32_t)pc->imm, (int)(pc->imm >> 32))))
            FAIL(TRAP_CAST_FAILURE);
        NEXT;
    }
    OP(ref_i31) { W64(pc->a, (R64(pc->b) & 0x7FFFFFFF) << 1 | 1); NEXT; }
    OP(i31_get_u) {
        if (unlikely(!R64(pc->b))) FAIL(TRAP_NULL_I31_REFERENCE);
        W64(pc->a, R64(pc->b) >> 1);
        NEXT;
    }
    OP(i31_get_s) {
        if (unlikely(!R64(pc->b))) FAIL(TRAP_NULL_I31_REFERENCE);
        /* The 31 bits lie one above the tag bit: moved to the top and back they keep their sign. */
        W32(pc->a, (int32_t)(uint32_t)R64(pc->b) >> 1);
        NEXT;
    }

    /* Aggregates. */

    OP(struct_new) {
        TypeInfo *type = instance->types[pc->imm];
        ALLOCATE(type->slots * 8, tw_struct_new(store, pc->c, type, fp + pc->a, 1));
    }
    OP(struct_new_default) {
        TypeInfo *type = instance->types[pc->imm];
        ALLOCATE(type->slots * 8, tw_struct_new(store, pc->c, type, fp + pc->a, 0));
    }
    OP(struct_get) {
        Struct *object = (Struct *)REF(pc->b);
        if (unlikely(!object)) FAIL(TRAP_NULL_STRUCTURE_REFERENCE);
        fp[pc->a] = object->fields[(uint32_t)pc->imm];
        NEXT;
    }
    OP(struct_get_s) {
        Struct *object = (Struct *)REF(pc->b);
        if (unlikely(!object)) FAIL(TRAP_NULL_STRUCTURE_REFERENCE);
        W32(pc->a, sign_extended(object->fields[(uint32_t)pc->imm], pc->c));
        NEXT;
    }
    OP(struct_get128) {
        Struct *object = (Struct *)REF(pc->b);
        if (unlikely(!object)) FAIL(TRAP_NULL_STRUCTURE_REFERENCE);
        memcpy(fp + pc->a, object->fields + (uint32_t)pc->imm, 16);
        NEXT;
    }
    OP(struct_set) {
        Struct *object = (Struct *)REF(pc->a);
        if (unlikely(!object)) FAIL(TRAP_NULL_STRUCTURE_REFERENCE);
        object->fields[(uint32_t)pc->imm] = fp[pc->b];
        NEXT;
    }
    OP(struct_set_packed) {
        Struct *object = (Struct *)REF(pc->a);
        if (unlikely(!object)) FAIL(TRAP_NULL_STRUCTURE_REFERENCE);
        object->fields[(uint32_t)pc->imm] = fp[pc->b] & ((1u << pc->c) - 1);
        NEXT;
    }
    OP(struct_set128) {
        Struct *object = (Struct *)REF(pc->a);
        if (unlikely(!object)) FAIL(TRAP_NULL_STRUCTURE_REFERENCE);
        memcpy(object->fields + (uint32_t)pc->imm, fp + pc->b, 16);
        NEXT;
    }
    OP(array_new) {
        TypeInfo *type = instance->types[pc->imm];
        uint64_t length = R32(pc->a + (type->element_size == 16 ? 2 : 1));
        ALLOCATE(length * type->element_size, tw_array_new(store, pc->c, type, fp + pc->a, 1, length));
    }
    OP(array_new_default) {
        TypeInfo *type = instance->types[pc->imm];
        uint64_t length = R32(pc->a);
        ALLOCATE(length * type->element_size, tw_array_new(store, pc->c, type, fp + pc->a, 0, length));
    }
    OP(array_new_fixed) {
        TypeInfo *type = instance->types[(uint32_t)pc->imm];
        uint64_t length = pc->imm >> 32;
        ALLOCATE(length * type->element_size, tw_array_new_fixed(store, pc->c, type, fp + pc->a, length));
    }
    OP(array_new_data) {
        TypeInfo *type = instance->types[(uint32_t)pc->imm];
        Segment *data = &instance->datas[pc->imm >> 32];
        ALLOCATE(R64(pc->a + 1) * type->element_size, tw_array_new_data(store, pc->c, type, data, fp + pc->a));
    }
    OP(array_new_elem) {
        TypeInfo *type = instance->types[(uint32_t)pc->imm];
        Segment *elem = &instance->elems[pc->imm >> 32];
        ALLOCATE(R64(pc->a + 1) * 8, tw_array_new_elem(store, pc->c, type, elem, fp + pc->a));
    }
    OP(array_get) {
        Array *array = (Array *)REF(pc->b);
        if (unlikely(!array)) FAIL(TRAP_NULL_ARRAY_REFERENCE);
        uint64_t index = R64(pc->c);
        if (unlikely(index >= array->length)) FAIL(TRAP_ARRAY_OUT_OF_BOUNDS);
        uint64_t high = 0;
        W64(pc->a, tw_array_read(array, index, &high));
        if (array->head.type->element_size == 16) fp[pc->a + 1] = high;
        NEXT;
    }
    OP(array_get_s) {
        Array *array = (Array *)REF(pc->b);
        if (unlikely(!array)) FAIL(TRAP_NULL_ARRAY_REFERENCE);
        uint64_t index = R64(pc->c);
        if (unlikely(index >= array->length)) FAIL(TRAP_ARRAY_OUT_OF_BOUNDS);
        uint64_t high;
        W32(pc->a, sign_extended(tw_array_read(array, index, &high), array->head.type->element_size * 8));
        NEXT;
    }
    OP(array_set) {
        Array *array = (Array *)REF(pc->a);
        if (unlikely(!array)) FAIL(TRAP_NULL_ARRAY_REFERENCE);
        uint64_t index = R64(pc->b);
        if (unlikely(index >= array->length)) FAIL(TRAP_ARRAY_OUT_OF_BOUNDS);
        tw_array_write(array, index, fp + pc->c);
        NEXT;
    }
    OP(array_len) {
        Array *array = (Array *)REF(pc->b);
        if (unlikely(!array)) FAIL(TRAP_NULL_ARRAY_REFERENCE);
        W64(pc->a, array->length);
        NEXT;
    }
    OP(array_fill) {
        TypeInfo *type = instance->types[pc->imm];
        uint64_t count = R64(pc->a + (type->element_size == 16 ? 4 : 3));
        BULK(count * type->element_size, tw_array_fill(store, pc->c, count, fp + pc->a));
    }
    /* Elements have 16 bytes at most. */
    OP(array_copy) { BULK(R64(pc->a + 4) * 16, tw_array_copy(store, pc->c, fp + pc->a)); }
    OP(array_init_data) { BULK(R64(pc->a + 3) * 16, tw_array_init(store, pc->c, &instance->datas[pc->imm >> 32], 0, fp + pc->a)); }
    OP(array_init_elem) { BULK(R64(pc->a + 3) * 8, tw_array_init(store, pc->c, &instance->elems[pc->imm >> 32], 1, fp + pc->a)); }

    /* Exceptions. */

    OP(throw) {
        Tag *tag = instance->tags[pc->imm];
        SAVE;
        exn = (Exn *)tw_new_exn(store, tag);
        if (!exn) FAIL(store->failure);
        budget -= ALLOCATION_WORDS;
        memcpy(exn->values, fp + pc->a, tag->type->param_slots * 8);
        goto unwind;
    }
    OP(throw_ref) {
        exn = (Exn *)REF(pc->a);
        if (unlikely(!exn)) FAIL(TRAP_NULL_EXCEPTION_REFERENCE);
        goto unwind;
    }

    /* Wide frames: far locals lie before `fp`, which moves behind them when the function is entered. */

    OP(wide_enter) {
        uint64_t params = pc->a, far = (uint32_t)pc->imm, zeros = pc->imm >> 32;
        memmove(fp + far, fp, params * 8);
        memset(fp, 0, far * 8);
        fp += far;
        memset(fp + params, 0, zeros * 8);
        NEXT;
    }
    /* Back to where the arguments were, with `b` slots of results or of the next function's arguments. */
    OP(wide_leave) {
        uint64_t *start = fp - pc->imm;
        memmove(start, fp + pc->a, pc->b * 8);
        fp = start;
        NEXT;
    }
    OP(wide_get) { memcpy(fp + pc->a, fp + (int64_t)pc->imm, pc->c * 8); NEXT; }
    /* A branch into another window may move a vector by one slot. */
    OP(wide_set) { memmove(fp + (int64_t)pc->imm, fp + pc->a, pc->c * 8); NEXT; }
    /* Into another window. */
    OP(wide_shift) { fp += (int64_t)pc->imm; NEXT; }
    /* For the access that follows. */
    OP(wide_memory) NEXT;
unwind: {
        const Code *code = frame->func->code;
        uint32_t word = (uint32_t)(pc - code->words);
        if (unlikely((budget -= UNWIND_WORDS + code->handler_count * 4) < 0)) {
            SAVE;
            budget = tw_poll_words;
            TRY(tw_pause(store));
            LOAD_MEMORY;
        }
        int64_t walked = 0;
        const Clause *clause = find_clause(code, instance, word, exn, &walked);
        budget -= walked;
        if (clause) {
            fp -= window_base(code, word);
            uint64_t *slot = fp + clause->height;
            if (clause->tag >= 0) {
                memcpy(slot, exn->values, exn->tag->type->param_slots * 8);
                slot += exn->tag->type->param_slots;
            }
            if (clause->with_ref) *slot = (uintptr_t)exn;
            fp += clause->base;
            pc = code->words + clause->target;
            if (unlikely((budget += (int64_t)clause->target - word) < 0)) goto poll;
            DISPATCH;
        }
    }
unwind_caller: {
        if (--frame == base) {
            *left = 0;
            store->depth = frame - store->frames;
            store->thrown = exn;
            return STATUS_THROWN;
        }
        pc = frame->pc;
        fp = frame->fp;
        if (frame->func->instance != instance) { instance = frame->func->instance; LOAD_MEMORY; }
        goto unwind;
    }

trap_memory:
    trap = TRAP_MEMORY_OUT_OF_BOUNDS;
trapped:
    SAVE;
    if (trap == TRAP_PYTHON) return STATUS_PYTHON;
    store->trap = trap;
    return STATUS_TRAP;
}
