# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The usual JSON payloads, turned straight into columns: see `decode.formats.json_columns`.

Takes a payload only where every byte of it is what it knows: an object in strict JSON, keys and texts of
printable ASCII without escapes and brackets, no wanted key twice, wanted values of the type and size that
`decode.shape` asks for, nesting within the profile's limit. All else is left, unjudged, to msgspec.

Numbers are exact or left. A whole number has at most 18 digits. A decimal is m × 10^e with m < 2^53 and
|e| ≤ 22: both are then doubles without error, so that one multiplication or division rounds correctly
(W. D. Clinger, How to Read Floating Point Numbers Accurately, PLDI 1990); not on machines that compute in
more than 53 bits, which FLT_EVAL_METHOD tells: there decimals are left too.

Why no read leaves a payload: Python's bytes end in a NUL. Nothing here takes a NUL, and none of the loops
goes on, nor looks at the next byte, before the byte at hand was taken; so each stops at that NUL at the
latest. The one longer look (at the key that is expected) is held against the end. Depth bounds recursion.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcmp, memcpy

cdef extern from "<float.h>":
    int FLT_EVAL_METHOD

cdef extern from "<math.h>":
    double NAN

ctypedef const uint8_t* Place

# As in decode.scalars; a test holds them against each other.
cdef enum:
    ABSENT = 0
    FLOAT = 1
    WHOLE = 2
    TRUTH = 3
    OTHER = 4

cdef enum:
    MOST_FIELDS = 64
    MOST_OBJECTS = 16
    MOST_KEYS = 80  # of fields and of the objects that hold them
    MOST_WORDS = 128
    MOST_EXPECTED = 64
    LONGEST_EXPECTED = 32
    DEEPEST = 32
    MOST_DIGITS = 18
    UNWANTED = -1

cdef uint64_t EXACT = <uint64_t>1 << 53

cdef double[23] TENS = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
]

cdef uint8_t[256] PLAIN  # 1 where a byte may stand in a text
for _byte in range(256):
    PLAIN[_byte] = 32 <= _byte <= 126 and _byte not in b'"\\[]{}'

MOST = {"fields": MOST_FIELDS, "objects": MOST_OBJECTS, "keys": MOST_KEYS, "words": MOST_WORDS}
"""How much of each kind a reader can hold."""


cdef struct Field:
    int64_t limit  # greatest magnitude of a whole number; -1: no numbers
    bint floats
    bint truths
    Py_ssize_t text  # longest text; -1: no texts
    int first_word
    int end_word


cdef struct Word:
    Py_ssize_t size
    Place text


cdef struct Key:
    int target  # a field; behind the fields, an object
    Py_ssize_t size
    Place text


cdef struct Expected:
    int node
    int target
    Py_ssize_t size
    uint8_t[LONGEST_EXPECTED] text  # with its quotes


cdef inline Place blank(Place at) noexcept:
    """Return where the next byte stands that is no blank."""
    while at[0] <= 32 and (at[0] == 32 or at[0] == 10 or at[0] == 13 or at[0] == 9):
        at += 1
    return at


cdef inline Place text_end(Place at) noexcept:
    """Return where the quote stands that ends the text at `at`; NULL where it is not plain."""
    while PLAIN[at[0]]:
        at += 1
    return at if at[0] == 34 else NULL


cdef inline bint digit(uint8_t byte) noexcept:
    return <uint8_t>(byte - 48) <= 9


cdef inline Place word_end(Place at) noexcept:
    """Return where true, false or null ends; NULL where none of them stands at `at`."""
    if at[0] == 110 and at[1] == 117 and at[2] == 108 and at[3] == 108:
        return at + 4
    if at[0] == 116 and at[1] == 114 and at[2] == 117 and at[3] == 101:
        return at + 4
    if at[0] == 102 and at[1] == 97 and at[2] == 108 and at[3] == 115 and at[4] == 101:
        return at + 5
    return NULL


