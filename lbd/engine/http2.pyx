# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""An HTTP/2 connection (RFC 9113) over nghttp2, either side of the proxy: framing, HPACK and flow control are the
library's, the rest is here.

Strategy: what is received goes through the library at once; what is sent is gathered, for all streams of the
connection, and leaves in one send at the end of the reactor's round. Heads are put into the form of HTTP/1 heads
(compose_*), so that the strict parser, the router and the writers that HTTP/1 has serve HTTP/2 as well, and
everything is validated twice. Bodies are read by the library straight from where the other side's bytes were
received; only what the peer's window does not take is kept.

Floods (hazards 24 to 27): heads are bounded while they are collected, decoded size included; frames that achieve
nothing and streams that are reset, by whichever side, draw on budgets that refill slowly; what waits to be sent is
bounded by not reading on. A connection over a budget gets GOAWAY(ENHANCE_YOUR_CALM).
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

cimport cython

from lbd.engine.body cimport Body
from lbd.engine.buffer cimport buffer_append, buffer_consume, buffer_free, buffer_len, buffer_ptr
from lbd.engine.http2_head cimport HeadBlock, add_field, collect_field
from lbd.engine.nghttp2 cimport (
    DATA, DATA_FLAG_EOF, DATA_FLAG_NO_COPY, DATA_FLAG_NO_END_STREAM, ENHANCE_YOUR_CALM, ERR_CALLBACK_FAILURE,
    ERR_DEFERRED, ERR_FLOODED, ERR_TEMPORAL_CALLBACK_FAILURE, FLAG_ACK, FLAG_END_STREAM, FLAG_NONE, GOAWAY, HEADERS,
    NV, PRIORITY, PROTOCOL_ERROR, RST_STREAM, SETTINGS, SETTINGS_ENABLE_CONNECT_PROTOCOL, SETTINGS_ENABLE_PUSH,
    SETTINGS_HEADER_TABLE_SIZE, SETTINGS_INITIAL_WINDOW_SIZE, SETTINGS_MAX_CONCURRENT_STREAMS,
    SETTINGS_MAX_HEADER_LIST_SIZE, SETTINGS_NO_RFC7540_PRIORITIES, WINDOW_UPDATE, Callbacks, DataProvider,
    DataSource, Frame, FrameHead, Option, Session, SettingsEntry, load_nghttp2, nghttp2,
)
from lbd.engine.reactor cimport WRITE_BLOCKED, WRITE_DONE, WRITE_ERROR, Handler, Stream
from lbd.engine.reasons cimport R_HTTP2_FLOOD, R_HTTP2_PROTOCOL, R_NONE
from lbd.engine.sys cimport ssize_t

cdef enum:
    HEAD_EXCESS = 4             # decoded heads beyond the limit times this end the connection, not just the request
    RESET_RATE = 33             # per second
    GLITCH_RATE = 100
    CONNECTION_WINDOWS = 4      # stream windows that the connection's window holds

cdef Callbacks* CALLBACKS = NULL


# Callbacks of nghttp2 --------------------------------------------------------------------------------------------
# An exception must not unwind through C: it is kept and raised when the library has returned.

cdef inline int _let_through(Http2Session s, object error) noexcept:
    s.error = error
    return ERR_CALLBACK_FAILURE


cdef int _on_begin_frame(Session* session, const FrameHead* head, void* user) noexcept:
    """What the library passes over because lbd wants no RFC 7540 priorities, and RFC 9113 6.3 forbids."""
    if head.type == PRIORITY and head.stream_id == 0:
        nghttp2.terminate_session(session, PROTOCOL_ERROR)
    return 0


cdef int _on_begin_headers(Session* session, const Frame* frame, void* user) noexcept:
    cdef Http2Session s = <Http2Session> user
    cdef HeadBlock* b = &s.block
    b.stream = frame.hd.stream_id
    buffer_free(&b.cookies)
    b.text.start = b.text.end = 0
    b.method.len = b.path.len = b.authority.len = b.scheme.len = b.protocol.len = b.status.len = 0
    b.fields = b.decoded = b.count = 0
    b.dropped = b.has_length = b.conflict = False
    try:
        return s.on_begin(frame.hd.stream_id, frame.headers.category)
    except Exception as error:
        return _let_through(s, error)


