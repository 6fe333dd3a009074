# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Traces: the caller's context read (W3C Trace Context, Level 1), the exchange's own written for endpoints, finished
exchanges queued for the exporter.

Strategy: ids are random numbers, 128 bits of two generators that the system seeds. Endpoints get the id of the attempt,
not of the exchange, as the parent: it stands in the kept head and is written over for each attempt. An exchange that is
in the sample is copied, when it is over, into a queue of fixed size; a thread takes it from there. A queue that is full
drops and counts.

What does not follow the grammar to the letter is no context: the trace then begins here.
"""

import os

from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.ref cimport Py_INCREF, Py_XDECREF, PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from lbd.engine.observer cimport WANTS_REQUEST, Attempt, Facts, Text, Tracing, text_of
from lbd.engine.http1 cimport K_TRACEPARENT, K_TRACESTATE, Head
from lbd.engine.logtext cimport put_hex
from lbd.engine.recorder cimport ATTEMPTS_KEPT, as_dict, fill_record
from lbd.engine.trace_context cimport Trace
from lbd.engine.xorshift cimport next_random

cdef enum:
    TRACESTATE_MAX = 512            # bytes that are passed on; the least that a system should (3.3.1.5)
    TRACESTATE_MEMBERS = 32


# reading ---------------------------------------------------------------------------------------------------------

cdef bint _hex(const char* p, int n, uint64_t* value) noexcept nogil:
    """n lower-case hexadecimal digits, at most 16."""
    cdef int i
    value[0] = 0
    for i in range(n):
        if c'0' <= p[i] <= c'9':
            value[0] = value[0] << 4 | <uint64_t> (p[i] - c'0')
        elif c'a' <= p[i] <= c'f':
            value[0] = value[0] << 4 | <uint64_t> (p[i] - c'a' + 10)
        else:
            return False
    return True


cdef bint read_traceparent(const char* p, size_t n, Trace* trace) noexcept nogil:
    """version-traceid-parentid-flags (3.2). A later version may have more behind a dash; ff is none."""
    cdef uint64_t version, high, low, parent, flags
    if n < 55 or p[2] != c'-' or p[35] != c'-' or p[52] != c'-':
        return False
    if not (_hex(p, 2, &version) and _hex(p + 3, 16, &high) and _hex(p + 19, 16, &low) and _hex(p + 36, 16, &parent)
            and _hex(p + 53, 2, &flags)):
        return False
    if version == 0xff or (version == 0 and n != 55) or (n > 55 and p[55] != c'-'):
        return False
    if high | low == 0 or parent == 0:
        return False
    trace.high = high
    trace.low = low
    trace.parent = parent
    trace.sampled = flags & 1
    return True


cdef inline bint _key_byte(char x) noexcept nogil:
    return (c'a' <= x <= c'z' or c'0' <= x <= c'9' or x == c'_' or x == c'-' or x == c'*' or x == c'/' or x == c'@')


cdef bint _member(const char* p, size_t n) noexcept nogil:
    """key=value of a tracestate (3.3.1.3), without the blanks around it."""
    cdef size_t i = 0
    cdef size_t key
    while i < n and _key_byte(p[i]):
        i += 1
    key = i
    if key == 0 or key > 256 or i >= n or p[i] != c'=' or not (c'a' <= p[0] <= c'z' or c'0' <= p[0] <= c'9'):
        return False
    if n - key - 1 == 0 or n - key - 1 > 256:
        return False
    for i in range(key + 1, n):
        if not 0x20 <= p[i] <= 0x7e or p[i] == c',' or p[i] == c'=':
            return False
    return True


cdef bint is_tracestate(const char* p, size_t n) noexcept nogil:
    """Up to 32 members, of which some may be empty (3.3.1.1)."""
    cdef size_t start = 0
    cdef size_t end, next
    cdef int members = 0
    if n > TRACESTATE_MAX:
        return False
    while start <= n:
        end = start
        while end < n and p[end] != c',':
            end += 1
        next = end + 1
        while start < end and (p[start] == c' ' or p[start] == c'\t'):
            start += 1
        while end > start and (p[end - 1] == c' ' or p[end - 1] == c'\t'):
            end -= 1
        if end > start:
            members += 1
            if members > TRACESTATE_MEMBERS or not _member(p + start, end - start):
                return False
        start = next
    return True


cdef bint _read(const Head* head, Trace* trace) noexcept nogil:
    """The caller's context: one traceparent, and tracestate in one or more fields."""
    cdef uint32_t i
    cdef int parents = 0
    cdef size_t states = 0
    trace.keeps_state = True
    for i in range(head.n_fields):
        if head.fields[i].kind == K_TRACEPARENT:
            parents += 1
            if parents > 1 or not read_traceparent(head.base + head.fields[i].value, head.fields[i].value_len, trace):
                return False
        elif head.fields[i].kind == K_TRACESTATE:
            states += head.fields[i].value_len
            if states > TRACESTATE_MAX or not is_tracestate(head.base + head.fields[i].value, head.fields[i].value_len):
                trace.keeps_state = False
    return parents == 1


