# cython: language_level=3
"""What the ends of idle connections teach a pool. See witness.pyx."""

from libc.stdint cimport uint64_t

from lbd.engine.pool cimport ConnectionPool, PooledConnection

cdef void note_idle_end(ConnectionPool pool, PooledConnection connection) noexcept
cdef void note_stale(ConnectionPool pool, PooledConnection connection, uint64_t sent_ms) noexcept
cdef bint becomes_witness(ConnectionPool pool, PooledConnection connection) noexcept
