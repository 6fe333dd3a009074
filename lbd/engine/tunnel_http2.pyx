# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""A WebSocket that a client carries on an HTTP/2 stream (RFC 8441), relayed to an endpoint that speaks it on a
connection of its own.

The endpoint's side is a plain socket after its 101; the client's side is a stream: bytes go out through its Http2Half
and come in from nghttp2. Back-pressure: the endpoint is not read while bytes wait for the client's window, and the
client's window is not opened while the endpoint has not taken what came.
"""

cimport cython

from lbd.engine.body cimport Body
from lbd.engine.exchange cimport Exchange
from lbd.engine.http2 cimport Http2Half
from lbd.engine.nghttp2 cimport CANCEL, FLAG_NONE, nghttp2
from lbd.engine.pool cimport PooledConnection
from lbd.engine.reactor cimport IO_AGAIN, READ_SIZE, WRITE_DONE, WRITE_ERROR, Stream
from lbd.engine.sys cimport ssize_t
from lbd.engine.websocket cimport (
    AWAY_NO, GOING_AWAY, GOING_AWAY_LEN, pass_frames, send_away,
)

cdef enum:
    TURN = 8

cdef Body NO_TRAILERS


@cython.no_gc
@cython.final
cdef class StreamTunnel(PooledConnection):

    def __repr__(self):
        return f"<StreamTunnel{' ended' if self.ended else ''}>"

    cdef int adopt(self, Exchange x, Http2Half half, const char* rest, size_t n) except -1:
        """Take over the endpoint's connection of an exchange after its 101; rest: what came behind the head."""
        cdef PooledConnection old = x.upstream
        self.exchange = x
        x.route.tunnels += 1
        self.half = half
        self.listener = x.listener
        self.idle_ms = x.route.tunnel_ms if x.route.tunnel_ms else x.listener.tunnel_ms
        self.listener.reactor.retired.append(old)       # it is up the call stack
        self.pool = old.pool
        self.counted = old.counted
        self.stream = old.stream
        self.stream.handler = self
        old.counted = False
        old.stream = None
        x.upstream.detach(False)
        x.upstream = None
        self.stream.readable = True
        self.stream.set_timer(self.idle_ms)
        if n and self._pass_down(<char*> rest, n) == WRITE_ERROR:
            return self.end(True)
        return self.resume()

    cdef int on_readable(self, Stream stream) except -1:
        return self.resume()

    cdef int on_writable(self, Stream stream) except -1:
        cdef Exchange x = self.exchange
        if stream.flush() == WRITE_ERROR:
            return self.end(True)
        if stream.out.data == NULL and x is not None:
            return x.downstream.resume_request(x)
        return 0

    cdef int on_timeout(self, Stream stream) except -1:
        return self.end(True)

    cdef int on_fault(self, Stream stream) except -1:
        return self.end(True)

    cdef int resume(self) except -1:
        """Pass on what the endpoint sends, as far as the client takes it."""
        cdef Stream stream = self.stream
        cdef Exchange x = self.exchange
        cdef ssize_t got
        cdef int _turn
        if self.ended or stream is None or x is None:
            return 0
        for _turn in range(TURN):
            if self.half.waiting.data != NULL or not stream.readable:
                return 0
            got = stream.recv(stream.reactor.rbuf, READ_SIZE)
            if got == IO_AGAIN:
                return 0
            if got < 0:
                return self.end(True)
            stream.set_timer(self.idle_ms)
            if got == 0:
                self.ended = True
                if x.downstream.write_body(x, stream.reactor.rbuf, 0, &NO_TRAILERS) == WRITE_ERROR:
                    return self.end(True)
                return self.end(False) if self.shut else 0
            if self._pass_down(stream.reactor.rbuf, <size_t> got) == WRITE_ERROR:
                return self.end(True)
        stream.reactor.defer(stream)
        return 0

    cdef int _pass_down(self, char* p, size_t n) except -100:
        """Bytes of the endpoint to the client: WRITE_*. After the close frame of ours, none."""
        cdef Exchange x = self.exchange
        cdef bint say
        cdef int result = WRITE_DONE
        cdef size_t own = pass_frames(&self.frames, p, n, &say)
        if own:
            result = x.downstream.write_body(x, p, own, NULL)
        if say and result != WRITE_ERROR:
            result = x.downstream.write_body(x, <char*> GOING_AWAY, GOING_AWAY_LEN, NULL)
        return result

    cdef int go_away(self) except -1:
        """Tell the client that lbd is going; 0 when there is nobody to tell."""
        cdef Exchange x = self.exchange
        if x is None or self.ended or self.frames.away != AWAY_NO:
            return 0
        if (send_away(&self.frames)
                and x.downstream.write_body(x, <char*> GOING_AWAY, GOING_AWAY_LEN, NULL) == WRITE_ERROR):
            self.end(True)
        return 1

    cdef int take(self, const char* p, size_t n) except -1:
        """Bytes of the client: WRITE_*."""
        cdef int result
        if self.stream is None:
            return WRITE_ERROR
        self.exchange.bytes_received += n
        self.stream.set_timer(self.idle_ms)
        result = self.stream.write(p, n)
        if result == WRITE_ERROR:
            self.end(True)
        return result

    cdef int shut_up(self) except -1:
        """The client is done sending."""
        if self.stream is None or self.shut:
            return 0
        self.shut = True
        if self.ended:
            return self.end(False)
        self.stream.shutdown_write()
        return 0

    cdef int end(self, bint reset) except -1:
        """Close the endpoint's side, and the client's stream unless both have ended well."""
        cdef Exchange x = self.exchange
        if x is None:
            return 0
        self.exchange = None
        x.route.tunnels -= 1
        if reset and not self.half.gone and not self.half.session.over:
            nghttp2.submit_rst_stream(self.half.session.session, FLAG_NONE, self.half.id, CANCEL)
            self.half.session.schedule()
        self.drop(reset)
        return x.finish(True)
