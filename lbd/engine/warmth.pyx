# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Keeping connections ready: `warm` of them are open (TLS done, HTTP/2 settled) and can take a request at once.

Strategy: whatever may leave the pool short (start, an endpoint that becomes usable, a connection taken or closed) sets the
pool's one timer, so that the look at the pool happens once per tick at most, whatever the traffic. An idle connection
counts as ready, and so does a shared one with room. Requests take part in nothing of this but two compares.

Failures back off, doubling from 250 ms to 30 s with jitter; so does a connection that ends unused within five seconds,
whoever ended it: an endpoint that does not keep unused connections cannot be kept warm.
"""

from libc.stdint cimport uint32_t, uint64_t

cimport cython

from lbd.engine.pool cimport ConnectionPool, PooledConnection, SharedConnection, Waiter
from lbd.engine.timers cimport timer_set

cdef enum:
    SOON_MS = 1                 # the next tick
    BURST = 16                  # connections begun in one tick
    BACKOFF_MS = 250
    BACKOFF_MAX_MS = 30000
    YOUNG_MS = 5000


@cython.no_gc
@cython.final
cdef class Warming(Waiter):
    """Asks for a connection on behalf of the pool itself; counted in pool.warming as long as it lives."""

    def __dealloc__(self):
        if self.pool is not None:
            self.pool.warming -= 1

    cdef int on_connection(self, PooledConnection connection) except -1:
        cdef ConnectionPool pool = self.pool
        connection.idle_since = pool.reactor.wheel.now
        connection.stream.uncork()                      # the end of the TLS handshake waits for no request
        if pool.closed or not connection.is_silent():   # of an end that came with the handshake no event will tell
            lost_unused(pool, connection)
            connection.drop(False)
            return 0
        return pool.keep(connection)

    cdef int on_shared(self, SharedConnection connection) except -1:
        if self.pool.closed:
            return connection.leave()
        return connection.on_stream_closed(False)               # it rests

    cdef int on_no_connection(self, int reason) except -1:
        _back_off(self.pool)
        return 0


cdef void want_warm(ConnectionPool pool) noexcept:
    """The pool may be short of connections: look at it soon, or when the back-off ends."""
    cdef uint64_t now = pool.reactor.wheel.now
    if pool.warm and pool.usable and not pool.closed and pool.timer.deadline == 0:
        timer_set(&pool.reactor.wheel, &pool.timer, pool.warm_after - now if pool.warm_after > now else SOON_MS)


cdef int warm_up(ConnectionPool pool) except -1:
    """Open what is missing, within the pool's limit."""
    cdef uint32_t ready = _ready(pool) + pool.warming
    cdef uint32_t begun = 0
    cdef Warming waiter
    cdef int status
    if pool.closed or not pool.usable or pool.warm_after > pool.reactor.wheel.now:
        want_warm(pool)
        return 0
    while ready + begun < pool.warm:
        if begun == BURST:
            want_warm(pool)
            return 0
        if pool.is_full():
            pool.make_room(False)
            if pool.is_full():
                return 0                        # the end of any connection brings us back
        waiter = Warming.__new__(Warming)
        waiter.pool = pool
        pool.warming += 1
        status = pool.connect(waiter, pool.protocol.new_connection())
        if status < 0:
            _back_off(pool)
            return 0
        begun += 1
    return 0


cdef uint32_t _ready(ConnectionPool pool) noexcept:
    """Connections that can take a request now."""
    cdef SharedConnection one
    cdef uint32_t ready = pool.idle_count
    if pool.witness != NULL and (<PooledConnection> pool.witness).idle and ready:
        ready -= 1
    for one in pool.shared or ():
        ready += one.room() > 0
    return ready


cdef void _back_off(ConnectionPool pool) noexcept:
    """A failure: wait longer than after the one before. Those of one burst count once."""
    cdef uint64_t now = pool.reactor.wheel.now
    cdef uint64_t wait
    if now < pool.warm_after or not pool.usable or pool.closed:
        return
    wait = min(<uint64_t> BACKOFF_MS << min(pool.warm_failures, <uint32_t> 16), <uint64_t> BACKOFF_MAX_MS)
    wait -= pool.reactor.random() % (wait // 4 + 1)
    pool.warm_failures += 1
    pool.warm_after = now + wait
    timer_set(&pool.reactor.wheel, &pool.timer, wait)


cdef void lost_unused(ConnectionPool pool, PooledConnection connection) noexcept:
    """An idle connection is about to end."""
    if pool.warm and connection.requests == 0 and pool.reactor.wheel.now - connection.idle_since < YOUNG_MS:
        _back_off(pool)


cdef void proved_good(ConnectionPool pool) noexcept:
    """A connection has served: failures before it are forgotten."""
    cdef uint64_t now = pool.reactor.wheel.now
    pool.warm_failures = 0
    if pool.warm_after > now + BACKOFF_MS:
        pool.warm_after = now + BACKOFF_MS
        timer_set(&pool.reactor.wheel, &pool.timer, BACKOFF_MS)
