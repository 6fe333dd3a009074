# cython: language_level=3
"""See tcp.pyx."""

from lbd.engine.endpoint cimport Endpoint
from lbd.engine.pool cimport Waiter
from lbd.health.check cimport Check


cdef class Attempt(Waiter):
    cdef TcpCheck check


cdef class TcpCheck(Check):
    cdef Endpoint asked
    cdef int port
    cdef Attempt attempt
