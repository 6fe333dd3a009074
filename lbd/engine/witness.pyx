# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What the ends of idle connections teach a pool about its endpoint (the rules are in idle_limit.pyx).

A pool that never lets a connection reach the endpoint's timeout would never learn that the timeout has become longer, or
was never that short. So one connection at a time that is past the limit stays open, unused: the witness. It ends when
the endpoint closes it, when its place is needed, or with `timeouts.idle`.
"""

from libc.stdint cimport uint64_t

from lbd.engine.idle_limit cimport IdleLimit
from lbd.engine.pool cimport ConnectionPool, PooledConnection
from lbd.engine.warmth cimport lost_unused


cdef void note_idle_end(ConnectionPool pool, PooledConnection connection) noexcept:
    """The endpoint has ended an idle connection."""
    cdef uint64_t now = pool.reactor.wheel.now
    if pool.learns:
        pool.idle_limit.ended(now - connection.idle_since, connection.requests > 0, now)
    lost_unused(pool, connection)


cdef void note_stale(ConnectionPool pool, PooledConnection connection, uint64_t sent_ms) noexcept:
    """A request met the end of a connection that had been idle until then."""
    if pool.learns and connection.idle_since and sent_ms > connection.idle_since:
        pool.idle_limit.ended(sent_ms - connection.idle_since, connection.requests > 0, pool.reactor.wheel.now)


cdef bint becomes_witness(ConnectionPool pool, PooledConnection connection) noexcept:
    """A connection is worn: does it stay open, or still? Then its timer is set for the next look at it."""
    cdef IdleLimit limit = pool.idle_limit
    cdef uint64_t now = pool.reactor.wheel.now
    cdef uint64_t age = now - connection.idle_since
    cdef uint64_t until
    if pool.witness == <void*> connection:
        limit.outlived(age)
    elif (pool.witness != NULL or pool.closed or limit.known == 0
            or not (pool.warm == 0 or limit.can_refute(connection.requests > 0))):
        return False
    if (pool.idle_ms and age >= pool.idle_ms) or (connection.expires and connection.expires <= now):
        return False
    pool.witness = <void*> connection
    until = 2 * max(limit.known, age)
    if pool.idle_ms and until > pool.idle_ms:
        until = pool.idle_ms
    connection.stream.set_timer(max(until - age, <uint64_t> 1))
    return True