# writing ---------------------------------------------------------------------------------------------------------

cdef inline char* _line(char* out, const char* start, size_t n) noexcept nogil:
    memcpy(out, start, n)
    return out + n


cdef class Tracer(Tracing):
    """Made in the process that uses it: its random numbers are its own."""

    def __init__(self, *, double sample=0.1, str parent="always", uint64_t size=2048, bint id_fields=False, wake=None):
        """sample: share of the traces that begin here and are exported. parent: whose context is taken up: of every
        client, of trusted proxies, or nobody's (`always`, `trusted`, `never`). size: exchanges that wait for export."""
        cdef bytes seed = os.urandom(16)
        self.wants = WANTS_REQUEST
        self.size = size
        self.always = sample >= 1
        self.below = 0 if self.always else <uint64_t> (sample * 18446744073709549568.0)
        self.parent = ("always", "trusted", "never").index(parent)
        self.id_fields = id_fields
        self.wake = wake
        self.random_state[0] = int.from_bytes(seed[:8], "little") | 1
        self.random_state[1] = int.from_bytes(seed[8:], "little") | 1
        self.queue = <SpanRecord*> PyMem_Calloc(size, sizeof(SpanRecord))
        if self.queue == NULL:
            raise MemoryError

    def __dealloc__(self):
        while self.queue != NULL and self.head != self.tail:
            _let_go(&self.queue[self.head % self.size])
            self.head += 1
        PyMem_Free(self.queue)

    def __repr__(self):
        return f"<Tracer waiting={self.tail - self.head} dropped={self.dropped}>"

    cdef uint64_t _random(self, int half) noexcept:
        cdef uint64_t value = next_random(&self.random_state[half])
        return value if value else 1

    cdef void begin(self, Trace* trace, const Head* head, bint trusted) noexcept:
        cdef bint takes_up = self.parent == PARENT_ALWAYS or (self.parent == PARENT_TRUSTED and trusted)
        if head == NULL or not takes_up or not _read(head, trace):
            memset(trace, 0, sizeof(Trace))
            trace.high = self._random(0)
            trace.low = self._random(1)
            trace.sampled = self.always or self._random(0) < self.below
        trace.span = self._random(1)
        self.sampled += trace.sampled

    cdef uint32_t write_fields(self, char* head, uint32_t n, Trace* trace, str route) noexcept:
        cdef char* out = head + n - 2
        cdef Text name = text_of(route)
        out = _line(out, b"traceparent: 00-", 16)
        put_hex(out, trace.high)
        put_hex(out + 16, trace.low)
        out[32] = c'-'
        trace.at = <uint32_t> (out + 33 - head)
        out = _line(out + 49, b"-01\r\n" if trace.sampled else b"-00\r\n", 5)
        if self.id_fields:
            out = _line(out, b"X-Trace-ID: ", 12)
            put_hex(out, trace.high)
            put_hex(out + 16, trace.low)
            out = _line(out + 32, b"\r\nX-Parent-Span-ID: ", 20)
            put_hex(out, trace.span)
            out = _line(out + 16, b"\r\nX-Route-Name: ", 16)
            out = _line(out, name.p, name.n)
            out = _line(out, b"\r\nX-Span-ID: ", 13)
            trace.id_at = <uint32_t> (out - head)
            out = _line(out + 16, b"\r\n", 2)
        self.next_attempt(trace, head)
        return <uint32_t> (_line(out, b"\r\n", 2) - head)

    cdef void next_attempt(self, Trace* trace, char* head) noexcept:
        trace.attempt = self._random(0)
        put_hex(head + trace.at, trace.attempt)
        if trace.id_at:
            put_hex(head + trace.id_at, trace.attempt)

    # finished exchanges ------------------------------------------------------------------------------------------

    cdef int take(self, const Facts* facts, list attempts) except -1:
        cdef SpanRecord* spans
        if facts.trace == NULL or not facts.trace.sampled:
            return 0
        if self.tail - self.head == self.size:
            self.dropped += 1
            return 0
        spans = &self.queue[self.tail % self.size]
        fill_record(&spans.record, facts, attempts, False)
        spans.parent = facts.trace.parent
        spans.span = facts.trace.span
        spans.secure = facts.tls != NULL
        _keep_attempts(spans, facts, attempts)
        self.tail += 1
        if self.wake is not None and self.tail - self.head == (self.size + 1) // 2:
            self.wake()
        return 0

    def taken(self, int most):
        """Up to so many finished exchanges, oldest first, as Recorder has them, with what a span needs beside; for the
        exporter's thread."""
        found = []
        while self.head != self.tail and len(found) < most:
            found.append(self._taken(&self.queue[self.head % self.size]))
            _let_go(&self.queue[self.head % self.size])
            self.head += 1
        return found

    cdef object _taken(self, SpanRecord* spans):
        cdef dict made = as_dict(&spans.record, 0)
        cdef int i
        made["span"] = spans.span
        made["parent"] = spans.parent
        made["secure"] = bool(spans.secure)
        made["tried"] = [
            (<object> <PyObject*> spans.endpoints[i], spans.spans[i], spans.began_us[i], spans.record.tries[i].us,
             spans.record.tries[i].status, spans.record.tries[i].reason)
            for i in range(spans.endpoints_held)]
        return made


