# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""ConnectionPool: the upstream connections of one endpoint in one worker.

Strategy: idle connections form a LIFO stack (the warmest is reused, the coldest run into their idle timeout); a
WaitQueue holds those who wait when `max_open` is reached. A returned or closed connection serves the first in the
queue before anything else. All operations are O(1). How long a connection may be idle is learned (idle_limit.pyx), one
that is past that time may stay open as a witness; connections are opened ahead of need in warmth.pyx.

Invariants: open counts connecting, busy and idle connections; a connection is in the idle stack exactly when
`idle` is set, the longest idle at the bottom; any byte or end on an idle connection closes it (RFC 9112 9.5: nothing may
come unasked).
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memset

cimport cython

from lbd.engine cimport sys as c
from lbd.engine.endpoint_socket cimport set_options, write_address
from lbd.engine.idle_limit cimport IdleLimit
from lbd.engine.proxy_protocol cimport PROXY_V2_ROOM
from lbd.engine.reactor cimport IO_AGAIN, Handler, Reactor, Stream, open_stream, register_stream
from lbd.engine.reasons cimport R_CONNECT_FAILED, R_CONNECT_TIMEOUT, R_NONE, R_UPSTREAM_TLS
from lbd.engine.timers cimport timer_set, timer_unlink
from lbd.engine.tls cimport ClientTls
from lbd.engine.tls_stream cimport HANDSHAKE_AGAIN, HANDSHAKE_DONE, TlsStream
from lbd.engine.waitqueue cimport Queued, WaitQueue
from lbd.engine.warmth cimport lost_unused, proved_good, want_warm, warm_up
from lbd.engine.witness cimport becomes_witness, note_idle_end


cdef enum:
    JOIN_MAX = 100          # exchanges that wait for one shared connection before another is made


@cython.no_gc
cdef class Waiter(Queued):
    """Someone who wants an upstream connection."""

    cdef int on_connection(self, PooledConnection connection) except -1:
        return 0

    cdef int on_shared(self, SharedConnection connection) except -1:
        """The connection that it asked for is open, and serves others as well."""
        return self.on_connection(connection.new_stream())

    cdef int on_no_connection(self, int reason) except -1:
        return 0

    cdef int on_pushed_out(self) except -1:
        """The queue was full, and someone more urgent has its place now."""
        return 0

    cdef PooledConnection fresh(self):
        """A connection object of the protocol that this waiter speaks."""
        raise NotImplementedError

    cdef size_t preamble(self, char* out, int version) noexcept:
        """Write the PROXY header for the waiter's client (PROXY_V2_ROOM bytes of room); its length."""
        return 0

    cdef bint takes(self, PooledConnection connection):
        """May a used connection serve it? Tunnels always want their own."""
        return False


