# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""HTTP/1.1 towards endpoints (RFC 9112): a request out, one response in, then back to the pool.

Strategy: the response is parsed where it was read; head and first body bytes reach the client in one write. Long
bodies of known length between plain sockets are spliced. A connection goes back to its pool only when the request was
wholly written, the response wholly framed and read, and not one byte came behind it (CWE-488: nobody may get another's
response).

When the endpoint stops reading the request, its answer may still come (413, 401): writing ends, reading goes on.
"""

from libc.stdint cimport uint64_t
from libc.string cimport memchr, memcpy, memmove

cimport cython

from lbd.engine cimport sys as c
from lbd.engine.body cimport BODY_DONE, BODY_ERROR, Body, body_decode, body_init
from lbd.engine.buffer cimport buffer_append, buffer_consume, buffer_free, buffer_len, buffer_ptr, buffer_reserve
from lbd.engine.exchange cimport INFORMATIONAL_MAX, Exchange, Upstream
from lbd.engine.fields cimport same_name
from lbd.engine.http1 cimport (
    BODY_CHUNKED, BODY_CLOSE, BODY_LENGTH, M_GET, M_HEAD, M_OPTIONS, PARSE_DONE, PARSE_MORE, RESPONSE_FIELDS_MAX,
    RESPONSE_HEAD_MAX, Field, Head, parse_response,
)
from lbd.engine.idle_limit cimport announced_ms
from lbd.engine.pool cimport PooledConnection, Protocol
from lbd.engine.reactor cimport (
    IO_AGAIN, READ_SIZE, WRITE_BLOCKED, WRITE_DONE, WRITE_ERROR, Reactor, Stream,
)
from lbd.engine.reasons cimport (
    R_CLIENT_GONE, R_DEADLINE, R_INTERNAL, R_RESPONSE_BODY_TIMEOUT, R_RESPONSE_TIMEOUT, R_UPSTREAM_INVALID,
    R_UPSTREAM_RESET, R_UPSTREAM_TRUNCATED,
)
from lbd.engine.rewrite cimport frame_chunk, write_trailers
from lbd.engine.splice cimport (
    SPLICE_AGAIN, SPLICE_BLOCKED, SPLICE_LIMIT, SPLICE_MIN, SPLICE_NO_PIPE, SPLICE_SINK_ERROR, SPLICE_TURN, pipe_release,
    splice_move,
)

cdef enum:
    READ_HEAD_STEP = 8192
    FIRST_READ = 16384              # of a response: what lies beyond is spliced when the body is long
    TURN = 8                        # reads of one turn
    TRAILERS_AT = 131072
    CHUNK_LINE_ROOM = 32

cdef Head HEAD
cdef Field[RESPONSE_FIELDS_MAX + 1] FIELDS
HEAD.fields = FIELDS


cdef class Http1(Protocol):
    """The protocol object of clusters that speak HTTP/1.1."""

    def __cinit__(self):
        self.name = self.key = "http1"

    cdef PooledConnection new_connection(self):
        return Http1Upstream.__new__(Http1Upstream)


@cython.no_gc
@cython.final
cdef class Http1Upstream(Upstream):

    def __dealloc__(self):
        buffer_free(&self.inbuf)
        buffer_free(&self.body.trailers)

    def __repr__(self):
        return f"<Http1Upstream requests={self.requests} idle={bool(self.idle)} state={self.state}>"

    # the request -------------------------------------------------------------------------------------------------

    cdef bint _looks_dead(self) noexcept:
        """Ask the kernel whether a reused connection has ended: worth a call where the request cannot be repeated."""
        cdef char byte
        if not self.stream.can_splice:              # over TLS a session ticket may be all that there is
            self.stream.readable = True
            return not self.is_silent()
        return c.recv(self.stream.fd, &byte, 1, c.MSG_PEEK | c.MSG_DONTWAIT) >= 0 or c.errno != c.EAGAIN

    cdef int send_request(self, Exchange x) except -100:
        cdef int result
        self.state = U_HEAD
        self.keep = False
        self.write_failed = False
        if x.reused and x.method != M_GET and x.method != M_HEAD and x.method != M_OPTIONS and self._looks_dead():
            return WRITE_ERROR
        result = self._write_request(x)
        if result != WRITE_ERROR:
            x.unsent = False
        if result == WRITE_BLOCKED:
            self.stream.set_timer(self._body_ms(x))
        return result

    cdef int _write_request(self, Exchange x) except -100:
        """The head, and a small body with it."""
        cdef char* out = self.stream.reactor.scratch
        cdef char* p
        cdef size_t n = x.inline_len
        if x.request_framing != BODY_CHUNKED or not x.request_done or x.kept.data != NULL:
            return self.stream.write(x.head, x.head_len + n)
        memcpy(out, x.head, x.head_len)             # its length was not announced, so it goes as one chunk
        p = out + x.head_len + CHUNK_LINE_ROOM
        memcpy(p, x.head + x.head_len, n)
        p = frame_chunk(p, &n)
        memmove(out + x.head_len, p, n)
        n += x.head_len
        memcpy(out + n, b"0\r\n\r\n", 5)
        return self.stream.write(out, n + 5)

    cdef bint is_blocked(self) noexcept:
        return self.stream.out.data != NULL or self.write_failed

    cdef int write_body(self, Exchange x, char* p, size_t n, Body* end) except -100:
        cdef Reactor reactor = self.stream.reactor
        cdef size_t tail = 0
        cdef int result = WRITE_DONE
        if self.write_failed:
            return WRITE_BLOCKED
        x.body_given = True
        if x.request_framing == BODY_CHUNKED:
            p = frame_chunk(p, &n)
            if end != NULL:
                tail = write_trailers(reactor.scratch + TRAILERS_AT, end, x.listener.trailers, &HEAD, x.grpc)
        if n:
            result = self.stream.write2(p, n, reactor.scratch + TRAILERS_AT, tail)
        elif tail:
            result = self.stream.write(reactor.scratch + TRAILERS_AT, tail)
        if result == WRITE_ERROR:
            self._stop_writing()
            return WRITE_BLOCKED
        if result == WRITE_BLOCKED:
            self.stream.set_timer(self._body_ms(x))
        elif self.state == U_HEAD:
            self.stream.set_timer(0)            # in U_BODY the response's deadline runs
        return result

    cdef void _stop_writing(self):
        self.write_failed = True
        buffer_free(&self.stream.out)
        self.stream.readable = True                 # whatever the endpoint said before it went, or the end
        self.stream.reactor.defer(self.stream)

    cdef int on_request_done(self, Exchange x) except -1:
        if self.state == U_HEAD:
            self.stream.set_timer(x.response_wait())
        return 0

    cdef uint64_t _body_ms(self, Exchange x) noexcept:
        return x.body_wait()

    # events ------------------------------------------------------------------------------------------------------

    cdef int on_readable(self, Stream stream) except -1:
        cdef Exchange x = self.exchange
        if self.connecting:
            return PooledConnection.on_readable(self, stream)
        if x is None:
            return self.on_idle_readable()
        if self.state == U_HEAD:
            return self._read_head(x)
        return self._pump(x)

    cdef int on_writable(self, Stream stream) except -1:
        cdef Exchange x = self.exchange
        cdef int result
        if self.connecting:
            return PooledConnection.on_writable(self, stream)
        result = stream.flush()
        if result == WRITE_ERROR:
            self._stop_writing()
        elif x is None:
            return 0
        elif result == WRITE_BLOCKED:
            stream.set_timer(self._body_ms(x))
        elif not x.request_done:
            if self.state == U_HEAD:
                stream.set_timer(0)
            return x.downstream.resume_request(x)
        else:
            return self.on_request_done(x)
        return 0

    cdef int on_timeout(self, Stream stream) except -1:
        cdef Exchange x = self.exchange
        if self.connecting or x is None:
            return PooledConnection.on_timeout(self, stream)
        if x.past_deadline():
            return self._broken(x, R_DEADLINE)
        return self._broken(x, R_RESPONSE_TIMEOUT if self.state == U_HEAD else R_RESPONSE_BODY_TIMEOUT)

    cdef int on_fault(self, Stream stream) except -1:
        cdef Exchange x = self.exchange
        if x is not None:
            x.fail(R_INTERNAL)
        self.drop(True)
        return 0

    # the response head -------------------------------------------------------------------------------------------

    cdef int _read_head(self, Exchange x) except -1:
        cdef Stream stream = self.stream
        cdef size_t old
        cdef ssize_t got
        cdef char* p
        while self.exchange is x and self.state == U_HEAD and stream.readable:
            old = buffer_len(&self.inbuf)
            if old == 0:
                p = stream.reactor.rbuf
                got = stream.recv(p, FIRST_READ)
            else:
                if not buffer_reserve(&self.inbuf, READ_HEAD_STEP):
                    raise MemoryError
                p = self.inbuf.data + self.inbuf.end
                got = stream.recv(p, READ_HEAD_STEP)
            if got == IO_AGAIN:
                return 0
            if got <= 0:
                return x.on_upstream_failed(self, R_UPSTREAM_RESET, old == 0 and x.informational == 0)
            if old == 0:
                self._take_head(x, p, <size_t> got)
            else:
                self.inbuf.end += <size_t> got
                if (memchr(p, c'\n', <size_t> got) == NULL and old >= 64
                        and old + <size_t> got < RESPONSE_HEAD_MAX):
                    continue
                self._take_head(x, buffer_ptr(&self.inbuf), buffer_len(&self.inbuf))
        return 0

    cdef int _take_head(self, Exchange x, char* p, size_t n) except -1:
        """Heads at p: pass informational ones on, act on the final one, keep an incomplete one in inbuf."""
        cdef int status
        while n:
            status = parse_response(p, n, x.method, &HEAD)
            if status == PARSE_MORE:
                if self.inbuf.data == NULL and not buffer_append(&self.inbuf, p, n):
                    raise MemoryError
                return 0
            if status != PARSE_DONE:
                return x.on_upstream_failed(self, R_UPSTREAM_INVALID, False)
            if HEAD.status >= 200 or HEAD.status == 101:
                return self._final_head(x, p, n)
            x.informational += 1
            if x.informational > INFORMATIONAL_MAX:
                return x.on_upstream_failed(self, R_UPSTREAM_INVALID, False)
            x.downstream.write_informational(x, &HEAD)
            p += HEAD.length
            n -= HEAD.length
            if self.inbuf.data != NULL:
                buffer_consume(&self.inbuf, HEAD.length)
        return 0

    cdef int _final_head(self, Exchange x, char* p, size_t n) except -1:
        """The final response, with the first body bytes behind it; HEAD describes it."""
        cdef char* rest = p + HEAD.length
        cdef size_t left = n - HEAD.length
        cdef size_t consumed = 0
        cdef size_t payload = 0
        cdef int status, written
        if HEAD.status == 101:
            if not x.upgrade or not self._switched_as_asked():
                return x.on_upstream_failed(self, R_UPSTREAM_INVALID, False)
            x.on_switched()
            return x.downstream.become_tunnel(x, &HEAD, rest, left)
        if HEAD.announced >= 0 and self.pool.learns:
            self._take_announcement(&HEAD.fields[HEAD.announced])
        body_init(&self.body, HEAD.framing, <uint64_t> HEAD.content_length)
        if HEAD.framing == BODY_LENGTH and HEAD.content_length == 0:
            status = BODY_DONE
        else:
            status = body_decode(&self.body, rest, left, &consumed, &payload)
        if status == BODY_ERROR:
            return x.on_upstream_failed(self, R_UPSTREAM_INVALID, False)
        self.state = U_BODY
        self.keep = HEAD.keep_alive and consumed == left
        if x.on_response_head(self, &HEAD, status == BODY_DONE and self.keep):
            return 0                                # it goes on elsewhere
        if self.inbuf.data != NULL:                 # the sink needs the room around the worker's read area
            if payload:
                memcpy(self.stream.reactor.rbuf, rest, payload)
            rest = self.stream.reactor.rbuf
            buffer_free(&self.inbuf)
        written = x.downstream.write_body(x, rest, payload, &self.body if status == BODY_DONE else NULL)
        if written == WRITE_ERROR:
            return x.on_client_gone(R_CLIENT_GONE)
        if status == BODY_DONE:
            return x.on_response_done(self.keep)
        self.stream.set_timer(0 if written == WRITE_BLOCKED else self._body_ms(x))
        return self._pump(x)

    cdef void _take_announcement(self, const Field* field) noexcept:
        """Keep-Alive: the endpoint says how long it keeps the connection."""
        cdef uint64_t after = announced_ms(HEAD.base + field.value, field.value_len)
        if after:
            self.pool.idle_limit.announced(after)

    cdef bint _switched_as_asked(self) noexcept:
        """Does the 101 name the one protocol that is passed on (RFC 9110 7.8)?"""
        cdef Field* field
        if HEAD.upgrade < 0:
            return False
        field = &HEAD.fields[HEAD.upgrade]
        return field.value_len == 9 and same_name(HEAD.base + field.value, b"websocket", 9)

    # the response body -------------------------------------------------------------------------------------------

    cdef int resume_response(self, Exchange x) except -1:
        if self.state == U_BODY:
            return self._pump(x)
        return 0

    cdef int _pump(self, Exchange x) except -1:
        """Pass response body bytes on until there are none now, or the client takes no more."""
        cdef Stream stream = self.stream
        cdef char* rbuf = stream.reactor.rbuf
        cdef size_t consumed = 0
        cdef size_t payload = 0
        cdef ssize_t got
        cdef int _turn, status, written
        cdef bint done = False
        for _turn in range(TURN):
            if x.downstream.is_blocked(x):
                stream.set_timer(0)                 # the client's time runs, not the endpoint's
                return 0
            if self.pipe.held or (self.body.framing == BODY_LENGTH and self.body.remaining >= SPLICE_MIN
                                  and stream.can_splice):
                self._splice(x, &done)
                if done:
                    return 0
            if not stream.readable:
                stream.set_timer(self._body_ms(x))
                return 0
            got = stream.recv(rbuf, READ_SIZE)
            if got == IO_AGAIN:
                stream.set_timer(self._body_ms(x))
                return 0
            if got <= 0:
                if got == 0 and self.body.framing == BODY_CLOSE:
                    return self._finish_body(x)
                return self._broken(x, R_UPSTREAM_TRUNCATED)
            status = body_decode(&self.body, rbuf, <size_t> got, &consumed, &payload)
            if status == BODY_ERROR:
                return self._broken(x, R_UPSTREAM_INVALID)
            if consumed < <size_t> got:
                self.keep = False                   # bytes that nobody asked for
            written = x.downstream.write_body(x, rbuf, payload, &self.body if status == BODY_DONE else NULL)
            if written == WRITE_ERROR:
                return x.on_client_gone(R_CLIENT_GONE)
            if status == BODY_DONE:
                return x.on_response_done(self.keep)
        stream.reactor.defer(stream)
        return 0

    cdef int _splice(self, Exchange x, bint* done) except -1:
        """Move what can be moved without copying; *done: the caller has nothing more to do now."""
        cdef Stream stream = self.stream
        cdef Stream sink = x.downstream.splice_sink(x)
        cdef uint64_t moved = 0
        cdef int state
        if sink is None:
            return 0
        state = splice_move(stream.reactor, &self.pipe, stream, sink, &self.body.remaining, &moved)
        x.bytes_sent += moved
        if state == SPLICE_NO_PIPE:
            return 0
        done[0] = True
        if state == SPLICE_AGAIN:
            stream.set_timer(self._body_ms(x))
        elif state == SPLICE_BLOCKED:
            stream.set_timer(0)
            sink.set_timer(x.listener.write_ms)
        elif state == SPLICE_TURN:
            stream.reactor.defer(stream)
        elif state == SPLICE_LIMIT:
            return self._finish_body(x)
        elif state == SPLICE_SINK_ERROR:
            return x.on_client_gone(R_CLIENT_GONE)
        else:
            return self._broken(x, R_UPSTREAM_TRUNCATED)
        return 0

    cdef int _finish_body(self, Exchange x) except -1:
        """The last byte has been passed on."""
        if x.downstream.write_body(x, self.stream.reactor.rbuf, 0, &self.body) == WRITE_ERROR:
            return x.on_client_gone(R_CLIENT_GONE)
        return x.on_response_done(self.keep and self.body.framing != BODY_CLOSE)

    cdef int _broken(self, Exchange x, int reason) except -1:
        return x.on_upstream_failed(self, reason, False)

    # the end -----------------------------------------------------------------------------------------------------

    cdef void detach(self, bint reusable):
        self.exchange = None
        buffer_free(&self.inbuf)
        buffer_free(&self.body.trailers)
        if self.stream is None:
            return
        pipe_release(self.stream.reactor, &self.pipe)
        if reusable and not self.write_failed and self.stream.out.data == NULL:
            self.stream.set_timer(0)
            self.pool.give_back(self)
        else:
            self.drop(False)
