/* Reader: bodies {"instances": [...]} of numbers, as rows of doubles.
 *
 * An instance is a nested list of one shape, or an object of such lists or of numbers. Anything else is refused with
 * None, for others to read: a key too many, twice or escaped, a list of another length, null, NaN, a number of which
 * integers and floats have not the same (2**53 and beyond), an empty list, a byte behind the end.
 *
 * The end needs no looking for: the body is a bytes object, and Python ends those with a zero, which no rule takes. A
 * zero within the body ends it before its end, and so it is refused.
 */
#include "speedups.h"
#include <math.h>
#include <string.h>

#if !defined(__SIZEOF_INT128__) || !defined(__FLT_EVAL_METHOD__) || __FLT_EVAL_METHOD__ != 0
#error "needs integers of 128 bits, and doubles that are computed as doubles"
#endif

#define MOST_DIMENSIONS 8
#define MOST_DIGITS 19 /* which 64 bits hold */
#define EXACT 9007199254740992.0

typedef struct {
    char *name; /* of a member of an object; in UTF-8 */
    Py_ssize_t name_bytes;
    int dimensions;
    Py_ssize_t shape[MOST_DIMENSIONS];
    Py_ssize_t start; /* where its numbers lie in a row */
} Field;

typedef struct {
    PyObject_HEAD
    int objects; /* instances are objects of the fields; else an instance is the only field */
    Py_ssize_t count;
    Py_ssize_t width; /* numbers of a row */
    Field *fields;
    char *seen; /* of each field, whether the object that is read has had it */
} Reader;

/* --- numbers --- */

static const double TENS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                              1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
static const uint64_t FIVES[] = {
    1ULL, 5ULL, 25ULL, 125ULL, 625ULL, 3125ULL, 15625ULL, 78125ULL, 390625ULL, 1953125ULL, 9765625ULL, 48828125ULL,
    244140625ULL, 1220703125ULL, 6103515625ULL, 30517578125ULL, 152587890625ULL, 762939453125ULL, 3814697265625ULL,
    19073486328125ULL, 95367431640625ULL, 476837158203125ULL, 2384185791015625ULL, 11920928955078125ULL,
    59604644775390625ULL, 298023223876953125ULL, 1490116119384765625ULL, 7450580596923828125ULL};
#define MOST_FIVES 27

/* Return the double next to digits / 10**places: the quotient by 5**places to 63 bits or 64, of which 53 are kept, and
 * the remainder tells which way a tie falls. Both numbers are shifted up to their highest bit, so that the quotient has
 * its place in 64 bits; 2**places and the shifts only move the exponent. */
static double divided(uint64_t digits, int places) {
    int up = __builtin_clzll(digits), down = __builtin_clzll(FIVES[places]);
    uint64_t top = digits << up, by = FIVES[places] << down;
    unsigned __int128 whole = (unsigned __int128)top << 63;
    uint64_t quotient = (uint64_t)(whole / by);
    int rest = (uint64_t)(whole % by) != 0;
    int exponent = -63 - up + down - places;
    int spare = quotient >> 63 ? 11 : 10;
    uint64_t half = 1ULL << (spare - 1), below = quotient & (2 * half - 1), kept = quotient >> spare;
    if (below > half || (below == half && (rest || (kept & 1))))
        kept++; /* to 2**53 at most, which a double holds as well */
    return ldexp((double)kept, exponent + spare);
}

