/* The most frequent traffic in C: both classes of `core.lanes`, with the same attributes.
 *
 * Rule: each attribute may have been changed or deleted from Python, and so may anything while a
 * call goes there; what is used behind such a call is held.
 */

#if PY_VERSION_HEX < 0x030C0000
#include <structmember.h>
#define Py_T_BOOL T_BOOL
#define Py_T_DOUBLE T_DOUBLE
#define Py_T_PYSSIZET T_PYSSIZET
#define Py_T_OBJECT_EX T_OBJECT_EX
#endif

/* From this size on payloads are not copied behind their header, see `core.lanes`. */
#define LARGE 16384

/* What belongs to the module: types, and names of what is called. */
#define EACH_NAME(DO)                                                                             \
    DO(create_future) DO(done) DO(is_idle) DO(on_input) DO(room) DO(set_result)                    \
    DO(settle_soon) DO(time) DO(write)
#define EACH_OBJECT(DO) DO(intake_type) DO(outlet_type) EACH_NAME(DO)
#define DECLARE(name) PyObject *name;
typedef struct {
    EACH_OBJECT(DECLARE)
} State;
#undef DECLARE

/* --- Intake --- */

typedef struct {
    PyObject_HEAD
    PyObject *assembler;
    PyObject *extensions;
    PyObject *header;
    PyObject *input;
    PyObject *payload;
    PyObject *queue;
    double received_at;
    Py_ssize_t position;
    Py_ssize_t limit;
    Py_ssize_t capacity;
    Py_ssize_t masked;
    Py_ssize_t bytes_received;
    Py_ssize_t messages_received;
    char is_answered;
    char is_stopped;
    char is_streaming;
} Intake;

static PyMemberDef intake_members[] = {
    {"_assembler", Py_T_OBJECT_EX, offsetof(Intake, assembler), 0, NULL},
    {"_extensions", Py_T_OBJECT_EX, offsetof(Intake, extensions), 0, NULL},
    {"_header", Py_T_OBJECT_EX, offsetof(Intake, header), 0, NULL},
    {"input", Py_T_OBJECT_EX, offsetof(Intake, input), 0, NULL},
    {"payload", Py_T_OBJECT_EX, offsetof(Intake, payload), 0, NULL},
    {"queue", Py_T_OBJECT_EX, offsetof(Intake, queue), 0, NULL},
    {"received_at", Py_T_DOUBLE, offsetof(Intake, received_at), 0, NULL},
    {"_position", Py_T_PYSSIZET, offsetof(Intake, position), 0, NULL},
    {"_limit", Py_T_PYSSIZET, offsetof(Intake, limit), 0, NULL},
    {"capacity", Py_T_PYSSIZET, offsetof(Intake, capacity), 0, NULL},
    {"_masked", Py_T_PYSSIZET, offsetof(Intake, masked), 0, NULL},
    {"bytes_received", Py_T_PYSSIZET, offsetof(Intake, bytes_received), 0, NULL},
    {"messages_received", Py_T_PYSSIZET, offsetof(Intake, messages_received), 0, NULL},
    {"is_answered", Py_T_BOOL, offsetof(Intake, is_answered), 0, NULL},
    {"is_stopped", Py_T_BOOL, offsetof(Intake, is_stopped), 0, NULL},
    {"is_streaming", Py_T_BOOL, offsetof(Intake, is_streaming), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static int
intake_traverse(Intake *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->assembler);
    Py_VISIT(self->extensions);
    Py_VISIT(self->header);
    Py_VISIT(self->input);
    Py_VISIT(self->payload);
    Py_VISIT(self->queue);
    return 0;
}

static int
intake_clear(Intake *self)
{
    Py_CLEAR(self->assembler);
    Py_CLEAR(self->extensions);
    Py_CLEAR(self->header);
    Py_CLEAR(self->input);
    Py_CLEAR(self->payload);
    Py_CLEAR(self->queue);
    return 0;
}

static void
intake_dealloc(Intake *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    intake_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static int
intake_init(Intake *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"masked", "limit", "extensions", "assembler", NULL};
    Py_ssize_t masked, limit;
    PyObject *extensions, *assembler;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "nnOO:Intake", names, &masked, &limit,
                                     &extensions, &assembler)) {
        return -1;
    }
    PyObject *input = PyBytes_FromStringAndSize(NULL, 0), *queue = PyList_New(0);
    if (input == NULL || queue == NULL) {
        Py_XDECREF(input);
        Py_XDECREF(queue);
        return -1;
    }
    intake_clear(self);
    self->masked = masked;
    self->limit = limit;
    self->extensions = Py_NewRef(extensions);
    self->assembler = Py_NewRef(assembler);
    self->header = Py_NewRef(Py_None);
    self->input = input;
    self->payload = Py_NewRef(Py_None);
    self->queue = queue;
    self->is_answered = 1;
    return 0;
}