@cython.no_gc
cdef class PooledConnection(Handler):
    """An upstream connection; the protocol's subclass says what happens while it is busy."""

    cdef int on_writable(self, Stream stream) except -1:
        if not self.connecting:
            return 0
        if self.connected:
            stream.flush()
        else:
            self.finish_connect(R_NONE)
        return 0

    cdef int on_readable(self, Stream stream) except -1:
        if self.connecting:
            if stream.hangup or self.connected:
                self.finish_connect(R_NONE)
            return 0
        return self.on_idle_readable()

    cdef int on_idle_readable(self) except -1:
        """The endpoint closed or spoke out of turn; or the event is an old one, of bytes that have been read since."""
        if not self.is_silent():
            if self.idle:
                note_idle_end(self.pool, self)
            self.drop(False)
        return 0

    cdef int on_idle_timeout(self) except -1:
        """It has been unused for long enough, or the limit has changed since."""
        cdef ConnectionPool pool = self.pool
        cdef uint64_t wait = pool.idle_wait(self)
        if wait:
            self.stream.set_timer(wait)
        elif not becomes_witness(pool, self):
            lost_unused(pool, self)
            return self.end_idle()
        return 0

    cdef int end_idle(self) except -1:
        """Close it while nothing is under way."""
        self.drop(False)
        return 0

    cdef bint is_silent(self) noexcept:
        """Has the endpoint sent nothing that is still to be read, not even its end? The call is made in doubt only."""
        cdef char byte
        return not self.stream.readable or self.stream.recv(&byte, 1) == IO_AGAIN

    cdef int on_timeout(self, Stream stream) except -1:
        if self.connecting:
            self.finish_connect(R_CONNECT_TIMEOUT)
        elif self.idle:
            return self.on_idle_timeout()
        else:
            self.drop(False)
        return 0

    cdef int on_fault(self, Stream stream) except -1:
        self.drop(True)
        return 0

    cdef void finish_connect(self, int reason):
        """TCP is connected, or TLS has something to go on with: hand over when all is done, or tell the waiter why not."""
        cdef Waiter waiter = self.waiter
        cdef int error = 0
        cdef c.socklen_t size = sizeof(error)
        if reason == R_NONE and not self.connected:
            c.getsockopt(self.stream.fd, c.SOL_SOCKET, c.SO_ERROR, &error, &size)
            if error:
                reason = R_CONNECT_FAILED
            else:
                self.connected = True
                self._send_preamble()
        if reason == R_NONE and self.pool.tls is not None:
            reason = self._secure()
            if reason < 0:
                return                          # the handshake goes on
        self.connecting = False
        self.waiter = None
        self.stream.set_timer(0)
        if reason != R_NONE:
            self.pool.connect_failed()
            self.stream.error = error
            self.drop(False)
            if waiter is not None:
                waiter.on_no_connection(reason)
            if isinstance(self, SharedConnection):
                self.pool.refuse_queue(reason)
        else:
            self.on_ready(waiter)

    cdef int on_ready(self, Waiter waiter) except -1:
        """Connected; waiter: who asked for it, or None when nobody waits any more."""
        if waiter is None:
            self.drop(False)
            return 0
        return waiter.on_connection(self)

    cdef void _send_preamble(self):
        """The PROXY header, before anything else and in plain text."""
        cdef char[PROXY_V2_ROOM] header
        cdef size_t n
        if self.pool.proxy_version and self.waiter is not None:
            n = self.waiter.preamble(header, self.pool.proxy_version)
            Stream.write(self.stream, header, n)

    cdef int _secure(self):
        """A step of the TLS handshake: R_NONE when it is done, -1 while it goes on, or a Reason."""
        cdef TlsStream stream = <TlsStream> self.stream
        cdef int state = stream.handshake()
        cdef str why
        if state == HANDSHAKE_AGAIN:
            return -1
        if state == HANDSHAKE_DONE:
            return R_NONE
        why = stream.failure()
        if self.pool.on_problem is not None and why != self.pool.problem:
            self.pool.problem = why             # said once, not for each request
            self.pool.on_problem(why)
        return R_UPSTREAM_TLS

    cdef void drop(self, bint reset) noexcept:
        """Close for good and let the pool use the place."""
        cdef ConnectionPool pool = self.pool
        if self.idle:
            pool.forget_idle(self)
        if self.stream is not None:
            if reset:
                self.stream.reset()
            else:
                self.stream.close()
            self.stream = None
        if self.counted:
            self.counted = False
            pool.open -= 1
            pool.stats.open -= 1
            pool.on_closed()


@cython.no_gc
cdef class SharedConnection(PooledConnection):
    """A connection that serves several exchanges at a time, each through a stream (see upstream_http2.pyx)."""

    cdef PooledConnection new_stream(self):
        """The Upstream of one more exchange."""
        raise NotImplementedError

    cdef uint32_t room(self) noexcept:
        """How many more exchanges it takes now."""
        return 0

    cdef int leave(self) except -1:
        """Take no more exchanges; end when those under way have ended."""
        raise NotImplementedError

    cdef int on_goaway(self, uint32_t error) except -1:
        """The endpoint takes no more exchanges on it."""
        raise NotImplementedError

    cdef int on_stream_closed(self, bint refused) except -1:
        """An exchange has let go of its stream; refused: the endpoint would not have it."""
        raise NotImplementedError

    cdef int on_settled(self) except -1:
        """The endpoint has said how much it takes."""
        raise NotImplementedError


cdef class Protocol:
    """What is spoken to the endpoints of a cluster: makes connection objects (see upstream_http1.pyx)."""

    cdef PooledConnection new_connection(self):
        raise NotImplementedError