/* Read a number as JSON writes it; return where it ends, or NULL if it is none. */
static const char *read_number(const char *at, double *found) {
    const char *begin = at, *first;
    uint64_t digits = 0;
    int exponent = 0, count = 0, whole = 1;
    if (*at == '-')
        at++;
    first = at;
    while ((unsigned char)(*at - '0') < 10)
        digits = digits * 10 + (uint64_t)(*at++ - '0');
    if (at == first || (*first == '0' && at - first > 1))
        return NULL;
    if (at - first > MOST_DIGITS)
        count = MOST_DIGITS + 1;
    else if (*first != '0')
        count = (int)(at - first);
    if (*at == '.') {
        const char *point = ++at;
        if (count == 0)
            while (*at == '0')
                at++;
        const char *significant = at;
        while ((unsigned char)(*at - '0') < 10)
            digits = digits * 10 + (uint64_t)(*at++ - '0');
        if (at == point)
            return NULL;
        if (at - point > 1000)
            count = MOST_DIGITS + 1;
        else {
            count += (int)(at - significant);
            exponent = -(int)(at - point);
        }
        whole = 0;
    }
    if (*at == 'e' || *at == 'E') {
        int power = 0, below = *++at == '-';
        if (*at == '-' || *at == '+')
            at++;
        first = at;
        while ((unsigned char)(*at - '0') < 10) {
            if (power < 10000)
                power = power * 10 + (*at - '0');
            at++;
        }
        if (at == first)
            return NULL;
        exponent += below ? -power : power;
        whole = 0;
    }
    double value;
    if (count > MOST_DIGITS) {
        value = -1.0;
    } else if (digits == 0) {
        *found = *begin == '-' && !whole ? -0.0 : 0.0; /* -0 is an integer, and they have one zero */
        return at;
    } else if (digits < (1ULL << 53) && exponent >= -22 && exponent <= 22) {
        /* Both are exact, so the only rounding is that of the result (W. D. Clinger, "How to Read Floating Point
         * Numbers Accurately", PLDI 1990). */
        value = exponent < 0 ? (double)digits / TENS[-exponent] : (double)digits * TENS[exponent];
    } else if (exponent < 0 && exponent >= -MOST_FIVES) {
        value = divided(digits, -exponent);
    } else {
        value = -1.0;
    }
    if (value < 0) {
        char *end;
        value = PyOS_string_to_double(*begin == '-' ? begin + 1 : begin, &end, NULL);
        if (end != at || PyErr_Occurred()) {
            PyErr_Clear();
            return NULL;
        }
    }
    *found = *begin == '-' ? -value : value;
    return value < EXACT ? at : NULL;
}

/* --- lists and objects --- */

