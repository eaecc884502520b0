/* The enclave's application in one static file: Python, with our packages and what they need frozen in, runs
   `wasm_rt.keystone`. */

#include <Python.h>
#ifndef __riscv
#include <ucontext.h>
#endif

#include "edge.h"
#include "linked.h"

#define STACK (1 << 20)

/* Eyrie gives an application 128 KiB, of which nested imports alone take more. */
static char stack[STACK] __attribute__((aligned(16)));

/* In the place of CPython's own, which looks for the library in the file system (Modules/getpath.c). */
PyStatus _PyConfig_InitPathConfig(PyConfig *config, int compute) {
    (void)config;
    (void)compute;
    return PyStatus_Ok();
}

static void check(PyStatus status) {
    if (PyStatus_Exception(status)) edge_exit(1);
}

static void initialize(void) {
    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    config.install_signal_handlers = 0;
    config.site_import = 0;
    config.write_bytecode = 0;
    config.module_search_paths_set = 1;
    wchar_t **paths[] = {&config.program_name, &config.executable,       &config.base_executable, &config.prefix,
                         &config.base_prefix,  &config.exec_prefix,      &config.base_exec_prefix,
                         &config.platlibdir,   &config.filesystem_encoding};
    for (size_t at = 0; at < sizeof paths / sizeof *paths; at++)
        check(PyConfig_SetString(&config, paths[at], paths[at] == &config.filesystem_encoding ? L"utf-8" : L""));
    check(Py_InitializeFromConfig(&config));
    PyConfig_Clear(&config);
}

/* Have the host log what does not import: it is the build's fault, and there are no secrets yet. */
static void report(void) {
    char line[1032] = {0};
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    PyObject *shown = value ? PyObject_Repr(value) : NULL;
    const char *text = shown ? PyUnicode_AsUTF8(shown) : NULL;
    if (!text) text = "Python does not start";
    size_t size = strnlen(text, 1024);
    memcpy(line + 8, text, size); /* behind the size of the answer that is wanted */
    edge_ocall(CALL_LOG, line, 8 + size, NULL, 0);
}

static void run(void) {
    PyImport_FrozenModules = linked_frozen;
    if (PyImport_ExtendInittab(linked_modules)) edge_exit(1);
    initialize();
    PyObject *boot = PyImport_ImportModule("boot");
    PyObject *status = boot ? PyObject_CallMethod(boot, "main", NULL) : NULL;
    if (!status) report();
    edge_exit(status ? (int)PyLong_AsLong(status) : 1);
}

static _Noreturn void run_on_stack(void) {
#ifdef __riscv
    /* Its C library has no contexts. */
    __asm__ volatile("mv sp, %0\n\tjr %1" : : "r"(stack + sizeof stack), "r"(run));
#else
    static ucontext_t start, python;
    getcontext(&python);
    python.uc_stack.ss_sp = stack;
    python.uc_stack.ss_size = sizeof stack;
    makecontext(&python, run, 0);
    swapcontext(&start, &python);
#endif
    __builtin_unreachable();
}

int main(void) {
    edge_start();
    run_on_stack();
}
