# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""HTTP/1.0 and 1.1 towards clients (RFC 9112): heads in, one exchange at a time, responses out in order.

    D_IDLE --whole head--> D_BUSY --response written--> D_IDLE (keep-alive) | D_LINGER | closed

Strategy: a request that arrives in one read is parsed where it was read and written, rewritten, into its exchange's
head block; a connection holds buffers only for what is left over. While an exchange is under way only its body is read
from the client: later requests wait in the kernel (or inbuf), which is the back-pressure on pipelining.

Timers (one per stream): head (absolute, bytes do not extend it), idle, body (idle, and a floor on the average rate),
queue, write, linger. A client that closes or half-closes while its response is awaited counts as gone (as in nginx).
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy

cimport cython

from lbd.engine.answers cimport add_hsts, whole_answer
from lbd.engine.attempts cimport keep_body
from lbd.engine.body cimport BODY_DONE, BODY_ERROR, Body, body_decode, body_init
from lbd.engine.buffer cimport (
    buffer_append, buffer_consume, buffer_free, buffer_len, buffer_ptr, buffer_reserve,
)
from lbd.engine.downstream_http2 cimport Http2Downstream
from lbd.engine.exchange cimport (
    INLINE_BODY_MAX, Downstream, Exchange, )
from lbd.engine.facts cimport see
from lbd.engine.fields cimport find_field
from lbd.engine.http1 cimport (
    BODY_CHUNKED, BODY_CLOSE, BODY_LENGTH, BODY_NONE, M_HEAD, MAX_FIELDS, PARSE_DONE, PARSE_MORE, Field, Head,
    parse_request,
)
from lbd.engine.intake cimport open_exchange, respond, take_request
from lbd.engine.path cimport PATH_ROOM
from lbd.engine.reactor cimport (
    IO_AGAIN, READ_SIZE, WRITE_BLOCKED, WRITE_DONE, WRITE_ERROR, Reactor, Stream,
)
from lbd.engine.reasons cimport (
    R_BAD_REQUEST, R_BODY_TIMEOUT, R_BODY_TOO_LARGE, R_CLIENT_GONE, R_HEAD_TIMEOUT, R_QUEUE_TIMEOUT,
    R_WRITE_TIMEOUT, )
from lbd.engine.rewrite cimport (
    frame_chunk, write_response, write_trailers,
)
from lbd.engine.tunnel cimport Tunnel
from lbd.engine.websocket cimport follow_frames

cdef enum:
    LINGER_MS = 5000
    RATE_GRACE_MS = 30000
    LINGER_BYTES = 1 << 20
    READ_HEAD_STEP = 4096
    TRAILERS_AT = 131072            # where in the scratch area trailers are put together

# One worker handles one head at a time: these are only used between a parse and the end of the same callback.
cdef Head HEAD
cdef Field[MAX_FIELDS] FIELDS
cdef char[PATH_ROOM] PATH
HEAD.fields = FIELDS


