/* Trees: the sums of the leaves that rows fall into, over all trees of a forest.
 *
 * What costs time in a walk is waiting for the next node, so several walks go at once: eight rows in one tree, or one row
 * in eight trees. No step branches: children lie side by side, a comparison says which, and a leaf is its own child, so
 * all walks of a tree take as many steps as its longest. (A. Asadi, J. Lin, A. de Vries, "Runtime Optimizations for
 * Tree-Based Machine Learning Models", IEEE TKDE 26(9), 2014: predication and interleaving.)
 *
 * Leaves are added in the order of the trees, in the type of the sums, as the libraries do: the same to the last bit.
 */
#include "speedups.h"
#include <math.h>
#include <string.h>

#define TOGETHER 8
#define MOST_DEPTH 4096

typedef struct {
    float at;         /* threshold; NaN, which nothing is above, in a leaf */
    uint32_t child;   /* the left one, the right one behind it; a leaf: itself */
    uint32_t feature;
} Node;

typedef struct {
    uint32_t root;
    uint32_t depth; /* steps from its root to the lowest leaf */
    uint32_t target;
} Tree;

typedef struct {
    PyObject_HEAD
    Py_ssize_t width, targets, nodes, trees;
    Py_ssize_t shares; /* numbers of a leaf: of the target and those behind it */
    int less;          /* a row goes left if it is less than the threshold; else if it is not more */
    int single;        /* sums are added in single precision */
    Node *node;
    Tree *tree;
    double *leaf; /* of each node, `shares` numbers */
} Trees;

/* --- walking --- */

static inline uint32_t step(const Node *node, const float *row, uint32_t at, int less) {
    const Node *here = node + at;
    float value = row[here->feature];
    return here->child + (less ? value >= here->at : value > here->at);
}

static inline void walk_rows(const Trees *self, const Tree *tree, const float *rows, uint32_t *at, int less) {
    for (int i = 0; i < TOGETHER; i++)
        at[i] = tree->root;
    for (uint32_t depth = tree->depth; depth > 0; depth--)
        for (int i = 0; i < TOGETHER; i++)
            at[i] = step(self->node, rows + i * self->width, at[i], less);
}

static inline void walk_trees(const Trees *self, const Tree *tree, int count, const float *row, uint32_t *at, int less) {
    uint32_t depth = 0;
    for (int i = 0; i < count; i++) {
        at[i] = tree[i].root;
        if (tree[i].depth > depth)
            depth = tree[i].depth;
    }
    for (; depth > 0; depth--)
        for (int i = 0; i < count; i++)
            at[i] = step(self->node, row, at[i], less);
}

static inline void add(const Trees *self, const Tree *tree, uint32_t at, char *sums) {
    const double *leaf = self->leaf + (Py_ssize_t)at * self->shares;
    if (self->single)
        for (Py_ssize_t i = 0; i < self->shares; i++)
            ((float *)sums)[tree->target + i] += (float)leaf[i];
    else
        for (Py_ssize_t i = 0; i < self->shares; i++)
            ((double *)sums)[tree->target + i] += leaf[i];
}

static inline void add_up(const Trees *self, const float *rows, Py_ssize_t count, char *sums, int less) {
    Py_ssize_t bytes = self->targets * (Py_ssize_t)(self->single ? sizeof(float) : sizeof(double));
    uint32_t at[TOGETHER];
    if (count == TOGETHER) {
        for (Py_ssize_t t = 0; t < self->trees; t++) {
            walk_rows(self, self->tree + t, rows, at, less);
            for (int i = 0; i < TOGETHER; i++)
                add(self, self->tree + t, at[i], sums + i * bytes);
        }
        return;
    }
    for (Py_ssize_t row = 0; row < count; row++, rows += self->width, sums += bytes)
        for (Py_ssize_t t = 0; t < self->trees; t += TOGETHER) {
            const Tree *tree = self->tree + t;
            int some = self->trees - t < TOGETHER ? (int)(self->trees - t) : TOGETHER;
            if (some == TOGETHER)
                walk_trees(self, tree, TOGETHER, rows, at, less);
            else
                walk_trees(self, tree, some, rows, at, less);
            for (int i = 0; i < some; i++)
                add(self, tree + i, at[i], sums);
        }
}

/* Have rows in single precision; 0 if one does not fit in. */
static int narrow(const double *from, float *to, Py_ssize_t count) {
    int fits = 1;
    for (Py_ssize_t i = 0; i < count; i++) {
        to[i] = (float)from[i];
        fits &= fabsf(to[i]) <= 3.40282347e38f; /* no infinity, no NaN */
    }
    return fits;
}

