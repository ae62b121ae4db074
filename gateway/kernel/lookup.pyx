# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The codes of many topics at once: see `decode.routes`."""

from cpython.object cimport PyObject
from libc.stdint cimport int32_t

cdef extern from "Python.h":
    PyObject* PyDict_GetItemWithError(object, object) except? NULL


def find(dict codes not None, list topics not None, int32_t[::1] found):
    """Write the code of each topic into `found`; stop and return False at one that has none."""
    cdef Py_ssize_t row
    cdef PyObject* code
    if found.shape[0] != len(topics):
        raise ValueError("there must be a place for each topic")
    for row in range(len(topics)):
        code = PyDict_GetItemWithError(codes, topics[row])
        if code == NULL:
            return False
        found[row] = <object>code
    return True
