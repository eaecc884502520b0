/* Randomness, for everything: this takes the C library's place, so Python has no other.

   Keystone's own is not to be relied on: on its generic platform it follows from the cycle counter. So the state
   begins with a sealing key, which nobody outside of enclaves of this measurement on this device has, with the
   monitor's randomness and the cycle counter; the host's bytes are stirred in when they have come. Whoever knows
   all of these but the sealing key knows nothing of what comes out.

   Fast key erasure (D. J. Bernstein, 2017): AES-256 in counter mode, where the first bytes of each answer become the
   next key, so that the state does not tell what came out before. */

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "edge.h"
#include "pycryptodome.h"

#define KEY 32
#define BLOCK 16
#define DIGEST 64

static uint8_t key[KEY];
static int begun;

static const char IDENTIFIER[] = "wasm_rt: randomness";

void random_stir(const void *data, size_t size) {
    uint8_t digest[DIGEST];
    Hash *state;
    if (SHA512_init(&state, DIGEST)) edge_exit(1);
    SHA512_update(state, key, sizeof key);
    SHA512_update(state, data, size);
    SHA512_digest(state, digest, sizeof digest);
    SHA512_destroy(state);
    memcpy(key, digest, sizeof key);
    explicit_bzero(digest, sizeof digest);
}

static void stir_cycles(void) {
    struct timespec now;
    if (!clock_gettime(CLOCK_MONOTONIC, &now)) random_stir(&now, sizeof now);
}

static void begin(void) {
    uint8_t secret[EDGE_KEY_SIZE], weak[32];
    if (edge_sealing_key(secret, IDENTIFIER, sizeof IDENTIFIER - 1)) edge_exit(1);
    random_stir(secret, sizeof secret);
    explicit_bzero(secret, sizeof secret);
    if (syscall(SYS_getrandom, weak, sizeof weak, 0) == (long)sizeof weak) random_stir(weak, sizeof weak);
    begun = 1;
}

ssize_t getrandom(void *out, size_t size, unsigned flags) {
    uint8_t counter[BLOCK] = {0}, stream[BLOCK];
    BlockBase *cipher;
    uint64_t blocks = 0;
    (void)flags;
    if (!begun) begin();
    stir_cycles();
    if (AES_start_operation(key, sizeof key, &cipher)) edge_exit(1);
    for (size_t done = 0; done < KEY + size; done += BLOCK) {
        memcpy(counter, &blocks, sizeof blocks);
        blocks++;
        cipher->encrypt(cipher, counter, stream, BLOCK);
        if (done < KEY) {
            memcpy(key + done, stream, BLOCK);
        } else {
            size_t at = done - KEY, left = size - at;
            memcpy((uint8_t *)out + at, stream, left < BLOCK ? left : BLOCK);
        }
    }
    AES_stop_operation(cipher);
    explicit_bzero(stream, sizeof stream);
    return (ssize_t)size;
}
