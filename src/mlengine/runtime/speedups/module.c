/* The module `mlengine.runtime.speedups._native`. What it is for stands in __init__.py, what it holds in _native.pyi. */
#include "speedups.h"

static PyObject *added(PyObject *module, const char *name, PyType_Spec *spec) {
    PyObject *type = PyType_FromSpec(spec);
    if (type != NULL && PyModule_AddObjectRef(module, name, type) < 0)
        Py_CLEAR(type);
    return type;
}

static int add_types(PyObject *module) {
    PyObject *reader = added(module, "Reader", &reader_spec), *trees = added(module, "Trees", &trees_spec);
    PyObject *layers = added(module, "Layers", &layers_spec);
    PyObject *lane = added(module, "Lane", &lane_spec), *caller = added(module, "Caller", &caller_spec);
    int failed = reader == NULL || trees == NULL || layers == NULL || lane == NULL || caller == NULL;
    if (!failed)
        know_types(lane, caller);
    Py_XDECREF(reader);
    Py_XDECREF(trees);
    Py_XDECREF(layers);
    Py_XDECREF(lane);
    Py_XDECREF(caller);
    return failed ? -1 : 0;
}

static PyMethodDef functions[] = {{"hand_out", hand_out, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};

static PyModuleDef_Slot slots[] = {{Py_mod_exec, add_types}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_native", NULL, 0, functions, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&definition); }
