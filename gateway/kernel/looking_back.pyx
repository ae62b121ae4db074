# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""One pass over a gauge's sorted rows: rate of change, spike, flat line. See `quality.assess`.

The fold of `quality.links`, `quality.flat_line` and the tests in `quality.assess`, reading by reading
instead of column by column; the arithmetic is the same, to the last bit.
"""

from libc.math cimport fabs, NAN
from libc.string cimport memcpy

cdef enum:
    SUSPECT = 3
    FAIL = 4
    MISSING = 9
    LAST_KNOWN = 48
    BEFORE_KNOWN = 49
    LAST_FLAG = 50


cdef struct Record:
    long long last_time
    double last_value
    long long before_time
    double before_value
    long long anchor_time
    double anchor_value
    unsigned char marks[8]


def look_back(const unsigned char[::1] given not None, unsigned char[::1] flags not None,
              const double[::1] values not None, const long long[::1] time not None,
              const long long[::1] starts not None, long long[:, :, ::1] words not None, Py_ssize_t place,
              double rise, double fall, double spike, double tolerance, long long duration):
    """Test the rows of one quantity and move on its records in `words` [k, p, 7].

    `given` are the flags before these tests, `flags` those after, written here. A limit that the profile
    does not set is infinite, NaN a tolerance without a flat test. Returns the places of the series whose
    remembered reading turns out to be a spike, with its event times.
    """
    cdef Py_ssize_t n = given.shape[0], k = starts.shape[0], series, row, end, above
    cdef Record record
    cdef double value, change, middle
    cdef bint flat = tolerance == tolerance
    cdef unsigned char first_flag
    cdef list revised_series = [], revised_time = []
    if (flags.shape[0] != n or values.shape[0] != n or time.shape[0] != n or words.shape[0] != k
            or words.shape[2] != 7 or place >= words.shape[1]):
        raise ValueError("columns of different lengths")
    for series in range(k):
        end = starts[series + 1] if series + 1 < k else n
        if starts[series] < 0 or end > n:
            raise ValueError("a series that ends behind the rows")
        memcpy(&record, &words[series, place, 0], sizeof(Record))
        first_flag = record.marks[LAST_FLAG - LAST_KNOWN]
        above = -1
        for row in range(starts[series], end):
            if given[row] == FAIL or given[row] == MISSING:
                continue
            value = values[row]
            if record.marks[0]:
                change = (value - record.last_value) / (<double>(time[row] - record.last_time) / 1e9)
                if change > rise or change < -fall:
                    flags[row] = SUSPECT
                if record.marks[BEFORE_KNOWN - LAST_KNOWN]:
                    middle = (value + record.before_value) / 2
                    if fabs(record.last_value - middle) > spike:
                        if above >= 0:
                            flags[above] = SUSPECT
                        elif first_flag != SUSPECT:
                            revised_series.append(series)
                            revised_time.append(record.last_time)
            if not (flat and record.marks[0] and fabs(value - record.anchor_value) <= tolerance):
                record.anchor_time = time[row]
                record.anchor_value = value
            if flat and time[row] - record.anchor_time >= duration:
                flags[row] = SUSPECT
            record.before_time = record.last_time
            record.before_value = record.last_value
            record.marks[BEFORE_KNOWN - LAST_KNOWN] = record.marks[0]
            record.last_time = time[row]
            record.last_value = value
            record.marks[0] = 1
            above = row
        if above >= 0:
            record.marks[LAST_FLAG - LAST_KNOWN] = flags[above]
            memcpy(&words[series, place, 0], &record, sizeof(Record))
    return revised_series, revised_time
