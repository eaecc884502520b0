/* What `freeze.py` writes: the frozen modules, and those in C that are not Python's own. */

#include <Python.h>

extern const struct _frozen linked_frozen[];
extern struct _inittab linked_modules[];