@cython.no_gc_clear
cdef class ConnectionPool(Handler):
    """Limits come from compile: counts, and milliseconds (0 = none). `warm` connections are kept ready, if there is a
    protocol to open them with."""

    def __cinit__(self, Reactor reactor not None, host, int port, **settings):
        self.reactor = reactor
        self.timer.owner = <void*> self
        self.timer.bare = True
        self.queue = WaitQueue.__new__(WaitQueue)
        self.configure(**settings)
        if host is not None:
            self.set_address(host, port)

    def configure(self, *, unsigned int max_open, unsigned int max_idle, unsigned int max_queue,
                  unsigned int max_requests, connect_ms, idle_ms, lifetime_ms, ClientTls tls=None, bytes tls_name=b"",
                  bint tls_name_is_ip=False, int proxy_version=0, unsigned int keepalive_s=0,
                  unsigned int user_timeout_ms=0, bytes congestion=None, bint fast_open=False, bint learn_idle=True,
                  unsigned int warm=0, Protocol protocol=None):
        """All of its settings. Connections that would not be made so any more are not used again: idle ones close now, the
        others when what is under way on them has finished."""
        cdef tuple manner = (tls, tls_name, tls_name_is_ip, proxy_version, keepalive_s, user_timeout_ms, congestion,
                             fast_open, None if protocol is None else protocol.key)
        if self.idle_limit is None or self.idle_ms != <uint64_t> idle_ms or self.learns != learn_idle:
            self.idle_limit = IdleLimit(idle_ms)
        self.learns = learn_idle
        self.protocol = protocol
        self.warm = 0 if protocol is None or proxy_version else min(warm, max_idle)
        self.max_open, self.max_idle, self.max_queue, self.max_requests = max_open, max_idle, max_queue, max_requests
        self.connect_ms, self.idle_ms, self.lifetime_ms = connect_ms, idle_ms, lifetime_ms
        self.tls, self.tls_name, self.tls_name_is_ip = tls, tls_name, tls_name_is_ip
        self.proxy_version = proxy_version
        self.keepalive_s, self.user_timeout_ms = keepalive_s, user_timeout_ms
        self.congestion, self.fast_open = congestion, fast_open
        if manner != self.manner:
            self.manner = manner
            self.one_each = False
            self.era += 1
            self._let_go()

    def set_address(self, str host not None, int port):
        """Where to connect: an IP literal, or `unix:` and a path. Connections to a former address are not used again: idle
        ones close now, the others when what is under way on them has finished."""
        cdef c.sockaddr_storage made
        cdef c.socklen_t size
        memset(&made, 0, sizeof(made))
        size = write_address(&made, host, port)
        if size == self.address_len and memcmp(&made, &self.address, size) == 0:
            return
        self.address = made
        self.address_len = size
        self.era += 1
        self._let_go()

    def __dealloc__(self):
        timer_unlink(&self.timer)

    def __repr__(self):
        return f"<ConnectionPool open={self.open} idle={self.idle_count} queued={self.queue_len}>"

    @property
    def idle_seconds(self):
        """How long a connection may have been unused and is used again: as configured, or less when it was learned."""
        return self.idle_limit.ms / 1000.0

    cdef PooledConnection take_idle(self):
        """The most recently used idle connection, or None."""
        cdef uint64_t now = self.reactor.wheel.now
        cdef PooledConnection top
        if self.warm:
            want_warm(self)
        if self.shared is not None:
            top = self.share()
            if top is not None:
                return top
        while True:
            top = self.idle_top
            if top is None or now - top.idle_since >= self.idle_limit.ms:       # so are those below it
                return None
            if top.expires and top.expires <= now:
                top.drop(False)
                continue
            self.forget_idle(top)
            top.stream.set_timer(0)
            return top

    cdef PooledConnection share(self):
        """A stream on the shared connection with the fewest exchanges, or None when all are full."""
        cdef SharedConnection one
        cdef SharedConnection best = None
        for one in self.shared:
            if (best is None or one.busy < best.busy) and one.room() > 0:
                best = one
        return None if best is None else best.new_stream()

    cdef int serve_queue(self) except -1:
        """Shared connections have room: for those who wait."""
        cdef Waiter first
        cdef PooledConnection stream
        while self.queue.length and self.shared is not None:
            first = <Waiter> self.queue.first()
            stream = self.share()
            if stream is None:
                return 0
            if not first.takes(stream):
                stream.drop(False)
                return 0
            self.leave_queue(first)
            first.on_connection(stream)
        return 0

    cdef int refuse_queue(self, int reason) except -1:
        """A connection that many waited for could not be made: each may try elsewhere."""
        cdef uint32_t _turn
        cdef Waiter first
        if self.joining:
            return 0
        for _turn in range(self.queue_len):
            first = <Waiter> self.queue.first()
            if first is None:
                return 0
            self.leave_queue(first)
            first.on_no_connection(reason)
        return 0

    cdef bint is_full(self) noexcept:
        return self.max_open != 0 and self.open >= self.max_open

    cdef bint is_joining(self) noexcept:
        """Is it better to wait for a connection that is being made, which will serve many, than to make another?"""
        return self.joining != 0 and self.queue_len < self.joining * JOIN_MAX

    cdef bint has_room(self) noexcept:
        """Can an exchange be served without waiting for another to end?"""
        cdef SharedConnection one
        if self.idle_count or not self.is_full():
            return True
        if self.shared is not None:
            for one in self.shared:
                if one.room() > 0:
                    return True
        return False

    cdef void connect_failed(self) noexcept:
        self.stats.connect_failures += 1
        if self.on_connect_failed is not None:
            self.on_connect_failed()

    cdef int connect(self, Waiter waiter, PooledConnection fresh) except -1:
        """Start a connection for the waiter. 0, or minus a Reason when it failed at once (the waiter is not called)."""
        cdef int fd = c.socket(self.address.ss_family, c.SOCK_STREAM | c.SOCK_NONBLOCK | c.SOCK_CLOEXEC, 0)
        cdef Stream stream
        self.stats.connects += 1
        if fd < 0:
            self.connect_failed()
            return -<int> R_CONNECT_FAILED
        set_options(self, fd)
        if c.connect(fd, <c.sockaddr*> &self.address, self.address_len) < 0 and c.errno != c.EINPROGRESS:
            c.close(fd)
            self.connect_failed()
            return -<int> R_CONNECT_FAILED
        try:
            if self.tls is None:
                stream = open_stream(self.reactor, fd, fresh)
            else:
                stream = self.tls.open(self.tls_name, self.tls_name_is_ip)
                register_stream(stream, self.reactor, fd, fresh)
        except OSError:
            self.connect_failed()
            return -<int> R_CONNECT_FAILED
        stream.blocked = True
        fresh.stream = stream
        fresh.pool = self
        fresh.connecting = True
        fresh.waiter = waiter
        fresh.counted = True
        fresh.era = self.era
        if self.lifetime_ms:                # spread by up to 10 % so that connections of one burst do not end together
            fresh.expires = (self.reactor.wheel.now + self.lifetime_ms
                             - self.reactor.random() % (self.lifetime_ms // 10 + 1))
        if not self.one_each and isinstance(fresh, SharedConnection):
            (<SharedConnection> fresh).joined = True
            self.joining += 1
        self.open += 1
        self.stats.open += 1
        stream.set_timer(self.connect_ms)
        return 0

    cdef int make_room(self, bint even_usable) except -1:
        """The pool is full: close an unused connection that is too old to be used again, or any unused one. 1 when there
        was one; a shared one ends with the round, and then its place goes to the queue."""
        cdef SharedConnection one
        if self.idle_top is not None and (even_usable or self.is_worn(self.idle_top)):
            self.idle_top.drop(False)
            return 1
        for one in self.shared or ():
            if one.resting and (even_usable or self.is_worn(one)):
                one.leave()
                return 1
        return 0

    cdef int enqueue(self, Waiter waiter) except -1:
        """Wait for a connection. 0 when the queue is full of others no less urgent; else a less urgent one makes place."""
        cdef Waiter out
        if self.queue.length >= self.max_queue:
            out = <Waiter> self.queue.expendable(waiter.urgency)
            if out is None:
                return 0
            self.leave_queue(out)
            if self.pushed_out is None:
                self.pushed_out = []
                self.reactor.at_round_end(self)     # not at once: it may share the worker's buffers with the waiter
            self.pushed_out.append(out)
        self.queue.join(waiter)
        self.queue_len += 1
        self.stats.queued += 1
        return 1

    cdef void leave_queue(self, Waiter waiter) noexcept:
        if not waiter.queued:
            return
        self.queue.leave(waiter)
        self.queue_len -= 1
        self.stats.queued -= 1

    cdef int give_back(self, PooledConnection connection) except -1:
        """A clean connection with nothing under way: to the first in the queue, to the stack, or closed."""
        connection.requests += 1
        connection.idle_since = self.reactor.wheel.now
        if self.warm_failures:
            proved_good(self)
        if not connection.is_silent():
            connection.drop(False)              # bytes behind the response, of which no event will tell
            return 0
        if (self.closed or connection.era != self.era or connection.stream.hangup
                or self.proxy_version           # its PROXY header names one client
                or (self.max_requests and connection.requests >= self.max_requests)
                or (connection.expires and connection.expires <= self.reactor.wheel.now)):
            connection.drop(False)
            return 0
        return self.keep(connection)

    cdef int keep(self, PooledConnection connection) except -1:
        """One that may serve, and is unused from now on."""
        cdef Waiter first = <Waiter> self.queue.first()
        if first is not None:
            if not first.takes(connection):
                connection.drop(False)          # makes room to connect for the first in the queue
                return 0
            self.leave_queue(first)
            return first.on_connection(connection)
        if self.idle_count >= self.max_idle:
            connection.drop(False)
            return 0
        connection.idle = True
        connection.idle_prev = NULL
        connection.idle_next = self.idle_top
        if self.idle_top is not None:
            self.idle_top.idle_prev = <void*> connection
        self.idle_top = connection
        self.idle_count += 1
        self.stats.idle += 1
        connection.stream.set_timer(max(self.idle_wait(connection), <uint64_t> 1))
        return 0

    cdef void forget_idle(self, PooledConnection connection) noexcept:
        cdef PooledConnection after = connection.idle_next
        connection.idle = False
        if self.witness == <void*> connection:
            self.witness = NULL
        if after is not None:
            after.idle_prev = connection.idle_prev
        if connection.idle_prev == NULL:
            self.idle_top = after
        else:
            (<PooledConnection> connection.idle_prev).idle_next = after
        connection.idle_prev = NULL
        connection.idle_next = None
        self.idle_count -= 1
        self.stats.idle -= 1

    cdef int on_closed(self) except -1:
        """A place is free: connect for the first in the queue."""
        cdef Waiter first
        cdef int status
        if self.warm:
            want_warm(self)
        while self.queue.length and not self.is_full() and not self.is_joining():
            first = <Waiter> self.queue.first()
            self.leave_queue(first)
            status = self.connect(first, first.fresh())
            if status < 0:
                first.on_no_connection(-status)
        return 0

    cdef void close_idle(self) noexcept:
        self.closed = True
        self._let_go()

    def close_unused(self):
        """Close what is idle now; the pool goes on. Shared connections take no more exchanges."""
        self._let_go()

    cdef void _let_go(self) noexcept:
        """Idle connections close, shared ones take no more exchanges."""
        cdef SharedConnection one
        while self.idle_top is not None:
            self.idle_top.drop(False)
        for one in list(self.shared or ()):
            one.leave()

    # how long connections stay unused ----------------------------------------------------------------------------

    cdef uint64_t idle_wait(self, PooledConnection connection) noexcept:
        """Milliseconds for which an idle connection may still be used."""
        cdef uint64_t now = self.reactor.wheel.now
        cdef uint64_t due = connection.idle_since + self.idle_limit.ms
        if connection.expires and connection.expires < due:
            due = connection.expires
        return due - now if due > now else 0

    cdef bint is_worn(self, PooledConnection connection) noexcept:
        """An idle connection that is not to be used again."""
        return self.idle_wait(connection) == 0

    # the pool's own events ---------------------------------------------------------------------------------------

    cdef void set_usable(self, bint usable) noexcept:
        """Whether exchanges may go to the endpoint now: then connections are kept ready."""
        if usable == self.usable:
            return
        self.usable = usable
        self.warm_failures = 0
        self.warm_after = 0
        timer_set(&self.reactor.wheel, &self.timer, 0)
        if usable:
            want_warm(self)

    cdef int on_timeout(self, Stream stream) except -1:
        return warm_up(self)

    cdef int on_round_end(self) except -1:
        cdef Waiter out
        while self.pushed_out:
            out = self.pushed_out.pop()
            out.on_pushed_out()
        self.pushed_out = None
        return 0

    cdef int on_fault(self, Stream stream) except -1:
        """One of those that were pushed out failed: on to the others."""
        if self.pushed_out is not None:
            self.reactor.at_round_end(self)
        return 0