static PyObject *trees_sums(PyObject *object, PyObject *table) {
    Trees *self = (Trees *)object;
    Py_buffer rows;
    if (PyObject_GetBuffer(table, &rows, PyBUF_CONTIG_RO) < 0)
        return NULL;
    Py_ssize_t bytes = self->width * (Py_ssize_t)sizeof(double), count = rows.len / bytes;
    Py_ssize_t of_row = self->targets * (Py_ssize_t)(self->single ? sizeof(float) : sizeof(double));
    PyObject *found = NULL;
    float *some = PyMem_Malloc((size_t)self->width * TOGETHER * sizeof(float));
    if (count * bytes != rows.len) {
        PyErr_Format(PyExc_ValueError, "%zd bytes are no rows of %zd doubles", rows.len, self->width);
    } else if (some == NULL) {
        PyErr_NoMemory();
    } else if ((found = PyByteArray_FromStringAndSize(NULL, count * of_row)) != NULL) {
        char *sums = PyByteArray_AsString(found);
        memset(sums, 0, (size_t)(count * of_row));
        for (Py_ssize_t row = 0; row < count; row += TOGETHER) {
            Py_ssize_t part = count - row < TOGETHER ? count - row : TOGETHER;
            if (!narrow((const double *)rows.buf + row * self->width, some, part * self->width)) {
                PyErr_SetString(PyExc_OverflowError, "a number is too large for single precision");
                Py_CLEAR(found);
                break;
            }
            /* Twice, so that each is made for one kind of comparison. */
            if (self->less)
                add_up(self, some, part, sums + row * of_row, 1);
            else
                add_up(self, some, part, sums + row * of_row, 0);
        }
    }
    PyMem_Free(some);
    PyBuffer_Release(&rows);
    return found;
}

/* --- the type --- */

/* Copy an array whose size is known; NULL with an exception where it is another. */
static void *copied(const Py_buffer *given, Py_ssize_t bytes, const char *name) {
    if (given->len != bytes) {
        PyErr_Format(PyExc_ValueError, "%s has %zd bytes, not %zd", name, given->len, bytes);
        return NULL;
    }
    void *copy = PyMem_Malloc(bytes > 0 ? (size_t)bytes : 1);
    if (copy == NULL)
        PyErr_NoMemory();
    else
        memcpy(copy, given->buf, (size_t)bytes);
    return copy;
}

/* Nothing that is read of a node or a tree may lead out of the arrays, whoever made them. */
static int check(const Trees *self) {
    for (Py_ssize_t i = 0; i < self->nodes; i++) {
        const Node *node = self->node + i;
        /* Whatever is above a threshold leads to the second child, and nothing is above NaN. */
        if (node->feature >= self->width || node->child + (Py_ssize_t)!isnan(node->at) >= self->nodes) {
            PyErr_Format(PyExc_ValueError, "node %zd leads nowhere", i);
            return -1;
        }
    }
    for (Py_ssize_t i = 0; i < self->trees; i++) {
        const Tree *tree = self->tree + i;
        if (tree->root >= self->nodes || tree->depth > MOST_DEPTH || tree->target + self->shares > self->targets) {
            PyErr_Format(PyExc_ValueError, "tree %zd has no such root, depth or target", i);
            return -1;
        }
    }
    return 0;
}

static PyObject *trees_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
    static char *known[] = {"nodes", "trees", "leaves", "width", "targets", "less", "single", NULL};
    Py_buffer nodes, trees, leaves;
    Py_ssize_t width, targets;
    int less, single;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "y*y*y*nnpp", known, &nodes, &trees, &leaves, &width,
                                     &targets, &less, &single))
        return NULL;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Trees *self = NULL;
    if (width < 1 || width > INT32_MAX || targets < 1 || targets > INT32_MAX || nodes.len < (Py_ssize_t)sizeof(Node)) {
        PyErr_SetString(PyExc_ValueError, "trees have a width, targets and nodes");
    } else if ((self = (Trees *)allocate(type, 0)) != NULL) {
        self->width = width;
        self->targets = targets;
        self->less = less;
        self->single = single;
        self->nodes = nodes.len / (Py_ssize_t)sizeof(Node);
        self->trees = trees.len / (Py_ssize_t)sizeof(Tree);
        self->shares = leaves.len / (self->nodes * (Py_ssize_t)sizeof(double));
        if ((self->node = copied(&nodes, self->nodes * (Py_ssize_t)sizeof(Node), "nodes")) == NULL ||
            (self->tree = copied(&trees, self->trees * (Py_ssize_t)sizeof(Tree), "trees")) == NULL ||
            (self->leaf = copied(&leaves, self->nodes * self->shares * (Py_ssize_t)sizeof(double), "leaves")) == NULL ||
            check(self) < 0)
            Py_CLEAR(self);
    }
    PyBuffer_Release(&nodes);
    PyBuffer_Release(&trees);
    PyBuffer_Release(&leaves);
    return (PyObject *)self;
}

static void trees_dealloc(PyObject *object) {
    Trees *self = (Trees *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyMem_Free(self->node);
    PyMem_Free(self->tree);
    PyMem_Free(self->leaf);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {{"sums", trees_sums, METH_O, NULL}, {NULL, NULL, 0, NULL}};

static PyType_Slot trees_slots[] = {
    {Py_tp_new, trees_new}, {Py_tp_dealloc, trees_dealloc}, {Py_tp_methods, methods}, {0, NULL},
};

PyType_Spec trees_spec = {
    "mlengine.runtime.speedups._native.Trees", sizeof(Trees), 0, Py_TPFLAGS_DEFAULT, trees_slots,
};
