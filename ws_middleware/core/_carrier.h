/* The most frequent traffic between asyncio and the lanes in C: the class of `carrier`.
 *
 * Rule: as in `_lanes.h`; whatever is called may change everything.
 */

/* What handling one message costs beside its bytes, see there. */
#define MESSAGE_COST 64

typedef struct {
    PyObject_HEAD
    PyObject *intake;
    PyObject *outlet;
    PyObject *transport;
    PyObject *block;
    PyObject *loop;
    PyObject *room;
    PyObject *waiter;
    Py_ssize_t budget;
    char wants_pieces;
    char reading_paused;
    char write_paused;
} Carrier;

static PyMemberDef carrier_members[] = {
    {"_intake", Py_T_OBJECT_EX, offsetof(Carrier, intake), 0, NULL},
    {"_outlet", Py_T_OBJECT_EX, offsetof(Carrier, outlet), 0, NULL},
    {"_transport", Py_T_OBJECT_EX, offsetof(Carrier, transport), 0, NULL},
    {"_block", Py_T_OBJECT_EX, offsetof(Carrier, block), 0, NULL},
    {"_loop", Py_T_OBJECT_EX, offsetof(Carrier, loop), 0, NULL},
    {"_room", Py_T_OBJECT_EX, offsetof(Carrier, room), 0, NULL},
    {"_waiter", Py_T_OBJECT_EX, offsetof(Carrier, waiter), 0, NULL},
    {"budget", Py_T_PYSSIZET, offsetof(Carrier, budget), 0, NULL},
    {"_wants_pieces", Py_T_BOOL, offsetof(Carrier, wants_pieces), 0, NULL},
    {"_reading_paused", Py_T_BOOL, offsetof(Carrier, reading_paused), 0, NULL},
    {"write_paused", Py_T_BOOL, offsetof(Carrier, write_paused), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static int
carrier_traverse(Carrier *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->intake);
    Py_VISIT(self->outlet);
    Py_VISIT(self->transport);
    Py_VISIT(self->block);
    Py_VISIT(self->loop);
    Py_VISIT(self->room);
    Py_VISIT(self->waiter);
    return 0;
}

static int
carrier_clear(Carrier *self)
{
    Py_CLEAR(self->intake);
    Py_CLEAR(self->outlet);
    Py_CLEAR(self->transport);
    Py_CLEAR(self->block);
    Py_CLEAR(self->loop);
    Py_CLEAR(self->room);
    Py_CLEAR(self->waiter);
    return 0;
}

static void
carrier_dealloc(Carrier *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    carrier_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static int
carrier_init(Carrier *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"lanes", "transport", "block", "loop", NULL};
    PyObject *lanes, *transport, *block, *loop;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOO:Carrier", names, &lanes, &transport,
                                     &block, &loop)) {
        return -1;
    }
    PyObject *intake = Py_None, *outlet = Py_None;
    Py_ssize_t budget = PyObject_Size(block);
    if (lanes != Py_None && !PyTuple_Check(lanes)) {
        PyErr_SetString(PyExc_TypeError, "the lanes are a tuple of two, or None");
        return -1;
    }
    if (budget < 0 || (lanes != Py_None && !PyArg_ParseTuple(lanes, "OO", &intake, &outlet))) {
        return -1;
    }
    carrier_clear(self);
    self->budget = budget;
    self->intake = Py_NewRef(intake);
    self->outlet = Py_NewRef(outlet);
    self->transport = Py_NewRef(transport);
    self->block = Py_NewRef(block);
    self->loop = Py_NewRef(loop);
    self->room = Py_NewRef(Py_None);
    self->waiter = Py_NewRef(Py_None);
    return 0;
}

static int
check_carrier(Carrier *self)
{
    if (self->intake != NULL && self->outlet != NULL && self->transport != NULL &&
        self->block != NULL && self->loop != NULL && self->room != NULL &&
        self->waiter != NULL) {
        return 0;
    }
    PyErr_SetString(PyExc_AttributeError, "this carrier was not made by its __init__");
    return -1;
}

/* Give the intake, held, where it is one of ours; NULL without an error where there is none. */
static Intake *
hold_intake(Carrier *self, State *state)
{
    if (check_carrier(self) < 0 ||
        !PyObject_TypeCheck(self->intake, (PyTypeObject *)state->intake_type) ||
        check_intake((Intake *)self->intake) < 0) {
        return NULL;
    }
    return (Intake *)Py_NewRef(self->intake);
}