cdef void _keep_attempts(SpanRecord* spans, const Facts* facts, list attempts):
    """The attempts of the record, with their endpoints; of a plain exchange the only one, too."""
    cdef Attempt one
    cdef int room = ATTEMPTS_KEPT - (1 if facts.last_is_open else 0)
    cdef int n = 0
    if attempts is not None:
        for one in attempts[-room:]:
            _keep(spans, n, one.endpoint, one.span, one.began_us - facts.started_us)
            n += 1
    elif facts.last_is_open:
        spans.record.tries[0].us = facts.now_us - facts.attempt_us
        spans.record.tries[0].status = <unsigned short> (facts.status if facts.first_byte_us else 0)
        spans.record.tries[0].reason = <uint8_t> facts.reason
    if facts.last_is_open:
        _keep(spans, n, <object> <PyObject*> facts.endpoint_object, facts.trace.attempt, facts.attempt_us - facts.started_us)
        n += 1
    spans.endpoints_held = n


cdef void _keep(SpanRecord* spans, int n, object endpoint, uint64_t span, uint64_t began_us):
    Py_INCREF(endpoint)
    spans.endpoints[n] = <void*> <PyObject*> endpoint
    spans.spans[n] = span
    spans.began_us[n] = began_us


cdef void _let_go(SpanRecord* spans) noexcept:
    cdef int i
    for i in range(spans.endpoints_held):
        Py_XDECREF(<PyObject*> spans.endpoints[i])
    spans.endpoints_held = 0


def parse(bytes value not None):
    """A traceparent -> (trace id, span, sampled), or None when it is not to the letter."""
    cdef Trace trace
    memset(&trace, 0, sizeof(trace))
    if not read_traceparent(value, len(value), &trace):
        return None
    return int(trace.high) << 64 | int(trace.low), trace.parent, bool(trace.sampled)


def accepts_state(bytes value not None):
    """Does a tracestate follow its grammar?"""
    return bool(is_tracestate(value, len(value)))
