/* Eyrie's calls. */

#include <unistd.h>

#include "edge.h"

static long eyrie(long number, long first, long second, long third, long fourth, long fifth) {
    register long a0 __asm__("a0") = first;
    register long a1 __asm__("a1") = second;
    register long a2 __asm__("a2") = third;
    register long a3 __asm__("a3") = fourth;
    register long a4 __asm__("a4") = fifth;
    register long a7 __asm__("a7") = number;
    __asm__ volatile("ecall" : "+r"(a0) : "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a7) : "memory");
    return a0;
}

void edge_start(void) {}

long edge_ocall(unsigned long number, const void *request, size_t size, void *answer, size_t room) {
    return eyrie(EYRIE_OCALL, (long)number, (long)request, (long)size, (long)answer, (long)room);
}

long edge_attest(void *report, const void *data, size_t size) {
    return eyrie(EYRIE_ATTEST, (long)report, (long)data, (long)size, 0, 0);
}

long edge_sealing_key(void *key, const void *identifier, size_t size) {
    return eyrie(EYRIE_SEALING_KEY, (long)key, EDGE_KEY_SIZE, (long)identifier, (long)size, 0);
}

_Noreturn void edge_exit(int status) {
    eyrie(EYRIE_EXIT, status, 0, 0, 0, 0);
    _exit(status); /* where there is no Eyrie */
}
