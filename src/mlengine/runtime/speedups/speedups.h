/* What the files of this folder share: the oldest Python they are for, and what they add to the module. */
#ifndef MLENGINE_SPEEDUPS_H
#define MLENGINE_SPEEDUPS_H

#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030B0000 /* one build for Python 3.11 and all after it */
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

extern PyType_Spec reader_spec; /* rows.c */
extern PyType_Spec trees_spec;  /* trees.c */
extern PyType_Spec layers_spec; /* layers.c */
extern PyType_Spec lane_spec;   /* lanes.c, as is all below */
extern PyType_Spec caller_spec;
PyObject *hand_out(PyObject *module, PyObject *arguments);
void know_types(PyObject *lane, PyObject *caller);

#endif
