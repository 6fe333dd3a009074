# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""HTTP/2 towards endpoints (RFC 9113): connections that serve many exchanges at a time.

    Http2Upstream (the connection: socket, pool, GOAWAY) -- ClientSession (nghttp2) -- ClientStream (one exchange each)

Strategy: exchanges wait in the pool's queue while a connection is being made, then share it up to what lbd and the
endpoint allow; only then another is opened. A connection with GOAWAY, past its lifetime or its number of requests takes
no more and ends with its last exchange. Requests that the endpoint refused unseen go elsewhere.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp

cimport cython

from lbd.engine.http2 cimport Http2Tuning
from lbd.engine.http2_client cimport ClientSession, ClientStream
from lbd.engine.nghttp2 cimport FLAG_NONE, NO_ERROR, SETTINGS_MAX_CONCURRENT_STREAMS, nghttp2
from lbd.engine.pool cimport PooledConnection, Protocol, SharedConnection, Waiter
from lbd.engine.reactor cimport IO_AGAIN, READ_SIZE, WRITE_BLOCKED, WRITE_ERROR, Stream
from lbd.engine.reasons cimport R_UPSTREAM_TLS
from lbd.engine.sys cimport ssize_t
from lbd.engine.tls_stream cimport TlsStream
from lbd.engine.upstream_http1 cimport Http1Upstream
from lbd.engine.warmth cimport proved_good, want_warm
from lbd.engine.witness cimport note_idle_end

cdef enum:
    WINDOW = 262144             # response bytes that a stream may have in flight
    HEAD_MAX = 65536
    FIELDS_MAX = 512
    TOLERANCE = 100000          # of an endpoint's resets and useless frames: it is ours, but it may be broken
    WRITE_MS = 30000            # for an endpoint that takes nothing
    TURN = 16


cdef class Http2(Protocol):
    """The protocol object of clusters that speak HTTP/2, or, by what ALPN says, either."""
    cdef uint32_t streams
    cdef bint may_be_http1

    def __cinit__(self, *, unsigned int streams=100, bint may_be_http1=False):
        self.name = "auto" if may_be_http1 else "http2"
        self.streams = streams
        self.may_be_http1 = may_be_http1
        self.key = (self.name, streams)

    cdef PooledConnection new_connection(self):
        cdef Http2Upstream made = Http2Upstream.__new__(Http2Upstream)
        made.streams = self.streams
        made.may_be_http1 = self.may_be_http1
        return made


