/* The codec in C: same names, same results, same errors as in `core.pure`.
 *
 * Rule 1: every read is preceded by a comparison with what is left, never with a sum that could
 * overflow. Rule 2: what the peer says of a length allocates nothing before its bytes are there.
 * Rule 3: objects are written to before anybody else sees them, and never again.
 */

/* RFC 6455 §5.2. */
#define FIN 0x80
#define CONTROL_BIT 0x08
#define WHOLE_TEXT (FIN | 0x1)
#define WHOLE_BINARY (FIN | 0x2)
#define MASKED 0x80
#define LENGTH_BITS 0x7F
#define LENGTH_16 126
#define LENGTH_64 127

#define KEY_SIZE 4
#define LONGEST_HEADER 14

typedef unsigned char octet;

/* --- masking --- */

/* The loader chooses wider vectors where the processor has them: twice as fast from 256 bytes on. */
#if defined(__GNUC__) && defined(__x86_64__) && defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("avx2", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

/* "octet i XOR key[i MOD 4]" (§5.3); gives the OR of all octets written, for ASCII's sake.
 *
 * Whole words first: of this loop the compiler makes vector instructions, on any alignment.
 * `in` and `out` may be the same, but not overlap otherwise.
 */
FOR_EACH_PROCESSOR static octet
apply_mask(octet *out, const octet *in, Py_ssize_t size, const octet *key)
{
    uint64_t stream, seen = 0;
    memcpy(&stream, key, KEY_SIZE);
    memcpy((octet *)&stream + KEY_SIZE, key, KEY_SIZE);
    Py_ssize_t i = 0;
    for (; i + 8 <= size; i += 8) {
        uint64_t word;
        memcpy(&word, in + i, 8);
        word ^= stream;
        memcpy(out + i, &word, 8);
        seen |= word;
    }
    octet bits = 0;
    for (; i < size; i++) {
        out[i] = in[i] ^ key[i % KEY_SIZE];
        bits |= out[i];
    }
    for (int shift = 0; shift < 64; shift += 8) {
        bits |= (octet)(seen >> shift);
    }
    return bits;
}

static const octet NO_MASK[KEY_SIZE] = {0, 0, 0, 0};

/* --- arguments --- */

/* Sort positional and keyword arguments into `values`; those not given stay NULL. */
static int
take_arguments(const char *const *names, int required, int most, PyObject *const *args,
               Py_ssize_t nargs, PyObject *kwnames, PyObject **values)
{
    if (nargs > most) {
        PyErr_Format(PyExc_TypeError, "at most %d arguments are taken, not %zd", most, nargs);
        return -1;
    }
    for (int i = 0; i < most; i++) {
        values[i] = i < nargs ? args[i] : NULL;
    }
    Py_ssize_t named = kwnames == NULL ? 0 : PyTuple_Size(kwnames);
    for (Py_ssize_t k = 0; k < named; k++) {
        PyObject *name = PyTuple_GetItem(kwnames, k);
        int i = 0;
        while (i < most && PyUnicode_CompareWithASCIIString(name, names[i]) != 0) {
            i++;
        }
        if (i == most || values[i] != NULL) {
            PyErr_Format(PyExc_TypeError, "there is no argument %R, or it is there twice", name);
            return -1;
        }
        values[i] = args[nargs + k];
    }
    for (int i = 0; i < required; i++) {
        if (values[i] == NULL) {
            PyErr_Format(PyExc_TypeError, "the argument '%s' is missing", names[i]);
            return -1;
        }
    }
    return 0;
}

/* Demand `count` arguments, by position. */
static int
check_arguments(Py_ssize_t count, Py_ssize_t nargs, PyObject *kwnames)
{
    if (nargs == count && kwnames == NULL) {
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "%zd arguments are taken by position, not %zd", count, nargs);
    return -1;
}

static int
take_key(PyObject *object, Py_buffer *key)
{
    if (PyObject_GetBuffer(object, key, PyBUF_SIMPLE) < 0) {
        return -1;
    }
    if (key->len != KEY_SIZE) {
        PyBuffer_Release(key);
        PyErr_SetString(PyExc_ValueError, "a masking key has four bytes (RFC 6455 §5.3)");
        return -1;
    }
    return 0;
}

