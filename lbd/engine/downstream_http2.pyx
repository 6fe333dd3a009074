# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""HTTP/2 towards clients (RFC 9113): one connection, many exchanges.

    Http2Downstream (the connection: socket, deadlines, drain) -- ServerSession (nghttp2) -- ServerStream (one exchange each)

The connection's timer guards the head under way, the idle connection and the socket that takes nothing; what a single
stream waits for is the stream's matter (http2_server.pyx).
"""

from libc.stdint cimport uint32_t

cimport cython

from lbd.engine.exchange cimport Downstream
from lbd.engine.listener cimport KIND_REQUEST, KIND_WEBSOCKET, Listener
from lbd.engine.http2 cimport Http2Tuning
from lbd.engine.http2_server cimport ServerSession, ServerStream
from lbd.engine.nghttp2 cimport CANCEL, FLAG_NONE, NO_ERROR, nghttp2
from lbd.engine.reactor cimport IO_AGAIN, READ_SIZE, WRITE_BLOCKED, WRITE_ERROR, Stream
from lbd.engine.reasons cimport R_HEAD_TIMEOUT, R_INTERNAL, R_NONE, R_WRITE_TIMEOUT
from lbd.engine.sys cimport ssize_t
from lbd.engine.websocket cimport AWAY_NO

cdef enum:
    LINGER_MS = 1000
    LINGER_BYTES = 1 << 20
    TURN = 16


@cython.no_gc
@cython.final
cdef class Http2Downstream(Downstream):

    def __repr__(self):
        return f"<Http2Downstream {self.peer_text[:self.peer_text_len].decode()} {self.session!r}>"

    cdef int open(self) except -1:
        """Speak HTTP/2 from here on."""
        cdef Http2Tuning tuning
        cdef Listener listener = self.listener
        tuning.streams = listener.http2.streams
        tuning.window = listener.http2.window
        tuning.header_table = listener.http2.header_table
        tuning.continuations = listener.http2.continuations
        tuning.settings = listener.http2.settings
        tuning.pending_acks = listener.http2.pending_acks
        tuning.resets = listener.http2.resets
        tuning.glitches = listener.http2.glitches
        tuning.head = listener.limits.head
        tuning.fields = listener.limits.fields
        self.session = ServerSession.__new__(ServerSession)
        self.session.connection = self
        self.session.starting = []
        self.session.resumable = []
        self.session.set_up(True, self.stream, self, &tuning)
        listener.stats.http2 += 1
        self.stream.set_timer(listener.head_ms)
        self.session.schedule()
        return 0

    cdef int feed(self, const char* p, size_t n) except -1:
        """Received bytes; what they start is started."""
        cdef bint in_head = self.session.in_head
        if self.session.receive(p, n) < 0:
            self.leaving = True
            return self._finish(self.session.reason)
        self.session.start_all()
        if self.session.in_head and not in_head:
            self.stream.set_timer(self.listener.head_ms)
        self.session.schedule()
        return 0

    cdef int on_readable(self, Stream stream) except -1:
        if self.closing:
            return self._read_lingering()
        return self._read()

    cdef int _read(self) except -1:
        cdef Stream stream = self.stream
        cdef ssize_t got
        cdef int _turn
        for _turn in range(TURN):
            if not stream.readable or self.session is None or stream.closed:
                return 0
            if stream.out.data != NULL:
                return 0                            # answers first: what waits to be sent must not grow
            got = stream.recv(stream.reactor.rbuf, READ_SIZE)
            if got == IO_AGAIN:
                return 0
            if got <= 0:
                return self._end(R_NONE)
            self.feed(stream.reactor.rbuf, <size_t> got)
        stream.reactor.defer(stream)
        return 0

    cdef int _read_lingering(self) except -1:
        cdef Stream stream = self.stream
        cdef ssize_t got
        while stream.readable and not stream.closed:
            got = stream.recv(stream.reactor.rbuf, READ_SIZE)
            if got == IO_AGAIN:
                return 0
            self.lingered += <uint32_t> max(got, 0)
            if got <= 0 or self.lingered > LINGER_BYTES:
                self._end(R_NONE)
        return 0

    cdef int on_writable(self, Stream stream) except -1:
        cdef int result = stream.flush()
        if result == WRITE_ERROR:
            return self._end(R_NONE)
        if result == WRITE_BLOCKED:
            stream.set_timer(self.listener.write_ms)
            return 0
        if self.session is not None:
            self.session.schedule()
            if stream.readable:
                stream.reactor.defer(stream)
        return 0

    cdef int on_round_end(self) except -1:
        """Send what this round made ready; let endpoints go on; see whether it is time to close."""
        cdef ServerSession session = self.session
        if session is None or session.over:
            return 0
        session.start_all()
        if session.deliver() == WRITE_ERROR:
            return self._end(R_NONE)
        session.resume_all()
        if self.session is None:
            return 0
        if not nghttp2.want_read(session.session) and not nghttp2.want_write(session.session):
            return self._finish(session.reason)
        if self.leaving and session.streams == 0 and not nghttp2.want_write(session.session):
            return self._finish(session.reason)
        self._watch()
        return 0

    cdef void _watch(self) noexcept:
        """The one deadline of the connection: set when its cause begins, never extended by bytes."""
        cdef Stream stream = self.stream
        if stream.out.data != NULL:
            if stream.timer.deadline == 0 or self.watching != 1:
                stream.set_timer(self.listener.write_ms)
            self.watching = 1
        elif self.session.in_head:
            self.watching = 2
        elif self.session.streams == 0:
            if self.watching != 3:
                stream.set_timer(self.listener.idle_ms)
            self.watching = 3
        else:
            if self.watching != 4:
                stream.set_timer(0)
            self.watching = 4

    cdef int on_timeout(self, Stream stream) except -1:
        if self.closing or self.session is None or self.leaving and self.session.streams == 0:
            return self._end(R_NONE)
        if stream.out.data != NULL:
            return self._end(R_WRITE_TIMEOUT)
        if self.session.in_head:
            return self._end(R_HEAD_TIMEOUT)
        self._leave()
        if self.session.streams:
            return 0
        stream.set_timer(LINGER_MS)
        return 0

    cdef int on_fault(self, Stream stream) except -1:
        return self._end(R_INTERNAL)

    cdef int start_drain(self) except -1:
        """The first GOAWAY of a graceful shutdown: requests that are on their way are still served (RFC 9113 6.8)."""
        if self.session is not None and not self.leaving:
            nghttp2.submit_shutdown_notice(self.session.session)
            self.session.schedule()
        return 0

    cdef int close_idle(self, bint fresh) except -1:
        return self._leave() if fresh and self.session is not None else 0

    cdef int websockets(self) noexcept:
        cdef void* at = self.session.first if self.session is not None else NULL
        cdef int found = 0
        while at != NULL:
            found += (<ServerStream> at).tunnel is not None and (<ServerStream> at).tunnel.frames.away == AWAY_NO
            at = (<ServerStream> at).next
        return found

    cdef int go_away(self) except -1:
        cdef void* at = self.session.first if self.session is not None else NULL
        cdef ServerStream stream
        cdef int told = 0
        while at != NULL:
            stream = <ServerStream> at
            at = stream.next
            if stream.tunnel is not None:
                told += stream.tunnel.go_away()
        return told

    cdef int cut(self, int kinds) except -1:
        """Other kinds than these go on; without streams, a connection that is told to go ends."""
        cdef void* at = self.session.first if self.session is not None else NULL
        cdef ServerStream stream
        if kinds & KIND_REQUEST and kinds & KIND_WEBSOCKET or kinds & KIND_REQUEST and at == NULL:
            return self._end(R_NONE)
        while at != NULL:
            stream = <ServerStream> at
            at = stream.next
            if kinds & (KIND_REQUEST if stream.tunnel is None else KIND_WEBSOCKET):
                nghttp2.submit_rst_stream(self.session.session, FLAG_NONE, stream.id, CANCEL)
        if self.session is not None:
            self.session.schedule()
        return 0

    cdef int _leave(self) except -1:
        """GOAWAY: what is under way finishes, new requests go elsewhere (RFC 9113 6.8)."""
        if self.leaving:
            return 0
        self.leaving = True
        nghttp2.submit_goaway(self.session.session, FLAG_NONE,
                              nghttp2.get_last_proc_stream_id(self.session.session), NO_ERROR, NULL, 0)
        self.session.schedule()
        return 0

    cdef int _finish(self, int reason) except -1:
        """Everything that is to be said has been handed over: send it, then close so that it is not lost."""
        cdef Stream stream = self.stream
        if stream is None:
            return 0
        if self.session is not None and not self.session.over:
            self.session.deliver()
        if stream.out.data != NULL and not stream.error:
            return 0                                # on_writable comes back here through the end of its round
        if reason == R_NONE and stream.hangup:
            return self._end(reason)
        self._drop_streams(reason)
        self.closing = True
        stream.shutdown_write()
        stream.set_timer(LINGER_MS)
        stream.readable = True
        stream.reactor.defer(stream)
        return 0

    cdef void _drop_streams(self, int reason):
        """Nothing more will happen on any stream."""
        cdef ServerSession session = self.session
        if session is None:
            return
        self.session = None
        session.end()
        if reason != R_NONE:
            self.listener.stats.reasons[reason] += 1
        while session.first != NULL:
            (<ServerStream> session.first).closed(CANCEL)
        session.connection = None
        session.starting = session.resumable = None
        self.stream.reactor.retired.append(session)     # it may be up the call stack

    cdef int _end(self, int reason) except -1:
        """Close at once."""
        cdef Stream stream = self.stream
        if stream is None:
            return 0
        self._drop_streams(reason)
        self.stream = None
        self.closing = True
        self.listener.delist(self)
        if reason == R_WRITE_TIMEOUT:
            stream.reset()
        else:
            stream.close()
        return 0
