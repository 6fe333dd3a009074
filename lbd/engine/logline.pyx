# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Lines of access logs, `json` with chosen fields and `combined`, formatted into the writer's buffer.

Strategy: no Python object for a plain line. What does not apply to an exchange is left out of JSON. Bytes that clients
chose are cut and escaped (logtext.pxd), so that a line is one valid object, or one line, whatever they send (hazard 37).
"""

import time

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memchr, memcpy, memset

from lbd.engine cimport sys as c
from lbd.engine.observer cimport SEEN_MAX, Attempt, Facts, Text, text_of
from lbd.engine.forwarded cimport format_address
from lbd.engine.logtext cimport ESCAPED, put, put_escaped, put_hex, put_number, put_seconds, put_text
from lbd.engine.reasons cimport R_NONE, reason_code
from lbd.engine.trace_context cimport Trace

cdef enum:
    F_TIME
    F_ENVIRONMENT
    F_REQUEST_ID
    F_TRACE_ID
    F_SPAN_ID
    F_CLIENT
    F_METHOD
    F_HOST
    F_TARGET
    F_PATH
    F_PROTOCOL
    F_TLS
    F_STATUS
    F_BYTES_RECEIVED
    F_BYTES_SENT
    F_DURATION
    F_QUEUE
    F_CONNECT
    F_FIRST_BYTE
    F_GRPC_STATUS
    F_LISTENER
    F_ROUTE
    F_CLUSTER
    F_ENDPOINT
    F_REASON
    F_ATTEMPTS
    F_REFERER
    F_USER_AGENT

# in the order of the enum, which is that of a line unless it is chosen
FIELDS = (
    "time", "environment", "request_id", "trace_id", "span_id", "client", "method", "host", "target", "path", "protocol",
    "tls", "status", "bytes_received", "bytes_sent", "duration", "queue", "connect", "first_byte", "grpc_status",
    "listener", "route", "cluster", "endpoint", "reason", "attempts", "referer", "user_agent",
)
NOT_BY_DEFAULT = frozenset({"path"})


cdef inline char* _label(char* out, const char* name) noexcept:
    ""","name": in front of a number; the first comma of a line becomes its brace."""
    out[0] = c','
    out[1] = c'"'
    out = put(out + 2, name)
    out[0] = c'"'
    out[1] = c':'
    return out + 2


cdef inline char* _quoted(char* out, const char* name, const char* value, size_t n) noexcept:
    out = _label(out, name)
    out[0] = c'"'
    memcpy(out + 1, value, n)
    out += n + 1
    out[0] = c'"'
    return out + 1


cdef inline char* _said(char* out, const char* name, const Text* text) noexcept:
    """A text, if it is there."""
    if text.p == NULL:
        return out
    out = _label(out, name)
    out[0] = c'"'
    out = put_text(out + 1, text, False, SEEN_MAX)
    out[0] = c'"'
    return out + 1


cdef inline char* _number(char* out, const char* name, uint64_t value) noexcept:
    return put_number(_label(out, name), value)


cdef inline char* _seconds(char* out, const char* name, uint64_t us) noexcept:
    return put_seconds(_label(out, name), us)


cdef char* _trace(char* out, int field, const Trace* trace) noexcept:
    cdef char[32] digits
    if trace == NULL:
        return out
    if field == F_SPAN_ID:
        put_hex(digits, trace.span)
        return _quoted(out, b"span_id", digits, 16)
    put_hex(digits, trace.high)
    put_hex(digits + 16, trace.low)
    return _quoted(out, b"trace_id", digits, 32)


cdef inline Text _path(const Text* target) noexcept:
    """The target without its query."""
    cdef Text path = target[0]
    cdef const char* query = <const char*> memchr(path.p, c'?', path.n) if path.p != NULL else NULL
    if query != NULL:
        path.n = <size_t> (query - path.p)
    return path


cdef char* _attempt(char* out, Text endpoint, int status, int reason, uint64_t us) noexcept:
    out = put(out, b'{"endpoint":"')
    out = put_text(out, &endpoint, False, SEEN_MAX)
    out = put(out, b'"')
    if status:
        out = _number(out, b"status", <uint64_t> status)
    if reason != R_NONE:
        out = put(put(put(out, b',"reason":"'), reason_code(reason)), b'"')
    return put(_seconds(out, b"duration", us), b"},")


cdef char* _attempts(char* out, const Facts* facts, list attempts):
    """All of them, when there was more than one or the only one failed before it got a response."""
    cdef Attempt one
    out = put(_label(out, b"attempts"), b"[")
    for one in attempts[:ATTEMPTS_MAX]:
        out = _attempt(out, text_of(one.endpoint.name), one.status, one.reason, one.us)
    if facts.last_is_open:
        out = _attempt(out, facts.endpoint, facts.status if facts.first_byte_us else 0, facts.reason,
                       facts.now_us - facts.attempt_us)
    out -= 1                            # the last comma
    out[0] = c']'
    return out + 1


cdef class LineWriter:

    def __init__(self, str format not None, fields=None, str environment=None):
        """fields: names in FIELDS, in the order of a line; None: those that are usual. ValueError."""
        cdef Text text
        chosen = [name for name in FIELDS if name not in NOT_BY_DEFAULT] if fields is None else list(fields)
        self.json = format == "json"
        for name in chosen:
            self.fields[self.n_fields] = FIELDS.index(name)
            self.n_fields += 1
        if environment is not None:
            text = text_of(environment)
            room = bytearray(ESCAPED * text.n + 1)
            out = put_escaped(<char*> room, text.p, text.n, False)
            self.environment = bytes(room[:out - <char*> room])[:SEEN_MAX * ESCAPED]

    def __repr__(self):
        return f"<LineWriter {'json' if self.json else 'combined'} fields={self.n_fields}>"

    cdef char* write(self, char* out, const Facts* facts, list attempts):
        """A line without its end; out: LINE_MAX bytes, and with attempts ATTEMPTS_ROOM more."""
        cdef char* start = out
        cdef int i
        if not self.json:
            return self._combined(out, facts)
        for i in range(self.n_fields):
            out = self._field(out, self.fields[i], facts, attempts)
        if out == start:
            out += 1
        start[0] = c'{'
        return put(out, b"}")

    def format(self, bytes target not None, bytes agent not None, long times=1):
        """A line of a plain exchange, formatted so many times, for tests and benchmarks; the last one."""
        cdef Facts facts
        cdef bytearray room = bytearray(LINE_MAX)
        cdef char* out = <char*> room
        cdef uint8_t[16] client
        cdef long _
        memset(&facts, 0, sizeof(facts))
        memset(client, 0xff, 16)
        memset(client, 0, 10)
        facts.client = client
        facts.now_us = 1234
        facts.first_byte_us = 1000
        facts.request_id = b"0123456789abcdef0123456789abcdef"
        facts.protocol = b"HTTP/1.1"
        facts.method = Text(b"GET", 3)
        facts.target = Text(<const char*> target, len(target))
        facts.host = Text(b"example.test", 12)
        facts.agent = Text(<const char*> agent, len(agent))
        facts.listener = facts.route = facts.cluster = Text(b"web", 3)
        facts.endpoint = Text(b"127.0.0.1:9001", 14)
        facts.status = 200
        facts.grpc_status = -1
        for _ in range(times):
            out = self.write(<char*> room, &facts, None)
        return bytes(room[:out - <char*> room])

    cdef char* _time(self, char* out):
        """The present second in the format's way; formatted once per second."""
        cdef c.timespec now
        cdef bytes text
        c.clock_gettime(c.CLOCK_REALTIME, &now)
        if <uint64_t> now.tv_sec != self.second:
            self.second = <uint64_t> now.tv_sec
            form = "%Y-%m-%dT%H:%M:%S" if self.json else "%d/%b/%Y:%H:%M:%S +0000"
            text = time.strftime(form, time.gmtime(now.tv_sec)).encode()
            self.stamp_len = <int> len(text)
            memcpy(self.stamp, <const char*> text, len(text))
        memcpy(out, self.stamp, self.stamp_len)
        out += self.stamp_len
        if self.json:
            out[0] = c'.'
            out[1] = c'0' + <char> (now.tv_nsec // 100000000)
            out[2] = c'0' + <char> (now.tv_nsec // 10000000 % 10)
            out[3] = c'0' + <char> (now.tv_nsec // 1000000 % 10)
            out[4] = c'Z'
            out += 5
        return out

    cdef char* _field(self, char* out, int field, const Facts* facts, list attempts):
        cdef Text path
        if field == F_TIME:
            return put(self._time(put(out, b',"time":"')), b'"')
        elif field == F_ENVIRONMENT:
            if self.environment is not None:
                return _quoted(out, b"environment", <const char*> self.environment, len(self.environment))
        elif field == F_REQUEST_ID:
            if facts.request_id != NULL:
                return _quoted(out, b"request_id", facts.request_id, 32)
        elif field == F_TRACE_ID or field == F_SPAN_ID:
            return _trace(out, field, facts.trace)
        elif field == F_CLIENT:
            out = put(out, b',"client":"')
            out += format_address(facts.client, out)
            return put(out, b'"')
        elif field == F_METHOD:
            return _said(out, b"method", &facts.method)
        elif field == F_HOST:
            return _said(out, b"host", &facts.host)
        elif field == F_TARGET:
            return _said(out, b"target", &facts.target)
        elif field == F_PATH:
            path = _path(&facts.target)
            return _said(out, b"path", &path)
        elif field == F_PROTOCOL:
            return put(put(put(out, b',"protocol":"'), facts.protocol), b'"')
        elif field == F_TLS:
            if facts.tls != NULL:
                return put(put(put(out, b',"tls":"'), facts.tls), b'"')
        elif field == F_STATUS:
            if facts.status:
                return _number(out, b"status", <uint64_t> facts.status)
        elif field == F_BYTES_RECEIVED:
            return _number(out, b"bytes_received", facts.bytes_received)
        elif field == F_BYTES_SENT:
            return _number(out, b"bytes_sent", facts.bytes_sent)
        else:
            return self._later(out, field, facts, attempts)
        return out

    cdef char* _later(self, char* out, int field, const Facts* facts, list attempts):
        """The second half of the table."""
        if field == F_DURATION:
            return _seconds(out, b"duration", facts.now_us - facts.started_us)
        elif field == F_QUEUE:
            if facts.queue_us:
                return _seconds(out, b"queue", facts.queue_us)
        elif field == F_CONNECT:
            if facts.connect_us:
                return _seconds(out, b"connect", facts.connect_us)
        elif field == F_FIRST_BYTE:
            if facts.first_byte_us:
                return _seconds(out, b"first_byte", facts.first_byte_us)
        elif field == F_GRPC_STATUS:
            if facts.grpc_status >= 0:
                return _number(out, b"grpc_status", <uint64_t> facts.grpc_status)
        elif field == F_LISTENER:
            return _said(out, b"listener", &facts.listener)
        elif field == F_ROUTE:
            return _said(out, b"route", &facts.route)
        elif field == F_CLUSTER:
            return _said(out, b"cluster", &facts.cluster)
        elif field == F_ENDPOINT:
            return _said(out, b"endpoint", &facts.endpoint)
        elif field == F_REASON:
            if facts.reason != R_NONE:
                return put(put(put(out, b',"reason":"'), reason_code(facts.reason)), b'"')
        elif field == F_ATTEMPTS:
            if attempts is not None:
                return _attempts(out, facts, attempts)
        elif field == F_REFERER:
            return _said(out, b"referer", &facts.referer)
        elif field == F_USER_AGENT:
            return _said(out, b"user_agent", &facts.agent)
        return out

    cdef char* _combined(self, char* out, const Facts* facts):
        """As Apache and nginx write it; "-" for what is not known."""
        out += format_address(facts.client, out)
        out = self._time(put(out, b" - - ["))
        out = put(out, b'] "')
        if facts.method.p != NULL:
            out = put_text(out, &facts.method, True, SEEN_MAX)
            out = put(out, b" ")
            out = put_text(out, &facts.target, True, SEEN_MAX)
            out = put(put(out, b" "), facts.protocol)
        else:
            out = put(out, b"-")
        out = put(out, b'" ')
        out = put_number(out, <uint64_t> facts.status) if facts.status else put(out, b"-")
        out = put_number(put(out, b" "), facts.bytes_sent)
        out = put(out, b' "')
        out = put_text(out, &facts.referer, True, SEEN_MAX) if facts.referer.p != NULL else put(out, b"-")
        out = put(out, b'" "')
        out = put_text(out, &facts.agent, True, SEEN_MAX) if facts.agent.p != NULL else put(out, b"-")
        return put(out, b'"')
