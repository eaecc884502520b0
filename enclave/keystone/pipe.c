/* Eyrie's calls over a socket, descriptor 3, and no other system call than those that Eyrie answers.

   A question is a Question and its bytes, an answer an Answer and its bytes. Whoever is at the other end plays
   Eyrie, the host and the security monitor: for tests without Keystone, and for nothing else. */

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "edge.h"

#define OTHER_END 3

typedef struct { uint64_t kind, number, size, room; } Question;
typedef struct { int64_t status; uint64_t size; } Answer;

#ifdef __x86_64__

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define EQUAL(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (yes), (no))
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, (what))
#define ALLOWED RETURN(SECCOMP_RET_ALLOW)
#define ALLOW(call) EQUAL(SYS_##call, 0, 1), ALLOWED
/* Eyrie returns -1 for what it does not know. */
#define REFUSED RETURN(SECCOMP_RET_ERRNO | EPERM)

static struct sock_filter filter[] = {
    LOAD(arch),
    EQUAL(AUDIT_ARCH_X86_64, 1, 0),
    RETURN(SECCOMP_RET_KILL_PROCESS),
    LOAD(nr),
    /* runtime/call/syscall.c, with LINUX_SYSCALL */
    ALLOW(clock_gettime), ALLOW(getrandom), ALLOW(rt_sigprocmask), ALLOW(getpid), ALLOW(uname), ALLOW(rt_sigaction),
    ALLOW(set_tid_address), ALLOW(brk), ALLOW(munmap), ALLOW(mprotect), ALLOW(exit), ALLOW(exit_group),
    EQUAL(SYS_mmap, 0, 4),
    LOAD(args[3]),
    EQUAL(MAP_PRIVATE | MAP_ANONYMOUS, 0, 1),
    ALLOWED,
    REFUSED,
    /* The other end. */
    EQUAL(SYS_read, 1, 0),
    EQUAL(SYS_write, 0, 3),
    LOAD(args[0]),
    EQUAL(OTHER_END, 0, 1),
    ALLOWED,
    REFUSED,
};

void edge_start(void) {
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) _exit(127);
}

#else

/* Under an emulator, which has no filters: its own list of calls is compared instead. What depends on memory
   that is refused is refused here (the linker's --wrap). */
#include <sys/mman.h>

void *__real_mmap(void *place, size_t size, int protection, int flags, int file, off_t offset);

void *__wrap_mmap(void *place, size_t size, int protection, int flags, int file, off_t offset) {
    if (flags == (MAP_PRIVATE | MAP_ANONYMOUS)) return __real_mmap(place, size, protection, flags, file, offset);
    errno = EPERM;
    return MAP_FAILED;
}

void *__wrap___mmap(void *place, size_t size, int protection, int flags, int file, off_t offset) {
    return __wrap_mmap(place, size, protection, flags, file, offset);
}

void *__wrap___mremap(void) {
    errno = EPERM;
    return MAP_FAILED;
}

void edge_start(void) {}

#endif

static void give(const void *data, size_t size) {
    for (const char *at = data; size;) {
        ssize_t count = write(OTHER_END, at, size);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) _exit(126);
        at += count;
        size -= (size_t)count;
    }
}

static void take(void *data, size_t size) {
    for (char *at = data; size;) {
        ssize_t count = read(OTHER_END, at, size);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) _exit(126);
        at += count;
        size -= (size_t)count;
    }
}

static long ask(uint64_t kind, uint64_t number, const void *data, size_t size, void *answer, size_t room) {
    Question question = {kind, number, size, room};
    Answer head;
    give(&question, sizeof question);
    give(data, size);
    take(&head, sizeof head);
    if (head.size > room) _exit(126);
    take(answer, head.size);
    return head.status;
}

long edge_ocall(unsigned long number, const void *request, size_t size, void *answer, size_t room) {
    return ask(EYRIE_OCALL, number, request, size, answer, room);
}

long edge_attest(void *report, const void *data, size_t size) {
    return ask(EYRIE_ATTEST, 0, data, size, report, EDGE_REPORT_ROOM);
}

long edge_sealing_key(void *key, const void *identifier, size_t size) {
    return ask(EYRIE_SEALING_KEY, 0, identifier, size, key, EDGE_KEY_SIZE);
}

_Noreturn void edge_exit(int status) { _exit(status); }
