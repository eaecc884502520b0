// Part of store.c. The records in memory.

#pragma once

#include "store_values.h"

// ---------------------------------------------------------------- index: an AVL tree by key

typedef struct Node {
    char *key;
    size_t size;
    Value value;
    int height;
    struct Node *left, *right;
} Node;

static Node *root;
static size_t records;

static int height(const Node *node) { return node ? node->height : 0; }

static void update_height(Node *node) {
    int left = height(node->left), right = height(node->right);
    node->height = 1 + (left > right ? left : right);
}

static Node *rotate_right(Node *node) {
    Node *top = node->left;
    node->left = top->right;
    top->right = node;
    update_height(node);
    update_height(top);
    return top;
}

static Node *rotate_left(Node *node) {
    Node *top = node->right;
    node->right = top->left;
    top->left = node;
    update_height(node);
    update_height(top);
    return top;
}

static Node *balance(Node *node) {
    update_height(node);
    int lean = height(node->left) - height(node->right);
    if (lean > 1) {
        if (height(node->left->left) < height(node->left->right)) {
            node->left = rotate_left(node->left);
        }
        return rotate_right(node);
    }
    if (lean < -1) {
        if (height(node->right->right) < height(node->right->left)) {
            node->right = rotate_right(node->right);
        }
        return rotate_left(node);
    }
    return node;
}

static Node *tree_find(const char *key, size_t size) {
    Node *node = root;
    while (node) {
        int order = text_compare(key, size, node->key, node->size);
        if (order == 0) {
            return node;
        }
        node = order < 0 ? node->left : node->right;
    }
    return NULL;
}

// Takes over the value.
static Node *tree_insert(Node *node, const char *key, size_t size, Value value) {
    if (!node) {
        node = allocate(sizeof *node);
        *node = (Node){.key = copy_text(key, size), .size = size, .value = value, .height = 1};
        records++;
        return node;
    }
    int order = text_compare(key, size, node->key, node->size);
    if (order == 0) {
        value_free(&node->value);
        node->value = value;
        return node;
    }
    if (order < 0) {
        node->left = tree_insert(node->left, key, size, value);
    } else {
        node->right = tree_insert(node->right, key, size, value);
    }
    return balance(node);
}

static void node_free(Node *node) {
    release(node->key);
    value_free(&node->value);
    release(node);
}

static Node *detach_first(Node *node, Node **first) {
    if (!node->left) {
        *first = node;
        return node->right;
    }
    node->left = detach_first(node->left, first);
    return balance(node);
}

static Node *tree_remove(Node *node, const char *key, size_t size) {
    if (!node) {
        return NULL;
    }
    int order = text_compare(key, size, node->key, node->size);
    if (order < 0) {
        node->left = tree_remove(node->left, key, size);
    } else if (order > 0) {
        node->right = tree_remove(node->right, key, size);
    } else {
        Node *left = node->left, *right = node->right, *successor;
        node_free(node);
        records--;
        if (!right) {
            return left;
        }
        right = detach_first(right, &successor);
        successor->left = left;
        successor->right = right;
        return balance(successor);
    }
    return balance(node);
}

static void tree_free(Node *node) {
    if (node) {
        tree_free(node->left);
        tree_free(node->right);
        node_free(node);
    }
}

typedef struct {
    Node **nodes;
    size_t count, room;
} Nodes;

static void nodes_add(Nodes *nodes, Node *node) {
    if (nodes->count == nodes->room) {
        nodes->room = nodes->room ? nodes->room * 2 : 16;
        nodes->nodes = resize(nodes->nodes, nodes->room * sizeof *nodes->nodes);
    }
    nodes->nodes[nodes->count++] = node;
}

// The records from `from` up to but without `to`, in order; NULL is no bound.
static void tree_collect(Node *node, const Value *from, const Value *to, Nodes *out) {
    if (!node) {
        return;
    }
    bool after = !from || text_compare(node->key, node->size, from->text, from->size) >= 0;
    bool before = !to || text_compare(node->key, node->size, to->text, to->size) < 0;
    if (after) {
        tree_collect(node->left, from, to, out);
    }
    if (after && before) {
        nodes_add(out, node);
    }
    if (before) {
        tree_collect(node->right, from, to, out);
    }
}

static bool tree_check(const Node *node, const Node **previous) {
    if (!node) {
        return true;
    }
    if (!tree_check(node->left, previous)) {
        return false;
    }
    if (*previous && text_compare((*previous)->key, (*previous)->size, node->key, node->size) >= 0) {
        return fail("the index is out of order at %s", node->key);
    }
    *previous = node;
    int lean = height(node->left) - height(node->right);
    if (lean < -1 || lean > 1) {
        return fail("the index leans at %s", node->key);
    }
    return tree_check(node->right, previous);
}