cdef int _on_header(Session* session, const Frame* frame, const uint8_t* name, size_t n, const uint8_t* value,
                    size_t m, uint8_t flags, void* user) noexcept:
    cdef Http2Session s = <Http2Session> user
    cdef HeadBlock* b = &s.block
    b.decoded += <uint32_t> (n + m + 32)            # RFC 9113 6.5.2
    b.count += 1
    if b.decoded > s.max_head or b.count > s.max_fields:
        b.dropped = True
        if b.decoded > HEAD_EXCESS * s.max_head:
            return s.calm(R_HTTP2_FLOOD)
        return 0
    return 0 if collect_field(b, name, n, value, m) else ERR_CALLBACK_FAILURE


cdef int _on_invalid_header(Session* session, const Frame* frame, const uint8_t* name, size_t n, const uint8_t* value,
                            size_t m, uint8_t flags, void* user) noexcept:
    return ERR_TEMPORAL_CALLBACK_FAILURE        # a malformed message (RFC 9113 8.1.1); the library alone drops the field


cdef int _on_frame_recv(Session* session, const Frame* frame, void* user) noexcept:
    cdef Http2Session s = <Http2Session> user
    cdef bint ended = frame.hd.flags & FLAG_END_STREAM
    try:
        if frame.hd.type == HEADERS:
            s.on_head(frame.hd.stream_id, frame.headers.category, ended)
            if ended and not s.over:
                s.on_end(frame.hd.stream_id)
        elif frame.hd.type == DATA:
            if ended:
                return s.on_end(frame.hd.stream_id)
            if frame.hd.length <= frame.data.padlen:
                return s._count_frame(frame)
        elif frame.hd.type == GOAWAY:
            return s.on_goaway(frame.goaway.last_stream_id, frame.goaway.error_code)
        else:
            if frame.hd.type == SETTINGS and not frame.hd.flags & FLAG_ACK:
                s.on_settings()
            return s._count_frame(frame)
    except Exception as error:
        return _let_through(s, error)
    return 0


cdef int _on_frame_send(Session* session, const Frame* frame, void* user) noexcept:
    cdef Http2Session s = <Http2Session> user
    try:
        if frame.hd.type == RST_STREAM:
            if not s.spend(&s.resets, s.reset_burst, RESET_RATE, 1):
                return s.calm(R_HTTP2_FLOOD)
        elif frame.hd.type == GOAWAY:
            if frame.goaway.error_code and s.reason == R_NONE:
                s.reason = R_HTTP2_FLOOD if frame.goaway.error_code == ENHANCE_YOUR_CALM else R_HTTP2_PROTOCOL
        elif frame.hd.type == DATA or frame.hd.type == HEADERS:
            s.credit += 2
            return s.on_sent(frame.hd.stream_id, frame.hd.flags & FLAG_END_STREAM)
    except Exception as error:
        return _let_through(s, error)
    return 0


cdef int _on_data_chunk(Session* session, uint8_t flags, int32_t id, const uint8_t* p, size_t n, void* user) noexcept:
    cdef Http2Session s = <Http2Session> user
    try:
        return s.on_data(id, <const char*> p, n, flags & FLAG_END_STREAM)
    except Exception as error:
        return _let_through(s, error)


cdef int _on_stream_close(Session* session, int32_t id, uint32_t error_code, void* user) noexcept:
    cdef Http2Session s = <Http2Session> user
    try:
        return s.on_closed(id, error_code)
    except Exception as error:
        return _let_through(s, error)


cdef int _on_invalid_frame(Session* session, const Frame* frame, int code, void* user) noexcept:
    return 0                    # the library answers with RST_STREAM or GOAWAY, which _on_frame_send counts


