/* `_edge`: the calls of `edge.h` in Python. Each raises OSError where it is refused. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "edge.h"

static PyObject *failed(const char *what) {
    PyErr_Format(PyExc_OSError, "%s was refused", what);
    return NULL;
}

static PyObject *ocall(PyObject *module, PyObject *args) {
    unsigned long number;
    Py_buffer request;
    Py_ssize_t room;
    if (!PyArg_ParseTuple(args, "ky*n", &number, &request, &room)) return NULL;
    PyObject *answer = PyBytes_FromStringAndSize(NULL, room);
    if (answer) {
        memset(PyBytes_AS_STRING(answer), 0, (size_t)room);
        if (edge_ocall(number, request.buf, (size_t)request.len, PyBytes_AS_STRING(answer), (size_t)room)) {
            Py_CLEAR(answer);
            failed("an edge call");
        }
    }
    PyBuffer_Release(&request);
    return answer;
}

static PyObject *attest(PyObject *module, PyObject *args) {
    const char *data;
    Py_ssize_t size;
    char report[EDGE_REPORT_ROOM];
    if (!PyArg_ParseTuple(args, "y#", &data, &size)) return NULL;
    if (size > EDGE_REPORT_DATA || edge_attest(report, data, (size_t)size)) return failed("a report");
    return PyBytes_FromStringAndSize(report, EDGE_REPORT_SIZE);
}

static PyObject *sealing_key(PyObject *module, PyObject *args) {
    const char *identifier;
    Py_ssize_t size;
    char key[EDGE_KEY_SIZE];
    if (!PyArg_ParseTuple(args, "y#", &identifier, &size)) return NULL;
    if (size > EDGE_IDENTIFIER || edge_sealing_key(key, identifier, (size_t)size)) return failed("a sealing key");
    PyObject *given = PyBytes_FromStringAndSize(key, EDGE_KEY_SIZE);
    explicit_bzero(key, sizeof key);
    return given;
}

static PyObject *stir(PyObject *module, PyObject *args) {
    const char *data;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(args, "y#", &data, &size)) return NULL;
    random_stir(data, (size_t)size);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"ocall", ocall, METH_VARARGS, NULL},
    {"attest", attest, METH_VARARGS, NULL},
    {"sealing_key", sealing_key, METH_VARARGS, NULL},
    {"stir", stir, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_edge", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__edge(void) { return PyModule_Create(&definition); }
