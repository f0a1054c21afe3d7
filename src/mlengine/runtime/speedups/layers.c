/* Layers: small networks, row by row: products with matrices and what is done to each number between them.
 *
 * A row has one place for all of its numbers: what it was given, what is kept (biases, say) and what every operation
 * makes. An operation is a code and where to find what it takes. Numbers are in single precision, and those of a row are
 * added up in the same order whoever else is asked for: a row comes out the same, to the last bit, alone and in company.
 */
#include "speedups.h"
#include <math.h>
#include <string.h>

#define MOST_NUMBERS (1 << 20)

enum { MATMUL, ADD, SUB, MUL, DIV, RELU, SIGMOID, TANH, SOFTMAX, COPY, CODES };

typedef struct {
    uint32_t code;
    uint32_t to, a, b; /* where the result begins, and what it takes */
    uint32_t width;    /* numbers that are taken, of `a` and of `b` */
    uint32_t out;      /* numbers of the result */
    uint32_t weights;  /* where the matrix begins: `width` rows of `out` numbers */
} Operation;

typedef struct {
    PyObject_HEAD
    Py_ssize_t width, numbers, operations, weights;
    Py_ssize_t first, outputs; /* where the results of a row begin, and how many they are */
    Operation *operation;
    float *weight;
    float *row; /* all numbers of a row; those that are kept are there from the beginning */
} Layers;

/* --- computing --- */

static void multiply(const float *from, Py_ssize_t width, const float *weights, float *to, Py_ssize_t out) {
    memset(to, 0, (size_t)out * sizeof(float));
    for (Py_ssize_t k = 0; k < width; k++, weights += out) {
        float value = from[k];
        for (Py_ssize_t j = 0; j < out; j++)
            to[j] += value * weights[j];
    }
}

static void softmax(const float *from, float *to, Py_ssize_t width) {
    float largest = from[0], sum = 0;
    for (Py_ssize_t i = 1; i < width; i++)
        largest = from[i] > largest ? from[i] : largest;
    for (Py_ssize_t i = 0; i < width; i++)
        sum += to[i] = expf(from[i] - largest);
    for (Py_ssize_t i = 0; i < width; i++)
        to[i] /= sum;
}

static void compute(const Layers *self) {
    for (Py_ssize_t i = 0; i < self->operations; i++) {
        const Operation *now = self->operation + i;
        const float *a = self->row + now->a, *b = self->row + now->b;
        float *to = self->row + now->to;
        Py_ssize_t width = now->width;
        switch (now->code) {
        case MATMUL:
            multiply(a, width, self->weight + now->weights, to, now->out);
            break;
        case ADD:
            for (Py_ssize_t j = 0; j < width; j++)
                to[j] = a[j] + b[j];
            break;
        case SUB:
            for (Py_ssize_t j = 0; j < width; j++)
                to[j] = a[j] - b[j];
            break;
        case MUL:
            for (Py_ssize_t j = 0; j < width; j++)
                to[j] = a[j] * b[j];
            break;
        case DIV:
            for (Py_ssize_t j = 0; j < width; j++)
                to[j] = a[j] / b[j];
            break;
        case RELU: /* what is no number stays none */
            for (Py_ssize_t j = 0; j < width; j++)
                to[j] = a[j] <= 0 ? 0 : a[j];
            break;
        case SIGMOID:
            for (Py_ssize_t j = 0; j < width; j++)
                to[j] = 1 / (1 + expf(-a[j]));
            break;
        case TANH:
            for (Py_ssize_t j = 0; j < width; j++)
                to[j] = tanhf(a[j]);
            break;
        case SOFTMAX:
            softmax(a, to, width);
            break;
        default:
            memmove(to, a, (size_t)width * sizeof(float));
        }
    }
}

