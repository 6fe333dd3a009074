# cython: language_level=3
"""Readiness: one epoll per worker, Streams on it, Handlers that own what a Stream means. See reactor.pyx."""

from libc.stdint cimport uint32_t, uint64_t

from lbd.engine.buffer cimport Buffer
from lbd.engine.sys cimport epoll_event, ssize_t
from lbd.engine.timers cimport Timer, Wheel

cdef enum:
    # recv() and send() results below zero
    IO_AGAIN = -1
    IO_ERROR = -2
    # write() and flush() results
    WRITE_ERROR = -1
    WRITE_BLOCKED = 0
    WRITE_DONE = 1
    # the worker's read area: room before it for a head or chunk line put in front of a body, and behind it for CRLFs
    READ_ROOM_BEFORE = 4096
    READ_SIZE = 65536
    READ_ROOM_AFTER = 64
    SCRATCH_SIZE = 262144


cdef class Handler:
    cdef int on_readable(self, Stream stream) except -1
    cdef int on_writable(self, Stream stream) except -1
    cdef int on_timeout(self, Stream stream) except -1
    cdef int on_fault(self, Stream stream) except -1
    cdef int on_round_end(self) except -1


cdef class Stream:
    cdef Reactor reactor
    cdef Handler handler
    cdef Timer timer
    cdef Buffer out
    cdef int fd
    cdef int error                  # errno of the failure that broke it
    cdef bint readable              # the kernel may hold bytes or an end for us
    cdef bint hangup                # the peer has shut its side down (bytes may still be unread)
    cdef bint blocked               # wants EPOLLOUT: the socket buffer was full, or a connect is under way
    cdef bint closed
    cdef bint deferred
    cdef bint broken                # reset, whatever is still to be read
    cdef bint can_splice

    cdef ssize_t recv(self, char* p, size_t n) noexcept
    cdef ssize_t send(self, const char* p, size_t n) noexcept
    cdef ssize_t send2(self, const char* a, size_t an, const char* b, size_t bn) noexcept
    cdef ssize_t _not_sent(self) noexcept
    cdef int write(self, const char* p, size_t n) noexcept
    cdef int write2(self, const char* a, size_t an, const char* b, size_t bn) noexcept
    cdef int flush(self) noexcept
    cdef void uncork(self) noexcept
    cdef void set_timer(self, uint64_t after_ms) noexcept
    cdef void shutdown_write(self) noexcept
    cdef void close(self) noexcept
    cdef void reset(self) noexcept


cdef class Reactor:
    cdef int epfd
    cdef readonly object loop
    cdef object on_fault            # called with an exception that a handler let through
    cdef epoll_event* events
    cdef char* read_block
    cdef char* rbuf                 # READ_SIZE bytes, with room on both sides; valid until the next recv into it
    cdef char* scratch              # SCRATCH_SIZE bytes for heads under construction
    cdef Wheel wheel
    cdef void** graveyard           # streams closed in this batch, released after it
    cdef size_t dead, dead_cap
    cdef list retired               # handlers replaced in this batch, which may still be running
    cdef list ending                # handlers that want on_round_end
    cdef list deferred              # streams that used up their turn and still have something to read
    cdef object tick_handle
    cdef bint running
    cdef int pipes[64][2]           # idle pipes, see splice.pyx
    cdef int idle_pipes
    cdef readonly uint64_t streams  # open fds under its care
    cdef public uint64_t clients    # of them: connections of clients
    cdef public uint64_t max_clients    # accepting stops there, so that fds remain for endpoints
    cdef readonly uint64_t faults
    cdef uint64_t random_state
    cdef public double lag          # seconds the last tick came late
    cdef const uint64_t* generation     # grows when another worker has changed something, see watch; or NULL
    cdef uint64_t seen              # of it
    cdef object on_generation

    cdef int add(self, Stream stream) except -1
    cdef void forget(self, Stream stream) noexcept
    cdef void bury(self, Stream stream) noexcept
    cdef void defer(self, Stream stream)
    cdef void at_round_end(self, Handler handler)
    cdef int _end_round(self)
    cdef int _round(self)
    cdef void _look_around(self)
    cdef void _release_dead(self)
    cdef int _dispatch(self, int n, int* at) except -1
    cdef int _deliver(self, Stream stream, uint32_t flags) except -1
    cdef void _fault(self, Stream stream, object error)
    cdef int _expire(self)
    cdef int _expire_bare(self, Handler handler)
    cdef void _fault_of(self, Handler handler, object error)
    cdef uint64_t random(self) noexcept


cdef Stream open_stream(Reactor reactor, int fd, Handler handler)
cdef int register_stream(Stream stream, Reactor reactor, int fd, Handler handler) except -1