cdef Place number_end(Place at) noexcept:
    """Return where a number in strict JSON ends; NULL where none stands at `at`."""
    if at[0] == 45:
        at += 1
    if not digit(at[0]):
        return NULL
    if at[0] == 48:
        at += 1
    else:
        while digit(at[0]):
            at += 1
    if at[0] == 46:
        at += 1
        if not digit(at[0]):
            return NULL
        while digit(at[0]):
            at += 1
    if at[0] == 101 or at[0] == 69:
        at += 1
        if at[0] == 43 or at[0] == 45:
            at += 1
        if not digit(at[0]):
            return NULL
        while digit(at[0]):
            at += 1
    return at


cdef Place value_end(Place at, int depth) noexcept:
    """Return where an unwanted value ends; NULL where it is unusual, or opens more than `depth` brackets."""
    cdef uint8_t close
    cdef bint keyed
    if at[0] == 34:
        at = text_end(at + 1)
        return at + 1 if at != NULL else NULL
    if at[0] == 45 or digit(at[0]):
        return number_end(at)
    if at[0] != 91 and at[0] != 123:
        return word_end(at)
    if depth <= 0:
        return NULL
    keyed = at[0] == 123
    close = at[0] + 2
    at = blank(at + 1)
    if at[0] == close:
        return at + 1
    while True:
        if keyed:
            if at[0] != 34:
                return NULL
            at = text_end(at + 1)
            if at == NULL:
                return NULL
            at = blank(at + 1)
            if at[0] != 58:
                return NULL
            at = blank(at + 1)
        at = value_end(at, depth - 1)
        if at == NULL:
            return NULL
        at = blank(at)
        if at[0] == close:
            return at + 1
        if at[0] != 44:
            return NULL
        at = blank(at + 1)


