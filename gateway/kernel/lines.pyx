# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Points as lines of InfluxDB line protocol, into one buffer: see `sinks.line_protocol`.

What a number looks like is orjson's to say: the shortest text that reads back the same, and of these the
nearest. The usual ones are written here: integers, and floats that are zero or between 1e-5 and 1e16, where
orjson uses no exponent. It is asked for the others, one by one.

**Whole.** A float below 1e16 that is whole is written as it is: a shorter decimal ends in a zero, and the
next of those is a step of the floats away at least.

**Few digits.** Decimals of up to 15 digits are all different floats. So where a whole number below 10^12,
divided by 1000, gives the float, its digits without the zeros at their end are the shortest text.

**Any digits.** Another float is c·2^-j, j > 0, with c of 53 bits. With n the least for which 10^n >= 2^j,
floats are more than 1 and less than 10 units of 10^-n apart. So among the decimals that read back as this
float, those within half a step, there is one of n places at least, and at most one of fewer. Where that one
is there it is the shortest, zeros at its end taken off; else the nearest of n places is, the even one of two.
None lies at exactly half a step: that has j+1 places, more than n. c·5^n fits 128 bits, so nothing here is
rounded. Below a power of two the step is half as wide, but such a float itself has fewer than n places.
"""

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.ref cimport PyObject, Py_XDECREF
from cpython.sequence cimport PySequence_Fast
from libc.math cimport isfinite
from libc.string cimport memcpy, strlen

from orjson import dumps


cdef extern from *:
    """
    typedef unsigned __int128 ecluse_wide;
    """
    ctypedef unsigned long long wide "ecluse_wide"


cdef extern from "Python.h":
    # As pointers: what is resized must not be referred to twice.
    PyObject* new_bytes "PyBytes_FromStringAndSize" (const char* text, Py_ssize_t size) except NULL
    int _PyBytes_Resize(PyObject** text, Py_ssize_t size) except -1
    char* start_of "PyBytes_AS_STRING" (PyObject* text)
    Py_ssize_t size_of "PyBytes_GET_SIZE" (PyObject* text)
    PyObject* PyList_GET_ITEM(object items, Py_ssize_t place)
    PyObject* PySequence_Fast_GET_ITEM(object items, Py_ssize_t place)


ctypedef unsigned long long u64

cdef enum:
    NUMBER = 48  # more than any number takes, or is written over in one piece and then cut
    MOST_J = 69  # 1e-5 is above 2^-17, and its last bit is 52 below

cdef const char* PAIRS = (
    b"00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748"
    b"4950515253545556575859606162636465666768697071727374757677787980818283848586878889909192939495969798"
    b"99"
)
cdef u64 FIVES[MOST_J + 1]
cdef int PLACES[MOST_J + 1]
cdef int SHIFTS[MOST_J + 1]


def _fill():
    n = 0
    for j in range(MOST_J + 1):
        while 10**n < 2**j:
            n += 1
        # v·10^n = c·5^n / 2^(j-n); four times as fine, so that half a step is a whole number.
        FIVES[j], PLACES[j], SHIFTS[j] = 5**n, n, j - n + 2


_fill()


cdef inline void _eight(char* at, unsigned int n) noexcept nogil:
    """Write eight digits."""
    cdef unsigned int high = n // 10000, low = n % 10000
    memcpy(at, PAIRS + 2 * (high // 100), 2)
    memcpy(at + 2, PAIRS + 2 * (high % 100), 2)
    memcpy(at + 4, PAIRS + 2 * (low // 100), 2)
    memcpy(at + 6, PAIRS + 2 * (low % 100), 2)


cdef inline char* _few(char* at, unsigned int n) noexcept nogil:
    """Write a number of up to four digits; return its end."""
    if n >= 100:
        if n >= 1000:
            memcpy(at, PAIRS + 2 * (n // 100), 2)
            at += 2
        else:
            at[0] = 48 + n // 100
            at += 1
        n = n % 100
    elif n < 10:
        at[0] = 48 + n
        return at + 1
    memcpy(at, PAIRS + 2 * n, 2)
    return at + 2


cdef inline char* _some(char* at, unsigned int n) noexcept nogil:
    """Write a number of up to eight digits; return its end."""
    cdef unsigned int low
    if n < 10000:
        return _few(at, n)
    at = _few(at, n // 10000)
    low = n % 10000
    memcpy(at, PAIRS + 2 * (low // 100), 2)
    memcpy(at + 2, PAIRS + 2 * (low % 100), 2)
    return at + 4


cdef inline char* _digits(char* at, u64 n) noexcept nogil:
    """Write a number; return its end."""
    cdef u64 high = n // 100000000, higher
    if not high:
        return _some(at, <unsigned int>n)
    if high < 100000000:
        at = _some(at, <unsigned int>high)
    else:
        higher = high // 100000000
        at = _few(at, <unsigned int>higher)
        high -= higher * 100000000
        _eight(at, <unsigned int>high)
        at += 8
    _eight(at, <unsigned int>(n % 100000000))
    return at + 8


cdef inline char* _integer(char* at, long long n) noexcept nogil:
    if n < 0:
        at[0] = c"-"
        return _digits(at + 1, 0 - <u64>n)
    return _digits(at, <u64>n)


cdef inline char* _decimal(char* at, u64 digits, int places) noexcept nogil:
    """Write digits of which the last `places` (at least one) stand behind the point."""
    cdef char text[32]
    cdef char* end
    cdef int missing, before
    if digits % 10 == 0:
        while digits % 100000000 == 0:
            digits //= 100000000
            places -= 8
        if digits % 10000 == 0:
            digits //= 10000
            places -= 4
        if digits % 100 == 0:
            digits //= 100
            places -= 2
        if digits % 10 == 0:
            digits //= 10
            places -= 1
    end = _digits(text, digits)
    before = <int>(end - text) - places
    if before > 0:
        memcpy(at, text, 16)
        at[before] = c"."
        memcpy(at + before + 1, text + before, 16)
        return at + before + 1 + places
    memcpy(at, b"0.000000", 8)
    memcpy(at + 2 - before, text, 24)
    return at + 2 + places


cdef inline char* _float(char* at, double value) noexcept nogil:
    """Write a float as orjson would; return its end, or NULL for what is left to orjson."""
    cdef u64 bits, c, whole, digits, rest, unit, half, down, last
    cdef wide exact
    cdef int j
    memcpy(&bits, &value, 8)
    if bits >> 63:
        at[0] = c"-"
        at += 1
        value = -value
    if not value < 1e16:
        return NULL
    whole = <u64>value
    if <double>whole == value:
        at = _digits(at, whole)
        memcpy(at, b".0", 2)
        return at + 2
    if value < 1e-5:
        return NULL
    if value < 1e9:
        whole = <u64>(value * 1000 + 0.5)
        if <double>whole / 1000 == value:
            return _decimal(at, whole, 3)
    j = 1075 - <int>(bits >> 52 & 0x7FF)
    c = bits & 0xFFFFFFFFFFFFFULL | 0x10000000000000ULL
    exact = <wide>(c << 2) * FIVES[j]
    digits = <u64>(exact >> SHIFTS[j])
    unit = <u64>1 << SHIFTS[j]
    rest = <u64>exact & (unit - 1)
    half = 2 * FIVES[j]
    last = digits % 10
    down = last * unit + rest
    if down < half:
        digits -= last
    elif 10 * unit - down < half:
        digits += 10 - last
    elif 2 * rest > unit or (2 * rest == unit and digits & 1):
        digits += 1
    return _decimal(at, digits, PLACES[j])


cdef struct Column:
    const char* before
    Py_ssize_t size
    const double* floats
    const long long* integers
    PyObject* texts
    const char* there
    Py_buffer values
    Py_buffer mask


cdef const void* _held(
    object array, Py_buffer* held, bytes formats, Py_ssize_t itemsize, Py_ssize_t count
) except NULL:
    """Hold the memory of an array; raise ValueError where it is not what it has to be."""
    PyObject_GetBuffer(array, held, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
    if held.len != count * itemsize or strlen(held.format) != 1 or held.format[0] not in formats:
        raise ValueError("not a column of the kind and length that its points have")
    return held.buf


cdef Py_ssize_t _hold(Column* column, Py_ssize_t count, bytes before, object values, object there) except -1:
    """Hold a column; return how much a line can need for it."""
    cdef Py_ssize_t longest = NUMBER
    column.before, column.size = PyBytes_AS_STRING(before), PyBytes_GET_SIZE(before)
    if there is not None:
        column.there = <const char*>_held(there, &column.mask, b"?", 1, count)
    if isinstance(values, list):
        if len(values) != count:
            raise ValueError("not as many texts as points")
        for text in <list>values:
            longest = max(longest, PyBytes_GET_SIZE(<bytes?>text))
        column.texts = <PyObject*>values
    elif _held(values, &column.values, b"dlq", 8, count) and column.values.format[0] == c"d":
        column.floats = <const double*>column.values.buf
    else:
        column.integers = <const long long*>column.values.buf
    return column.size + longest


cdef inline char* _write(char* at, Column* column, Py_ssize_t row) except NULL:
    """Write what a line has of a column; return its end."""
    cdef char* end
    cdef bytes text
    if column.there != NULL and not column.there[row]:
        return at
    if column.floats != NULL:
        if not isfinite(column.floats[row]):
            return at
        memcpy(at, column.before, column.size)
        at += column.size
        end = _float(at, column.floats[row])
        if end != NULL:
            return end
        text = dumps(column.floats[row])
    elif column.integers != NULL:
        memcpy(at, column.before, column.size)
        at = _integer(at + column.size, column.integers[row])
        at[0] = c"i"
        return at + 1
    else:
        text = <bytes>PyList_GET_ITEM(<object>column.texts, row)
        memcpy(at, column.before, column.size)
        at += column.size
    memcpy(at, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
    return at + PyBytes_GET_SIZE(text)


cdef inline char* _room(PyObject** out, char* at, Py_ssize_t size) except NULL:
    """Return where to go on writing, with room for so many bytes."""
    cdef Py_ssize_t used = at - start_of(out[0])
    if size_of(out[0]) - used < size:
        _PyBytes_Resize(out, (used + size) * 3 // 2)
    return start_of(out[0]) + used


def each(list texts not None, make):
    """Return what `make` gives for each text. It is asked once for each of them that differs."""
    cdef dict made = {}
    cdef list found = []
    last = result = None
    for text in texts:
        if text is not last or result is None:
            last, result = text, made.get(text)
            if result is None:
                result = made[text] = make(text)
        found.append(result)
    return found


def lines(*, bytes measurement not None, tags, list seen not None, list texts not None, tag_text, series,
          time, list fields not None):
    """Return the lines of points, joined by newlines, and how many they are.

    `fields` are (`,name=`, values, mask or None), with values float64, int64 or a list of bytes; `series` is
    int32, `time` int64. `texts` holds the text of each tag set for which `seen` is the same object as `tags`;
    both are at least as long as `tags`, and the others are made with `tag_text`.
    Raises IndexError for a series without a tag set; ValueError for a column of another kind or length.
    """
    cdef Py_ssize_t count = len(time), width = len(fields), known = len(tags), head = len(measurement)
    cdef Py_ssize_t most = head + 2 * NUMBER, written = 0, row, place, size
    cdef Column* held
    cdef PyObject* out = NULL
    cdef const int* codes
    cdef const long long* times
    cdef char* at
    cdef char* begin
    cdef char* first
    cdef int code
    cdef bytes text
    if not count:
        return b"", 0
    tags = PySequence_Fast(tags, "tag sets are a sequence")
    held = <Column*>PyMem_Calloc(width + 1, sizeof(Column))
    if held == NULL:
        raise MemoryError
    try:
        if len(seen) < known or len(texts) < known:
            raise IndexError("tag sets without a place for their text")
        codes = <const int*>_held(series, &held[width].values, b"i", 4, count)
        times = <const long long*>_held(time, &held[width].mask, b"lq", 8, count)
        for place in range(width):
            before, values, there = fields[place]
            most += _hold(&held[place], count, before, values, there)
        # A line takes `most` bytes at most, besides its tags. Room for what is usual is asked for at once.
        out = new_bytes(NULL, count * (2 * NUMBER + width * NUMBER // 2))
        at = start_of(out)
        for row in range(count):
            code = codes[row]
            if not 0 <= code < known:
                raise IndexError(f"no tag set of series {code}")
            if PyList_GET_ITEM(seen, code) != PySequence_Fast_GET_ITEM(tags, code):
                texts[code] = tag_text(tags[code])
                seen[code] = tags[code]
            text = <bytes?>texts[code]
            size = PyBytes_GET_SIZE(text)
            begin = at = _room(&out, at, most + size)
            memcpy(at, PyBytes_AS_STRING(measurement), head)
            memcpy(at + head, PyBytes_AS_STRING(text), size)
            first = at = at + head + size
            for place in range(width):
                at = _write(at, &held[place], row)
            if at == first:
                at = begin
                continue
            first[0] = c" "
            at[0] = c" "
            at = _integer(at + 1, times[row])
            at[0] = c"\n"
            at += 1
            written += 1
        _PyBytes_Resize(&out, max(0, at - start_of(out) - 1))
        return <object>out, written
    finally:
        Py_XDECREF(out)
        for place in range(width + 1):
            PyBuffer_Release(&held[place].values)
            PyBuffer_Release(&held[place].mask)
        PyMem_Free(held)