/* Give the octets of a `bytes` object, NULL with a TypeError for anything else. */
static const octet *
take_bytes(PyObject *object, Py_ssize_t *size)
{
    char *octets;
    return PyBytes_AsStringAndSize(object, &octets, size) < 0 ? NULL : (const octet *)octets;
}

/* --- mask --- */

PyDoc_STRVAR(mask_doc,
             "mask(data, key)\n--\n\n"
             "Mask or unmask `data`: \"octet i XOR key[i MOD 4]\" (RFC 6455 §5.3).");

static PyObject *
mask(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"data", "key"};
    PyObject *values[2];
    Py_buffer data, key;
    if (take_arguments(names, 2, 2, args, nargs, kwnames, values) < 0 ||
        PyObject_GetBuffer(values[0], &data, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    if (take_key(values[1], &key) < 0) {
        PyBuffer_Release(&data);
        return NULL;
    }
    PyObject *masked = PyBytes_FromStringAndSize(NULL, data.len);
    if (masked != NULL) {
        apply_mask((octet *)PyBytes_AsString(masked), data.buf, data.len, key.buf);
    }
    PyBuffer_Release(&key);
    PyBuffer_Release(&data);
    return masked;
}

PyDoc_STRVAR(mask_in_place_doc,
             "mask_in_place(data, key)\n--\n\n"
             "Mask or unmask `data` where it is.");

static PyObject *
mask_in_place(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    Py_buffer data, key;
    if (check_arguments(2, nargs, NULL) < 0) {
        return NULL;
    }
    if (PyObject_GetBuffer(args[0], &data, PyBUF_WRITABLE) < 0) {
        return NULL;
    }
    if (take_key(args[1], &key) < 0) {
        PyBuffer_Release(&data);
        return NULL;
    }
    apply_mask(data.buf, data.buf, data.len, key.buf);
    PyBuffer_Release(&key);
    PyBuffer_Release(&data);
    Py_RETURN_NONE;
}

/* --- decode_messages and decode_frames --- */

typedef struct {
    octet first;
    const octet *key;
    const octet *payload;
    Py_ssize_t length;
} Frame;

/* What the bytes are read with: the arguments that both functions have. */
typedef struct {
    Py_buffer buffer;
    const octet *data;
    Py_ssize_t size;
    Py_ssize_t position;
    int masked;
    Py_ssize_t limit;
    Py_ssize_t count;
} Input;

static uint64_t
read_number(const octet *data, int size)
{
    uint64_t number = 0;
    for (int i = 0; i < size; i++) {
        number = number << 8 | data[i];
    }
    return number;
}

/* Find the next frame; 0 where it is incomplete, or its second byte or its length illegal. */
static int
find_frame(const Input *input, Frame *frame)
{
    Py_ssize_t left = input->size - input->position;
    if (left < 2) {
        return 0;
    }
    const octet *at = input->data + input->position;
    if ((at[1] & MASKED) != input->masked) {
        return 0;
    }
    frame->first = at[0];
    int is_control = at[0] & CONTROL_BIT;
    uint64_t length = at[1] & LENGTH_BITS;
    at += 2;
    left -= 2;
    if (length >= LENGTH_16) {
        int size = length == LENGTH_16 ? 2 : 8;
        if (is_control || left < size) {
            return 0;
        }
        uint64_t minimum = length == LENGTH_16 ? LENGTH_16 : 65536;
        length = read_number(at, size);
        if (length < minimum) {
            return 0;
        }
        at += size;
        left -= size;
    }
    frame->key = NO_MASK;
    if (input->masked) {
        if (left < KEY_SIZE) {
            return 0;
        }
        frame->key = at;
        at += KEY_SIZE;
        left -= KEY_SIZE;
    }
    if (length > (uint64_t)left) {
        return 0;
    }
    frame->payload = at;
    frame->length = (Py_ssize_t)length;
    return is_control || frame->length <= input->limit;
}

static PyObject *
make_bytes(const Frame *frame)
{
    PyObject *payload = PyBytes_FromStringAndSize(NULL, frame->length);
    if (payload != NULL) {
        apply_mask((octet *)PyBytes_AsString(payload), frame->payload, frame->length, frame->key);
    }
    return payload;
}

/* Make the str of a text message, at once where it is ASCII; UnicodeDecodeError for no UTF-8. */
static PyObject *
make_text(const Frame *frame)
{
    PyObject *text = PyUnicode_New(frame->length, 127);
    if (text == NULL || frame->length == 0) {
        return text;
    }
    octet *octets = PyUnicode_1BYTE_DATA(text);
    if (apply_mask(octets, frame->payload, frame->length, frame->key) < 0x80) {
        return text;
    }
    PyObject *decoded = PyUnicode_DecodeUTF8((const char *)octets, frame->length, "strict");
    Py_DECREF(text);
    return decoded;
}

/* On success the buffer is held until `finish`. */
static int
take_input(PyObject *const *args, PyObject *data, PyObject *position, Input *input)
{
    input->position = PyLong_AsSsize_t(position);
    input->masked = (int)PyLong_AsLong(args[0]);
    input->limit = PyNumber_AsSsize_t(args[1], NULL); /* what is more, is no limit */
    input->count = PyNumber_AsSsize_t(args[2], NULL);
    if (PyErr_Occurred()) {
        return -1;
    }
    if (input->position < 0) {
        PyErr_SetString(PyExc_ValueError, "the position is negative");
        return -1;
    }
    if (PyObject_GetBuffer(data, &input->buffer, PyBUF_SIMPLE) < 0) {
        return -1;
    }
    input->data = input->buffer.buf;
    input->size = input->buffer.len;
    return 0;
}

/* Append what was made of a frame, and step behind it. */
static int
append(PyObject *list, PyObject *made, const Frame *frame, Input *input)
{
    if (made == NULL) {
        return -1;
    }
    int status = PyList_Append(list, made);
    Py_DECREF(made);
    input->position = frame->payload + frame->length - input->data;
    return status;
}

/* Append up to `count` messages of one frame. */
static int
append_messages(PyObject *list, Input *input)
{
    Frame frame;
    int status = 0;
    for (Py_ssize_t i = 0; status == 0 && i < input->count && find_frame(input, &frame); i++) {
        if (frame.first == WHOLE_BINARY) {
            status = append(list, make_bytes(&frame), &frame, input);
        } else if (frame.first == WHOLE_TEXT) {
            status = append(list, make_text(&frame), &frame, input);
        } else {
            break;
        }
    }
    if (status < 0 && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
        PyErr_Clear(); /* an error in its turn */
        status = 0;
    }
    return status;
}

static PyObject *
finish(PyObject *list, int status, Input *input)
{
    PyBuffer_Release(&input->buffer);
    if (status < 0) {
        Py_XDECREF(list);
        return NULL;
    }
    return Py_BuildValue("(Nn)", list, input->position);
}

PyDoc_STRVAR(decode_messages_doc,
             "decode_messages(data, position, masked, limit, count)\n--\n\n"
             "Decode messages of one frame from `position` on, see `core.pure`.");

static PyObject *
decode_messages(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    Input input;
    if (check_arguments(5, nargs, NULL) < 0) {
        return NULL;
    }
    if (take_input(args + 2, args[0], args[1], &input) < 0) {
        return NULL;
    }
    PyObject *messages = PyList_New(0);
    int status = messages == NULL ? -1 : append_messages(messages, &input);
    return finish(messages, status, &input);
}

PyDoc_STRVAR(decode_frames_doc,
             "decode_frames(data, position, legal, masked, limit, count)\n--\n\n"
             "Decode whole, legal frames from `position` on, see `core.pure`.");

static PyObject *
decode_frames(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    Input input;
    Frame frame;
    Py_ssize_t table_size;
    if (check_arguments(6, nargs, NULL) < 0) {
        return NULL;
    }
    const octet *legal = take_bytes(args[2], &table_size);
    if (legal == NULL) {
        return NULL;
    }
    if (table_size != 256) {
        PyErr_SetString(PyExc_ValueError, "the table of first bytes has 256 entries");
        return NULL;
    }
    if (take_input(args + 3, args[0], args[1], &input) < 0) {
        return NULL;
    }
    PyObject *frames = PyList_New(0);
    int status = frames == NULL ? -1 : 0;
    while (status == 0 && PyList_Size(frames) < input.count && find_frame(&input, &frame) &&
           legal[frame.first]) {
        PyObject *payload = make_bytes(&frame);
        PyObject *pair =
            payload == NULL ? NULL : Py_BuildValue("(BN)", frame.first, payload);
        status = append(frames, pair, &frame, &input);
    }
    return finish(frames, status, &input);
}

/* --- encode_frame --- */

/* Write the header with the length in its shortest form (§5.2); gives its size. */
static Py_ssize_t
write_header(octet *header, octet first, Py_ssize_t length, int masked)
{
    header[0] = first;
    if (length < LENGTH_16) {
        header[1] = (octet)(masked | length);
        return 2;
    }
    int size = length < 65536 ? 2 : 8;
    header[1] = (octet)(masked | (size == 2 ? LENGTH_16 : LENGTH_64));
    for (int i = 0; i < size; i++) {
        header[2 + i] = (octet)((uint64_t)length >> 8 * (size - 1 - i));
    }
    return 2 + size;
}

static PyObject *
make_frame(octet first, const octet *payload, Py_ssize_t length, const octet *key)
{
    octet header[LONGEST_HEADER];
    Py_ssize_t size = write_header(header, first, length, key == NULL ? 0 : MASKED);
    if (key != NULL) {
        memcpy(header + size, key, KEY_SIZE);
        size += KEY_SIZE;
    }
    if (length > PY_SSIZE_T_MAX - size) {
        return PyErr_NoMemory();
    }
    PyObject *frame = PyBytes_FromStringAndSize(NULL, size + length);
    if (frame == NULL) {
        return NULL;
    }
    octet *at = (octet *)PyBytes_AsString(frame);
    memcpy(at, header, size);
    if (key != NULL) {
        apply_mask(at + size, payload, length, key);
    } else if (length > 0) {
        memcpy(at + size, payload, length);
    }
    return frame;
}

/* Take the payload of text as str, too. */
static PyObject *
make_frame_of(octet first, PyObject *payload, const octet *key)
{
    PyObject *frame;
#if PY_VERSION_HEX < 0x030C0000
    if (PyUnicode_Check(payload) && PyUnicode_READY(payload) < 0) {
        return NULL;
    }
#endif
    if (PyUnicode_Check(payload) && PyUnicode_MAX_CHAR_VALUE(payload) < 128) {
        Py_ssize_t length = PyUnicode_GET_LENGTH(payload); /* ASCII is UTF-8 as it stands */
        return make_frame(first, PyUnicode_DATA(payload), length, key);
    }
    if (PyUnicode_Check(payload)) {
        PyObject *encoded = PyUnicode_AsUTF8String(payload);
        if (encoded == NULL) {
            return NULL;
        }
        frame = make_frame_of(first, encoded, key);
        Py_DECREF(encoded);
        return frame;
    }
    Py_buffer buffer;
    if (PyObject_GetBuffer(payload, &buffer, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    frame = make_frame(first, buffer.buf, buffer.len, key);
    PyBuffer_Release(&buffer);
    return frame;
}

PyDoc_STRVAR(encode_frame_doc,
             "encode_frame(first, payload, key=b'')\n--\n\n"
             "Write one frame with the length in its shortest form, masked when `key` is given.");

static PyObject *
encode_frame(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"first", "payload", "key"};
    PyObject *values[3];
    if (take_arguments(names, 2, 3, args, nargs, kwnames, values) < 0) {
        return NULL;
    }
    long first = PyLong_AsLong(values[0]);
    if (first == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (first < 0 || first > 255) {
        PyErr_SetString(PyExc_ValueError, "bytes must be in range(0, 256)");
        return NULL;
    }
    int masked = values[2] == NULL ? 0 : PyObject_IsTrue(values[2]);
    if (masked < 0) {
        return NULL;
    }
    if (!masked) {
        return make_frame_of((octet)first, values[1], NULL);
    }
    Py_buffer key;
    if (take_key(values[2], &key) < 0) {
        return NULL;
    }
    PyObject *frame = make_frame_of((octet)first, values[1], key.buf);
    PyBuffer_Release(&key);
    return frame;
}