cdef int _send_data(Session* session, Frame* frame, const uint8_t* head, size_t n, DataSource* source,
                    void* user) noexcept:
    """A DATA frame: its head, and n bytes from the stream's Http2Half."""
    cdef Http2Session s = <Http2Session> user
    cdef Http2Half half = <Http2Half> source.ptr
    if not buffer_append(&s.outgoing, <const char*> head, 9):
        return ERR_CALLBACK_FAILURE
    if n == 0:
        return 0
    if half.waiting.data != NULL:
        if not buffer_append(&s.outgoing, buffer_ptr(&half.waiting), n):
            return ERR_CALLBACK_FAILURE
        buffer_consume(&half.waiting, n)
        return 0
    if not buffer_append(&s.outgoing, half.fresh, n):
        return ERR_CALLBACK_FAILURE
    half.fresh += n
    half.fresh_len -= n
    return 0


cdef ssize_t _read_data(Session* session, int32_t id, uint8_t* buf, size_t room, uint32_t* flags, DataSource* source,
                        void* user) noexcept:
    """How much of the stream's body there is; _send_data takes it."""
    cdef Http2Half half = <Http2Half> source.ptr
    cdef size_t n = buffer_len(&half.waiting) if half.waiting.data != NULL else half.fresh_len
    if n == 0 and not half.ending:
        half.deferred = True
        return ERR_DEFERRED
    flags[0] |= DATA_FLAG_NO_COPY
    if n > room:
        return <ssize_t> room
    if half.ending and (half.waiting.data == NULL or half.fresh_len == 0):
        flags[0] |= DATA_FLAG_EOF
        if half.trailers.data != NULL:
            flags[0] |= DATA_FLAG_NO_END_STREAM
            _submit_trailers(session, half)
    return <ssize_t> n


cdef void _submit_trailers(Session* session, Http2Half half) noexcept:
    """Field lines, which lbd wrote itself, as nghttp2 wants them."""
    cdef NV[64] nv
    cdef int count = 0
    cdef char* p = buffer_ptr(&half.trailers)
    cdef char* end = p + buffer_len(&half.trailers)
    cdef char* colon
    cdef char* line
    while p < end and count < 64:
        line = p
        while p < end and p[0] != c'\n':
            p += 1
        p += 1
        colon = line
        while colon < p and colon[0] != c':':
            colon += 1
        if colon >= p - 2:
            break
        count = add_field(nv, count, line, <size_t> (colon - line), colon + 1, <size_t> (p - 2 - colon - 1))
    nghttp2.submit_trailer(session, half.id, nv, <size_t> count)


cdef int _load() except -1:
    """The library and the table of callbacks, once."""
    global CALLBACKS
    if CALLBACKS != NULL:
        return 0
    load_nghttp2()
    if nghttp2.callbacks_new(&CALLBACKS) != 0:
        raise MemoryError
    nghttp2.set_on_begin_frame_callback(CALLBACKS, _on_begin_frame)
    nghttp2.set_on_begin_headers_callback(CALLBACKS, _on_begin_headers)
    nghttp2.set_on_header_callback(CALLBACKS, _on_header)
    nghttp2.set_on_invalid_header_callback(CALLBACKS, _on_invalid_header)
    nghttp2.set_on_frame_recv_callback(CALLBACKS, _on_frame_recv)
    nghttp2.set_on_frame_send_callback(CALLBACKS, _on_frame_send)
    nghttp2.set_on_invalid_frame_recv_callback(CALLBACKS, _on_invalid_frame)
    nghttp2.set_on_data_chunk_recv_callback(CALLBACKS, _on_data_chunk)
    nghttp2.set_on_stream_close_callback(CALLBACKS, _on_stream_close)
    nghttp2.set_send_data_callback(CALLBACKS, _send_data)
    return 0


# The connection --------------------------------------------------------------------------------------------------

