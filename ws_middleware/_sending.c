/* Sending without letting other threads run meanwhile: see `stream`.
 *
 * A call that never waits has no need to, and to get the interpreter back takes two switches
 * between threads, which cost more than to send a small message.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <sys/socket.h>
#include <sys/types.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* Python ignores SIGPIPE */
#endif

/* Give a socket's descriptor; of a closed one -1, which the system's call refuses. */
static int
descriptor_of(PyObject *sock)
{
    int descriptor = PyObject_AsFileDescriptor(sock);

    if (descriptor < 0 && PyErr_ExceptionMatches(PyExc_ValueError)) {
        PyErr_Clear();
    }
    return descriptor;
}

static PyObject *
send_at_once(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    Py_buffer data;
    ssize_t sent;
    int descriptor;

    if (count != 2) {
        PyErr_Format(PyExc_TypeError, "send_at_once takes 2 arguments, not %zd", count);
        return NULL;
    }
    descriptor = descriptor_of(arguments[0]);
    if (PyErr_Occurred() || PyObject_GetBuffer(arguments[1], &data, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    do {
        sent = send(descriptor, data.buf, (size_t)data.len, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
    }
    PyBuffer_Release(&data);
    return sent < 0 ? NULL : PyLong_FromSsize_t(sent);
}

static PyMethodDef methods[] = {
    {"send_at_once", (PyCFunction)(void (*)(void))send_at_once, METH_FASTCALL,
     "Give a socket what it takes without waiting; `BlockingIOError` where that is nothing."},
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
    .m_doc = "Sending without letting other threads run meanwhile.",
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__sending(void)
{
    return PyModuleDef_Init(&definition);
}
