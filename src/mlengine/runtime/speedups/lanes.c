/* Lanes: requests that differ from one before them in nothing but the body, read and answered many at a time.
 *
 * A caller who keeps his connection sends the same head again and again. Where it is known, and what it asks needs nothing
 * else than an answer, what is done between the kernel and the arithmetic is the same few steps each time: find the head,
 * cut the body off, have it read; later, put a head before the answer and write it. That is all that is done here. Whatever
 * is not exactly that goes to `received`, as it came.
 *
 * Who may be in a lane is decided elsewhere, and so is what a head means: see `desks` and `heads` in
 * `mlengine.prediction.gateway`.
 */
#include "speedups.h"
#include <math.h>
#include <stddef.h>
#include <string.h>
#include <structmember.h>

#define MOST_LENGTH_LINE 48

typedef struct {
    PyObject_HEAD
    PyObject *read;    /* body -> what it asks, or None: it is to go the general way */
    PyObject *begin;   /* called when somebody comes into the empty lane */
    PyObject *callers; /* lists: those who wait, in the order of their coming ... */
    PyObject *asked;   /* ... what was read of each ... */
    PyObject *bodies;  /* ... the body that it was read from ... */
    PyObject *data;    /* ... and all that came */
} Lane;

typedef struct {
    PyObject_HEAD
    PyObject *transport;
    PyObject *known;      /* dict: head -> (length of the body, lane); None: there is none */
    Py_ssize_t head_end;  /* where the last head that was looked up ended */
    double deadline_s;
    char is_clear;        /* nothing is being read, nothing is owed: the next byte begins a request */
    char is_waiting;      /* in a lane */
} Caller;

static PyTypeObject *lane_type, *caller_type; /* one module a process: there are no sub-interpreters here */

/* --- lanes --- */

static int lane_renew(Lane *self) {
    PyObject **lists[] = {&self->callers, &self->asked, &self->bodies, &self->data};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        PyObject *fresh = PyList_New(0);
        if (fresh == NULL)
            return -1;
        PyObject *before = *lists[i];
        *lists[i] = fresh;
        Py_XDECREF(before);
    }
    return 0;
}

/* Have lists of one length again; the exception that is set stays. */
static void lane_cut(Lane *self, Py_ssize_t count) {
    PyObject *lists[] = {self->callers, self->asked, self->bodies, self->data}, *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (PyList_SetSlice(lists[i], count, PyList_Size(lists[i]), NULL) < 0)
            PyErr_WriteUnraisable((PyObject *)self);
    PyErr_Restore(type, value, trace);
}

/* Let a caller wait: 1; 0 if his body is to go the general way; -1 with an exception. */
static int lane_enter(Lane *self, Caller *caller, PyObject *data, const char *body, Py_ssize_t length) {
    PyObject *copy = PyBytes_FromStringAndSize(body, length);
    if (copy == NULL)
        return -1;
    PyObject *asked = PyObject_CallFunctionObjArgs(self->read, copy, NULL);
    if (asked == NULL || asked == Py_None) {
        int is_error = asked == NULL;
        Py_DECREF(copy);
        Py_XDECREF(asked);
        return is_error ? -1 : 0;
    }
    Py_ssize_t count = PyList_Size(self->callers);
    int failed = PyList_Append(self->asked, asked) < 0 || PyList_Append(self->bodies, copy) < 0 ||
                 PyList_Append(self->data, data) < 0 || PyList_Append(self->callers, (PyObject *)caller) < 0;
    Py_DECREF(asked);
    Py_DECREF(copy);
    if (failed) {
        lane_cut(self, count);
        return -1;
    }
    caller->is_clear = 0;
    caller->is_waiting = 1;
    caller->deadline_s = INFINITY;
    if (count == 0) {
        PyObject *begun = PyObject_CallFunctionObjArgs(self->begin, NULL);
        if (begun == NULL)
            return -1;
        Py_DECREF(begun);
    }
    return 1;
}

