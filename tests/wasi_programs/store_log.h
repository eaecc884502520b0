// Part of store.c. The records in the log file, and transactions.

#pragma once

#include "store_index.h"

// ---------------------------------------------------------------- log file
//
// A record: checksum of the rest (4 bytes), type (1), size of key (4), size of value (4), key, value;
// numbers little-endian. A transaction ends with a record of type 'c'; what follows the last one after
// a crash is cut off.

static const char magic[8] = "STORE\0\1\n";
static const char *log_path;
static int log_fd = -1;
static uint64_t log_size;
static uint64_t log_records;

static uint32_t checksum(const unsigned char *data, size_t size) {
    static uint32_t table[256];
    if (!table[1]) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t rest = i;
            for (int bit = 0; bit < 8; bit++) {
                rest = rest & 1 ? 0xEDB88320u ^ (rest >> 1) : rest >> 1;
            }
            table[i] = rest;
        }
    }
    uint32_t sum = 0xFFFFFFFFu;
    for (size_t i = 0; i < size; i++) {
        sum = table[(sum ^ data[i]) & 0xFF] ^ (sum >> 8);
    }
    return ~sum;
}

static void put_u32(Buffer *out, uint32_t number) {
    unsigned char bytes[4] = {number & 0xFF, number >> 8 & 0xFF, number >> 16 & 0xFF, number >> 24};
    buffer_append(out, bytes, 4);
}

static uint32_t get_u32(const unsigned char *bytes) {
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static void encode_value(Buffer *out, const Value *value) {
    char kind = "nirt"[value->kind];
    buffer_append(out, &kind, 1);
    if (value->kind == INTEGER) {
        buffer_append(out, &value->integer, 8);
    } else if (value->kind == REAL) {
        buffer_append(out, &value->real, 8);
    } else if (value->kind == TEXT) {
        buffer_append(out, value->text, value->size);
    }
}

static bool decode_value(const char *data, size_t size, Value *value) {
    if (size == 1 && data[0] == 'n') {
        *value = nil();
    } else if (size == 9 && data[0] == 'i') {
        *value = integer(0);
        memcpy(&value->integer, data + 1, 8);
    } else if (size == 9 && data[0] == 'r') {
        *value = real(0);
        memcpy(&value->real, data + 1, 8);
    } else if (size >= 1 && data[0] == 't') {
        *value = text(data + 1, size - 1);
    } else {
        return fail("a value in the log has no known kind");
    }
    return true;
}

static void encode_record(Buffer *out, char type, const char *key, size_t key_size, const Value *value) {
    Buffer encoded = {0}, body = {0};
    if (value) {
        encode_value(&encoded, value);
    }
    buffer_append(&body, &type, 1);
    put_u32(&body, (uint32_t)key_size);
    put_u32(&body, (uint32_t)encoded.size);
    buffer_append(&body, key, key_size);
    buffer_append(&body, encoded.data, encoded.size);
    put_u32(out, checksum((const unsigned char *)body.data, body.size));
    buffer_append(out, body.data, body.size);
    buffer_free(&encoded);
    buffer_free(&body);
}

static bool write_all(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t written = write(fd, data, size);
        if (written <= 0) {
            return fail("writing: %s", strerror(errno));
        }
        data += written;
        size -= (size_t)written;
    }
    return true;
}

static bool read_file(int fd, Buffer *out) {
    char chunk[512];
    for (;;) {
        ssize_t size = read(fd, chunk, sizeof chunk);
        if (size < 0) {
            return fail("reading: %s", strerror(errno));
        }
        if (size == 0) {
            return true;
        }
        buffer_append(out, chunk, (size_t)size);
    }
}

typedef struct {
    char type;
    const char *key;
    size_t key_size;
    const char *value;
    size_t value_size;
    size_t total;
} Record;

static bool next_record(const char *data, size_t size, Record *record) {
    if (size < 13) {
        return false;
    }
    const unsigned char *bytes = (const unsigned char *)data;
    record->type = data[4];
    record->key_size = get_u32(bytes + 5);
    record->value_size = get_u32(bytes + 9);
    if (record->key_size > size - 13 || record->value_size > size - 13 - record->key_size) {
        return false;
    }
    record->total = 13 + record->key_size + record->value_size;
    record->key = data + 13;
    record->value = record->key + record->key_size;
    return get_u32(bytes) == checksum(bytes + 4, record->total - 4);
}

static bool apply(const Record *record) {
    Value value;
    if (record->type == 's') {
        if (!decode_value(record->value, record->value_size, &value)) {
            return false;
        }
        root = tree_insert(root, record->key, record->key_size, value);
    } else if (record->type == 'd') {
        root = tree_remove(root, record->key, record->key_size);
    }
    return true;
}