cdef class Http2Session:

    def __dealloc__(self):
        if self.session != NULL:
            nghttp2.session_del(self.session)
        buffer_free(&self.outgoing)
        buffer_free(&self.block.text)
        buffer_free(&self.block.cookies)

    def __repr__(self):
        return f"<{type(self).__name__} streams={self.streams}{' over' if self.over else ''}>"

    cdef int set_up(self, bint server, Stream stream, Handler owner, const Http2Tuning* t) except -1:
        """Make the library's session and say our settings."""
        cdef Option* option = NULL
        cdef SettingsEntry[6] settings
        cdef int status
        _load()
        self.stream = stream
        self.owner = owner
        self.max_head = t.head
        self.max_fields = t.fields
        self.reset_burst = t.resets
        self.glitch_burst = t.glitches
        self.resets.level = t.resets
        self.glitches.level = t.glitches
        self.resets.at = self.glitches.at = stream.reactor.wheel.now
        if nghttp2.option_new(&option) != 0:
            raise MemoryError
        nghttp2.set_no_auto_window_update(option, 1)
        nghttp2.set_no_closed_streams(option, 1)
        nghttp2.set_max_deflate_dynamic_table_size(option, t.header_table)
        nghttp2.set_max_outbound_ack(option, t.pending_acks)
        nghttp2.set_max_settings(option, t.settings)
        nghttp2.set_max_continuations(option, t.continuations)
        nghttp2.set_stream_reset_rate_limit(option, t.resets, RESET_RATE)
        nghttp2.set_glitch_rate_limit(option, t.glitches, GLITCH_RATE)
        nghttp2.set_peer_max_concurrent_streams(option, t.streams)
        if server:
            status = nghttp2.server_new2(&self.session, CALLBACKS, <void*> self, option)
        else:
            status = nghttp2.client_new2(&self.session, CALLBACKS, <void*> self, option)
        nghttp2.option_del(option)
        if status != 0:
            raise MemoryError
        settings[0] = SettingsEntry(SETTINGS_INITIAL_WINDOW_SIZE, t.window)
        settings[1] = SettingsEntry(SETTINGS_MAX_HEADER_LIST_SIZE, t.head)
        settings[2] = SettingsEntry(SETTINGS_HEADER_TABLE_SIZE, t.header_table)
        settings[3] = SettingsEntry(SETTINGS_NO_RFC7540_PRIORITIES, 1)
        if server:
            settings[4] = SettingsEntry(SETTINGS_MAX_CONCURRENT_STREAMS, t.streams)
            settings[5] = SettingsEntry(SETTINGS_ENABLE_CONNECT_PROTOCOL, 1)
        else:
            settings[4] = SettingsEntry(SETTINGS_ENABLE_PUSH, 0)
        nghttp2.submit_settings(self.session, FLAG_NONE, settings, 6 if server else 5)
        nghttp2.set_local_window_size(self.session, FLAG_NONE, 0, <int32_t> (t.window * CONNECTION_WINDOWS))
        return 0

    cdef int receive(self, const char* p, size_t n) except -1:
        """Handle received bytes. 0, or -2 when the connection is to be closed once what is ready has been sent."""
        cdef ssize_t used
        cdef object error
        self.receiving = True
        used = nghttp2.mem_recv(self.session, <const uint8_t*> p, n)
        self.receiving = False
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        if used < 0:
            if self.reason == R_NONE:
                self.reason = R_HTTP2_FLOOD if used == ERR_FLOODED else R_HTTP2_PROTOCOL
            return -2
        self.schedule()
        return 0

    cdef int produce(self) except -1:
        """Take the frames that can be sent from the library, until enough waits for the socket."""
        cdef const uint8_t* p = NULL
        cdef ssize_t n
        if self.receiving or self.over or self.session == NULL:
            return 0
        if self.sending:
            return 0
        self.sending = True
        while self.stream.out.data == NULL and buffer_len(&self.outgoing) < SEND_MAX:
            n = nghttp2.mem_send(self.session, &p)
            if n <= 0:
                if n < 0 and self.reason == R_NONE:
                    self.reason = R_HTTP2_PROTOCOL
                break
            if not buffer_append(&self.outgoing, <const char*> p, <size_t> n):
                self.sending = False
                raise MemoryError
        self.sending = False
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return 0

    cdef void schedule(self):
        if not self.scheduled and not self.over:
            self.scheduled = True
            self.stream.reactor.at_round_end(self.owner)

    cdef int deliver(self) except -1:
        """At the end of a round: one send for all that became ready in it. WRITE_*."""
        cdef int result
        cdef size_t n
        self.scheduled = False
        while True:
            self.produce()
            n = buffer_len(&self.outgoing)
            if n == 0 or self.stream.out.data != NULL:
                return WRITE_DONE if self.stream.out.data == NULL else WRITE_BLOCKED
            result = self.stream.write(buffer_ptr(&self.outgoing), n)
            buffer_free(&self.outgoing)
            if result != WRITE_DONE or n < SEND_MAX:
                return result

    cdef void end(self) noexcept:
        """No more of this connection; streams are the subclass's to end."""
        self.over = True
        self.owner = None

    cdef int calm(self, int reason) noexcept:
        """End the connection for what the peer does: GOAWAY, and nothing further is handled."""
        if self.reason == R_NONE:
            self.reason = reason
            nghttp2.terminate_session(self.session, ENHANCE_YOUR_CALM)
        return 0

    cdef bint spend(self, Budget* budget, uint32_t burst, double rate, double cost) noexcept:
        """Draw on a token bucket; False when it is empty."""
        cdef uint64_t now = self.stream.reactor.wheel.now
        budget.level = min(<double> burst, budget.level + <double> (now - budget.at) * rate / 1000.0)
        budget.at = now
        budget.level -= cost
        return budget.level >= 0

    cdef int _count_frame(self, const Frame* frame) noexcept:
        """Frames that bring no request and no data cost something; window updates are earned by sending data."""
        cdef uint8_t kind = frame.hd.type
        if kind == RST_STREAM:
            if not self.spend(&self.resets, self.reset_burst, RESET_RATE, 1):
                return self.calm(R_HTTP2_FLOOD)
            return 0
        if kind == WINDOW_UPDATE and self.credit > 0:
            self.credit -= 1
            return 0
        if kind == SETTINGS and frame.hd.flags & FLAG_ACK:
            return 0
        if not self.spend(&self.glitches, self.glitch_burst, GLITCH_RATE, 1):
            return self.calm(R_HTTP2_FLOOD)
        return 0

    cdef int keep_trailers(self, Body* body) except -1:
        """The block that has just been received is trailers: raw lines, as the HTTP/1 body decoder keeps them. The writer
        decides what passes."""
        cdef size_t n = buffer_len(&self.block.text)
        if n and not (buffer_append(&body.trailers, buffer_ptr(&self.block.text), n)
                      and buffer_append(&body.trailers, b"\r\n", 2)):
            raise MemoryError
        return 0

    # what a subclass makes of it -------------------------------------------------------------------------------

    cdef int on_begin(self, int32_t id, int category) except -1:
        return 0

    cdef int on_head(self, int32_t id, int category, bint ended) except -1:
        return 0

    cdef int on_data(self, int32_t id, const char* p, size_t n, bint last) except -1:
        return 0

    cdef int on_end(self, int32_t id) except -1:
        return 0

    cdef int on_closed(self, int32_t id, uint32_t error) except -1:
        return 0

    cdef int on_goaway(self, int32_t last, uint32_t error) except -1:
        return 0

    cdef int on_sent(self, int32_t id, bint ended) except -1:
        return 0

    cdef int on_settings(self) except -1:
        return 0