cdef class Reader:
    """Reads the payloads of one profile.

    `fields` holds for each wanted value the greatest magnitude of a whole number (-1: no numbers), whether
    floats and truths pass, the longest text (-1: none), and texts (bytes) that are expected. `objects` holds
    for each wanted object its keys (bytes); each leads to a field's number, or behind them, to an object's.
    `depth` is how deep a payload may be nested, `size` how many bytes it may have.
    """

    cdef Field[MOST_FIELDS] _fields
    cdef Word[MOST_WORDS] _words
    cdef Key[MOST_KEYS] _keys
    cdef int[MOST_OBJECTS + 1] _first_key
    cdef Expected[MOST_EXPECTED] _expected
    cdef int _field_count
    cdef int _depth
    cdef Py_ssize_t _size
    cdef list _kept  # the bytes that words and keys point into
    # Of the payload at hand: its number in the batch, when each field and object was seen last, its member.
    cdef int64_t[MOST_FIELDS + MOST_OBJECTS] _seen
    cdef int64_t _turn
    cdef int _member
    cdef Place _end
    cdef Py_ssize_t _row
    cdef Py_ssize_t _rows
    cdef uint8_t* _types
    cdef double* _numbers
    cdef int64_t* _wholes
    cdef list _others

    def __cinit__(self, list fields not None, list objects not None, int depth, Py_ssize_t size):
        cdef int number, words = 0, keys = 0
        cdef bytes text
        if len(fields) > MOST_FIELDS or len(objects) > MOST_OBJECTS:
            raise ValueError("more fields or objects than a reader can hold")
        if sum(map(len, objects)) > MOST_KEYS or sum(len(field[4]) for field in fields) > MOST_WORDS:
            raise ValueError("more keys or words than a reader can hold")
        self._kept = []
        self._field_count = len(fields)
        self._depth = min(depth, <int>DEEPEST)
        self._size = size
        self._turn = 0
        for number, (limit, floats, truths, longest, expected) in enumerate(fields):
            self._fields[number] = Field(limit, floats, truths, longest, words, words + len(expected))
            for text in expected:
                self._words[words] = Word(PyBytes_GET_SIZE(text), <Place>PyBytes_AS_STRING(text))
                self._kept.append(text)
                words += 1
        for number, named in enumerate(objects):
            self._first_key[number] = keys
            for text, target in named.items():
                if not 0 <= target < len(fields) + len(objects):
                    raise ValueError("a key that leads nowhere")
                self._keys[keys] = Key(target, PyBytes_GET_SIZE(text), <Place>PyBytes_AS_STRING(text))
                self._kept.append(text)
                keys += 1
        self._first_key[len(objects)] = keys
        for number in range(MOST_FIELDS + MOST_OBJECTS):
            self._seen[number] = 0
        for number in range(MOST_EXPECTED):
            self._expected[number].node = -1
            self._expected[number].size = 0

    def read(self, list payloads not None, uint8_t[:, ::1] types, double[:, ::1] numbers,
             int64_t[:, ::1] wholes, list others not None):
        """Fill row i of each field with what payload i says; return the places of payloads that are left.

        `types` uint8[f, n], `numbers` float64[f, n] and `wholes` int64[f, n] are as in `decode.scalars`, and
        undefined for payloads that are left. `others` holds for each field a list that begins with its
        expected texts; others are appended.
        """
        cdef Py_ssize_t row, rows = len(payloads)
        cdef int field
        cdef Place at
        cdef list left = []
        cdef object payload
        if not rows:
            return left
        if types.shape[1] != rows or numbers.shape[1] != rows or wholes.shape[1] != rows:
            raise ValueError("columns and payloads differ in length")
        if not types.shape[0] == numbers.shape[0] == wholes.shape[0] == len(others) == self._field_count:
            raise ValueError("there must be one column for each field")
        self._rows, self._others = rows, others
        if self._field_count:
            self._types, self._numbers, self._wholes = &types[0, 0], &numbers[0, 0], &wholes[0, 0]
        for row in range(rows):
            payload = payloads[row]
            if not PyBytes_CheckExact(payload) or PyBytes_GET_SIZE(payload) > self._size:
                left.append(row)
                continue
            at = <Place>PyBytes_AS_STRING(payload)
            self._end = at + PyBytes_GET_SIZE(payload)
            self._row, self._member = row, 0
            self._turn += 1
            at = blank(at)
            at = self._object(at + 1, 0, 1) if at[0] == 123 else NULL
            if at == NULL or blank(at) != self._end:
                left.append(row)
                continue
            for field in range(self._field_count):
                if self._seen[field] != self._turn:
                    self._types[field * rows + row] = ABSENT
                    self._numbers[field * rows + row] = NAN
        self._others = None
        return left

    cdef Place _object(self, Place at, int node, int depth) except? NULL:
        """Read the object whose bracket stands before `at`, opened as the `depth`th; return where it ends."""
        cdef Expected* expected
        cdef Place begin
        cdef int target
        if depth > self._depth:
            return NULL
        at = blank(at)
        if at[0] == 125:
            return at + 1
        while True:
            # Devices of one type write their keys in one order: the key that stood here last is tried first.
            expected = &self._expected[self._member & (MOST_EXPECTED - 1)]
            self._member += 1
            if (expected.node == node and expected.size <= self._end - at
                    and memcmp(at, expected.text, expected.size) == 0):
                target = expected.target
                at += expected.size
            else:
                if at[0] != 34:
                    return NULL
                begin = at
                at = text_end(at + 1)
                if at == NULL:
                    return NULL
                at += 1
                target = self._target(node, begin + 1, at - begin - 2)
                if at - begin <= LONGEST_EXPECTED:
                    expected.node, expected.target, expected.size = node, target, at - begin
                    memcpy(expected.text, begin, at - begin)
            at = blank(at)
            if at[0] != 58:
                return NULL
            at = blank(at + 1)
            if target == UNWANTED:
                at = value_end(at, self._depth - depth)
            elif self._seen[target] == self._turn:
                return NULL
            else:
                self._seen[target] = self._turn
                if target < self._field_count:
                    at = self._value(at, target)
                elif at[0] == 123:
                    at = self._object(at + 1, target - self._field_count, depth + 1)
                elif at[0] == 110:
                    at = word_end(at)
                else:
                    return NULL
            if at == NULL:
                return NULL
            at = blank(at)
            if at[0] == 125:
                return at + 1
            if at[0] != 44:
                return NULL
            at = blank(at + 1)

    cdef inline int _target(self, int node, Place text, Py_ssize_t size) noexcept:
        """Return where a key leads."""
        cdef int number
        for number in range(self._first_key[node], self._first_key[node + 1]):
            if self._keys[number].size == size and memcmp(self._keys[number].text, text, size) == 0:
                return self._keys[number].target
        return UNWANTED

    cdef inline Place _value(self, Place at, int number) except? NULL:
        """Read a wanted value; return where it ends."""
        cdef Field* field = &self._fields[number]
        cdef Py_ssize_t cell = number * self._rows + self._row
        if at[0] == 45 or digit(at[0]):
            return self._number(at, field, cell)
        if at[0] == 34:
            return self._text(at + 1, field, number, cell)
        self._numbers[cell] = NAN
        if at[0] == 110:
            self._types[cell] = ABSENT
        elif not field.truths:
            return NULL
        else:
            self._types[cell] = TRUTH
            self._wholes[cell] = at[0] == 116
        return word_end(at)

    cdef Place _text(self, Place at, Field* field, int number, Py_ssize_t cell) except? NULL:
        cdef Place end = text_end(at)
        cdef int word
        cdef list others
        if end == NULL or end - at > field.text:
            return NULL
        self._types[cell] = OTHER
        self._numbers[cell] = NAN
        for word in range(field.first_word, field.end_word):
            if self._words[word].size == end - at and memcmp(self._words[word].text, at, end - at) == 0:
                self._wholes[cell] = word - field.first_word
                return end + 1
        others = self._others[number]
        self._wholes[cell] = len(others)
        others.append(PyUnicode_DecodeASCII(<const char*>at, end - at, NULL))
        return end + 1

    cdef inline Place _number(self, Place at, Field* field, Py_ssize_t cell) noexcept:
        cdef bint negative = at[0] == 45
        cdef bint down
        cdef uint64_t digits = 0  # taken as one whole number; it may overflow only where the number is left
        cdef Place begin
        cdef Py_ssize_t count, scale = 0
        cdef int exponent = 0
        cdef double value
        if negative:
            at += 1
        begin = at
        while digit(at[0]):
            digits = digits * 10 + (at[0] - 48)
            at += 1
        count = at - begin
        if count == 0 or count > MOST_DIGITS or (begin[0] == 48 and count > 1):
            return NULL
        if at[0] != 46 and at[0] != 101 and at[0] != 69:
            # -0 is a float's own or a whole number's 0, as the type will have it.
            if <int64_t>digits > field.limit or (negative and digits == 0):
                return NULL
            self._types[cell] = WHOLE
            self._wholes[cell] = -<int64_t>digits if negative else <int64_t>digits
            self._numbers[cell] = <double>self._wholes[cell]
            return at
        if not field.floats or FLT_EVAL_METHOD != 0:
            return NULL
        if at[0] == 46:
            at += 1
            begin = at
            while digit(at[0]):
                digits = digits * 10 + (at[0] - 48)
                at += 1
            scale = at - begin
            if scale == 0 or count + scale > MOST_DIGITS:
                return NULL
        if at[0] == 101 or at[0] == 69:
            at += 1
            down = at[0] == 45
            if down or at[0] == 43:
                at += 1
            begin = at
            while digit(at[0]) and at - begin < 4:
                exponent = exponent * 10 + (at[0] - 48)
                at += 1
            if at == begin or digit(at[0]):
                return NULL
            if down:
                exponent = -exponent
        exponent -= <int>scale
        if digits > EXACT or exponent < -22 or exponent > 22 or (negative and digits == 0):
            return NULL
        value = <double>digits
        value = value * TENS[exponent] if exponent >= 0 else value / TENS[-exponent]
        self._types[cell] = FLOAT
        self._numbers[cell] = -value if negative else value
        return at
