# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Observers of a listener: access log, recorder and tracer implement these classes; the engine knows no more of them.

Facts are borrowed: what an observer wants to keep it formats or copies at once.
"""

from libc.stdint cimport uint32_t, uint64_t

cimport cython

from lbd.engine.http1 cimport Head
from lbd.engine.trace_context cimport Trace

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object, Py_ssize_t*)
    void PyErr_Clear()

cdef class Observer:

    cdef int take(self, const Facts* facts, list attempts) except -1:
        """attempts: Attempts, or None; the last one is not among them when facts.last_is_open."""
        raise NotImplementedError


cdef class Tracing(Observer):

    cdef void begin(self, Trace* trace, const Head* head, bint trusted) noexcept:
        """A request has come: whose trace is it part of? head: NULL when it could not be read."""

    cdef void next_attempt(self, Trace* trace, char* head) noexcept:
        """Another attempt, another span: it stands in the head from now on."""

    cdef uint32_t write_fields(self, char* head, uint32_t n, Trace* trace, str route) noexcept:
        """Add the trace to a head for endpoints, n bytes long, that has TRACE_ROOM and the route's name more; its length."""
        return n


@cython.no_gc
@cython.final
cdef class Attempt:

    def __repr__(self):
        return f"<Attempt {self.endpoint.name} status={self.status} reason={self.reason}>"


cdef Attempt new_attempt(object endpoint, int status, int reason, uint64_t began_us, uint64_t now_us,
                         uint64_t span):
    cdef Attempt made = Attempt.__new__(Attempt)
    made.endpoint = endpoint
    made.status = status
    made.reason = reason
    made.began_us = began_us
    made.us = now_us - began_us
    made.span = span
    return made


cdef Text text_of(str value) noexcept:
    """The UTF-8 of a name, which the string itself keeps."""
    cdef Text text
    cdef Py_ssize_t n = 0
    text.p = PyUnicode_AsUTF8AndSize(value, &n) if value is not None else NULL
    if text.p == NULL:                          # no name, or a lone surrogate
        PyErr_Clear()
        n = 0
    text.n = <size_t> n
    return text