static PyObject *layers_run(PyObject *object, PyObject *table) {
    Layers *self = (Layers *)object;
    Py_buffer rows;
    if (PyObject_GetBuffer(table, &rows, PyBUF_CONTIG_RO) < 0)
        return NULL;
    Py_ssize_t bytes = self->width * (Py_ssize_t)sizeof(double), count = rows.len / bytes;
    Py_ssize_t of_row = self->outputs * (Py_ssize_t)sizeof(float);
    PyObject *found = NULL;
    if (count * bytes != rows.len) {
        PyErr_Format(PyExc_ValueError, "%zd bytes are no rows of %zd doubles", rows.len, self->width);
    } else if ((found = PyByteArray_FromStringAndSize(NULL, count * of_row)) != NULL) {
        char *to = PyByteArray_AsString(found);
        const char *from = rows.buf;
        for (Py_ssize_t row = 0; row < count; row++, from += bytes, to += of_row) {
            for (Py_ssize_t i = 0; i < self->width; i++) {
                double value;
                memcpy(&value, from + i * (Py_ssize_t)sizeof value, sizeof value);
                self->row[i] = (float)value;
            }
            compute(self);
            memcpy(to, self->row + self->first, (size_t)of_row);
        }
    }
    PyBuffer_Release(&rows);
    return found;
}

/* --- the type --- */

static void *copied(const Py_buffer *given) {
    void *copy = PyMem_Malloc(given->len > 0 ? (size_t)given->len : 1);
    if (copy == NULL)
        PyErr_NoMemory();
    else
        memcpy(copy, given->buf, (size_t)given->len);
    return copy;
}

static int fits(Py_ssize_t begin, Py_ssize_t count, Py_ssize_t all) {
    return begin >= 0 && count >= 1 && begin <= all && count <= all - begin;
}

/* Nothing that an operation reads or writes may lead out of the arrays, whoever made them. */
static int check(const Layers *self) {
    if (!fits(0, self->width, self->numbers) || !fits(self->first, self->outputs, self->numbers)) {
        PyErr_SetString(PyExc_ValueError, "a row has no place for what it is given or gives");
        return -1;
    }
    for (Py_ssize_t i = 0; i < self->operations; i++) {
        const Operation *now = self->operation + i;
        int product = now->code == MATMUL;
        uint64_t matrix = product ? (uint64_t)now->width * now->out : 0;
        if (now->code >= CODES || !fits(now->a, now->width, self->numbers) ||
            !fits(now->b, now->width, self->numbers) || !fits(now->to, now->out, self->numbers) ||
            (!product && now->out != now->width) ||
            (product && (matrix > MOST_NUMBERS || !fits(now->weights, (Py_ssize_t)matrix, self->weights)))) {
            PyErr_Format(PyExc_ValueError, "operation %zd leads nowhere", i);
            return -1;
        }
    }
    return 0;
}

static PyObject *layers_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
    static char *known[] = {"operations", "weights", "row", "width", "first", "outputs", NULL};
    Py_buffer operations, weights, row;
    Py_ssize_t width, first, outputs;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "y*y*y*nnn", known, &operations, &weights, &row, &width,
                                     &first, &outputs))
        return NULL;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Layers *self = NULL;
    if (operations.len % (Py_ssize_t)sizeof(Operation) || weights.len % (Py_ssize_t)sizeof(float) ||
        row.len % (Py_ssize_t)sizeof(float) || row.len > MOST_NUMBERS * (Py_ssize_t)sizeof(float)) {
        PyErr_SetString(PyExc_ValueError, "an array has no whole numbers, or too many");
    } else if ((self = (Layers *)allocate(type, 0)) != NULL) {
        self->width = width;
        self->first = first;
        self->outputs = outputs;
        self->operations = operations.len / (Py_ssize_t)sizeof(Operation);
        self->weights = weights.len / (Py_ssize_t)sizeof(float);
        self->numbers = row.len / (Py_ssize_t)sizeof(float);
        if ((self->operation = copied(&operations)) == NULL || (self->weight = copied(&weights)) == NULL ||
            (self->row = copied(&row)) == NULL || check(self) < 0)
            Py_CLEAR(self);
    }
    PyBuffer_Release(&operations);
    PyBuffer_Release(&weights);
    PyBuffer_Release(&row);
    return (PyObject *)self;
}

static void layers_dealloc(PyObject *object) {
    Layers *self = (Layers *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyMem_Free(self->operation);
    PyMem_Free(self->weight);
    PyMem_Free(self->row);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {{"run", layers_run, METH_O, NULL}, {NULL, NULL, 0, NULL}};

static PyType_Slot layers_slots[] = {
    {Py_tp_new, layers_new}, {Py_tp_dealloc, layers_dealloc}, {Py_tp_methods, methods}, {0, NULL},
};

PyType_Spec layers_spec = {
    "mlengine.runtime.speedups._native.Layers", sizeof(Layers), 0, Py_TPFLAGS_DEFAULT, layers_slots,
};