/* Tell whether a message may begin that no extension changes; -1 for an error. */
static int
is_between_messages(Intake *self, State *state)
{
    Py_ssize_t extensions = PyObject_Size(self->extensions);
    if (extensions != 0 || self->header != Py_None) {
        return extensions < 0 ? -1 : 0;
    }
    PyObject *is_idle = PyObject_GetAttr(self->assembler, state->is_idle);
    if (is_idle == NULL) {
        return -1;
    }
    Py_DECREF(is_idle);
    return is_idle == Py_True;
}

/* Put `data` behind what was not used yet, as `input`. */
static int
take_behind(Intake *self, PyObject *data)
{
    Py_buffer left, more;
    if (PyObject_GetBuffer(self->input, &left, PyBUF_SIMPLE) < 0) {
        return -1;
    }
    PyObject *joined = NULL;
    if (self->position >= left.len) {
        joined = Py_NewRef(data);
    } else if (PyObject_GetBuffer(data, &more, PyBUF_SIMPLE) == 0) {
        Py_ssize_t size = left.len - self->position;
        joined = PyBytes_FromStringAndSize(NULL, size + more.len);
        if (joined != NULL) {
            octet *at = (octet *)PyBytes_AsString(joined);
            memcpy(at, (octet *)left.buf + self->position, size);
            memcpy(at + size, more.buf, more.len);
        }
        PyBuffer_Release(&more);
    }
    PyBuffer_Release(&left);
    if (joined == NULL) {
        return -1;
    }
    Py_SETREF(self->input, joined);
    self->position = 0;
    return 0;
}

/* Move up to `count` messages from the first `size` octets of `data` to the queue.
 *
 * Gives in `position` how many octets they took.
 */
static int
move_messages(Intake *self, PyObject *data, Py_ssize_t size, Py_ssize_t count,
              Py_ssize_t *position)
{
    Py_ssize_t before = PyList_Size(self->queue);
    Input input = {
        .position = 0,
        .masked = (int)self->masked,
        .limit = self->limit,
        .count = count,
    };
    if (before < 0 || PyObject_GetBuffer(data, &input.buffer, PyBUF_SIMPLE) < 0) {
        return -1;
    }
    input.data = input.buffer.buf;
    input.size = size < input.buffer.len ? size : input.buffer.len;
    int status = append_messages(self->queue, &input);
    PyBuffer_Release(&input.buffer);
    self->messages_received += PyList_Size(self->queue) - before;
    *position = input.position;
    return status;
}

/* Move up to `count` messages from the input, which was just fed, to the queue. */
static int
take_messages(Intake *self, Py_ssize_t count)
{
    Py_ssize_t size = PyObject_Size(self->input);
    if (size < 0 || move_messages(self, self->input, size, count, &self->position) < 0) {
        return -1;
    }
    if (self->position == size) {
        PyObject *nothing = PyBytes_FromStringAndSize(NULL, 0);
        if (nothing == NULL) {
            return -1;
        }
        Py_SETREF(self->input, nothing);
    }
    return 0;
}

static int
check_intake(Intake *self)
{
    if (self->queue != NULL && self->input != NULL && self->header != NULL &&
        self->extensions != NULL && self->assembler != NULL && self->payload != NULL) {
        return 0;
    }
    PyErr_SetString(PyExc_AttributeError, "this intake was not made by its __init__");
    return -1;
}

PyDoc_STRVAR(feed_doc,
             "feed(data, count)\n--\n\n"
             "Take bytes, and out of them up to `count` messages, see `core.lanes`.");

