/* What there is in C: the codec, and the most frequent traffic. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "_codec.h"
#include "_lanes.h"

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
