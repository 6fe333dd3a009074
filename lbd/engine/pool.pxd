# cython: language_level=3
"""Upstream connections of one endpoint: idle ones, those in use, and who waits. See pool.pyx."""

from libc.stdint cimport uint32_t, uint64_t

from lbd.engine.idle_limit cimport IdleLimit
from lbd.engine.reactor cimport Handler, Reactor, Stream
from lbd.engine.shared cimport EndpointStats
from lbd.engine.sys cimport sockaddr_storage, socklen_t
from lbd.engine.timers cimport Timer
from lbd.engine.tls cimport ClientTls
from lbd.engine.waitqueue cimport Queued, WaitQueue


cdef class Waiter(Queued):
    cdef int on_connection(self, PooledConnection connection) except -1
    cdef int on_shared(self, SharedConnection connection) except -1
    cdef int on_no_connection(self, int reason) except -1
    cdef int on_pushed_out(self) except -1
    cdef PooledConnection fresh(self)
    cdef size_t preamble(self, char* out, int version) noexcept
    cdef bint takes(self, PooledConnection connection)


cdef class PooledConnection(Handler):
    cdef Stream stream
    cdef ConnectionPool pool
    cdef PooledConnection idle_next
    cdef void* idle_prev                # borrowed
    cdef Waiter waiter                  # who gets it once it is connected
    cdef bint idle
    cdef bint connecting                # TCP, then TLS
    cdef bint connected                 # TCP is; connecting still set: TLS is under way
    cdef bint counted                   # in pool.open
    cdef uint64_t expires               # ms; 0 = never
    cdef uint64_t idle_since            # ms: when it was last unused, 0 = never yet
    cdef uint32_t requests
    cdef uint32_t era                   # of the pool, when it was made

    cdef int on_ready(self, Waiter waiter) except -1
    cdef bint is_silent(self) noexcept
    cdef int on_idle_readable(self) except -1
    cdef int on_idle_timeout(self) except -1
    cdef int end_idle(self) except -1
    cdef void drop(self, bint reset) noexcept
    cdef void finish_connect(self, int reason)
    cdef int _secure(self)
    cdef void _send_preamble(self)


cdef class SharedConnection(PooledConnection):
    cdef uint32_t busy                  # exchanges under way on it
    cdef bint resting                   # there are none: it counts as idle
    cdef bint joined                    # counted in pool.joining
    cdef bint listed                    # in pool.shared

    cdef PooledConnection new_stream(self)
    cdef uint32_t room(self) noexcept
    cdef int leave(self) except -1
    cdef int on_goaway(self, uint32_t error) except -1
    cdef int on_stream_closed(self, bint refused) except -1
    cdef int on_settled(self) except -1


cdef class Protocol:
    cdef readonly str name
    cdef readonly object key            # protocols with the same one are the same

    cdef PooledConnection new_connection(self)


cdef class ConnectionPool(Handler):
    cdef Reactor reactor
    cdef Protocol protocol              # of the connections that are opened ahead of need
    cdef sockaddr_storage address
    cdef socklen_t address_len
    cdef uint32_t era                   # grows with each other address: connections of an earlier one are not used again
    cdef EndpointStats* stats
    cdef PooledConnection idle_top
    cdef WaitQueue queue
    cdef list pushed_out                # of the queue, to be told at the end of the round, or None
    cdef uint32_t open, idle_count, queue_len
    cdef uint32_t max_open, max_idle, max_queue, max_requests
    cdef uint64_t connect_ms, idle_ms, lifetime_ms
    cdef tuple manner                   # how connections are made
    cdef IdleLimit idle_limit
    cdef bint learns                    # idle_limit
    cdef void* witness                  # an idle connection that shows how long the endpoint keeps it (borrowed), or NULL
    cdef uint32_t warm                  # connections to keep ready, see warmth.pyx
    cdef uint32_t warming               # of them, those that are being made
    cdef uint32_t warm_failures         # in a row
    cdef uint64_t warm_after            # ms: end of the back-off
    cdef bint usable                    # the endpoint is, so it is kept warm
    cdef Timer timer                    # when to look after what is warm
    cdef list shared                    # connections that serve several exchanges at a time
    cdef uint32_t joining               # of them, those that are being made; exchanges queue for them
    cdef bint one_each                  # the endpoint chose a protocol that serves one exchange at a time
    cdef bint closed
    cdef ClientTls tls                  # or None
    cdef bytes tls_name                 # asked for and verified
    cdef bint tls_name_is_ip
    cdef int proxy_version              # PROXY header to send: 0 (none), 1, 2
    cdef uint32_t keepalive_s, user_timeout_ms
    cdef bytes congestion
    cdef bint fast_open
    cdef str problem                    # the last TLS failure that was reported
    cdef public object on_problem       # called with a text when TLS fails in a new way, or None
    cdef public object on_connect_failed    # called for each connection that fails, or None

    cdef void connect_failed(self) noexcept
    cdef PooledConnection take_idle(self)
    cdef PooledConnection share(self)
    cdef int serve_queue(self) except -1
    cdef int refuse_queue(self, int reason) except -1
    cdef bint is_full(self) noexcept
    cdef bint is_joining(self) noexcept
    cdef bint has_room(self) noexcept
    cdef int connect(self, Waiter waiter, PooledConnection fresh) except -1
    cdef int make_room(self, bint even_usable) except -1
    cdef int enqueue(self, Waiter waiter) except -1
    cdef void leave_queue(self, Waiter waiter) noexcept
    cdef int give_back(self, PooledConnection connection) except -1
    cdef int keep(self, PooledConnection connection) except -1
    cdef uint64_t idle_wait(self, PooledConnection connection) noexcept
    cdef bint is_worn(self, PooledConnection connection) noexcept
    cdef void set_usable(self, bint usable) noexcept
    cdef void forget_idle(self, PooledConnection connection) noexcept
    cdef int on_closed(self) except -1
    cdef void close_idle(self) noexcept
    cdef void _let_go(self) noexcept
