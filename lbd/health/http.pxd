# cython: language_level=3
"""See http.pyx."""

from lbd.engine.buffer cimport Buffer
from lbd.engine.cluster cimport Cluster
from lbd.engine.exchange cimport Downstream, Exchange
from lbd.engine.router cimport Route
from lbd.health.check cimport Check


cdef class Inquiry(Downstream):
    cdef RequestCheck check


cdef class RequestCheck(Check):
    cdef Inquiry inquiry
    cdef Exchange exchange              # under way, or None
    cdef Cluster asked
    cdef Route route
    cdef bytes head, request_body
    cdef int method, port
    cdef int status, reason
    cdef bint grpc
    cdef Buffer body

    cdef int _aim(self) except -1
    cdef int on_finished(self, Exchange x, bint clean) except -1
    cdef void _note_connection(self)