static PyObject *
feed(Intake *self, PyTypeObject *type, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    if (check_arguments(2, nargs, kwnames) < 0) {
        return NULL;
    }
    Py_ssize_t size = PyObject_Size(args[0]), count = PyNumber_AsSsize_t(args[1], NULL);
    if (size < 0 || (count == -1 && PyErr_Occurred()) || check_intake(self) < 0) {
        return NULL;
    }
    self->bytes_received += size;
    if (self->is_stopped) {
        Py_RETURN_NONE;
    }
    int between = take_behind(self, args[0]);
    if (between == 0) {
        between = is_between_messages(self, PyType_GetModuleState(type));
    }
    if (between < 0 || (between && (check_intake(self) < 0 || take_messages(self, count) < 0))) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef intake_methods[] = {
    {"feed", (PyCFunction)(void (*)(void))feed, METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     feed_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot intake_slots[] = {
    {Py_tp_doc, "Hold what a peer sent, see `core.lanes`."},
    {Py_tp_init, intake_init},
    {Py_tp_traverse, intake_traverse},
    {Py_tp_clear, intake_clear},
    {Py_tp_dealloc, intake_dealloc},
    {Py_tp_members, intake_members},
    {Py_tp_methods, intake_methods},
    {0, NULL},
};

static PyType_Spec intake_spec = {
    .name = "ws_middleware.core._speedups.Intake",
    .basicsize = sizeof(Intake),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = intake_slots,
};

/* --- Outlet --- */

typedef struct {
    PyObject_HEAD
    PyObject *extensions;
    PyObject *opcode;
    PyObject *output;
    PyObject *random;
    Py_ssize_t pongs;
    Py_ssize_t bytes_sent;
    Py_ssize_t messages_sent;
    char has_large;
    char is_closed;
} Outlet;

static PyMemberDef outlet_members[] = {
    {"_extensions", Py_T_OBJECT_EX, offsetof(Outlet, extensions), 0, NULL},
    {"_opcode", Py_T_OBJECT_EX, offsetof(Outlet, opcode), 0, NULL},
    {"output", Py_T_OBJECT_EX, offsetof(Outlet, output), 0, NULL},
    {"_random", Py_T_OBJECT_EX, offsetof(Outlet, random), 0, NULL},
    {"_pongs", Py_T_PYSSIZET, offsetof(Outlet, pongs), 0, NULL},
    {"bytes_sent", Py_T_PYSSIZET, offsetof(Outlet, bytes_sent), 0, NULL},
    {"messages_sent", Py_T_PYSSIZET, offsetof(Outlet, messages_sent), 0, NULL},
    {"_has_large", Py_T_BOOL, offsetof(Outlet, has_large), 0, NULL},
    {"is_closed", Py_T_BOOL, offsetof(Outlet, is_closed), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static int
outlet_traverse(Outlet *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->extensions);
    Py_VISIT(self->opcode);
    Py_VISIT(self->output);
    Py_VISIT(self->random);
    return 0;
}

static int
outlet_clear(Outlet *self)
{
    Py_CLEAR(self->extensions);
    Py_CLEAR(self->opcode);
    Py_CLEAR(self->output);
    Py_CLEAR(self->random);
    return 0;
}

static void
outlet_dealloc(Outlet *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    outlet_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static int
outlet_init(Outlet *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"random", "extensions", NULL};
    PyObject *random, *extensions;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO:Outlet", names, &random, &extensions)) {
        return -1;
    }
    PyObject *output = PyList_New(0);
    if (output == NULL) {
        return -1;
    }
    outlet_clear(self);
    self->random = Py_NewRef(random);
    self->extensions = Py_NewRef(extensions);
    self->opcode = Py_NewRef(Py_None);
    self->output = output;
    return 0;
}

/* Make a whole frame of a message, masked with a key that `random` gives, if there is one. */
static PyObject *
make_whole(octet first, PyObject *message, PyObject *random)
{
    if (random == Py_None) {
        return make_frame_of(first, message, NULL);
    }
    PyObject *frame = NULL, *key = PyObject_CallFunction(random, "i", KEY_SIZE);
    Py_buffer octets;
    if (key != NULL && take_key(key, &octets) == 0) {
        frame = make_frame_of(first, message, octets.buf);
        PyBuffer_Release(&octets);
    }
    Py_XDECREF(key);
    return frame;
}

static int
check_outlet(Outlet *self)
{
    if (self->output != NULL && PyList_Check(self->output) && self->random != NULL &&
        self->extensions != NULL && self->opcode != NULL) {
        return 0;
    }
    PyErr_SetString(PyExc_AttributeError, "this outlet was not made by its __init__");
    return -1;
}

/* Make the whole frame that a message is sent as; NULL without an error where that cannot be. */
static PyObject *
make_whole_of(Outlet *self, PyObject *message)
{
    Py_ssize_t extensions = check_outlet(self) < 0 ? -1 : PyObject_Size(self->extensions);
    if (extensions != 0 || self->is_closed || self->opcode != Py_None) {
        return NULL;
    }
    if (PyUnicode_CheckExact(message)) {
        return make_whole(WHOLE_TEXT, message, self->random);
    }
    if (PyBytes_CheckExact(message) && PyBytes_Size(message) < LARGE) {
        return make_whole(WHOLE_BINARY, message, self->random);
    }
    return NULL;
}

PyDoc_STRVAR(send_whole_doc,
             "send_whole(message)\n--\n\n"
             "Send a str or bytes as one frame, where that can be, see `core.lanes`.");

static PyObject *
send_whole(Outlet *self, PyObject *message)
{
    PyObject *output = Py_XNewRef(self->output); /* `random` may do anything */
    PyObject *frame = make_whole_of(self, message);
    int status = frame == NULL ? 0 : PyList_Append(output, frame);
    Py_XDECREF(output);
    if (frame == NULL) {
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_False);
    }
    Py_DECREF(frame);
    if (status < 0) {
        return NULL;
    }
    self->messages_sent++;
    Py_RETURN_TRUE;
}

/* Tell the size of all pieces, which have to be bytes; -1 for an error. */
static Py_ssize_t
size_of_all(PyObject *pieces)
{
    Py_ssize_t all = 0, size;
    for (Py_ssize_t i = 0; i < PyList_Size(pieces); i++) {
        if (take_bytes(PyList_GetItem(pieces, i), &size) == NULL) {
            return -1;
        }
        all += size;
    }
    return all;
}

/* Make one piece of all. */
static PyObject *
join(PyObject *pieces, Py_ssize_t size)
{
    PyObject *joined = PyBytes_FromStringAndSize(NULL, size);
    if (joined == NULL) {
        return NULL;
    }
    octet *at = (octet *)PyBytes_AsString(joined);
    for (Py_ssize_t i = 0; i < PyList_Size(pieces); i++) {
        const octet *piece = take_bytes(PyList_GetItem(pieces, i), &size);
        memcpy(at, piece, size);
        at += size;
    }
    return Py_BuildValue("[N]", joined);
}

PyDoc_STRVAR(pieces_to_send_doc,
             "pieces_to_send()\n--\n\n"
             "Give what is to be written now, see `core.lanes`.");

static PyObject *
pieces_to_send(Outlet *self, PyObject *nothing)
{
    if (check_outlet(self) < 0) {
        return NULL;
    }
    Py_ssize_t count = PyList_Size(self->output), size = size_of_all(self->output);
    if (size < 0) {
        return NULL;
    }
    PyObject *pieces = self->has_large || count < 2 ? PyList_GetSlice(self->output, 0, count)
                                                    : join(self->output, size);
    if (pieces == NULL || PyList_SetSlice(self->output, 0, count, NULL) < 0) {
        Py_XDECREF(pieces);
        return NULL;
    }
    self->has_large = 0;
    self->pongs = 0;
    self->bytes_sent += size;
    return pieces;
}

static PyMethodDef outlet_methods[] = {
    {"send_whole", (PyCFunction)send_whole, METH_O, send_whole_doc},
    {"pieces_to_send", (PyCFunction)pieces_to_send, METH_NOARGS, pieces_to_send_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot outlet_slots[] = {
    {Py_tp_doc, "Hold what is to be sent, see `core.lanes`."},
    {Py_tp_init, outlet_init},
    {Py_tp_traverse, outlet_traverse},
    {Py_tp_clear, outlet_clear},
    {Py_tp_dealloc, outlet_dealloc},
    {Py_tp_members, outlet_members},
    {Py_tp_methods, outlet_methods},
    {0, NULL},
};

static PyType_Spec outlet_spec = {
    .name = "ws_middleware.core._speedups.Outlet",
    .basicsize = sizeof(Outlet),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = outlet_slots,
};