@cython.no_gc
@cython.final
cdef class Http1Downstream(Downstream):

    def __dealloc__(self):
        buffer_free(&self.inbuf)
        buffer_free(&self.body.trailers)

    def __repr__(self):
        return f"<Http1Downstream {self.peer_text[:self.peer_text_len].decode()} state={self.state}>"

    # events ------------------------------------------------------------------------------------------------------

    cdef int on_readable(self, Stream stream) except -1:
        cdef Exchange x = self.exchange
        if self.state == D_IDLE:
            return self._read_head()
        if self.state == D_LINGER:
            return self._read_lingering()
        if x is None:                               # the response is being flushed; the next request waits
            return 0
        if not x.request_done and not stream.broken:
            return self._pump(x)
        if stream.hangup:
            return x.on_client_gone(R_CLIENT_GONE)
        return 0

    cdef int on_writable(self, Stream stream) except -1:
        cdef Exchange x = self.exchange
        cdef int result = stream.flush()
        if result == WRITE_ERROR:
            if x is not None:
                return x.on_client_gone(R_CLIENT_GONE)
            self._end(False)
            return 0
        if result == WRITE_BLOCKED:
            stream.set_timer(self.listener.write_ms)
            return 0
        stream.set_timer(0)
        if x is None:
            return self._after_response()
        if not x.request_done:
            self._watch_body()
        if x.upstream is not None:
            return x.upstream.resume_response(x)
        return 0

    cdef int on_timeout(self, Stream stream) except -1:
        cdef Exchange x = self.exchange
        if self.state == D_IDLE and buffer_len(&self.inbuf):
            return self._refuse(R_HEAD_TIMEOUT)
        if self.state != D_BUSY:
            self._end(False)
        elif x is None:
            self._end(True)
        elif x.queued:
            return x.fail(R_QUEUE_TIMEOUT)
        elif stream.blocked:
            return x.on_client_gone(R_WRITE_TIMEOUT)
        elif x.upstream is None:
            return 0                                # connecting, after the queue: that has a deadline of its own
        elif not x.request_done:
            return x.fail(R_BODY_TIMEOUT)
        return 0

    cdef int on_fault(self, Stream stream) except -1:
        cdef Exchange x = self.exchange
        self.close_after = True
        if x is not None:
            x.on_client_gone(R_CLIENT_GONE)
        self._end(True)
        return 0

    cdef int close_idle(self, bint fresh) except -1:
        if self.state == D_IDLE and buffer_len(&self.inbuf) == 0 and (self.served or fresh):
            self._end(False)
        return 0

    # reading a head ----------------------------------------------------------------------------------------------

    cdef int _read_head(self) except -1:
        """Read and start exchanges until one is under way or there is nothing to read."""
        cdef Stream stream = self.stream
        cdef char* rbuf = stream.reactor.rbuf
        cdef bint more = False
        cdef bint look
        cdef size_t old
        cdef ssize_t got
        if self.in_loop:
            return 0
        self.in_loop = True
        while self.state == D_IDLE and not stream.closed:
            old = buffer_len(&self.inbuf)
            if old and self.unparsed:
                self.unparsed = False
                self._take_head(buffer_ptr(&self.inbuf), old, &more)
                if more:
                    stream.set_timer(self.listener.head_ms)
                continue
            if not stream.readable:
                break
            if old == 0:
                got = stream.recv(rbuf, READ_SIZE)
            else:
                if not buffer_reserve(&self.inbuf, READ_HEAD_STEP):
                    raise MemoryError
                got = stream.recv(self.inbuf.data + self.inbuf.end, READ_HEAD_STEP)
            if got <= 0:
                if got != IO_AGAIN:
                    self._end(False)
                break
            if old == 0:
                self._take_head(rbuf, <size_t> got, &more)
                if more:
                    if not buffer_append(&self.inbuf, rbuf, <size_t> got):
                        raise MemoryError
                    stream.set_timer(self.listener.head_ms)
                continue
            look = self._worth_parsing(self.inbuf.data + self.inbuf.end, <size_t> got, old)
            self.inbuf.end += <size_t> got
            if look:
                self._take_head(buffer_ptr(&self.inbuf), buffer_len(&self.inbuf), &more)
        self.in_loop = False
        return 0

    cdef bint _worth_parsing(self, const char* fresh, size_t n, size_t old) noexcept:
        """Only a line end can complete a head; the other cases find garbage and overlong lines early."""
        return (memchr(fresh, c'\n', n) != NULL or old < 64 or old + n >= self.listener.limits.head
                or (old + n >= self.listener.limits.request_line
                    and memchr(buffer_ptr(&self.inbuf), c'\n', old) == NULL))

    cdef int _take_head(self, char* p, size_t n, bint* more) except -1:
        """Parse what is there; start an exchange, refuse, or set *more."""
        cdef int status = parse_request(p, n, &self.listener.limits, &HEAD)
        more[0] = status == PARSE_MORE
        if status == PARSE_DONE:
            return self._begin(&HEAD, p, n)
        if status < 0:
            if self._is_preface(p, n):
                return self._become_http2(p, n, more)
            return self._refuse(-status)
        return 0

    cdef bint _is_preface(self, const char* p, size_t n) noexcept:
        """Does an HTTP/2 client begin here (RFC 9113 3.4, by prior knowledge)? Over TLS it would have said so by ALPN."""
        return (not self.listener.http2.off and not self.secure and not self.served
                and memcmp(p, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", min(n, <size_t> 24)) == 0)

    cdef int _become_http2(self, const char* p, size_t n, bint* more) except -1:
        cdef Http2Downstream other
        if n < 24:
            more[0] = True
            return 0
        other = Http2Downstream.__new__(Http2Downstream)
        other.take_over(self)
        self.state = D_LINGER
        other.open()
        return other.feed(p, n)

    cdef int _begin(self, Head* head, char* p, size_t n) except -1:
        """A whole head at p: from here to the endpoint, or to an answer of lbd's own."""
        cdef Exchange x = self._open(head)
        cdef int reason = take_request(self, x, head)
        if self.listener.wants:
            see(x, head, self.listener.wants)
        self._take_body(x, head, p, n)
        if reason:
            return x.fail(reason)
        if x.respond is not None:
            return respond(self, x, head)
        x.start()
        if self.stream is not None and self.stream.hangup and not x.finished and x.request_done:
            return x.on_client_gone(R_CLIENT_GONE)
        return 0

    cdef Exchange _open(self, const Head* head):
        cdef Exchange x = open_exchange(self, head)
        self.exchange = x
        self.served = True
        self.state = D_BUSY
        self.stream.set_timer(0)
        return x

    cdef int _take_body(self, Exchange x, Head* head, char* p, size_t n) except -1:
        """What follows the head: a small whole body goes with it, all else waits in inbuf."""
        cdef size_t used = head.length
        cdef size_t length
        if head.framing == BODY_NONE:
            x.request_done = True
        elif head.framing == BODY_LENGTH and (
                head.content_length == 0
                or (head.content_length <= INLINE_BODY_MAX and <uint64_t> head.content_length <= n - used)):
            length = <size_t> head.content_length
            if x.head_len:
                x.take_inline(p + used, length)
            x.bytes_received = length
            x.request_done = True
            used += length
        else:
            body_init(&self.body, head.framing, <uint64_t> head.content_length)
            self.body_started = self.stream.reactor.wheel.now
        if self.inbuf.data != NULL:
            buffer_consume(&self.inbuf, used)
        elif n > used and not buffer_append(&self.inbuf, p + used, n - used):
            raise MemoryError
        self.unparsed = True
        return 0

    # the request body --------------------------------------------------------------------------------------------

    cdef int resume_request(self, Exchange x) except -1:
        if x.request_done:
            return 0
        return self._pump(x)

    cdef void _watch_body(self) noexcept:
        """The client must send: within the idle time, and, after a grace, on average no slower than the floor."""
        cdef uint64_t after = self.listener.body_ms
        cdef uint64_t spent, allowed
        if self.listener.body_rate:
            spent = self.stream.reactor.wheel.now - self.body_started
            allowed = RATE_GRACE_MS + self.body.total * 1000 // self.listener.body_rate
            if spent + after > allowed:
                after = allowed - spent if allowed > spent else 1
        self.stream.set_timer(after)

    cdef int _pump(self, Exchange x) except -1:
        """Pass request body bytes on until the client has no more now, or the endpoint takes no more."""
        cdef Stream stream = self.stream
        cdef char* rbuf = stream.reactor.rbuf
        cdef size_t consumed = 0
        cdef size_t payload = 0
        cdef size_t n
        cdef ssize_t got
        cdef int status
        cdef bint buffered
        while not x.request_done and not x.finished:
            if x.upstream is None or x.upstream.is_blocked():
                if not x.queued:
                    stream.set_timer(0)             # the endpoint's time runs, not the client's
                return 0
            buffered = buffer_len(&self.inbuf) != 0
            if buffered:
                n = min(buffer_len(&self.inbuf), <size_t> READ_SIZE)
                memcpy(rbuf, buffer_ptr(&self.inbuf), n)
            else:
                if not stream.readable:
                    self._watch_body()
                    return 0
                got = stream.recv(rbuf, READ_SIZE)
                if got == IO_AGAIN:
                    self._watch_body()
                    return 0
                if got <= 0:
                    return x.on_client_gone(R_CLIENT_GONE)
                n = <size_t> got
            status = body_decode(&self.body, rbuf, n, &consumed, &payload)
            if status == BODY_ERROR:
                return x.fail(R_BAD_REQUEST)
            if x.route.body_limit >= 0 and self.body.total + self.body.remaining > <uint64_t> x.route.body_limit:
                return x.fail(R_BODY_TOO_LARGE)
            if buffered:
                buffer_consume(&self.inbuf, consumed)
            elif consumed < n and not buffer_append(&self.inbuf, rbuf + consumed, n - consumed):
                raise MemoryError
            x.bytes_received += payload
            x.request_done = status == BODY_DONE
            keep_body(x, rbuf, payload, &self.body if x.request_done else NULL)
            x.upstream.write_body(x, rbuf, payload, &self.body if x.request_done else NULL)
        if not x.finished:
            stream.set_timer(0)
            if x.upstream is not None:
                return x.upstream.on_request_done(x)
        return 0

    # the response ------------------------------------------------------------------------------------------------

    cdef int begin_response(self, Exchange x, Head* head) except -1:
        self.framing = head.framing
        if self.framing == BODY_CLOSE or (self.framing == BODY_CHUNKED and x.minor == 0):
            self.framing = BODY_CHUNKED if x.minor == 1 else BODY_CLOSE
        self.close_after = (not x.keep_alive or not x.request_done or self.framing == BODY_CLOSE
                            or self.listener.draining)
        self.pending_head = <uint32_t> write_response(
            self.stream.reactor.scratch, head, self.framing, self.close_after, x.minor == 0,
            self._own_fields(x, head))
        return 0

    cdef bytes _own_fields(self, Exchange x, const Head* head):
        """HSTS over TLS, unless the endpoint has its own policy; and what belongs to this exchange."""
        cdef bytes hsts = self.listener.hsts
        if hsts is None or not self.secure or find_field(head, b"strict-transport-security", 25, 0) >= 0:
            return x.own_fields
        return hsts if x.own_fields is None else hsts + x.own_fields

    cdef int write_body(self, Exchange x, char* p, size_t n, Body* end) except -100:
        cdef Reactor reactor = self.stream.reactor
        cdef size_t head
        cdef size_t tail = 0
        cdef int result
        x.bytes_sent += n
        if self.framing == BODY_CHUNKED:
            p = frame_chunk(p, &n)
            if end != NULL:
                if buffer_len(&end.trailers) == 0:
                    memcpy(p + n, b"0\r\n\r\n", 5)
                    n += 5
                else:
                    tail = write_trailers(reactor.scratch + TRAILERS_AT, end, self.listener.trailers, &HEAD, x.grpc)
        if self.pending_head:
            head = self.pending_head
            self.pending_head = 0
            if <size_t> (p - reactor.read_block) >= head:
                memcpy(p - head, reactor.scratch, head)
                result = self.stream.write(p - head, head + n)
            else:
                result = self.stream.write2(reactor.scratch, head, p, n)
        elif n:
            result = self.stream.write(p, n)
        else:
            result = WRITE_DONE if self.stream.out.data == NULL else WRITE_BLOCKED
        if tail and result != WRITE_ERROR:
            result = self.stream.write(reactor.scratch + TRAILERS_AT, tail)
        return self._written(result)

    cdef int _written(self, int result) noexcept:
        if result == WRITE_BLOCKED:
            self.stream.set_timer(self.listener.write_ms)
        return result

    cdef int write_informational(self, Exchange x, Head* head) except -1:
        cdef size_t n
        if x.minor == 1:
            n = write_response(self.stream.reactor.scratch, head, BODY_NONE, False, False, None)
            self._written(self.stream.write(self.stream.reactor.scratch, n))
        return 0

    cdef Stream splice_sink(self, Exchange x) noexcept:
        if self.framing == BODY_CHUNKED or self.stream.out.data != NULL or not self.stream.can_splice:
            return None
        return self.stream

    cdef int become_tunnel(self, Exchange x, Head* head, const char* rest, size_t n) except -1:
        cdef Reactor reactor = self.stream.reactor
        cdef size_t length = write_response(reactor.scratch, head, BODY_NONE, False, False, None)
        cdef Tunnel tunnel = Tunnel.__new__(Tunnel)
        cdef int result = self.stream.write2(reactor.scratch, length, rest, n)
        x.bytes_sent += n
        x.status = 101
        x.response_begun = True
        self.listener.delist(self)
        self.exchange = None
        follow_frames(&tunnel.frames, rest, n)
        tunnel.adopt(x, self, result == WRITE_ERROR, buffer_ptr(&self.inbuf), buffer_len(&self.inbuf))
        buffer_free(&self.inbuf)
        self.stream = None
        return 0

    # answers of lbd's own ----------------------------------------------------------------------------------------

    cdef int _refuse(self, int reason) except -1:
        """A head that is none: answer and close; nothing of it goes further."""
        cdef Exchange x = self._open(NULL)
        x.minor = 1
        return x.fail(reason)

    cdef int answer(self, Exchange x, int status, bytes fields, bytes body) except -1:
        cdef bytes answer
        if self.secure and self.listener.hsts is not None:
            fields = add_hsts(fields, self.listener.hsts)
        self.close_after = not x.keep_alive or not x.request_done or self.listener.draining
        self.framing = BODY_LENGTH
        answer = whole_answer(status, fields, body, x.method == M_HEAD, self.close_after, x.minor == 0)
        if x.method != M_HEAD:
            x.bytes_sent += len(body)
        self._written(self.stream.write(<const char*> answer, len(answer)))
        return 0

    # the end of an exchange --------------------------------------------------------------------------------------

    cdef int on_finished(self, Exchange x, bint clean) except -1:
        self.exchange = None
        x.downstream = None
        self.pending_head = 0
        if not clean or self.stream.error:
            # Without framing only a reset tells the client that bytes are missing (RFC 9112 8).
            self._end(self.framing == BODY_CLOSE or x.reason == R_WRITE_TIMEOUT)
            return 0
        self.body_unread = not x.request_done
        if self.body_unread:
            self.close_after = True
        if self.stream.out.data != NULL:
            return 0                                # on_writable goes on
        return self._after_response()

    cdef int _after_response(self) except -1:
        cdef Stream stream = self.stream
        if not self.close_after:
            self.state = D_IDLE
            stream.set_timer(self.listener.idle_ms)
            if self.listener.draining:
                self._end(False)
            elif stream.readable or buffer_len(&self.inbuf):
                return self._read_head()
            return 0
        if buffer_len(&self.inbuf) or stream.readable or self.body_unread:
            self._linger()
        else:
            self._end(False)
        return 0

    cdef void _linger(self):
        """Half-close and read on for a while: closing with unread bytes resets, and a reset may take the response with it
        (RFC 9112 9.6)."""
        buffer_free(&self.inbuf)
        self.state = D_LINGER
        self.stream.shutdown_write()
        self.stream.set_timer(LINGER_MS)
        self.stream.readable = True
        self.stream.reactor.defer(self.stream)

    cdef int _read_lingering(self) except -1:
        cdef ssize_t got
        while self.stream.readable:
            got = self.stream.recv(self.stream.reactor.rbuf, READ_SIZE)
            if got == IO_AGAIN:
                return 0
            self.lingered += <uint32_t> max(got, 0)
            if got <= 0 or self.lingered > LINGER_BYTES:
                self._end(False)
                return 0
        return 0

    cdef void _end(self, bint reset) noexcept:
        """Close the connection and forget it."""
        if self.stream is None:
            return
        self.listener.delist(self)
        if reset:
            self.stream.reset()
        else:
            self.stream.close()
        self.stream = None
        self.state = D_LINGER
