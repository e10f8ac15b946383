/* Sending without letting go of the interpreter.
 *
 * Where many threads share it, giving it away for a call that never waits costs more than the
 * call: getting it back takes two switches between threads. Rule: what is sent here is small.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <sys/socket.h>
#include <sys/types.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* Python ignores SIGPIPE */
#endif

static PyObject *
send_at_once(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    Py_buffer data;
    ssize_t sent;
    long descriptor;

    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "send_at_once takes a descriptor and data");
        return NULL;
    }
    descriptor = PyLong_AsLong(arguments[0]);
    if (descriptor == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (PyObject_GetBuffer(arguments[1], &data, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    do {
        sent = send((int)descriptor, data.buf, data.len, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    PyBuffer_Release(&data);
    return sent < 0 ? PyErr_SetFromErrno(PyExc_OSError) : PyLong_FromSsize_t(sent);
}

static PyMethodDef methods[] = {
    {"send_at_once", (PyCFunction)(void (*)(void))send_at_once, METH_FASTCALL,
     "Give a socket's descriptor what it takes of some data; BlockingIOError where it takes none."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "ws_middleware._sending",
    .m_doc = "Sending without letting go of the interpreter, see `stream`.",
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__sending(void)
{
    return PyModuleDef_Init(&definition);
}
