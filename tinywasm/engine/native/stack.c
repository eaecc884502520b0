/* Stacks, which stores borrow while they run: a store that is idle has none.

   A stack is reserved at once and takes memory only where it was used. A few that nobody runs on are kept
   for the next call, with what they have taken up to a mark; what lies beyond that goes back to the
   system. Everything here is called with the interpreter lock held. */

#include <stdlib.h>
#include <sys/mman.h>

#include "native.h"

#define SLOTS (UINT64_C(8) << 20)
/* Behind the end there is room for what a call from Python puts on top: see `enter` in `_loop.pyx`. */
#define MARGIN 64
/* How much of an idle stack stays in memory. */
#define KEPT_SLOTS (UINT64_C(32) << 10)
#define KEPT_FRAMES 4096
#define KEPT_STACKS 8

struct Stack {
    struct Stack *next;
    uint64_t *slots;
    Frame *frames;
    uint64_t bytes;
    int64_t depth; /* frames there is room for */
};

static Stack *idle;
static int idle_count;

static uint64_t whole_pages(uint64_t bytes) { return (bytes + 0xFFFF) & ~UINT64_C(0xFFFF); }

static Stack *new_stack(int64_t depth) {
    uint64_t frames = whole_pages(((uint64_t)depth + 2) * sizeof(Frame));
    Stack *stack = malloc(sizeof *stack);
    if (!stack) return NULL;
    stack->bytes = frames + SLOTS * 8;
    stack->depth = depth;
    void *place = mmap(NULL, stack->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED) { free(stack); return NULL; }
    stack->frames = place;
    stack->slots = (uint64_t *)((uint8_t *)place + frames);
    return stack;
}

static void free_stack(Stack *stack) {
    munmap(stack->frames, stack->bytes);
    free(stack);
}

/* An idle one with room for that many frames. */
static Stack *find_idle(int64_t depth) {
    for (Stack **link = &idle; *link; link = &(*link)->next) {
        if ((*link)->depth < depth) continue;
        Stack *found = *link;
        *link = found->next;
        idle_count--;
        return found;
    }
    return NULL;
}

int tw_borrow_stack(Store *store) {
    Stack *stack = find_idle(store->max_depth);
    if (!stack) stack = new_stack(store->max_depth);
    if (!stack) return -1;
    store->borrowed = stack;
    store->frames = stack->frames;
    store->stack = store->top = stack->slots;
    store->stack_end = stack->slots + KEPT_SLOTS;
    store->depth_mark = store->max_depth < KEPT_FRAMES ? store->max_depth : KEPT_FRAMES;
    return 0;
}

int tw_go_deeper(Store *store, const uint64_t *end) {
    Stack *stack = store->borrowed;
    store->stack_end = stack->slots + SLOTS - MARGIN;
    store->depth_mark = store->max_depth;
    return end <= store->stack_end;
}

void tw_return_stack(Store *store) {
    Stack *stack = store->borrowed;
    if (!stack) return;
    if (store->stack_end != stack->slots + KEPT_SLOTS) {
        uint8_t *frames = (uint8_t *)stack->frames + whole_pages(KEPT_FRAMES * sizeof(Frame));
        uint8_t *slots = (uint8_t *)(stack->slots + KEPT_SLOTS);
        if (frames < (uint8_t *)stack->slots) madvise(frames, (uint8_t *)stack->slots - frames, MADV_DONTNEED);
        madvise(slots, (uint8_t *)(stack->slots + SLOTS) - slots, MADV_DONTNEED);
    }
    store->borrowed = NULL;
    store->frames = NULL;
    store->stack = store->stack_end = store->top = NULL;
    if (idle_count == KEPT_STACKS) { free_stack(stack); return; }
    stack->next = idle;
    idle = stack;
    idle_count++;
}

void tw_free_idle_stacks(void) {
    while (idle) {
        Stack *stack = idle;
        idle = stack->next;
        free_stack(stack);
    }
    idle_count = 0;
}
