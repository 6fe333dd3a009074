# cython: language_level=3
"""Connections opened ahead of need. See warmth.pyx."""

from lbd.engine.pool cimport ConnectionPool, PooledConnection, Waiter


cdef class Warming(Waiter):
    cdef ConnectionPool pool


cdef void want_warm(ConnectionPool pool) noexcept
cdef int warm_up(ConnectionPool pool) except -1
cdef void lost_unused(ConnectionPool pool, PooledConnection connection) noexcept
cdef void proved_good(ConnectionPool pool) noexcept
