# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Requests of HTTP/2 clients: the protocol's events (ServerSession), and a Downstream for each stream (ServerStream).

Strategy: a ServerStream is the Downstream of its Exchange, so the exchange does not know that it shares a connection. A
request starts when all frames that were received with it have been handled: a small body then travels with its head, as
in HTTP/1, and can be replayed. Responses of all streams that become ready in one round leave in one send.

A stream's deadlines (queue, body, a client that does not open its window) stand in a timer of its own.
"""

from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memcpy

cimport cython

from lbd.engine.answers cimport grpc_status, whole_answer
from lbd.engine.attempts cimport keep_body
from lbd.engine.body cimport Body
from lbd.engine.buffer cimport (
    buffer_append, buffer_consume, buffer_free, buffer_len, buffer_ptr,
)
from lbd.engine.exchange cimport INLINE_BODY_MAX, Downstream, Exchange
from lbd.engine.facts cimport see
from lbd.engine.fields cimport find_field
from lbd.engine.http1 cimport (
    BODY_CHUNKED, BODY_LENGTH, BODY_NONE, M_HEAD, M_POST, MAX_FIELDS, PARSE_DONE, RESPONSE_FIELDS_MAX, Field, Head,
    parse_request, parse_response,
)
from lbd.engine.grpc cimport begin_grpc, note_grpc_trailers
from lbd.engine.http2 cimport DATA_AREA, Http2Half, Http2Session
from lbd.engine.http2_head cimport NV_MAX, add_field, add_fields, add_line, asks_websocket, compose_request, without_field
from lbd.engine.intake cimport open_exchange, respond, take_request
from lbd.engine.nghttp2 cimport (
    CANCEL, FLAG_NONE, HCAT_REQUEST, INTERNAL_ERROR, NO_ERROR, NV, DataProvider, nghttp2,
)
from lbd.engine.reactor cimport (
    READ_ROOM_AFTER, READ_ROOM_BEFORE, SCRATCH_SIZE, WRITE_BLOCKED, WRITE_DONE, Stream,
)
from lbd.engine.reasons cimport (
    R_BAD_REQUEST, R_BODY_TIMEOUT, R_BODY_TOO_LARGE, R_CLIENT_GONE, R_DEADLINE, R_HEAD_TOO_LARGE, R_INTERNAL,
    R_METHOD_REFUSED, R_NOT_IMPLEMENTED, R_QUEUE_TIMEOUT, R_WRITE_TIMEOUT, reason_code,
)
from lbd.engine.rewrite cimport write_trailers
from lbd.engine.timers cimport timer_set, timer_unlink
from lbd.engine.tunnel_http2 cimport StreamTunnel

cdef enum:
    RATE_GRACE_MS = 30000
    LINGER_MS = 1000
    LINGER_BYTES = 1 << 20
    TRAILERS_AT = 131072
    TURN = 16

# Only used between a parse and the end of the same callback.
cdef Head HEAD
cdef Field[MAX_FIELDS] FIELDS
cdef Head RESPONSE
cdef Field[RESPONSE_FIELDS_MAX + 1] RESPONSE_FIELDS
cdef NV[NV_MAX + 8] NVA
cdef char[READ_ROOM_BEFORE + DATA_AREA + READ_ROOM_AFTER] AREA_BLOCK   # body bytes on their way to an endpoint
cdef char* AREA = AREA_BLOCK + READ_ROOM_BEFORE
HEAD.fields = FIELDS
RESPONSE.fields = RESPONSE_FIELDS


# The protocol's events -------------------------------------------------------------------------------------------

@cython.final
cdef class ServerSession(Http2Session):

    cdef ServerStream find(self, int32_t id):
        cdef void* found = nghttp2.get_stream_user_data(self.session, id)
        return None if found == NULL else <ServerStream> found

    cdef int on_begin(self, int32_t id, int category) except -1:
        self.in_head = True
        return 0

    cdef int on_head(self, int32_t id, int category, bint ended) except -1:
        cdef ServerStream stream
        self.in_head = False
        if self.over:
            return 0
        if category != HCAT_REQUEST:
            return self.trailers(id)
        stream = ServerStream.__new__(ServerStream)
        stream.join(self, id)
        return stream.take(ended)

    cdef int trailers(self, int32_t id) except -1:
        """Trailers of a request."""
        cdef ServerStream stream = self.find(id)
        cdef Exchange x = None if stream is None else stream.exchange
        if x is not None and self.block.dropped:
            return x.fail(R_HEAD_TOO_LARGE)
        if stream is not None:
            self.keep_trailers(&stream.body)
        return 0

    cdef int on_data(self, int32_t id, const char* p, size_t n, bint last) except -1:
        cdef ServerStream stream = self.find(id)
        if stream is None:
            nghttp2.consume(self.session, id, n)
            return 0
        return stream.receive(p, n)

    cdef int on_end(self, int32_t id) except -1:
        cdef ServerStream stream = self.find(id)
        return 0 if stream is None else stream.end_request()

    cdef int on_closed(self, int32_t id, uint32_t error) except -1:
        cdef ServerStream stream = self.find(id)
        return 0 if stream is None else stream.closed(error)

    cdef int on_sent(self, int32_t id, bint ended) except -1:
        cdef ServerStream stream = self.find(id)
        if stream is None:
            return 0
        if ended and not stream.ended:          # answered before the end of the request: no need for the rest
            nghttp2.submit_rst_stream(self.session, FLAG_NONE, id, NO_ERROR)
        if stream.half.waiting.data == NULL and stream.waits:
            stream.waits = False
            self.resumable.append(stream)
        elif stream.waits:                      # it moves: the client reads
            timer_set(&self.stream.reactor.wheel, &stream.timer, self.connection.listener.write_ms)
        return 0

    cdef int start_all(self) except -1:
        """All received frames have been handled: the requests that came with them may go."""
        cdef list starting
        cdef ServerStream stream
        while self.starting:
            starting, self.starting = self.starting, []
            for stream in starting:
                stream.start()
        return 0

    cdef int resume_all(self) except -1:
        """Let endpoints go on whose bytes the clients have taken."""
        cdef list resumable
        cdef ServerStream stream
        cdef Exchange x
        if not self.resumable:
            return 0
        resumable, self.resumable = self.resumable, []
        for stream in resumable:
            timer_set(&self.stream.reactor.wheel, &stream.timer, 0)
            if stream.half.gone:
                stream._let_go(stream.failed)
            elif stream.tunnel is not None:
                stream.tunnel.resume()
            else:
                x = stream.exchange
                if x is not None and x.upstream is not None:
                    x.upstream.resume_response(x)
        return 0


# One request -----------------------------------------------------------------------------------------------------

@cython.no_gc
@cython.final
@cython.freelist(256)
cdef class ServerStream(Downstream):

    def __dealloc__(self):
        timer_unlink(&self.timer)
        buffer_free(&self.inbuf)
        buffer_free(&self.body.trailers)

    def __repr__(self):
        return f"<ServerStream {self.id} ended={bool(self.ended)}>"

    cdef void join(self, ServerSession session, int32_t id):
        """Become a stream of the connection; nghttp2 holds a reference from here on."""
        cdef Downstream connection = session.connection
        self.session = session
        self.stream = connection.stream
        self.listener = connection.listener
        self.id = id
        self.timer.owner = <void*> self
        self.timer.bare = True
        memcpy(self.peer, connection.peer, 16)
        memcpy(self.peer_text, connection.peer_text, sizeof(self.peer_text))
        self.peer_text_len = connection.peer_text_len
        self.secure = connection.secure
        self.peer_port = connection.peer_port
        self.local_port = connection.local_port
        memcpy(self.local, connection.local, 16)
        self.identity = connection.identity
        self.half = Http2Half.__new__(Http2Half)
        self.half.session = session
        self.half.id = id
        nghttp2.set_stream_user_data(session.session, id, <void*> self)
        Py_INCREF(self)
        self.next = session.first
        if session.first != NULL:
            (<ServerStream> session.first).prev = <void*> self
        session.first = <void*> self
        session.streams += 1

    # the request -------------------------------------------------------------------------------------------------

    cdef int take(self, bint ended) except -1:
        """Its head is complete: find out where it goes."""
        cdef Exchange x
        cdef int reason = 0
        if self._parse(ended, &reason) != PARSE_DONE:
            return self.refuse(reason)
        x = open_exchange(self, &HEAD)
        x.http2 = True
        self.exchange = x
        if HEAD.method == M_POST:
            begin_grpc(x, &HEAD)
        reason = take_request(self, x, &HEAD)
        if self.listener.wants:
            see(x, &HEAD, self.listener.wants)
        if HEAD.framing == BODY_NONE:
            x.request_done = True
        else:
            self.body.framing = HEAD.framing
            self.body_started = self.stream.reactor.wheel.now
        if reason:
            return x.fail(reason)
        if x.respond is not None:
            return respond(self, x, &HEAD)
        if x.request_done:
            self.started = True
            self._watch_call(x)
            return x.start()
        if HEAD.framing == BODY_LENGTH and 0 <= HEAD.content_length <= INLINE_BODY_MAX:
            self._watch_body()                  # worth waiting for: it goes with the head
        else:
            self.session.starting.append(self)
        return 0

    cdef int _parse(self, bint ended, int* reason) except -1:
        """The received head, as a head of HTTP/1, through the parser of HTTP/1. PARSE_DONE, or *reason is set."""
        cdef char* out = self.stream.reactor.scratch
        cdef size_t n
        cdef int status
        reason[0] = R_BAD_REQUEST
        if self.session.block.dropped:
            reason[0] = R_HEAD_TOO_LARGE
            return 0
        if self.session.block.path.len == 0 and self.session.block.method.len == 7:     # CONNECT
            reason[0] = R_METHOD_REFUSED
            return 0
        if self.session.block.protocol.len and not asks_websocket(&self.session.block):
            reason[0] = R_NOT_IMPLEMENTED           # RFC 8441 4
            return 0
        n = compose_request(&self.session.block, out, SCRATCH_SIZE, ended, self.stream.reactor)
        if n == 0:
            return 0
        status = parse_request(out, n, &self.listener.limits, &HEAD)
        if status == PARSE_DONE and HEAD.length == n:
            return PARSE_DONE
        if status < 0:
            reason[0] = -status
        return 0

    cdef int refuse(self, int reason) except -1:
        """A head that is none."""
        cdef Exchange x = open_exchange(self, NULL)
        x.minor = 1
        x.http2 = True
        self.exchange = x
        return x.fail(reason)

    cdef int start(self) except -1:
        cdef Exchange x = self.exchange
        if x is None or x.finished:
            return 0
        if self.started:
            return self._pump(x)
        self.started = True
        self._watch_body()
        return x.start()

    cdef int receive(self, const char* p, size_t n) except -1:
        """DATA."""
        cdef Exchange x = self.exchange
        cdef int written
        if self.tunnel is not None:
            if buffer_len(&self.inbuf) == 0 and not self.waits_for_endpoint:
                written = self.tunnel.take(p, n)
                if written != WRITE_BLOCKED:
                    self._consume(n)
                    return 0
                self.waits_for_endpoint += n
                return 0
            return 0 if buffer_append(&self.inbuf, p, n) else -1
        if x is None or x.finished:
            self._consume(n)
            return 0
        self.body.total += n
        x.bytes_received += n
        if x.route.body_limit >= 0 and self.body.total > <uint64_t> x.route.body_limit:
            self._consume(n)
            return x.fail(R_BODY_TOO_LARGE)
        if not buffer_append(&self.inbuf, p, n):
            raise MemoryError
        if self.started:
            self.session.starting.append(self)  # pass it on when all that was received is here
        elif buffer_len(&self.inbuf) > INLINE_BODY_MAX:
            return self.start()
        return 0

    cdef int end_request(self) except -1:
        """END_STREAM."""
        cdef Exchange x = self.exchange
        self.ended = True
        if self.tunnel is not None:
            if buffer_len(&self.inbuf) == 0 and not self.waits_for_endpoint:
                return self.tunnel.shut_up()
            return 0
        if x is None or x.finished or x.request_done:
            return 0
        if not self.started and buffer_len(&self.body.trailers) == 0:
            self._inline_body(x)
        if self.started:
            return self._pump(x)
        return self.start()

    cdef int _inline_body(self, Exchange x) except -1:
        """A small body that is complete before anything was sent travels, and is replayed, with the head."""
        cdef size_t n = buffer_len(&self.inbuf)
        if n > INLINE_BODY_MAX:
            return 0
        x.take_inline(buffer_ptr(&self.inbuf) if n else NULL, n)
        buffer_free(&self.inbuf)
        self._consume(n)
        x.request_done = True
        self._watch_call(x)
        return 0

    cdef void _consume(self, size_t n) noexcept:
        """The client may send as much again."""
        if n and not self.session.over:
            nghttp2.consume(self.session.session, self.id, n)
            self.session.schedule()

    cdef void _watch_body(self) noexcept:
        """As in HTTP/1: within the idle time, and, after a grace, on average no slower than the floor."""
        cdef uint64_t after = self.listener.body_ms
        cdef uint64_t spent, allowed
        if self.listener.body_rate and (self.exchange is None or not self.exchange.grpc):
            spent = self.stream.reactor.wheel.now - self.body_started
            allowed = RATE_GRACE_MS + self.body.total * 1000 // self.listener.body_rate
            if spent + after > allowed:
                after = allowed - spent if allowed > spent else 1
        if self.exchange is not None and self.exchange.grpc:
            after = self.exchange.within_deadline(self.listener.tunnel_ms)      # a call may be silent for long
        timer_set(&self.stream.reactor.wheel, &self.timer, after)

    cdef int resume_request(self, Exchange x) except -1:
        if self.tunnel is not None:
            return self._feed_tunnel()
        return 0 if x.request_done else self._pump(x)

    cdef int _feed_tunnel(self) except -1:
        """The endpoint has taken what was written to it."""
        cdef size_t n = buffer_len(&self.inbuf)
        self._consume(self.waits_for_endpoint)
        self.waits_for_endpoint = 0
        if n:
            if self.tunnel.take(buffer_ptr(&self.inbuf), n) == WRITE_BLOCKED:
                self.waits_for_endpoint = n
            else:
                self._consume(n)
            buffer_free(&self.inbuf)
            if self.tunnel is None:
                return 0
        if self.ended and buffer_len(&self.inbuf) == 0 and self.tunnel is not None and not self.waits_for_endpoint:
            return self.tunnel.shut_up()
        return 0

    cdef int _pump(self, Exchange x) except -1:
        """Pass request body bytes on, as far as the endpoint takes them."""
        cdef size_t n
        cdef bint last
        while not x.request_done and not x.finished:
            if x.upstream is None or x.upstream.is_blocked():
                if not x.queued:
                    timer_set(&self.stream.reactor.wheel, &self.timer, 0)       # the endpoint's time runs
                return 0
            n = min(buffer_len(&self.inbuf), <size_t> DATA_AREA)
            if n == 0 and not self.ended:
                self._watch_body()
                return 0
            if n:
                memcpy(AREA, buffer_ptr(&self.inbuf), n)
                buffer_consume(&self.inbuf, n)
            last = self.ended and buffer_len(&self.inbuf) == 0
            x.request_done = last
            keep_body(x, AREA, n, &self.body if last else NULL)
            x.upstream.write_body(x, AREA, n, &self.body if last else NULL)
            self._consume(n)
        if not x.finished:
            self._watch_call(x)
            if x.upstream is not None:
                return x.upstream.on_request_done(x)
        return 0

    cdef int closed(self, uint32_t error) except -1:
        """The stream is over for nghttp2, well or badly."""
        self.half.gone = True
        timer_unlink(&self.timer)
        self.timer.deadline = 0
        nghttp2.set_stream_user_data(self.session.session, self.id, NULL)
        if self.prev != NULL:
            (<ServerStream> self.prev).next = self.next
        else:
            self.session.first = self.next
        if self.next != NULL:
            (<ServerStream> self.next).prev = self.prev
        self.session.streams -= 1
        self.session.schedule()
        self.stream.reactor.retired.append(self)    # it may be up the call stack
        if self.session.sending:                    # and its exchange, too: whoever writes will see that it is gone
            self.failed = error != 0
            self.session.resumable.append(self)
        else:
            self._let_go(error != 0)
        Py_DECREF(self)
        return 0

    cdef int _let_go(self, bint failed) except -1:
        """End what the closed stream leaves behind."""
        cdef Exchange x = self.exchange
        if self.tunnel is not None:
            self.tunnel.end(failed)
        elif x is not None:
            x.on_client_gone(R_CLIENT_GONE)
        self.half.clear()
        buffer_free(&self.inbuf)
        return 0

    # deadlines ---------------------------------------------------------------------------------------------------

    cdef void wait(self, uint64_t after_ms) noexcept:
        timer_set(&self.stream.reactor.wheel, &self.timer, self._sooner(after_ms))

    cdef uint64_t _sooner(self, uint64_t after_ms) noexcept:
        """A time to wait, or what is left of the call's deadline when that is less."""
        cdef Exchange x = self.exchange
        cdef uint64_t left
        if x is None or x.deadline == 0:
            return after_ms
        left = x.within_deadline(0)
        return min(after_ms, left) if after_ms else left

    cdef void _watch_call(self, Exchange x) noexcept:
        """All of the request is here: what may still pass is the call's deadline, also while connecting."""
        timer_set(&self.stream.reactor.wheel, &self.timer, self._sooner(0))

    cdef int on_timeout(self, Stream stream) except -1:
        cdef Exchange x = self.exchange
        if self.tunnel is not None:
            return self.tunnel.end(True)
        if self.half.waiting.data != NULL:
            if x is not None:
                x.on_client_gone(R_WRITE_TIMEOUT)
            else:
                nghttp2.submit_rst_stream(self.session.session, FLAG_NONE, self.id, CANCEL)
                self.session.schedule()
            return 0
        if x is None:
            return 0
        if x.past_deadline():
            return x.fail(R_DEADLINE)
        if x.queued:
            return x.fail(R_QUEUE_TIMEOUT)
        if not x.request_done:
            return x.fail(R_BODY_TIMEOUT)
        return 0

    cdef int on_fault(self, Stream stream) except -1:
        cdef Exchange x = self.exchange
        if x is not None:
            x.on_client_gone(R_INTERNAL)
        return 0

    # the response ------------------------------------------------------------------------------------------------

    cdef int _submit(self, Exchange x, const Head* head, const char* status) except -1:
        """Hand the head over; with a body to come unless bodiless is set."""
        cdef DataProvider provider
        cdef int n
        add_field(NVA, 0, b":status", 7, status, 3)
        n = add_fields(NVA, 1, head, True, head.framing)
        if self.tunnel is not None:
            n = without_field(NVA, n, b"sec-websocket-accept", 20)      # a 200 says it here (RFC 8441 5)
        if self.secure and self.listener.hsts is not None and find_field(head, b"strict-transport-security", 25, 0) < 0:
            n = add_line(NVA, n, self.listener.hsts, 25)
        if x.own_fields is not None:                    # Set-Cookie, all there is so far
            n = add_line(NVA, n, x.own_fields, 10)
        self.answered = True
        if self.half.gone or self.session.over:
            return 0
        self.half.provider(&provider)
        nghttp2.submit_response(self.session.session, self.id, NVA, <size_t> n, NULL if self.bodiless else &provider)
        self.session.schedule()
        return 0

    cdef int begin_response(self, Exchange x, Head* head) except -1:
        self.bodiless = head.framing == BODY_NONE or (head.framing == BODY_LENGTH and head.content_length == 0)
        return self._submit(x, head, head.base + 9)

    cdef int write_body(self, Exchange x, char* p, size_t n, Body* end) except -100:
        cdef char* scratch = self.stream.reactor.scratch + TRAILERS_AT
        cdef size_t length
        if self.bodiless:
            return WRITE_DONE
        x.bytes_sent += n
        if end != NULL and buffer_len(&end.trailers):
            length = write_trailers(scratch, end, self.listener.trailers, &RESPONSE, x.grpc)
            if length > 5:                          # less "0 CR LF" before and CR LF behind
                buffer_append(&self.half.trailers, scratch + 3, length - 5)
                note_grpc_trailers(x, scratch + 3, length - 5)
        return self._written(self.half.write(p, n, end != NULL))

    cdef int _written(self, int result) noexcept:
        if result == WRITE_BLOCKED:
            self.waits = True
            timer_set(&self.stream.reactor.wheel, &self.timer, self.listener.write_ms)
        return result

    cdef int write_informational(self, Exchange x, Head* head) except -1:
        cdef int n
        NVA[0].name = <const unsigned char*> b":status"
        NVA[0].name_len = 7
        NVA[0].value = <const unsigned char*> head.base + 9
        NVA[0].value_len = 3
        NVA[0].flags = 0
        n = add_fields(NVA, 1, head, True, BODY_CHUNKED)
        if not self.half.gone and not self.session.over:
            nghttp2.submit_headers(self.session.session, FLAG_NONE, self.id, NULL, NVA, <size_t> n, NULL)
            self.session.schedule()
        return 0

    cdef bint is_blocked(self, Exchange x) noexcept:
        return self.half.waiting.data != NULL

    cdef Stream splice_sink(self, Exchange x) noexcept:
        return None

    cdef int reply(self, Exchange x, int reason) except -1:
        if x.grpc:
            return self._answer_grpc(x, reason)
        return Downstream.reply(self, x, reason)

    cdef int answer(self, Exchange x, int status, bytes fields, bytes body) except -1:
        cdef bytes text = whole_answer(status, fields, body, x.method == M_HEAD, False, False)
        cdef const char* p = text
        cdef size_t n = len(text)
        if parse_response(p, n, x.method, &RESPONSE) != PARSE_DONE:
            raise ValueError(f"an answer of lbd's own is malformed: {text[:200]!r}")
        self.bodiless = RESPONSE.framing == BODY_NONE or RESPONSE.content_length == 0
        self._submit(x, &RESPONSE, RESPONSE.base + 9)
        if not self.bodiless:
            x.bytes_sent += n - RESPONSE.length
            self._written(self.half.write(p + RESPONSE.length, n - RESPONSE.length, True))
        return 0

    cdef int _answer_grpc(self, Exchange x, int reason) except -1:
        """An error as gRPC clients understand it: trailers only (gRPC over HTTP/2, Responses)."""
        cdef int code = grpc_status(reason)
        cdef bytes fields = b"Content-Type: application/grpc\r\nGrpc-Status: %d\r\nGrpc-Message: %b (request %b)\r\n" % (
            code, reason_code(reason), x.request_id[:32])
        x.grpc_status = code
        return self.answer(x, 200, fields, b"")

    cdef int become_tunnel(self, Exchange x, Head* head, const char* rest, size_t n) except -1:
        """The endpoint has switched to WebSocket: the stream carries it from here on (RFC 8441 5)."""
        self.tunnel = StreamTunnel.__new__(StreamTunnel)
        x.status = 200
        x.response_begun = True
        self.bodiless = False
        self._submit(x, head, b"200")
        self.tunnel.adopt(x, self.half, rest, n)
        return self._feed_tunnel() if self.tunnel is not None else 0      # what the client sent without waiting

    cdef int on_finished(self, Exchange x, bint clean) except -1:
        cdef uint32_t code
        self.exchange = None
        self.tunnel = None
        x.downstream = None
        if not clean and not self.half.gone and not self.session.over:
            code = CANCEL if x.reason == R_WRITE_TIMEOUT else INTERNAL_ERROR
            self.half.clear()
            nghttp2.submit_rst_stream(self.session.session, FLAG_NONE, self.id, code)
        self._consume(buffer_len(&self.inbuf))
        buffer_free(&self.inbuf)
        if self.half.waiting.data == NULL:
            timer_set(&self.stream.reactor.wheel, &self.timer, 0)
        self.session.schedule()
        return 0
