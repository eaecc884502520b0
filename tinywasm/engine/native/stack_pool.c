/* Stacks, which stores borrow while they run: a store that is idle has none.

   A stack is reserved at once and, where the system can reserve, takes memory only where it was used. A few
   that nobody runs on are kept for the next call, with what they have taken up to a mark; what lies beyond
   that goes back to the system. Everything here is called with the interpreter lock held. */

/* For `pthread_getattr_np`. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "native.h"

int tw_map_flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

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

static void free_stack(Stack *stack) {
    munmap(stack->frames, stack->bytes);
    free(stack);
}

static void *reserve(uint64_t size, int protection) {
    void *place = mmap(NULL, size, protection, tw_map_flags, -1, 0);
    return place == MAP_FAILED ? NULL : place;
}

void *tw_map(uint64_t size, int protection) {
    void *place = reserve(size, protection);
    if (place || !idle) return place;
    while (idle) {
        Stack *stack = idle;
        idle = stack->next;
        free_stack(stack);
    }
    idle_count = 0;
    return reserve(size, protection);
}

static uint64_t frame_bytes(int64_t depth) { return whole_pages(((uint64_t)depth + 2) * sizeof(Frame)); }

static uint64_t slot_bytes(const Store *store) { return ((uint64_t)store->stack_slots + TW_ABOVE) * 8; }

uint64_t tw_stack_bytes(const Store *store) { return frame_bytes(store->max_depth) + slot_bytes(store); }

static Stack *new_stack(const Store *store) {
    uint64_t frames = frame_bytes(store->max_depth);
    Stack *stack = malloc(sizeof *stack);
    if (!stack) return NULL;
    stack->bytes = tw_stack_bytes(store);
    stack->depth = store->max_depth;
    void *place = tw_map(stack->bytes, PROT_READ | PROT_WRITE);
    if (!place) { free(stack); return NULL; }
    stack->frames = place;
    stack->slots = (uint64_t *)((uint8_t *)place + frames);
    return stack;
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
    if (!stack) stack = new_stack(store);
    if (!stack) return -1;
    store->borrowed = stack;
    store->frames = stack->frames;
    store->stack = store->top = stack->slots;
    store->stack_end = stack->slots + KEPT_SLOTS;
    store->slots_end = stack->slots + store->stack_slots;
    store->frames_mark = stack->frames + (store->max_depth < KEPT_FRAMES ? store->max_depth : KEPT_FRAMES);
    return 0;
}

int tw_go_deeper(Store *store, const uint64_t *end) {
    Stack *stack = store->borrowed;
    store->stack_end = stack->slots + store->stack_slots;
    store->frames_mark = stack->frames + store->max_depth;
    return end <= store->stack_end;
}

void tw_return_stack(Store *store) {
    Stack *stack = store->borrowed;
    if (!stack) return;
    if (store->stack_end != stack->slots + KEPT_SLOTS) {
        uint8_t *frames = (uint8_t *)stack->frames + whole_pages(KEPT_FRAMES * sizeof(Frame));
        uint8_t *slots = (uint8_t *)(stack->slots + KEPT_SLOTS);
        if (frames < (uint8_t *)stack->slots) madvise(frames, (uint8_t *)stack->slots - frames, MADV_DONTNEED);
        madvise(slots, (uint8_t *)stack->frames + stack->bytes - slots, MADV_DONTNEED);
    }
    store->borrowed = NULL;
    store->frames = store->frames_mark = NULL;
    store->stack = store->stack_end = store->top = NULL;
    if (idle_count == KEPT_STACKS) { free_stack(stack); return; }
    stack->next = idle;
    idle = stack;
    idle_count++;
}

/* What is left to Python, the lowering and the host function when no further call is taken; the python engine
   has the same in `thread_stack.py`. */
static uintptr_t left_bytes(size_t size) {
    const size_t least = 16 << 10, most = 64 << 10;
    return size / 4 < least ? least : size / 4 > most ? most : size / 4;
}

/* Where this thread's stack begins and ends, and where it counts as low; 0 where that is not known. A library may
   have put what runs on another stack, of which nothing is known either. */
typedef struct Extent { uintptr_t start, low, end; } Extent;

static Extent thread_stack(void) {
    Extent none = {0, 0, 0};
#ifdef __linux__
    static __thread Extent found;
    if (!found.end) {
        pthread_attr_t attributes;
        void *address = NULL;
        size_t size = 0, guard = 0;
        if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
            if (pthread_attr_getstack(&attributes, &address, &size) != 0) size = 0;
            pthread_attr_getguardsize(&attributes, &guard);
            pthread_attr_destroy(&attributes);
        }
        found.start = (uintptr_t)address;
        found.low = found.start + guard + left_bytes(size);
        found.end = found.start + size + 1;
    }
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    if (here >= found.start && here < found.end) return found;
#endif
    return none;
}

int tw_thread_stack_is_low(void) { return (uintptr_t)__builtin_frame_address(0) < thread_stack().low; }

/* Half of a stack is left to the loop, and to Python in host functions. A frame of machine code may be large
   before it looks, so that a small stack is left to them altogether. */
uintptr_t tw_machine_limit(void) {
    const uintptr_t least = 2 << 20;
    Extent stack = thread_stack();
    return stack.end < stack.low + least ? UINTPTR_MAX : stack.low + (stack.end - stack.low) / 2;
}