// Applies whole transactions only; returns where the last one ends.
static size_t replay(const Buffer *log) {
    size_t end = sizeof magic, position = end;
    Record record;
    while (next_record(log->data + position, log->size - position, &record)) {
        position += record.total;
        if (record.type != 'c') {
            continue;
        }
        size_t at = end;
        while (at < position && next_record(log->data + at, position - at, &record)) {
            if (!apply(&record)) {
                return end;
            }
            at += record.total;
            log_records++;
        }
        end = position;
    }
    return end;
}

static bool open_log(const char *path) {
    log_path = path;
    log_fd = open(path, O_RDWR | O_CREAT, 0644);
    if (log_fd < 0) {
        return fail("%s: %s", path, strerror(errno));
    }
    Buffer log = {0};
    if (!read_file(log_fd, &log)) {
        return false;
    }
    if (log.size == 0) {
        log_size = sizeof magic;
        return write_all(log_fd, magic, sizeof magic);
    }
    if (log.size < sizeof magic || memcmp(log.data, magic, sizeof magic) != 0) {
        buffer_free(&log);
        return fail("%s is not a store", path);
    }
    log_size = replay(&log);
    if (log_size < log.size) {
        printf("recovered: %zu bytes of an unfinished transaction dropped\n", log.size - (size_t)log_size);
        if (ftruncate(log_fd, (off_t)log_size) != 0) {
            return fail("truncating: %s", strerror(errno));
        }
    }
    buffer_free(&log);
    return lseek(log_fd, (off_t)log_size, SEEK_SET) >= 0 || fail("seeking: %s", strerror(errno));
}

// ---------------------------------------------------------------- transactions

typedef struct Undo {
    char *key;
    size_t size;
    bool existed;
    Value value;
    struct Undo *next;
} Undo;

static Undo *undo_list;
static Buffer pending;
static uint64_t pending_records;
static bool in_transaction;

static void remember(const char *key, size_t size) {
    Node *node = tree_find(key, size);
    Undo *undo = allocate(sizeof *undo);
    *undo = (Undo){.key = copy_text(key, size), .size = size, .existed = node != NULL, .next = undo_list};
    undo->value = node ? value_copy(&node->value) : nil();
    undo_list = undo;
}

static void forget_undo(void) {
    while (undo_list) {
        Undo *undo = undo_list;
        undo_list = undo->next;
        release(undo->key);
        value_free(&undo->value);
        release(undo);
    }
    buffer_free(&pending);
    pending_records = 0;
}

static bool commit(void) {
    if (pending_records > 0) {
        encode_record(&pending, 'c', "", 0, NULL);
        if (!write_all(log_fd, pending.data, pending.size) || fsync(log_fd) != 0) {
            return false;
        }
        log_size += pending.size;
        log_records += pending_records + 1;
    }
    forget_undo();
    return true;
}

static void rollback(void) {
    for (Undo *undo = undo_list; undo; undo = undo->next) {
        if (undo->existed) {
            root = tree_insert(root, undo->key, undo->size, value_copy(&undo->value));
        } else {
            root = tree_remove(root, undo->key, undo->size);
        }
    }
    forget_undo();
}

static void store_set(const char *key, size_t size, Value value) {
    remember(key, size);
    encode_record(&pending, 's', key, size, &value);
    pending_records++;
    root = tree_insert(root, key, size, value);
}

static bool store_delete(const char *key, size_t size) {
    if (!tree_find(key, size)) {
        return false;
    }
    remember(key, size);
    encode_record(&pending, 'd', key, size, NULL);
    pending_records++;
    root = tree_remove(root, key, size);
    return true;
}

// A new log with the present records alone takes the place of the old one.
static bool compact(void) {
    char path[512];
    snprintf(path, sizeof path, "%s.new", log_path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0) {
        return fail("%s: %s", path, strerror(errno));
    }
    Buffer out = {0};
    Nodes all = {0};
    buffer_append(&out, magic, sizeof magic);
    tree_collect(root, NULL, NULL, &all);
    for (size_t i = 0; i < all.count; i++) {
        encode_record(&out, 's', all.nodes[i]->key, all.nodes[i]->size, &all.nodes[i]->value);
    }
    encode_record(&out, 'c', "", 0, NULL);
    bool done = write_all(fd, out.data, out.size) && fsync(fd) == 0 && close(fd) == 0;
    if (done && rename(path, log_path) != 0) {
        done = fail("renaming: %s", strerror(errno));
    }
    if (done) {
        close(log_fd);
        log_fd = open(log_path, O_RDWR | O_APPEND);
        printf("compacted %llu bytes to %zu\n", (unsigned long long)log_size, out.size);
        log_size = out.size;
        log_records = all.count + 1;
        done = log_fd >= 0 || fail("%s: %s", log_path, strerror(errno));
    }
    release(all.nodes);
    buffer_free(&out);
    return done;
}
