/* What there is in C: the codec, and the most frequent traffic. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "_codec.h"
#include "_lanes.h"
#include "_carrier.h"

/* Make a type; gives a reference that the caller owns. */
static PyObject *
add_type(PyObject *module, PyType_Spec *spec)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    if (type != NULL && PyModule_AddType(module, (PyTypeObject *)type) < 0) {
        Py_CLEAR(type);
    }
    return type;
}

/* Make the types and the names. */
static int
execute(PyObject *module)
{
    State *state = PyModule_GetState(module);
    PyObject *carrier_type = add_type(module, &carrier_spec);
    int status = carrier_type == NULL ? -1 : 0;
    Py_XDECREF(carrier_type);
#define KEEP(name, made)                                                                          \
    if (status == 0 && (state->name = made) == NULL) {                                            \
        status = -1;                                                                              \
    }
    KEEP(intake_type, add_type(module, &intake_spec))
    KEEP(outlet_type, add_type(module, &outlet_spec))
#define KEEP_NAME(name) KEEP(name, PyUnicode_InternFromString(#name))
    EACH_NAME(KEEP_NAME)
#undef KEEP_NAME
#undef KEEP
    return status;
}

static int
traverse(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);
#define VISIT(name) Py_VISIT(state->name);
    EACH_OBJECT(VISIT)
#undef VISIT
    return 0;
}

static int
clear(PyObject *module)
{
    State *state = PyModule_GetState(module);
#define CLEAR(name) Py_CLEAR(state->name);
    EACH_OBJECT(CLEAR)
#undef CLEAR
    return 0;
}

static PyMethodDef methods[] = {
    {"mask", (PyCFunction)(void (*)(void))mask, METH_FASTCALL | METH_KEYWORDS, mask_doc},
    {"mask_in_place", (PyCFunction)(void (*)(void))mask_in_place, METH_FASTCALL,
     mask_in_place_doc},
    {"decode_messages", (PyCFunction)(void (*)(void))decode_messages, METH_FASTCALL,
     decode_messages_doc},
    {"decode_frames", (PyCFunction)(void (*)(void))decode_frames, METH_FASTCALL,
     decode_frames_doc},
    {"encode_frame", (PyCFunction)(void (*)(void))encode_frame, METH_FASTCALL | METH_KEYWORDS,
     encode_frame_doc},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
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
    .m_name = "ws_middleware.core._speedups",
    .m_doc = "The codec and the lanes in C, see `core.codec`.",
    .m_size = sizeof(State),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = traverse,
    .m_clear = clear,
};

PyMODINIT_FUNC
PyInit__speedups(void)
{
    return PyModuleDef_Init(&definition);
}
