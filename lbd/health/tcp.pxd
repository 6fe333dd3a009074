# cython: language_level=3
"""See tcp.pyx."""

from lbd.engine.pool cimport ConnectionPool, Waiter
from lbd.health.check cimport Check


cdef class Attempt(Waiter):
    cdef TcpCheck check


cdef class TcpCheck(Check):
    cdef ConnectionPool pool
    cdef int port
    cdef Attempt attempt