@cython.no_gc
@cython.final
cdef class Http2Upstream(SharedConnection):

    def __repr__(self):
        return f"<Http2Upstream busy={self.busy}{' leaving' if self.leaving else ''}>"

    # coming and going --------------------------------------------------------------------------------------------

    cdef int on_ready(self, Waiter waiter) except -1:
        """Connected, and TLS done: find out what is spoken, and serve all who wait."""
        if self.pool.tls is not None and not self._agreed_on_http2():
            self._join()
            if self.may_be_http1:
                return self._become_http1(waiter)
            if self.pool.on_problem is not None and self.pool.problem != "no HTTP/2 by ALPN":
                self.pool.problem = "no HTTP/2 by ALPN"
                self.pool.on_problem("the endpoint does not speak HTTP/2 (ALPN)")
            self.drop(False)
            if waiter is not None:
                waiter.on_no_connection(R_UPSTREAM_TLS)
            return self.pool.refuse_queue(R_UPSTREAM_TLS)
        self._open()
        if waiter is not None:                  # one may go at once; how many more, the endpoint's SETTINGS will say
            return waiter.on_shared(self)
        return self.on_stream_closed(False)

    cdef int on_settled(self) except -1:
        self._join()
        if self.settled or self.session is None:
            return self.pool.serve_queue()
        self.settled = True
        self.pool.serve_queue()
        return self.pool.on_closed()            # more are waiting than it takes: one more connection

    cdef void _join(self) noexcept:
        """No longer one to wait for."""
        if self.joined:
            self.joined = False
            self.pool.joining -= 1

    cdef bint _agreed_on_http2(self) noexcept:
        cdef const unsigned char* name = NULL
        cdef int n = (<TlsStream> self.stream).alpn(&name)
        return n == 2 and memcmp(name, b"h2", 2) == 0

    cdef int _become_http1(self, Waiter waiter) except -1:
        """The endpoint prefers HTTP/1.1: a connection for each exchange from here on."""
        cdef Http1Upstream other = Http1Upstream.__new__(Http1Upstream)
        self.pool.one_each = True
        self.pool.reactor.retired.append(self)          # only its stream holds it, and it is up the call stack
        other.pool = self.pool
        other.stream = self.stream
        other.stream.handler = other
        other.counted = self.counted
        other.expires = self.expires
        other.era = self.era
        self.counted = False
        self.stream = None
        other.on_ready(waiter)
        return self.pool.on_closed()            # those who waited to share it connect for themselves

    cdef int _open(self) except -1:
        cdef Http2Tuning tuning
        tuning.streams = self.streams
        tuning.window = WINDOW
        tuning.header_table = 4096
        tuning.continuations = 16
        tuning.settings = 32
        tuning.pending_acks = 1000
        tuning.resets = tuning.glitches = TOLERANCE
        tuning.head = HEAD_MAX
        tuning.fields = FIELDS_MAX
        self.session = ClientSession.__new__(ClientSession)
        self.session.connection = self
        self.session.beginning = []
        self.session.resumable = []
        self.session.set_up(False, self.stream, self, &tuning)
        if self.pool.shared is None:
            self.pool.shared = []
        self.pool.shared.append(self)
        self.listed = True
        if self.era != self.pool.era:           # the address has changed while it was being made
            return self.leave()
        self.session.schedule()
        return 0

    cdef PooledConnection new_stream(self):
        cdef ClientStream made = ClientStream.__new__(ClientStream)
        made.session = self.session
        made.pool = self.pool
        made.requests = self.requests
        made.idle_since = self.idle_since if self.busy == 0 else 0
        made.counted = True
        self.requests += 1
        self.busy += 1
        if self.busy == 1:
            self._rest(False)
            self.stream.set_timer(0)
        if ((self.pool.max_requests and self.requests >= self.pool.max_requests)
                or (self.expires and self.expires <= self.pool.reactor.wheel.now)):
            self._unlist()
            self.leaving = True
        return made

    cdef uint32_t room(self) noexcept:
        cdef uint32_t most
        if (self.expires and self.expires <= self.pool.reactor.wheel.now) or (
                self.resting and self.pool.is_worn(self)):
            return 0
        if self.leaving or self.full or self.session is None or not nghttp2.check_request_allowed(self.session.session):
            return 0
        if not self.settled:
            return 1 if self.busy == 0 else 0
        most = min(self.streams, nghttp2.get_remote_settings(self.session.session, SETTINGS_MAX_CONCURRENT_STREAMS))
        return most - self.busy if most > self.busy else 0

    cdef int on_stream_closed(self, bint refused) except -1:
        if self.busy:
            self.busy -= 1
        self.full = refused and self.busy != 0
        if self.session is None:
            return 0
        if self.busy == 0:
            self._rest(True)
            self.stream.set_timer(max(self.pool.idle_wait(self), <uint64_t> 1))
        if self.leaving:
            self.session.schedule()             # the end of the round sees whether it was the last
            return 0
        return self.pool.serve_queue() if not self.session.sending else 0

    cdef void _rest(self, bint rests) noexcept:
        """Count it as idle, or no longer."""
        if rests != self.resting:
            self.resting = rests
            if rests:
                self.pool.stats.idle += 1
                self.idle_since = self.pool.reactor.wheel.now
                if self.requests and self.pool.warm_failures:
                    proved_good(self.pool)
            else:
                if self.pool.witness == <void*> self:
                    self.pool.witness = NULL
                self.pool.stats.idle -= 1

    cdef void _unlist(self) noexcept:
        if self.listed:
            self.listed = False
            self.pool.shared.remove(self)
            if self.pool.warm:
                want_warm(self.pool)

    cdef int leave(self) except -1:
        self._unlist()
        self.leaving = True
        if self.session is not None:
            self.session.schedule()
        return 0

    cdef int on_goaway(self, uint32_t error) except -1:
        if error == NO_ERROR:
            self._note_end()
        return self.leave()

    cdef void _note_end(self) noexcept:
        """The endpoint has had enough of the connection; while nothing was under way, if it is resting."""
        if self.resting and not self.leaving:
            note_idle_end(self.pool, self)

    # events ------------------------------------------------------------------------------------------------------

    cdef int on_readable(self, Stream stream) except -1:
        if self.connecting:
            return PooledConnection.on_readable(self, stream)
        return self._read(stream)

    cdef int _read(self, Stream stream) except -1:
        cdef ssize_t got
        cdef int _turn
        for _turn in range(TURN):
            if not stream.readable or self.session is None or stream.closed:
                return 0
            got = stream.recv(stream.reactor.rbuf, READ_SIZE)
            if got == IO_AGAIN:
                return 0
            if got <= 0:
                self._note_end()
                return self._end()
            if self.session.receive(stream.reactor.rbuf, <size_t> got) < 0:
                return self._end()
            self.session.begin_all()
        stream.reactor.defer(stream)
        return 0

    cdef int on_writable(self, Stream stream) except -1:
        cdef int result
        if self.connecting:
            return PooledConnection.on_writable(self, stream)
        result = stream.flush()
        if result == WRITE_ERROR:
            return self._end()
        if result != WRITE_BLOCKED and self.session is not None:
            stream.set_timer(0 if self.busy else max(self.pool.idle_wait(self), <uint64_t> 1))
            self.session.schedule()
        return 0

    cdef int on_round_end(self) except -1:
        cdef ClientSession session = self.session
        cdef int result
        if session is None or session.over:
            return 0
        result = session.deliver()
        if result == WRITE_ERROR:
            return self._end()
        if result == WRITE_BLOCKED and self.stream.timer.deadline == 0:
            self.stream.set_timer(WRITE_MS)
        session.resume_all()
        if self.session is None:
            return 0
        if not self.leaving:
            self.pool.serve_queue()
        if not nghttp2.want_read(session.session) and not nghttp2.want_write(session.session):
            return self._end()
        if self.leaving and self.busy == 0 and self.stream.out.data == NULL:
            return self._end()
        return 0

    cdef int on_timeout(self, Stream stream) except -1:
        if self.connecting:
            return PooledConnection.on_timeout(self, stream)
        if self.resting and not self.leaving and stream.out.data == NULL:
            return self.on_idle_timeout()
        return self._end()

    cdef int end_idle(self) except -1:
        return self._end()

    cdef int on_fault(self, Stream stream) except -1:
        return self._end()

    cdef int _end(self) except -1:
        """Close; exchanges still under way fail or go elsewhere."""
        cdef ClientSession session = self.session
        if session is None:
            self.drop(False)
            return 0
        self.session = None
        self._unlist()
        self.leaving = True
        if session.streams == 0 and self.busy == 0 and self.stream.out.data == NULL and not self.stream.hangup:
            nghttp2.submit_goaway(session.session, FLAG_NONE, 0, NO_ERROR, NULL, 0)
            session.deliver()
        session.end()
        session.end_all()
        session.resume_all()
        self.pool.reactor.retired.append(session)
        self.pool.reactor.retired.append(self)
        self.drop(False)
        return 0

    cdef void drop(self, bint reset) noexcept:
        self._join()
        self._unlist()
        self._rest(False)
        PooledConnection.drop(self, reset)