# One direction of a stream ---------------------------------------------------------------------------------------

@cython.no_gc
cdef class Http2Half:

    def __dealloc__(self):
        self.clear()

    cdef void provider(self, DataProvider* provider) noexcept:
        provider.source.ptr = <void*> self
        provider.read = _read_data

    cdef int write(self, const char* p, size_t n, bint end) except -1:
        """Send body bytes, and the end with them: WRITE_DONE, or WRITE_BLOCKED when some are kept for later."""
        if self.gone or self.session.over:
            return WRITE_ERROR
        self.ending = end
        if self.waiting.data != NULL:
            if n and not buffer_append(&self.waiting, p, n):
                raise MemoryError
        else:
            self.fresh = p
            self.fresh_len = n
        if self.deferred and (n or end):
            self.deferred = False
            nghttp2.resume_data(self.session.session, self.id)
        self.session.produce()
        self.session.schedule()
        if self.fresh_len:
            if not buffer_append(&self.waiting, self.fresh, self.fresh_len):
                raise MemoryError
            self.fresh_len = 0
        return WRITE_DONE if self.waiting.data == NULL else WRITE_BLOCKED

    cdef void clear(self) noexcept:
        buffer_free(&self.waiting)
        buffer_free(&self.trailers)
        self.fresh_len = 0
