# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The access log: a line per exchange, formatted into a buffer by the loop and written by a thread.

Strategy: the loop appends to one buffer; when it holds a batch, or a quarter of a second has passed, the thread takes
it and writes it out. The loop never waits for a disk, a pipe or a lock held during I/O: while the thread is stuck the
buffer fills up, and then lines are dropped and counted (hazard 37). Bytes that clients chose are escaped, so that no
line can be forged.
"""

import os
import sys
import threading
import time

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy, strlen

from lbd.engine cimport sys as c
from lbd.engine.exchange cimport AccessLog, Exchange
from lbd.engine.forwarded cimport format_address
from lbd.engine.fields cimport find_field
from lbd.engine.http1 cimport MAX_FIELDS, PARSE_DONE, Field, Head, Limits, parse_request
from lbd.engine.reasons cimport R_NONE, reason_code
from lbd.engine.sys cimport monotonic_us

cdef enum:
    BUFFER = 1 << 20            # bytes; about 3 000 lines
    BATCH = 1 << 16             # wakes the thread
    LINE_MAX = 131072           # nine values, escaped to six times their length, and what stands between them
    VALUE_MAX = 2048            # bytes of one client-chosen value
    ATTEMPTS_MAX = 16
    ATTEMPTS_ROOM = 262144      # for sixteen names, only in lines that have them

FLUSH_SECONDS = 0.25

cdef Head HEAD
cdef Field[MAX_FIELDS] FIELDS
HEAD.fields = FIELDS
cdef Limits ANY
ANY.request_line = ANY.head = 1 << 30
ANY.fields = MAX_FIELDS
ANY.keep_underscore = True


cdef class LogWriter:
    """Owns one target: `stdout` or a file. Started at creation, ended by close()."""

    def __init__(self, str target not None):
        self.target = target
        self.front = <char*> PyMem_Malloc(BUFFER)
        if self.front == NULL:
            raise MemoryError
        self.lock = threading.Lock()
        self.wake = threading.Event()
        self.file = self._open()
        self.thread = threading.Thread(target=self._run, name=f"log {target}", daemon=True)
        self.thread.start()

    def __dealloc__(self):
        PyMem_Free(self.front)

    def __repr__(self):
        return f"<LogWriter {self.target} lines={self.lines} dropped={self.dropped}>"

    def _open(self):
        if self.target == "stdout":
            return sys.stdout.fileno()
        return os.open(self.target, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)

    def reopen(self):
        """After a rotation: the thread opens the path again."""
        self.reopening = True
        self.wake.set()

    def close(self, double timeout=2.0):
        """Write what is there, waiting at most `timeout` seconds for a stuck reader."""
        self.stopping = True
        self.wake.set()
        self.thread.join(timeout)
        if self.target != "stdout" and not self.thread.is_alive() and self.file >= 0:
            os.close(self.file)
            self.file = -1

    cdef char* reserve(self, size_t n) noexcept:
        """Room for a line, or NULL: the line is dropped."""
        if self.used + n > BUFFER:
            self.dropped += 1
            return NULL
        return self.front + self.used

    cdef void commit(self, size_t n):
        self.used += n
        self.lines += 1
        if self.used >= BATCH and not self.waiting:
            self.waiting = True
            self.wake.set()

    def _take(self):
        """The buffered bytes; both this and the loop hold the interpreter's lock, so no other is needed."""
        cdef bytes taken = self.front[:self.used]
        self.used = 0
        self.waiting = False
        return taken

    def _run(self):
        while True:
            self.wake.wait(FLUSH_SECONDS)
            self.wake.clear()
            last = self.stopping
            self._reopen_if_asked()
            self._write(self._take())
            if last:
                return

    def _reopen_if_asked(self):
        if self.reopening and self.target != "stdout":
            try:
                fresh = self._open()
            except OSError:
                self.reopening = False          # keep the old file rather than nothing
                return
            os.close(self.file)
            self.file = fresh
        self.reopening = False

    def _write(self, bytes data):
        """All of it, or drop and count: a full disk must not stop anything."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self.file, view):]
            except OSError:
                self.dropped += bytes(view).count(b"\n")
                return


cdef char* _put(char* out, const char* text) noexcept:
    cdef size_t n = strlen(text)
    memcpy(out, text, n)
    return out + n


cdef char* _put_number(char* out, uint64_t value) noexcept:
    cdef char[24] digits
    cdef int n = 0
    while True:
        digits[n] = c'0' + <char> (value % 10)
        n += 1
        value //= 10
        if value == 0:
            break
    while n:
        n -= 1
        out[0] = digits[n]
        out += 1
    return out


cdef char* _put_escaped(char* out, const char* p, size_t n) noexcept:
    """Text inside quotes, for JSON and combined alike: control bytes and those past ASCII as \\u00XX."""
    cdef const char* hexadecimal = b"0123456789abcdef"
    cdef size_t i
    cdef uint8_t x
    for i in range(min(n, <size_t> VALUE_MAX)):
        x = <uint8_t> p[i]
        if x == c'"' or x == c'\\':
            out[0] = c'\\'
            out[1] = <char> x
            out += 2
        elif x < 0x20 or x >= 0x7f:
            memcpy(out, b"\\u00", 4)
            out[4] = hexadecimal[x >> 4]
            out[5] = hexadecimal[x & 15]
            out += 6
        else:
            out[0] = <char> x
            out += 1
    return out


cdef char* _put_seconds(char* out, uint64_t us) noexcept:
    """Seconds with six decimals."""
    cdef int i
    cdef uint64_t rest = us % 1000000
    out = _put_number(out, us // 1000000)
    out[0] = c'.'
    for i in range(6, 0, -1):
        out[i] = c'0' + <char> (rest % 10)
        rest //= 10
    return out + 7


cdef class TextLog(AccessLog):
    """Lines of one format, `json` or `combined`, to one writer."""

    def __init__(self, LogWriter writer not None, str format not None):
        self.writer = writer
        self.json = format == "json"
        self.wants_head = True

    cdef int record(self, Exchange x) except -1:
        cdef char* start = self.writer.reserve(LINE_MAX + (ATTEMPTS_ROOM if x.attempts is not None else 0))
        cdef char* out
        cdef bint parsed = False
        if start == NULL:
            return 0
        if x.raw_head is not None:
            parsed = parse_request(<const char*> x.raw_head, len(x.raw_head), &ANY, &HEAD) == PARSE_DONE
        out = self._json(start, x, parsed) if self.json else self._combined(start, x, parsed)
        out[0] = c'\n'
        self.writer.commit(<size_t> (out + 1 - start))
        return 0

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

    cdef char* _field(self, char* out, const char* label, bint parsed, const char* name, size_t n) noexcept:
        """A quoted request field, or nothing for JSON and "-" for combined."""
        cdef int at = find_field(&HEAD, name, n, 0) if parsed else -1
        if at < 0 and self.json:
            return out
        out = _put(out, label)
        if at < 0:
            out[0] = c'-'
            out += 1
        else:
            out = _put_escaped(out, HEAD.base + HEAD.fields[at].value, HEAD.fields[at].value_len)
        out[0] = c'"'
        return out + 1

    cdef char* _json(self, char* out, Exchange x, bint parsed):
        cdef bytes name
        out = self._time(_put(out, b'{"time":"'))
        out = _put(out, b'","request_id":"')
        memcpy(out, x.request_id, 32)
        out = _put(out + 32, b'","client":"')
        out += format_address(x.client, out)
        out = _put(out, b'"')
        if parsed:
            out = _put_escaped(_put(out, b',"method":"'), HEAD.base, HEAD.method_len)
            out = _put_escaped(_put(out, b'","host":"'), HEAD.authority, HEAD.authority_len)
            out = _put_escaped(_put(out, b'","target":"'), HEAD.base + HEAD.target, HEAD.target_len)
            out = _put(out, b'"')
        out = _put(out, b',"protocol":"HTTP/2.0') if x.http2 else _put_number(_put(out, b',"protocol":"HTTP/1.'), x.minor)
        out = _put_number(_put(out, b'","status":'), x.status)
        out = _put_number(_put(out, b',"bytes_received":'), x.bytes_received)
        out = _put_number(_put(out, b',"bytes_sent":'), x.bytes_sent)
        out = _put_seconds(_put(out, b',"duration":'), monotonic_us() - x.started_us)
        if x.grpc and x.grpc_status >= 0:
            out = _put_number(_put(out, b',"grpc_status":'), <uint64_t> x.grpc_status)
        name = self._name(x.listener.name)
        out = _put_escaped(_put(out, b',"listener":"'), <const char*> name, len(name))
        name = self._name(x.route.name)
        out = _put_escaped(_put(out, b'","route":"'), <const char*> name, len(name))
        if x.endpoint is not None:
            name = self._name(x.cluster.name)
            out = _put_escaped(_put(out, b'","cluster":"'), <const char*> name, len(name))
            name = self._name(x.endpoint.name)
            out = _put_escaped(_put(out, b'","endpoint":"'), <const char*> name, len(name))
        if x.reason != R_NONE:
            out = _put(_put(out, b'","reason":"'), reason_code(x.reason))
        out = _put(out, b'"')
        if x.attempts is not None:
            out = self._attempts(_put(out, b',"attempts":['), x)
        out = self._field(out, b',"referer":"', parsed, b"referer", 7)
        out = self._field(out, b',"user_agent":"', parsed, b"user-agent", 10)
        return _put(out, b"}")

    cdef char* _attempts(self, char* out, Exchange x):
        """Those before the last: where, what came of it, how long it took."""
        cdef bytes name
        cdef int status, reason
        for endpoint, status, reason, us in x.attempts[:ATTEMPTS_MAX]:
            name = self._name(endpoint.name)
            out = _put_escaped(_put(out, b'{"endpoint":"'), <const char*> name, len(name))
            if reason != R_NONE:
                out = _put(_put(_put(out, b'","reason":"'), reason_code(reason)), b'"')
            else:
                out = _put_number(_put(out, b'","status":'), <uint64_t> status)
            out = _put(_put_seconds(_put(out, b',"duration":'), us), b"},")
        out[-1] = c']'
        return out

    cdef char* _combined(self, char* out, Exchange x, bint parsed):
        out += format_address(x.client, out)
        out = self._time(_put(out, b" - - ["))
        out = _put(out, b'] "')
        if parsed:
            out = _put_escaped(out, HEAD.base, HEAD.method_len)
            out = _put_escaped(_put(out, b" "), HEAD.base + HEAD.target, HEAD.target_len)
            out = _put(out, b" HTTP/2.0") if x.http2 else _put_number(_put(out, b" HTTP/1."), x.minor)
        else:
            out = _put(out, b"-")
        out = _put_number(_put(out, b'" '), x.status)
        out = _put_number(_put(out, b" "), x.bytes_sent)
        out = self._field(out, b' "', parsed, b"referer", 7)
        return self._field(out, b' "', parsed, b"user-agent", 10)

    cdef bytes _name(self, str name):
        return name.encode()