PyDoc_STRVAR(get_buffer_doc,
             "get_buffer(sizehint)\n--\n\n"
             "Give the memory to read into, see `carrier`.");

static PyObject *
get_buffer(Carrier *self, PyTypeObject *type, PyObject *const *args, Py_ssize_t nargs,
           PyObject *kwnames)
{
    if (check_arguments(1, nargs, kwnames) < 0) {
        return NULL;
    }
    State *state = PyType_GetModuleState(type);
    Intake *intake = hold_intake(self, state);
    PyObject *room = Py_None;
    if (intake == NULL && PyErr_Occurred()) {
        return NULL;
    }
    if (intake == NULL || intake->payload == Py_None) {
        Py_INCREF(room);
    } else {
        PyObject *payload = Py_NewRef(intake->payload);
        room = PyObject_GetAttr(payload, state->room);
        Py_DECREF(payload);
    }
    Py_XDECREF(intake);
    if (room == NULL || check_carrier(self) < 0) {
        Py_XDECREF(room);
        return NULL;
    }
    Py_SETREF(self->room, room);
    return Py_NewRef(room == Py_None ? self->block : room);
}

/* Move messages from the block to the queue; tells how many octets they took, -1 for an error.
 *
 * A block that is full is left alone: whoever reads on has to give way behind it.
 */
static Py_ssize_t
take_from_block(Intake *intake, State *state, PyObject *block, Py_ssize_t size, double now)
{
    Py_ssize_t left = PyObject_Size(intake->input), most = PyObject_Size(block), taken = 0;
    if (left < 0 || most < 0 || check_intake(intake) < 0) {
        return -1;
    }
    Py_ssize_t count = intake->capacity - PyList_Size(intake->queue);
    if (left > 0 || size >= most || intake->is_stopped || count <= 0) {
        return 0;
    }
    int between = is_between_messages(intake, state);
    if (between <= 0) {
        return between;
    }
    if (check_intake(intake) < 0) {
        return -1;
    }
    if (move_messages(intake, block, size, count, &taken) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_MemoryError)) {
            return -1;
        }
        PyErr_Clear(); /* whoever handles the rest meets it again */
    }
    intake->bytes_received += taken;
    intake->received_at = now;
    return taken;
}

/* Call a method of what may be forgotten meanwhile. */
static PyObject *
call(PyObject *object, PyObject *name)
{
    Py_INCREF(object);
    PyObject *result = PyObject_CallMethodNoArgs(object, name);
    Py_DECREF(object);
    return result;
}