static const char *skip_space(const char *at) {
    while (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')
        at++;
    return at;
}

/* Pass over one character; NULL where another stands. */
static const char *pass(const char *at, char expected) {
    at = skip_space(at);
    return *at == expected ? at + 1 : NULL;
}

static const char *read_list(const char *at, const Field *field, int depth, double **to) {
    if ((at = pass(at, '[')) == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < field->shape[depth]; i++) {
        if (i > 0 && (at = pass(at, ',')) == NULL)
            return NULL;
        if (depth + 1 == field->dimensions)
            at = read_number(skip_space(at), (*to)++);
        else
            at = read_list(at, field, depth + 1, to);
        if (at == NULL)
            return NULL;
    }
    return pass(at, ']');
}

static const char *read_value(const char *at, const Field *field, double *to) {
    return field->dimensions == 0 ? read_number(skip_space(at), to) : read_list(at, field, 0, &to);
}

static const char *read_object(const char *at, Reader *self, double *row) {
    if ((at = pass(at, '{')) == NULL)
        return NULL;
    memset(self->seen, 0, (size_t)self->count);
    for (Py_ssize_t i = 0; i < self->count; i++) {
        if (i > 0 && (at = pass(at, ',')) == NULL)
            return NULL;
        if ((at = pass(at, '"')) == NULL)
            return NULL;
        /* Most callers send the members in one order; the look begins with the one that is due. */
        Py_ssize_t which = i, tried = 0;
        const Field *field;
        for (;; which = which + 1 < self->count ? which + 1 : 0) {
            field = self->fields + which;
            if (strncmp(at, field->name, (size_t)field->name_bytes) == 0 && at[field->name_bytes] == '"')
                break;
            if (++tried == self->count)
                return NULL;
        }
        if (self->seen[which])
            return NULL;
        self->seen[which] = 1;
        if ((at = pass(at + field->name_bytes + 1, ':')) == NULL)
            return NULL;
        if ((at = read_value(at, field, row + field->start)) == NULL)
            return NULL;
    }
    return pass(at, '}');
}

static const char *read_instance(const char *at, Reader *self, double *row) {
    return self->objects ? read_object(at, self, row) : read_value(at, self->fields, row);
}

static PyObject *reader_read(PyObject *object, PyObject *body) {
    Reader *self = (Reader *)object;
    static const char key[] = "\"instances\"";
    char *begin;
    Py_ssize_t bytes, rows = 0, room;
    if (PyBytes_AsStringAndSize(body, &begin, &bytes) < 0)
        return NULL;
    const char *at = pass(begin, '{');
    if (at == NULL || strncmp(at = skip_space(at), key, sizeof key - 1) != 0)
        Py_RETURN_NONE;
    if ((at = pass(at + sizeof key - 1, ':')) == NULL || (at = pass(at, '[')) == NULL)
        Py_RETURN_NONE;
    /* Few bodies hold more than one row, and then mostly rows that are as long as the first. */
    double *table = PyMem_Malloc((size_t)self->width * sizeof(double));
    if (table == NULL)
        return PyErr_NoMemory();
    for (room = 1;;) {
        const char *row = at;
        if ((at = read_instance(at, self, table + rows * self->width)) == NULL)
            break;
        rows++;
        at = skip_space(at);
        if (*at != ',')
            break;
        at++;
        if (rows == room) {
            Py_ssize_t more = rows == 1 ? (begin + bytes - at) / (at - row) + 2 : 2 * room;
            double *grown = PyMem_Realloc(table, (size_t)more * (size_t)self->width * sizeof(double));
            if (grown == NULL) {
                PyMem_Free(table);
                return PyErr_NoMemory();
            }
            table = grown;
            room = more;
        }
    }
    PyObject *found = NULL;
    if (at != NULL && (at = pass(at, ']')) != NULL && (at = pass(at, '}')) != NULL && skip_space(at) == begin + bytes)
        found = PyBytes_FromStringAndSize((char *)table, rows * self->width * (Py_ssize_t)sizeof(double));
    else
        found = Py_NewRef(Py_None);
    PyMem_Free(table);
    return found;
}

/* --- the type --- */

static int fill_field(Field *field, PyObject *name, PyObject *shape, Py_ssize_t start) {
    Py_ssize_t dimensions = PyTuple_Size(shape), bytes = 0;
    if (dimensions < 0)
        return -1;
    if (dimensions > MOST_DIMENSIONS) {
        PyErr_Format(PyExc_ValueError, "a shape has at most %d sizes, not %zd", MOST_DIMENSIONS, dimensions);
        return -1;
    }
    field->dimensions = (int)dimensions;
    field->start = start;
    Py_ssize_t numbers = 1;
    for (Py_ssize_t i = 0; i < dimensions; i++) {
        PyObject *size = PyTuple_GetItem(shape, i);
        Py_ssize_t value = size == NULL ? -1 : PyLong_AsSsize_t(size);
        if (value == -1 && PyErr_Occurred())
            return -1;
        if (value < 1 || value > INT32_MAX / numbers) {
            PyErr_Format(PyExc_ValueError, "a row has no list of %zd numbers", value);
            return -1;
        }
        field->shape[i] = value;
        numbers *= value;
    }
    if (name != NULL) {
        const char *text = PyUnicode_AsUTF8AndSize(name, &bytes);
        if (text == NULL)
            return -1;
        for (Py_ssize_t i = 0; i < bytes; i++)
            if ((unsigned char)text[i] < ' ' || text[i] == '"' || text[i] == '\\') {
                PyErr_Format(PyExc_ValueError, "JSON writes the name %R with escapes", name);
                return -1;
            }
        if ((field->name = PyMem_Malloc((size_t)bytes + 1)) == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        memcpy(field->name, text, (size_t)bytes + 1);
        field->name_bytes = bytes;
    }
    return (int)numbers;
}

static PyObject *reader_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
    static char *known[] = {"shapes", "names", NULL};
    PyObject *shapes, *names = NULL;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "O!|O!", known, &PyList_Type, &shapes, &PyList_Type, &names))
        return NULL;
    Py_ssize_t count = PyList_Size(shapes), named = names == NULL ? 0 : PyList_Size(names);
    if (count < 1 || (named != count && (named != 0 || count != 1))) {
        PyErr_Format(PyExc_ValueError, "there are %zd shapes and %zd names", count, named);
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Reader *self = (Reader *)allocate(type, 0);
    if (self == NULL)
        return NULL;
    self->objects = named > 0;
    self->fields = PyMem_Calloc((size_t)count, sizeof(Field));
    self->seen = PyMem_Calloc((size_t)count, 1);
    if (self->fields == NULL || self->seen == NULL) {
        PyErr_NoMemory();
        goto failed;
    }
    self->count = count;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *name = named ? PyList_GetItem(names, i) : NULL;
        int numbers = fill_field(self->fields + i, name, PyList_GetItem(shapes, i), self->width);
        if (numbers < 0)
            goto failed;
        self->width += numbers;
    }
    return (PyObject *)self;
failed:
    Py_DECREF(self);
    return NULL;
}

static void reader_dealloc(PyObject *object) {
    Reader *self = (Reader *)object;
    PyTypeObject *type = Py_TYPE(object);
    for (Py_ssize_t i = 0; i < self->count; i++)
        PyMem_Free(self->fields[i].name);
    PyMem_Free(self->fields);
    PyMem_Free(self->seen);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {{"read", reader_read, METH_O, NULL}, {NULL, NULL, 0, NULL}};

static PyType_Slot reader_slots[] = {
    {Py_tp_new, reader_new}, {Py_tp_dealloc, reader_dealloc}, {Py_tp_methods, methods}, {0, NULL},
};

PyType_Spec reader_spec = {
    "mlengine.runtime.speedups._native.Reader", sizeof(Reader), 0, Py_TPFLAGS_DEFAULT, reader_slots,
};
