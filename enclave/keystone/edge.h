/* What an application asks of whoever is outside of it. `keystone.c` asks Eyrie, and `pipe.c` a socket, for tests
   without Keystone; both answer as Eyrie does: 0 is success. */

#ifndef EDGE_H
#define EDGE_H

#include <stddef.h>

/* Keystone, runtime/include/call/syscall_nums.h */
enum { EYRIE_OCALL = 1001, EYRIE_ATTEST = 1003, EYRIE_SEALING_KEY = 1004, EYRIE_EXIT = 1101 };

/* schannel/edge.py */
enum { CALL_LOG = 5 };

#define EDGE_REPORT_ROOM 2048 /* Eyrie always writes so much */
#define EDGE_REPORT_SIZE 1352
#define EDGE_REPORT_DATA 1024
#define EDGE_KEY_SIZE 192
#define EDGE_IDENTIFIER 1024

/* Before anything else: whatever is to be set up, or locked down. */
void edge_start(void);

/* Edge call `number`: at most `room` bytes of the host's answer are written to `answer`. */
long edge_ocall(unsigned long number, const void *request, size_t size, void *answer, size_t room);

/* The monitor's report about at most EDGE_REPORT_DATA bytes, into EDGE_REPORT_ROOM bytes. */
long edge_attest(void *report, const void *data, size_t size);

/* EDGE_KEY_SIZE bytes: the sealing key of an identifier, and the monitor's signature of it. */
long edge_sealing_key(void *key, const void *identifier, size_t size);

_Noreturn void edge_exit(int status);

/* `random.c`: add what nobody outside need know to the state that `getrandom` answers from. */
void random_stir(const void *data, size_t size);

#endif
