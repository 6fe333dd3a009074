# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Requests to HTTP/2 endpoints: the protocol's events (ClientSession), and an Upstream for each stream (ClientStream).

Strategy: the head that was written for HTTP/1 endpoints is parsed once more and handed to nghttp2 field by field, so
there is one place that decides what endpoints get to see. A response head takes the form of an HTTP/1 head and waits
for what came with it, so that head and first bytes reach the client in one write.

The window of the connection is opened at once, that of a stream when its client has taken the bytes: a client that does
not read stalls its own stream and nobody else's, and holds at most one stream window of memory.
"""

from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int32_t, uint32_t
from libc.string cimport memcpy

cimport cython

from lbd.engine.body cimport Body
from lbd.engine.buffer cimport buffer_append, buffer_consume, buffer_free, buffer_len, buffer_ptr
from lbd.engine.exchange cimport INFORMATIONAL_MAX, Exchange, Upstream
from lbd.engine.fields cimport find_field
from lbd.engine.grpc cimport note_grpc_status
from lbd.engine.http1 cimport (
    M_HEAD, MAX_FIELDS, PARSE_DONE, RESPONSE_FIELDS_MAX, Field, Head, Limits,
    parse_request, parse_response,
)
from lbd.engine.http2 cimport DATA_AREA, Http2Half, Http2Session
from lbd.engine.http2_head cimport NV_MAX, add_field, add_fields, compose_response
from lbd.engine.nghttp2 cimport (
    CANCEL, FLAG_NONE, NV, PROTOCOL_ERROR, REFUSED_STREAM, DataProvider, nghttp2,
)
from lbd.engine.reactor cimport (
    READ_ROOM_AFTER, READ_ROOM_BEFORE, SCRATCH_SIZE, WRITE_BLOCKED, WRITE_DONE, WRITE_ERROR, Stream,
)
from lbd.engine.reasons cimport (
    R_CLIENT_GONE, R_DEADLINE, R_INTERNAL, R_NOT_IMPLEMENTED, R_RESPONSE_BODY_TIMEOUT, R_RESPONSE_TIMEOUT,
    R_UPSTREAM_INVALID, R_UPSTREAM_RESET, R_UPSTREAM_TRUNCATED,
)
from lbd.engine.rewrite cimport write_trailers
from lbd.engine.timers cimport timer_set, timer_unlink

cdef enum:
    HEAD_AT = 131072            # in the worker's scratch area: behind where HTTP/1 puts the head that it makes of this one
    TRAILERS_AT = 131072

# Only used between a parse and the end of the same callback.
cdef Head REQUEST
cdef Field[MAX_FIELDS] REQUEST_FIELDS
cdef Head RESPONSE
cdef Field[RESPONSE_FIELDS_MAX + 1] RESPONSE_FIELDS
cdef NV[NV_MAX + 8] NVA
cdef Limits OWN                 # of heads that lbd wrote itself
cdef char[READ_ROOM_BEFORE + DATA_AREA + READ_ROOM_AFTER] AREA_BLOCK   # body bytes on their way to a client
cdef char* AREA = AREA_BLOCK + READ_ROOM_BEFORE
REQUEST.fields = REQUEST_FIELDS
RESPONSE.fields = RESPONSE_FIELDS
OWN.request_line = OWN.head = 1 << 20
OWN.fields = MAX_FIELDS
OWN.keep_underscore = True


# The protocol's events -------------------------------------------------------------------------------------------

@cython.final
cdef class ClientSession(Http2Session):

    cdef ClientStream find(self, int32_t id):
        cdef void* found = nghttp2.get_stream_user_data(self.session, id)
        return None if found == NULL else <ClientStream> found

    cdef int on_head(self, int32_t id, int category, bint ended) except -1:
        cdef ClientStream stream = self.find(id)
        if stream is None:
            return 0
        if self.block.status.len:
            return stream.take_head(ended)
        if not self.block.dropped:
            self.keep_trailers(&stream.body)
        return 0

    cdef int on_data(self, int32_t id, const char* p, size_t n, bint last) except -1:
        cdef ClientStream stream = self.find(id)
        nghttp2.consume_connection(self.session, n)
        if stream is None:
            return 0
        return stream.receive(p, n, last)

    cdef int on_end(self, int32_t id) except -1:
        cdef ClientStream stream = self.find(id)
        return 0 if stream is None else stream.end_response()

    cdef int on_closed(self, int32_t id, uint32_t error) except -1:
        cdef ClientStream stream = self.find(id)
        return 0 if stream is None else stream.closed(error)

    cdef int on_goaway(self, int32_t last, uint32_t error) except -1:
        """No new exchanges; nghttp2 closes those that the endpoint will not see as refused."""
        return self.connection.on_goaway(error)

    cdef int on_settings(self) except -1:
        return self.connection.on_settled()

    cdef int on_sent(self, int32_t id, bint ended) except -1:
        cdef ClientStream stream = self.find(id)
        if stream is not None and stream.waits and stream.half.waiting.data == NULL:
            stream.waits = False
            self.resumable.append(stream)
        return 0

    cdef int begin_all(self) except -1:
        """All received frames have been handled: heads that came alone are passed on."""
        cdef list beginning
        cdef ClientStream stream
        while self.beginning:
            beginning, self.beginning = self.beginning, []
            for stream in beginning:
                stream.begin()
        return 0

    cdef int resume_all(self) except -1:
        """Let clients go on whose bytes the endpoint has taken, and tell exchanges of streams that ended while sending."""
        cdef list resumable
        cdef ClientStream stream
        cdef Exchange x
        while self.resumable:
            resumable, self.resumable = self.resumable, []
            for stream in resumable:
                if stream.half.gone:
                    stream.settle()
                    continue
                x = stream.exchange
                if x is not None and not x.request_done:
                    timer_set(&self.stream.reactor.wheel, &stream.timer, 0)
                    x.downstream.resume_request(x)
                elif x is not None:
                    stream.on_request_done(x)
        return 0

    cdef int end_all(self) except -1:
        """The connection is gone, and every stream with it."""
        while self.first != NULL:
            (<ClientStream> self.first).closed(CANCEL)
        return 0


# One exchange ----------------------------------------------------------------------------------------------------

@cython.no_gc
@cython.final
@cython.freelist(256)
cdef class ClientStream(Upstream):

    def __dealloc__(self):
        timer_unlink(&self.timer)
        buffer_free(&self.head_text)
        buffer_free(&self.inbuf)
        buffer_free(&self.body.trailers)

    def __repr__(self):
        return f"<ClientStream {self.id} ended={bool(self.ended)}>"

    # the request -------------------------------------------------------------------------------------------------

    cdef int send_request(self, Exchange x) except -100:
        cdef int result = WRITE_DONE
        self.timer.owner = <void*> self
        self.timer.bare = True
        self.half = Http2Half.__new__(Http2Half)
        self.half.session = self.session
        if x.upgrade:                           # WebSocket endpoints speak HTTP/1.1
            x.fail(R_NOT_IMPLEMENTED)
            return WRITE_DONE
        if self.session.over or not self._submit(x):
            return WRITE_ERROR
        x.unsent = False
        if x.inline_len:
            result = self.half.write(x.head + x.head_len, x.inline_len, True)
        else:
            self.session.produce()
        self.session.schedule()
        return self._written(x, result)

    cdef bint _submit(self, Exchange x) except -1:
        """The head to nghttp2: x.head is a head of HTTP/1 that lbd wrote. False when no stream can be opened."""
        cdef DataProvider provider
        cdef int n = 4
        cdef bint bodiless = x.request_done and x.inline_len == 0 and x.kept.data == NULL
        cdef bint secure = not self.session.stream.can_splice
        if parse_request(x.head, x.head_len, &OWN, &REQUEST) != PARSE_DONE:
            raise ValueError(f"a head of lbd's own is malformed: {x.head[:min(x.head_len, 200)]!r}")
        add_field(NVA, 0, b":method", 7, REQUEST.base, REQUEST.method_len)
        add_field(NVA, 1, b":scheme", 7, b"https" if secure else b"http", 5 if secure else 4)
        add_field(NVA, 2, b":authority", 10, REQUEST.authority, REQUEST.authority_len)
        add_field(NVA, 3, b":path", 5, REQUEST.base + REQUEST.target, REQUEST.target_len)
        n = add_fields(NVA, n, &REQUEST, False, REQUEST.framing)
        if x.grpc:
            n = add_field(NVA, n, b"te", 2, b"trailers", 8)
        self.half.provider(&provider)
        self.id = nghttp2.submit_request(self.session.session, NULL, NVA, <size_t> n, NULL if bodiless else &provider,
                                         <void*> self)
        if self.id < 0:
            return False
        self.opened = True
        self.half.id = self.id
        Py_INCREF(self)
        self.next = self.session.first
        if self.session.first != NULL:
            (<ClientStream> self.session.first).prev = <void*> self
        self.session.first = <void*> self
        return True

    cdef bint is_blocked(self) noexcept:
        return self.half.waiting.data != NULL or self.half.gone

    cdef int write_body(self, Exchange x, char* p, size_t n, Body* end) except -100:
        cdef char* scratch = self.session.stream.reactor.scratch + TRAILERS_AT
        cdef size_t length
        if self.half.gone:
            return WRITE_BLOCKED                # what is left of the exchange learns it from settle()
        x.body_given = True
        if end != NULL and buffer_len(&end.trailers):
            length = write_trailers(scratch, end, x.listener.trailers, &RESPONSE, x.grpc)
            if length > 5:
                buffer_append(&self.half.trailers, scratch + 3, length - 5)
        return self._written(x, self.half.write(p, n, end != NULL))

    cdef int _written(self, Exchange x, int result) noexcept:
        if result == WRITE_ERROR:
            return WRITE_BLOCKED
        if result == WRITE_BLOCKED:
            self.waits = True
            timer_set(&self.session.stream.reactor.wheel, &self.timer, x.body_wait())
        elif not self.begun:
            timer_set(&self.session.stream.reactor.wheel, &self.timer, 0)
        return result

    cdef int on_request_done(self, Exchange x) except -1:
        if not self.begun and self.half is not None and self.half.waiting.data == NULL:
            timer_set(&self.session.stream.reactor.wheel, &self.timer, x.response_wait())
        return 0

    # the response ------------------------------------------------------------------------------------------------

    cdef int take_head(self, bint ended) except -1:
        """A head of the response is complete: keep it for begin(), or pass an informational one on."""
        cdef Exchange x = self.exchange
        cdef char* out = self.session.stream.reactor.scratch + HEAD_AT
        cdef size_t n
        cdef uint32_t status
        if x is None:
            return 0
        n = compose_response(&self.session.block, out, SCRATCH_SIZE - HEAD_AT)
        if n == 0 or self.begun or buffer_len(&self.head_text):
            self._reset(PROTOCOL_ERROR)
            return x.on_upstream_failed(self, R_UPSTREAM_INVALID, False)
        if out[9] == c'1':
            return self._pass_informational(x, out, n)
        if ended and not self.session.block.has_length and x.method != M_HEAD:
            status = (out[9] - c'0') * 100 + (out[10] - c'0') * 10 + (out[11] - c'0')
            if status != 204 and status != 304:
                memcpy(out + n, b"Content-Length: 0\r\n", 19)
                n += 19
        elif not ended and not self.session.block.has_length:
            memcpy(out + n, b"Transfer-Encoding: chunked\r\n", 28)
            n += 28
        memcpy(out + n, b"\r\n", 2)
        if not buffer_append(&self.head_text, out, n + 2):
            raise MemoryError
        self.session.beginning.append(self)
        return 0

    cdef int _pass_informational(self, Exchange x, char* out, size_t n) except -1:
        memcpy(out + n, b"\r\n", 2)
        x.informational += 1
        if (x.informational > INFORMATIONAL_MAX or parse_response(out, n + 2, x.method, &RESPONSE) != PARSE_DONE
                or RESPONSE.length != n + 2 or RESPONSE.status == 101):
            self._reset(PROTOCOL_ERROR)
            return x.on_upstream_failed(self, R_UPSTREAM_INVALID, False)
        return x.downstream.write_informational(x, &RESPONSE)

    cdef int receive(self, const char* p, size_t n, bint last) except -1:
        """DATA; what comes with the end of the stream waits for it."""
        cdef Exchange x = self.exchange
        if x is None:
            nghttp2.consume_stream(self.session.session, self.id, n)
            return 0
        if not buffer_append(&self.inbuf, p, n):
            raise MemoryError
        if last:
            return 0
        if not self.begun:
            return 0                            # begin() follows when the frames at hand have been handled
        return self._pump(x)

    cdef int end_response(self) except -1:
        self.ended = True
        if self.exchange is None:
            return 0
        if not self.begun:
            return self.begin()
        return self._pump(self.exchange)

    cdef int begin(self) except -1:
        """Hand the response's head over, with what there is of the body."""
        cdef Exchange x = self.exchange
        cdef int at
        if self.begun or x is None or buffer_len(&self.head_text) == 0:
            return 0
        if parse_response(buffer_ptr(&self.head_text), buffer_len(&self.head_text), x.method, &RESPONSE) != PARSE_DONE \
                or RESPONSE.length != buffer_len(&self.head_text):
            self._reset(PROTOCOL_ERROR)
            return x.on_upstream_failed(self, R_UPSTREAM_INVALID, False)
        self.begun = True
        if x.grpc:
            at = find_field(&RESPONSE, b"grpc-status", 11, 0)
            if at >= 0:
                note_grpc_status(x, RESPONSE.base + RESPONSE.fields[at].value, RESPONSE.fields[at].value_len)
        if x.on_response_head(self, &RESPONSE, self.ended and buffer_len(&self.inbuf) == 0):
            return 0                            # it goes on elsewhere
        return self._pump_first(x)

    cdef int _pump(self, Exchange x) except -1:
        """Pass response bytes on as far as the client takes them."""
        if x.downstream.is_blocked(x):
            timer_set(&self.session.stream.reactor.wheel, &self.timer, 0)       # the client's time runs
            return 0
        return self._pump_first(x)

    cdef int _pump_first(self, Exchange x) except -1:
        cdef size_t n
        cdef int written
        cdef bint last
        while self.exchange is x:
            n = min(buffer_len(&self.inbuf), <size_t> DATA_AREA)
            if n:
                memcpy(AREA, buffer_ptr(&self.inbuf), n)
                buffer_consume(&self.inbuf, n)
                if not self.half.gone:
                    nghttp2.consume_stream(self.session.session, self.id, n)
                    self.session.schedule()
            last = self.ended and buffer_len(&self.inbuf) == 0
            written = x.downstream.write_body(x, AREA, n, &self.body if last else NULL)
            if written == WRITE_ERROR:
                return x.on_client_gone(R_CLIENT_GONE)
            if last:
                return x.on_response_done(True)
            if written == WRITE_BLOCKED:
                timer_set(&self.session.stream.reactor.wheel, &self.timer, 0)
                return 0
            if buffer_len(&self.inbuf) == 0:
                timer_set(&self.session.stream.reactor.wheel, &self.timer, x.body_wait())
                return 0
        return 0

    cdef int resume_response(self, Exchange x) except -1:
        if not self.begun:
            return 0
        if buffer_len(&self.inbuf) or self.ended:
            self._pump(x)
        if self.exchange is x and self.half.gone and not self.ended:
            return self.settle()
        return 0

    # deadlines and the end ---------------------------------------------------------------------------------------

    cdef int on_timeout(self, Stream stream) except -1:
        cdef Exchange x = self.exchange
        if x is None:
            return 0
        if x.past_deadline():
            return x.on_upstream_failed(self, R_DEADLINE, False)
        return x.on_upstream_failed(self, R_RESPONSE_BODY_TIMEOUT if self.begun else R_RESPONSE_TIMEOUT, False)

    cdef int on_fault(self, Stream stream) except -1:
        cdef Exchange x = self.exchange
        if x is not None:
            return x.fail(R_INTERNAL)
        return 0

    cdef void _reset(self, uint32_t code) noexcept:
        """End the stream early."""
        if self.opened and not self.half.gone and not self.session.over:
            nghttp2.submit_rst_stream(self.session.session, FLAG_NONE, self.id, code)
            self.session.schedule()

    cdef int closed(self, uint32_t error) except -1:
        """The stream is over for nghttp2, well or badly."""
        self.half.gone = True
        self.error = error
        timer_unlink(&self.timer)
        self.timer.deadline = 0
        nghttp2.set_stream_user_data(self.session.session, self.id, NULL)
        if self.prev != NULL:
            (<ClientStream> self.prev).next = self.next
        else:
            self.session.first = self.next
        if self.next != NULL:
            (<ClientStream> self.next).prev = self.prev
        self.session.stream.reactor.retired.append(self)        # it may be up the call stack
        self.counted = False
        self.session.connection.on_stream_closed(error == REFUSED_STREAM)
        if self.session.sending:                                # and its exchange, too
            self.session.resumable.append(self)
            self.session.schedule()
        else:
            self.settle()
        Py_DECREF(self)
        return 0

    cdef int settle(self) except -1:
        """What the end of the stream means for the exchange, unless all is well."""
        cdef Exchange x = self.exchange
        if x is None or self.ended:
            return 0
        if self.begun and buffer_len(&self.inbuf) and x.downstream.is_blocked(x):
            return 0                            # the client first gets what there is
        if self.error == REFUSED_STREAM and not self.begun:
            return x.on_refused(self)
        if self.begun or buffer_len(&self.head_text):
            return x.on_upstream_failed(self, R_UPSTREAM_TRUNCATED, False)
        return x.on_upstream_failed(self, R_UPSTREAM_RESET, True)

    cdef void detach(self, bint reusable):
        self.exchange = None
        timer_set(&self.session.stream.reactor.wheel, &self.timer, 0)
        if not self.opened:                     # nghttp2 never heard of it
            if self.counted:
                self.counted = False
                self.session.connection.on_stream_closed(False)
            return
        if not (reusable and self.ended):
            self._reset(CANCEL)
        self.half.clear()
        if buffer_len(&self.inbuf) and not self.half.gone:
            nghttp2.consume_stream(self.session.session, self.id, buffer_len(&self.inbuf))
            self.session.schedule()
        buffer_free(&self.inbuf)

    cdef void drop(self, bint reset) noexcept:
        """Whoever was to get it has gone; the connection lives on."""
        self.detach(False)