static PyObject *lane_take(PyObject *object, PyObject *unused) {
    Lane *self = (Lane *)object;
    (void)unused;
    PyObject *taken = PyTuple_Pack(4, self->callers, self->asked, self->bodies, self->data);
    if (taken != NULL && lane_renew(self) < 0)
        Py_CLEAR(taken);
    return taken;
}

static Py_ssize_t lane_length(PyObject *self) { return PyList_Size(((Lane *)self)->callers); }

static PyObject *lane_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
    static char *known[] = {"read", "begin", NULL};
    PyObject *read, *begin;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "OO", known, &read, &begin))
        return NULL;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Lane *self = (Lane *)allocate(type, 0);
    if (self == NULL)
        return NULL;
    self->read = Py_NewRef(read);
    self->begin = Py_NewRef(begin);
    if (lane_renew(self) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static int lane_traverse(PyObject *object, visitproc visit, void *arg) {
    Lane *self = (Lane *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->read);
    Py_VISIT(self->begin);
    Py_VISIT(self->callers);
    Py_VISIT(self->asked);
    Py_VISIT(self->bodies);
    Py_VISIT(self->data);
    return 0;
}

static int lane_clear(PyObject *object) {
    Lane *self = (Lane *)object;
    Py_CLEAR(self->read);
    Py_CLEAR(self->begin);
    Py_CLEAR(self->callers);
    Py_CLEAR(self->asked);
    Py_CLEAR(self->bodies);
    Py_CLEAR(self->data);
    return 0;
}

static void release(PyObject *object, inquiry clear) {
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    clear(object);
    freefunc free_ = (freefunc)PyType_GetSlot(type, Py_tp_free);
    free_(object);
    Py_DECREF(type);
}

static void lane_dealloc(PyObject *object) { release(object, lane_clear); }

static PyMethodDef lane_methods[] = {{"take", lane_take, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL}};

static PyType_Slot lane_slots[] = {
    {Py_tp_new, lane_new},           {Py_tp_dealloc, lane_dealloc}, {Py_tp_traverse, lane_traverse},
    {Py_tp_clear, lane_clear},       {Py_tp_methods, lane_methods}, {Py_sq_length, lane_length},
    {0, NULL},
};

PyType_Spec lane_spec = {
    "mlengine.runtime.speedups._native.Lane", sizeof(Lane), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, lane_slots,
};

/* --- callers --- */

/* Where the blank line ends that ends a head; 0: there is none. */
static Py_ssize_t end_of_head(const char *bytes, Py_ssize_t length) {
    if (length < 4)
        return 0;
    const char *at = bytes, *last = bytes + length - 4;
    while (at <= last && (at = memchr(at, '\r', (size_t)(last - at) + 1)) != NULL) {
        if (memcmp(at, "\r\n\r\n", 4) == 0)
            return at - bytes + 4;
        at++;
    }
    return 0;
}

/* What is known of the first bytes: borrowed, or NULL, with an exception or without. */
static PyObject *look_up(const Caller *self, const char *bytes, Py_ssize_t length) {
    if (length == 0)
        return NULL;
    PyObject *head = PyBytes_FromStringAndSize(bytes, length);
    if (head == NULL)
        return NULL;
    PyObject *found = PyDict_GetItemWithError(self->known, head);
    Py_DECREF(head);
    return found;
}

/* Take one whole request whose head is known into its lane: 1; 0 if it is anything else; -1 with an exception. */
static int enter(Caller *self, PyObject *data) {
    char *bytes;
    Py_ssize_t length;
    if (!PyBytes_CheckExact(data) || !PyDict_CheckExact(self->known) || PyDict_Size(self->known) == 0)
        return 0;
    if (PyBytes_AsStringAndSize(data, &bytes, &length) < 0)
        return -1;
    /* A known head has its only blank line at its end: to find it there is to find it first. */
    PyObject *found = self->head_end <= length ? look_up(self, bytes, self->head_end) : NULL;
    if (found == NULL) {
        if (PyErr_Occurred())
            return -1;
        self->head_end = end_of_head(bytes, length);
        found = look_up(self, bytes, self->head_end);
        if (found == NULL)
            return PyErr_Occurred() ? -1 : 0;
    }
    if (!PyTuple_CheckExact(found) || PyTuple_Size(found) != 2)
        return 0;
    PyObject *lane = PyTuple_GetItem(found, 1);
    Py_ssize_t body = PyLong_AsSsize_t(PyTuple_GetItem(found, 0));
    if (body < 0 && PyErr_Occurred())
        return -1;
    if (body != length - self->head_end || !PyObject_TypeCheck(lane, lane_type))
        return 0;
    Py_INCREF(lane); /* what is read may change what is known */
    int entered = lane_enter((Lane *)lane, self, data, bytes + self->head_end, body);
    Py_DECREF(lane);
    return entered;
}

static PyObject *call(Caller *self, const char *method, PyObject *argument) {
    PyObject *name = PyUnicode_InternFromString(method);
    if (name == NULL)
        return NULL;
    PyObject *result = PyObject_CallMethodObjArgs((PyObject *)self, name, argument, NULL);
    Py_DECREF(name);
    return result;
}

static PyObject *caller_data_received(PyObject *object, PyObject *data) {
    Caller *self = (Caller *)object;
    if (self->is_clear) {
        int entered = enter(self, data);
        if (entered < 0)
            return NULL;
        if (entered)
            return Py_NewRef(Py_None);
    } else if (self->is_waiting) {
        PyObject *done = call(self, "catch_up", NULL);
        if (done == NULL)
            return NULL;
        Py_DECREF(done);
    }
    self->is_clear = 0;
    return call(self, "received", data);
}

static PyMemberDef caller_members[] = {
    {"transport", T_OBJECT, offsetof(Caller, transport), 0, NULL},
    {"known", T_OBJECT, offsetof(Caller, known), 0, NULL},
    {"deadline_s", T_DOUBLE, offsetof(Caller, deadline_s), 0, NULL},
    {"is_clear", T_BOOL, offsetof(Caller, is_clear), 0, NULL},
    {"is_waiting", T_BOOL, offsetof(Caller, is_waiting), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static int caller_traverse(PyObject *object, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((Caller *)object)->transport);
    Py_VISIT(((Caller *)object)->known);
    return 0;
}

static int caller_clear(PyObject *object) {
    Py_CLEAR(((Caller *)object)->transport);
    Py_CLEAR(((Caller *)object)->known);
    return 0;
}

static void caller_dealloc(PyObject *object) { release(object, caller_clear); }

static PyObject *caller_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
    (void)arguments; /* of `__init__` */
    (void)keywords;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Caller *self = (Caller *)allocate(type, 0);
    if (self != NULL) {
        self->transport = Py_NewRef(Py_None);
        self->known = Py_NewRef(Py_None);
        self->deadline_s = INFINITY;
    }
    return (PyObject *)self;
}

static PyMethodDef caller_methods[] = {
    {"data_received", caller_data_received, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot caller_slots[] = {
    {Py_tp_new, caller_new},     {Py_tp_dealloc, caller_dealloc}, {Py_tp_traverse, caller_traverse},
    {Py_tp_clear, caller_clear}, {Py_tp_methods, caller_methods}, {Py_tp_members, caller_members},
    {0, NULL},
};

PyType_Spec caller_spec = {
    "mlengine.runtime.speedups._native.Caller", sizeof(Caller), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, caller_slots,
};

/* --- answers --- */

typedef struct {
    const char *bytes;
    Py_ssize_t length;
} Piece;

static char *put(char *at, const Piece *piece) {
    memcpy(at, piece->bytes, (size_t)piece->length);
    return at + piece->length;
}

/* Put the head, with lines of the caller's own or NULL, before an answer; a new reference. */
static PyObject *whole(const Piece *head, PyObject *lines, PyObject *answer) {
    char line[MOST_LENGTH_LINE], *bytes;
    Piece own = {"", 0}, length = {line, 0}, body;
    if (lines != NULL) {
        if (PyBytes_AsStringAndSize(lines, &bytes, &own.length) < 0)
            return NULL;
        own.bytes = bytes;
    }
    if (PyBytes_AsStringAndSize(answer, &bytes, &body.length) < 0)
        return NULL;
    body.bytes = bytes;
    length.length = PyOS_snprintf(line, sizeof line, "content-length: %zd\r\n\r\n", body.length);
    PyObject *made = PyBytes_FromStringAndSize(NULL, head->length + own.length + length.length + body.length);
    if (made != NULL)
        put(put(put(put(PyBytes_AsString(made), head), &own), &length), &body);
    return made;
}

/* Answer one who waits, or say why not; whether he was. Whose connection has gone waits no more. */
static int answer_one(Caller *caller, const Piece *head, PyObject *lines, PyObject *answer, double deadline_s,
                       PyObject *is_closing, PyObject *write) {
    if (!caller->is_waiting || answer == Py_None)
        return 0;
    caller->is_waiting = 0;
    PyObject *transport = Py_NewRef(caller->transport), *made = NULL, *done = NULL;
    PyObject *closing = PyObject_CallMethodObjArgs(transport, is_closing, NULL);
    if (closing == Py_False && (made = whole(head, lines, answer)) != NULL) {
        caller->deadline_s = deadline_s;
        caller->is_clear = 1; /* before it is written: a transport that is full says so at once */
        done = PyObject_CallMethodObjArgs(transport, write, made, NULL);
    }
    if (PyErr_Occurred()) { /* the others are to have their answers */
        caller->is_clear = 0;
        PyErr_WriteUnraisable((PyObject *)caller);
    }
    int answered = done != NULL;
    Py_XDECREF(closing);
    Py_XDECREF(made);
    Py_XDECREF(done);
    Py_DECREF(transport);
    return answered;
}

PyObject *hand_out(PyObject *module, PyObject *arguments) {
    PyObject *callers, *answers, *lines = NULL;
    Piece head;
    double deadline_s;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "O!O!y#d|O!", &PyList_Type, &callers, &PyList_Type, &answers, &head.bytes,
                          &head.length, &deadline_s, &PyList_Type, &lines))
        return NULL;
    PyObject *is_closing = PyUnicode_InternFromString("is_closing"), *write = PyUnicode_InternFromString("write");
    int failed = is_closing == NULL || write == NULL;
    long count = 0;
    for (Py_ssize_t i = 0; !failed && i < PyList_Size(callers) && i < PyList_Size(answers); i++) {
        PyObject *caller = Py_NewRef(PyList_GetItem(callers, i)), *answer = Py_NewRef(PyList_GetItem(answers, i));
        PyObject *own = lines != NULL && i < PyList_Size(lines) ? Py_NewRef(PyList_GetItem(lines, i)) : NULL;
        if (PyObject_TypeCheck(caller, caller_type)) {
            count += answer_one((Caller *)caller, &head, own, answer, deadline_s, is_closing, write);
        } else {
            PyErr_SetString(PyExc_TypeError, "who is answered is a Caller");
            failed = 1;
        }
        Py_DECREF(caller);
        Py_DECREF(answer);
        Py_XDECREF(own);
    }
    Py_XDECREF(is_closing);
    Py_XDECREF(write);
    return failed ? NULL : PyLong_FromLong(count);
}

void know_types(PyObject *lane, PyObject *caller) {
    lane_type = (PyTypeObject *)Py_NewRef(lane);
    caller_type = (PyTypeObject *)Py_NewRef(caller);
}