/* End the future that waits for messages. */
static int
wake(Carrier *self, State *state)
{
    if (self->waiter == NULL || self->waiter == Py_None) {
        return 0;
    }
    PyObject *waiter = self->waiter;
    self->waiter = Py_NewRef(Py_None);
    PyObject *result = PyObject_CallMethodNoArgs(waiter, state->done);
    if (result == Py_False) {
        Py_SETREF(result, PyObject_CallMethodOneArg(waiter, state->set_result, Py_None));
    }
    Py_DECREF(waiter);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Leave what was read from `start` on to the subclass. */
static int
leave_input(Carrier *self, State *state, Py_ssize_t start, Py_ssize_t stop, PyObject *now)
{
    PyObject *first = PyLong_FromSsize_t(start), *end = PyLong_FromSsize_t(stop), *result = NULL;
    if (first != NULL && end != NULL) {
        result = PyObject_CallMethodObjArgs((PyObject *)self, state->on_input, first, end, now,
                                            NULL);
    }
    Py_XDECREF(first);
    Py_XDECREF(end);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Take the messages that were read, as above; tells in `is_full` whether no more may wait. */
static Py_ssize_t
take_whole(Carrier *self, State *state, Py_ssize_t size, double now, int *is_full)
{
    Intake *intake = hold_intake(self, state);
    *is_full = 0;
    if (intake == NULL || self->room != Py_None) {
        Py_XDECREF(intake);
        return PyErr_Occurred() ? -1 : 0;
    }
    PyObject *block = Py_NewRef(self->block);
    Py_ssize_t taken = take_from_block(intake, state, block, size, now);
    Py_DECREF(block);
    if (taken >= 0) {
        Py_ssize_t waiting = PyList_Size(intake->queue);
        taken = waiting < 0 ? -1 : taken;
        *is_full = waiting >= intake->capacity;
    }
    Py_DECREF(intake);
    return taken;
}

/* Take what was read, at `now`. */
static int
take_read(Carrier *self, State *state, Py_ssize_t size, PyObject *now)
{
    int is_full;
    double moment = PyFloat_AsDouble(now);
    if (moment == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    Py_ssize_t taken = take_whole(self, state, size, moment, &is_full);
    if (taken < 0) {
        return -1;
    }
    if (taken == size && size > 0 && !is_full) {
        return wake(self, state);
    }
    return leave_input(self, state, taken, size, now);
}

PyDoc_STRVAR(buffer_updated_doc,
             "buffer_updated(nbytes)\n--\n\n"
             "Take what was read, see `carrier`.");

static PyObject *
buffer_updated(Carrier *self, PyTypeObject *type, PyObject *const *args, Py_ssize_t nargs,
               PyObject *kwnames)
{
    State *state = PyType_GetModuleState(type);
    if (check_arguments(1, nargs, kwnames) < 0) {
        return NULL;
    }
    Py_ssize_t size = PyNumber_AsSsize_t(args[0], PyExc_OverflowError);
    if ((size == -1 && PyErr_Occurred()) || check_carrier(self) < 0) {
        return NULL;
    }
    PyObject *now = call(self->loop, state->time);
    if (now == NULL) {
        return NULL;
    }
    int status = take_read(self, state, size, now);
    Py_DECREF(now);
    return status < 0 ? NULL : Py_NewRef(Py_None);
}

/* Give the outlet, held, where it is one of ours; NULL as above where there is none. */
static Outlet *
hold_outlet(Carrier *self, State *state)
{
    if (!PyObject_TypeCheck(self->outlet, (PyTypeObject *)state->outlet_type) ||
        check_outlet((Outlet *)self->outlet) < 0) {
        return NULL;
    }
    return (Outlet *)Py_NewRef(self->outlet);
}

static int
settle_soon(Carrier *self, State *state)
{
    PyObject *result = call((PyObject *)self, state->settle_soon);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Take the first message out of the queue; None where that is to be done by others. */
static PyObject *
take_first(Carrier *self, State *state, Intake *intake)
{
    PyObject *queue = Py_NewRef(intake->queue), *first = PyList_GetItem(queue, 0);
    if (self->budget <= 0 || !(PyUnicode_CheckExact(first) || PyBytes_CheckExact(first))) {
        Py_DECREF(queue);
        Py_RETURN_NONE;
    }
    Py_INCREF(first);
    intake->is_answered = 0;
    self->budget -= PyObject_Size(first) + MESSAGE_COST;
    int status = PyList_SetSlice(queue, 0, 1, NULL);
    if (status == 0 && self->reading_paused) {
        status = settle_soon(self, state);
    }
    Py_DECREF(queue);
    if (status < 0) {
        Py_CLEAR(first);
    }
    return first;
}

/* Make the future that ends when there is something to receive; None where nothing may come. */
static PyObject *
expect_message(Carrier *self, State *state, Intake *intake)
{
    Outlet *outlet = hold_outlet(self, state);
    Py_ssize_t unsent = outlet == NULL ? 1 : PyList_Size(outlet->output);
    Py_XDECREF(outlet);
    if (PyErr_Occurred()) {
        return NULL;
    }
    if (unsent > 0 || self->reading_paused || intake->is_stopped || intake->capacity <= 0) {
        Py_RETURN_NONE;
    }
    Py_ssize_t budget = PyObject_Size(self->block);
    PyObject *waiter = budget < 0 ? NULL : call(self->loop, state->create_future);
    if (waiter == NULL) {
        return NULL;
    }
    intake->is_answered = 1;
    self->budget = budget;
    self->wants_pieces = 0;
    Py_XSETREF(self->waiter, Py_NewRef(waiter));
    return waiter;
}

PyDoc_STRVAR(receive_whole_doc,
             "receive_whole()\n--\n\n"
             "Give the next message, or a future to wait for, see `carrier`.");

static PyObject *
receive_whole(Carrier *self, PyTypeObject *type, PyObject *const *args, Py_ssize_t nargs,
              PyObject *kwnames)
{
    if (check_arguments(0, nargs, kwnames) < 0) {
        return NULL;
    }
    State *state = PyType_GetModuleState(type);
    Intake *intake = hold_intake(self, state);
    if (intake == NULL) {
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    }
    PyObject *item = NULL;
    Py_ssize_t left = PyObject_Size(intake->input);
    Py_ssize_t waiting = left < 0 || check_intake(intake) < 0 ? -1 : PyList_Size(intake->queue);
    if (waiting >= 0 && (left > 0 || intake->is_streaming)) {
        item = Py_NewRef(Py_None);
    } else if (waiting >= 0) {
        item = waiting > 0 ? take_first(self, state, intake) : expect_message(self, state, intake);
    }
    Py_DECREF(intake);
    return item;
}

/* Send a message, and write it later, together with others. */
static PyObject *
send_behind(Carrier *self, State *state, Outlet *outlet, PyObject *message)
{
    if (PyUnicode_CheckExact(message) && PyUnicode_GetLength(message) >= LARGE) {
        Py_RETURN_FALSE;
    }
    PyObject *sent = send_whole(outlet, message);
    if (sent == Py_True) {
        self->budget -= PyObject_Size(message) + MESSAGE_COST;
        if (settle_soon(self, state) < 0) {
            Py_CLEAR(sent);
        }
    }
    return sent;
}

/* Send a message, and write it. */
static PyObject *
send_at_once(Carrier *self, State *state, Outlet *outlet, PyObject *message)
{
    if (PyList_Size(outlet->output) > 0) {
        Py_RETURN_FALSE;
    }
    PyObject *transport = Py_NewRef(self->transport), *frame = make_whole_of(outlet, message);
    PyObject *result = NULL;
    if (frame != NULL) {
        outlet->messages_sent++;
        outlet->bytes_sent += PyBytes_Size(frame);
        self->budget -= PyObject_Size(message) + MESSAGE_COST;
        result = PyObject_CallMethodOneArg(transport, state->write, frame);
        Py_DECREF(frame);
    }
    Py_DECREF(transport);
    if (result == NULL) {
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_False);
    }
    Py_DECREF(result);
    Py_RETURN_TRUE;
}

PyDoc_STRVAR(write_whole_doc,
             "write_whole(message)\n--\n\n"
             "Send a message, where that can be, see `carrier`.");

static PyObject *
write_whole(Carrier *self, PyTypeObject *type, PyObject *const *args, Py_ssize_t nargs,
            PyObject *kwnames)
{
    State *state = PyType_GetModuleState(type);
    if (check_arguments(1, nargs, kwnames) < 0) {
        return NULL;
    }
    Intake *intake = hold_intake(self, state);
    Outlet *outlet = intake == NULL ? NULL : hold_outlet(self, state);
    Py_ssize_t waiting = intake == NULL ? 0 : PyList_Size(intake->queue);
    PyObject *sent = Py_False;
    if (PyErr_Occurred()) {
        sent = NULL;
    } else if (outlet == NULL || self->transport == Py_None || self->budget <= 0 ||
               self->write_paused || self->reading_paused) {
        Py_INCREF(sent);
    } else if (waiting > 0) {
        sent = send_behind(self, state, outlet, args[0]);
    } else {
        sent = send_at_once(self, state, outlet, args[0]);
    }
    Py_XDECREF(intake);
    Py_XDECREF(outlet);
    return sent;
}

#define CARRIER_METHOD(name)                                                                      \
    {#name, (PyCFunction)(void (*)(void))name, METH_METHOD | METH_FASTCALL | METH_KEYWORDS,       \
     name##_doc}

static PyMethodDef carrier_methods[] = {
    CARRIER_METHOD(get_buffer),
    CARRIER_METHOD(buffer_updated),
    CARRIER_METHOD(receive_whole),
    CARRIER_METHOD(write_whole),
    {NULL, NULL, 0, NULL},
};

static PyType_Slot carrier_slots[] = {
    {Py_tp_doc, "Carry both ways, see `carrier`."},
    {Py_tp_init, carrier_init},
    {Py_tp_traverse, carrier_traverse},
    {Py_tp_clear, carrier_clear},
    {Py_tp_dealloc, carrier_dealloc},
    {Py_tp_members, carrier_members},
    {Py_tp_methods, carrier_methods},
    {0, NULL},
};

static PyType_Spec carrier_spec = {
    .name = "ws_middleware.core._speedups.Carrier",
    .basicsize = sizeof(Carrier),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = carrier_slots,
};
