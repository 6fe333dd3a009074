# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The worker's readiness loop below uvloop: one edge-triggered epoll set whose fd uvloop watches.

Strategy: uvloop wakes us once per batch, not once per event. Each Stream is registered once, for both directions and
edge-triggered, so back-pressure, keep-alive and write interest need no epoll_ctl, and a new connection costs one call
where libuv's poll handles cost four (it probes the fd with ADD and DEL first) and a Python object each. Handlers are
called through C virtual methods.

Invariants:
- A Stream stays alive while it is registered (the Reactor holds a reference) and until the end of the batch in which
  it is closed: an event of the same batch may still name it.
- `readable` is only cleared by a recv that did not fill its buffer, and never once the peer hung up: with edge
  triggering nothing would tell us again.
- An exception that leaves a handler costs that connection alone (`on_fault`).
"""

from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

import os

cimport cython

from lbd.engine.buffer cimport buffer_append, buffer_consume, buffer_free, buffer_len, buffer_ptr
from lbd.engine cimport sys as c
from lbd.engine.shared cimport Shared
from lbd.engine.sys cimport monotonic_us, ssize_t
from lbd.engine.timers cimport TICK_MS, Timer, timer_set, timer_unlink, wheel_expired, wheel_init
from lbd.engine.xorshift cimport next_random

cdef enum:
    MAX_EVENTS = 256
    # Rounds before uvloop gets its turn (signals, admin): a busy worker saves the outer wake-up, an idle one sees one round.
    MAX_ROUNDS = 8
    BUSY_BATCH = 16


TICK_SECONDS = float(TICK_MS) / 1000.0


cdef class Handler:
    """What a Stream means: a listener, one side of an exchange, an end of a tunnel."""

    cdef int on_readable(self, Stream stream) except -1:
        return 0

    cdef int on_writable(self, Stream stream) except -1:
        return 0

    cdef int on_timeout(self, Stream stream) except -1:
        stream.close()
        return 0

    cdef int on_fault(self, Stream stream) except -1:
        """Last resort after an exception: release everything the handler holds."""
        stream.reset()
        return 0

    cdef int on_round_end(self) except -1:
        """All events of a round have been handled (see Reactor.at_round_end)."""
        return 0


@cython.no_gc
cdef class Stream:
    """A non-blocking socket owned by the engine, with what is still to be written to it and one deadline."""

    def __cinit__(self):
        self.fd = -1
        self.timer.owner = <void*> self

    def __dealloc__(self):
        timer_unlink(&self.timer)
        buffer_free(&self.out)
        if self.fd >= 0:
            c.close(self.fd)

    def __repr__(self):
        return f"<Stream fd={self.fd} out={buffer_len(&self.out)}{' closed' if self.closed else ''}>"

    cdef ssize_t recv(self, char* p, size_t n) noexcept:
        """Bytes read, 0 at the end of the stream, IO_AGAIN, or IO_ERROR with `error` set."""
        cdef ssize_t got
        while True:
            got = c.recv(self.fd, p, n, 0)
            if got > 0:
                if <size_t> got < n and not self.hangup:
                    self.readable = False
                return got
            if got == 0:
                self.hangup = True
                return 0
            if c.errno == c.EINTR:
                continue
            if c.errno == c.EAGAIN:
                self.readable = False
                return IO_AGAIN
            self.error = c.errno
            return IO_ERROR

    cdef ssize_t send(self, const char* p, size_t n) noexcept:
        """Bytes the kernel took, IO_AGAIN (then on_writable follows), or IO_ERROR with `error` set."""
        cdef ssize_t sent
        while True:
            sent = c.send(self.fd, p, n, c.MSG_NOSIGNAL)
            if sent >= 0:
                return sent
            if c.errno != c.EINTR:
                return self._not_sent()

    cdef ssize_t send2(self, const char* a, size_t an, const char* b, size_t bn) noexcept:
        """send() of two pieces in one call."""
        cdef c.msghdr message
        cdef c.iovec parts[2]
        cdef ssize_t sent
        memset(&message, 0, sizeof(message))
        parts[0].iov_base = <void*> a
        parts[0].iov_len = an
        parts[1].iov_base = <void*> b
        parts[1].iov_len = bn
        message.msg_iov = parts
        message.msg_iovlen = 2
        while True:
            sent = c.sendmsg(self.fd, &message, c.MSG_NOSIGNAL)
            if sent >= 0:
                return sent
            if c.errno != c.EINTR:
                return self._not_sent()

    cdef ssize_t _not_sent(self) noexcept:
        """What errno means for a send that took nothing."""
        if c.errno == c.EAGAIN:
            self.blocked = True
            return IO_AGAIN
        self.error = c.errno
        return IO_ERROR

    cdef int write(self, const char* p, size_t n) noexcept:
        """Send all, or keep what the kernel does not take: WRITE_DONE, WRITE_BLOCKED (on_writable follows), WRITE_ERROR."""
        cdef ssize_t sent
        if self.out.data == NULL:
            sent = self.send(p, n)
            if sent == <ssize_t> n:
                return WRITE_DONE
            if sent == IO_ERROR:
                return WRITE_ERROR
            if sent > 0:
                p += sent
                n -= <size_t> sent
            self.blocked = True
        if not buffer_append(&self.out, p, n):
            self.error = c.ENOMEM
            return WRITE_ERROR
        return WRITE_BLOCKED

    cdef int write2(self, const char* a, size_t an, const char* b, size_t bn) noexcept:
        """write() of two pieces in one call."""
        cdef ssize_t sent
        if bn == 0:
            return self.write(a, an)
        if an == 0:
            return self.write(b, bn)
        if self.out.data == NULL:
            sent = self.send2(a, an, b, bn)
            if sent == <ssize_t> (an + bn):
                return WRITE_DONE
            if sent == IO_ERROR:
                return WRITE_ERROR
            self.blocked = True
            if sent > 0:
                if <size_t> sent >= an:
                    b += <size_t> sent - an
                    bn -= <size_t> sent - an
                    an = 0
                else:
                    a += sent
                    an -= <size_t> sent
        if not (buffer_append(&self.out, a, an) and buffer_append(&self.out, b, bn)):
            self.error = c.ENOMEM
            return WRITE_ERROR
        return WRITE_BLOCKED

    cdef int flush(self) noexcept:
        """Send what write() kept: WRITE_DONE when nothing is left."""
        cdef ssize_t sent
        while self.out.data != NULL:
            sent = self.send(buffer_ptr(&self.out), buffer_len(&self.out))
            if sent == IO_ERROR:
                return WRITE_ERROR
            if sent == IO_AGAIN:
                return WRITE_BLOCKED
            buffer_consume(&self.out, <size_t> sent)
        return WRITE_DONE

    cdef void uncork(self) noexcept:
        """Send what waits for company, if anything does (see tls.pyx)."""

    cdef void set_timer(self, uint64_t after_ms) noexcept:
        timer_set(&self.reactor.wheel, &self.timer, after_ms)

    cdef void shutdown_write(self) noexcept:
        c.shutdown(self.fd, c.SHUT_WR)

    cdef void close(self) noexcept:
        if self.closed:
            return
        self.closed = True
        timer_unlink(&self.timer)
        c.close(self.fd)                 # leaves the epoll set by itself: the fd is never duplicated
        self.fd = -1
        buffer_free(&self.out)
        self.reactor.bury(self)

    cdef void reset(self) noexcept:
        """Close with RST: the peer must not take what it has for the whole."""
        cdef c.linger now
        if self.closed:
            return
        now.l_onoff = 1
        now.l_linger = 0
        c.setsockopt(self.fd, c.SOL_SOCKET, c.SO_LINGER, &now, sizeof(now))
        self.close()


cdef Stream open_stream(Reactor reactor, int fd, Handler handler):
    """A Stream on a non-blocking fd, registered; owns the fd from here on, also when this raises."""
    cdef Stream stream = Stream.__new__(Stream)
    stream.can_splice = True
    register_stream(stream, reactor, fd, handler)
    return stream


cdef int register_stream(Stream stream, Reactor reactor, int fd, Handler handler) except -1:
    """Let a stream that was just made, of whatever class, serve this fd."""
    stream.fd = fd
    stream.reactor = reactor
    stream.handler = handler
    reactor.add(stream)
    return 0


cdef class Reactor:
    """One per worker: epoll set, timer wheel, the shared read area."""

    def __cinit__(self, loop, on_fault):
        self.epfd = c.epoll_create1(c.EPOLL_CLOEXEC)
        if self.epfd < 0:
            raise OSError(c.errno, "epoll_create1")
        self.loop = loop
        self.on_fault = on_fault
        self.events = <c.epoll_event*> PyMem_Malloc(MAX_EVENTS * sizeof(c.epoll_event))
        self.read_block = <char*> PyMem_Malloc(READ_ROOM_BEFORE + READ_SIZE + READ_ROOM_AFTER)
        self.scratch = <char*> PyMem_Malloc(SCRATCH_SIZE)
        self.dead_cap = 1024
        self.graveyard = <void**> PyMem_Malloc(self.dead_cap * sizeof(void*))
        if not (self.events and self.read_block and self.scratch and self.graveyard):
            raise MemoryError
        self.rbuf = self.read_block + READ_ROOM_BEFORE
        self.deferred = []
        self.ending = []
        self.retired = []
        self.max_clients = 1 << 62
        self.random_state = int.from_bytes(os.urandom(8), "little") | 1
        wheel_init(&self.wheel, monotonic_us() // 1000)

    def __dealloc__(self):
        cdef int i
        for i in range(self.idle_pipes):
            c.close(self.pipes[i][0])
            c.close(self.pipes[i][1])
        if self.epfd >= 0:
            c.close(self.epfd)
        PyMem_Free(self.events)
        PyMem_Free(self.read_block)
        PyMem_Free(self.scratch)
        PyMem_Free(self.graveyard)

    def __repr__(self):
        return f"<Reactor streams={self.streams}>"

    def start(self):
        """Let uvloop watch the epoll fd, and tick for deadlines."""
        self.running = True
        self.loop.add_reader(self.epfd, self._poll)
        self.tick_handle = self.loop.call_later(TICK_SECONDS, self._tick, self.loop.time())

    def stop(self):
        self.running = False
        self.loop.remove_reader(self.epfd)
        if self.tick_handle is not None:
            self.tick_handle.cancel()

    cdef int add(self, Stream stream) except -1:
        cdef c.epoll_event event
        event.events = c.EPOLLIN | c.EPOLLOUT | c.EPOLLRDHUP | c.EPOLLET
        event.data.ptr = <void*> stream
        if c.epoll_ctl(self.epfd, c.EPOLL_CTL_ADD, stream.fd, &event) < 0:
            raise OSError(c.errno, "epoll_ctl: " + c.strerror(c.errno).decode())
        Py_INCREF(stream)
        self.streams += 1
        return 0

    cdef void forget(self, Stream stream) noexcept:
        """No more events of its fd, which others have, too: closing ours would leave it in the epoll set."""
        cdef c.epoll_event event
        c.epoll_ctl(self.epfd, c.EPOLL_CTL_DEL, stream.fd, &event)

    cdef void bury(self, Stream stream) noexcept:
        cdef void** bigger
        self.streams -= 1
        if self.dead == self.dead_cap:
            bigger = <void**> PyMem_Realloc(self.graveyard, 2 * self.dead_cap * sizeof(void*))
            if bigger == NULL:
                return                   # leaks one object; better than a dangling event
            self.graveyard = bigger
            self.dead_cap *= 2
        self.graveyard[self.dead] = <void*> stream
        self.dead += 1

    cdef void defer(self, Stream stream):
        """Give others a turn, then call on_readable again though no event will come (the edge is spent)."""
        if not stream.deferred:
            stream.deferred = True
            self.deferred.append(stream)

    cdef void at_round_end(self, Handler handler):
        """Call on_round_end when this round's events have been handled: time to send what was gathered."""
        self.ending.append(handler)

    cdef int _end_round(self):
        cdef Handler handler
        cdef list ending
        while self.ending:
            ending, self.ending = self.ending, []
            for handler in ending:
                try:
                    handler.on_round_end()
                except Exception as error:
                    self._fault_of(handler, error)
        return 0

    def _poll(self):
        """uvloop's callback: the epoll set has events."""
        cdef int n, _rounds
        for _rounds in range(MAX_ROUNDS):
            n = self._round()
            if n < BUSY_BATCH and not self.deferred:
                return
        if self.deferred and self.running:
            self.loop.call_soon(self._poll)

    cdef int _round(self):
        cdef int n = c.epoll_wait(self.epfd, self.events, MAX_EVENTS, 0)
        cdef int at = 0
        cdef list turn = self.deferred
        cdef Stream stream
        self.wheel.now = monotonic_us() // 1000
        if self.generation != NULL and self.generation[0] != self.seen:
            self._look_around()
        while at < n:
            try:
                self._dispatch(n, &at)
            except Exception as error:
                self._fault(<Stream> self.events[at].data.ptr, error)
                at += 1
        if turn:
            self.deferred = []
            for stream in turn:
                stream.deferred = False
                if not stream.closed:
                    try:
                        stream.handler.on_readable(stream)
                    except Exception as error:
                        self._fault(stream, error)
        if self.ending:
            self._end_round()
        self._release_dead()
        return n

    cdef void _release_dead(self):
        """Let go of what was closed in this batch. Only now: methods of a Stream or its Handler may still be running
        when it closes itself, and C calls hold no reference."""
        cdef Stream stream
        while self.dead:
            self.dead -= 1
            stream = <Stream> self.graveyard[self.dead]
            stream.handler = None
            Py_DECREF(stream)
        if self.retired:
            self.retired = []

    cdef int _dispatch(self, int n, int* at) except -1:
        cdef Stream stream
        while at[0] < n:
            stream = <Stream> self.events[at[0]].data.ptr
            if not stream.closed:
                self._deliver(stream, self.events[at[0]].events)
            at[0] += 1
        return 0

    cdef int _deliver(self, Stream stream, uint32_t flags) except -1:
        if flags & (c.EPOLLRDHUP | c.EPOLLHUP | c.EPOLLERR):
            stream.hangup = True
            stream.broken = stream.broken or flags & c.EPOLLERR != 0
            stream.readable = True
            flags |= c.EPOLLOUT
        elif flags & c.EPOLLIN:
            stream.readable = True
        if stream.blocked and flags & c.EPOLLOUT:
            stream.blocked = False
            stream.handler.on_writable(stream)
            if stream.closed:
                return 0
        if stream.readable:
            stream.handler.on_readable(stream)
        return 0

    cdef void _fault(self, Stream stream, object error):
        cdef Handler handler = stream.handler
        self.faults += 1
        try:
            self.on_fault(error)
            if handler is not None:
                handler.on_fault(stream)
        except Exception as second:
            self.on_fault(second)
            stream.reset()

    cdef void _look_around(self):
        self.seen = self.generation[0]
        try:
            self.on_generation()
        except Exception as error:
            self.faults += 1
            self.on_fault(error)

    def watch(self, Shared shared not None, on_generation not None):
        """Call on_generation() before anything else when another process has changed the state of endpoints."""
        self.generation = shared.generation
        self.seen = self.generation[0]
        self.on_generation = on_generation

    def _tick(self, planned):
        """Every TICK_MS: expire deadlines, measure how late the loop is."""
        now = self.loop.time()
        self.lag = max(0.0, now - planned - TICK_SECONDS)
        if self.running:
            self.tick_handle = self.loop.call_later(TICK_SECONDS, self._tick, now)
        self.wheel.now = monotonic_us() // 1000
        if self.generation != NULL and self.generation[0] != self.seen:
            self._look_around()
        self._expire()
        if self.ending:
            self._end_round()
        self._release_dead()
        if self.deferred and self.running:
            self.loop.call_soon(self._poll)

    cdef int _expire(self):
        cdef Timer* timer
        cdef Stream stream
        while True:
            timer = wheel_expired(&self.wheel)
            if timer == NULL:
                return 0
            if timer.bare:
                self._expire_bare(<Handler> timer.owner)
                continue
            stream = <Stream> timer.owner
            try:
                stream.handler.on_timeout(stream)
            except Exception as error:
                self._fault(stream, error)

    cdef int _expire_bare(self, Handler handler):
        """A deadline of something that has no stream of its own: one of many on a connection."""
        try:
            handler.on_timeout(None)
        except Exception as error:
            self._fault_of(handler, error)
        return 0

    cdef void _fault_of(self, Handler handler, object error):
        self.faults += 1
        try:
            self.on_fault(error)
            handler.on_fault(None)
        except Exception as second:
            self.on_fault(second)

    cdef uint64_t random(self) noexcept:
        """Ids and weighted picks, nothing secret."""
        return next_random(&self.random_state)
