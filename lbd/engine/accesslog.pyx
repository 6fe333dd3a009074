# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The access log: which exchanges get a line, and the thread that writes lines out.

Strategy: the loop appends to one buffer; when it holds a batch, or a quarter of a second has passed, the thread takes
it and writes it out. The loop never waits for a disk, a pipe or a lock held during I/O: while the thread is stuck the
buffer fills up, and then lines are dropped and counted (hazard 37).
"""

import os
import select
import sys
import threading

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from lbd.engine.observer cimport WANTS_FIELDS, WANTS_REQUEST, Facts, Observer
from lbd.engine.logline cimport ATTEMPTS_ROOM, LINE_MAX, LineWriter
from lbd.engine.reasons cimport R_NONE
from lbd.engine.xorshift cimport next_random

cdef enum:
    BUFFER = 1 << 20            # bytes; about 2 000 lines
    BATCH = 1 << 16             # wakes the thread

FLUSH_SECONDS = 0.25
PATIENCE_MS = 1000              # for a target that takes nothing now and was told not to block


class FileTarget:
    """`stdout`, or a file that is appended to. Used by the writer's thread."""

    def __init__(self, str name not None):
        self.name = name
        self.is_torn = False            # a line was cut: the next write must not go on with it
        self.file = self._open()

    def __repr__(self):
        return f"<FileTarget {self.name}>"

    def _open(self):
        if self.name == "stdout":
            return sys.stdout.fileno()
        return os.open(self.name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)

    def reopen(self):
        """Open the path again; OSError, and then the old file is still there."""
        if self.name != "stdout":
            fresh = self._open()
            os.close(self.file)
            self.file = fresh
            self.is_torn = False

    def close(self):
        if self.name != "stdout":
            os.close(self.file)

    def write(self, bytes data):
        """Whole lines. Those that the target does not take are lost: their number, and the OSError or None."""
        if self.is_torn:
            data = b"\n" + data
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self.file, view):]
            except BlockingIOError as error:
                if not self._waits():
                    return self._lost(data, len(data) - len(view)), error
            except OSError as error:
                return self._lost(data, len(data) - len(view)), error
        self.is_torn = False
        return 0, None

    def _waits(self):
        poll = select.poll()
        poll.register(self.file, select.POLLOUT)
        return bool(poll.poll(PATIENCE_MS))

    def _lost(self, bytes data, size_t written):
        """How many lines, when only so much of the data has been written."""
        lines = data.count(b"\n", written)
        if written:
            self.is_torn = data[written - 1] != c"\n"
        elif self.is_torn:
            lines -= 1                  # the first end is that of the line before
        return lines


cdef class LogWriter:
    """Owns one target. Started at creation, ended by close()."""

    def __init__(self, str target not None, destination=None, on_trouble=None):
        """destination: has write, reopen and close as FileTarget, which it is when None. on_trouble: called by the
        thread with an OSError when lines begin to get lost, and with None when they no longer do."""
        self.target = target
        self.front = <char*> PyMem_Malloc(BUFFER)
        if self.front == NULL:
            raise MemoryError
        self.wake = threading.Event()
        self.destination = FileTarget(target) if destination is None else destination
        self.on_trouble = on_trouble
        self.thread = threading.Thread(target=self._run, name=f"log {target}", daemon=True)
        self.thread.start()

    def __dealloc__(self):
        PyMem_Free(self.front)

    def __repr__(self):
        return f"<LogWriter {self.target} lines={self.lines} dropped={self.dropped}>"

    def reopen(self):
        """After a rotation: the thread opens the path again, and tries until it can."""
        self.reopening = True
        self.wake.set()

    def close(self, double timeout=2.0):
        """Write what is there, waiting at most `timeout` seconds for a stuck reader."""
        self.stopping = True
        self.wake.set()
        self.thread.join(timeout)

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

    def put(self, bytes line not None):
        """A line of control code, without its end; dropped and counted like any other when there is no room."""
        cdef size_t n = <size_t> len(line)
        cdef char* out = self.reserve(n + 1)
        if out == NULL:
            return False
        memcpy(out, <const char*> line, n)
        out[n] = c'\n'
        self.commit(n + 1)
        return True

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
            if self.reopening:
                self._reopen()
            data = self._take()
            if data:
                self._write(data)
            if last:
                self.destination.close()
                return

    def _reopen(self):
        try:
            self.destination.reopen()
        except OSError as error:
            self._note(error)           # the old file is better than nothing
            return
        self.reopening = False

    def _write(self, bytes data):
        """All of it, or drop and count: a full disk must not stop anything."""
        lost, error = self.destination.write(data)
        self.dropped += lost
        if not self.reopening or error is not None:
            self._note(error)

    def _note(self, error):
        if (error is None) == (self.trouble is None):
            return
        self.trouble = None if error is None else str(error)
        if self.on_trouble is not None:
            self.on_trouble(self.target, error)


cdef class TextLog(Observer):
    """Lines to one writer, of one format."""

    def __init__(self, LogWriter writer not None, str format not None, *, fields=None, str environment=None,
                 double sample=1.0, uint64_t slow_us=1000000):
        """fields, environment: as for LineWriter. sample: share of the exchanges that get a line; those that failed,
        or took slow_us or more, always do."""
        self.writer = writer
        self.line = LineWriter(format, fields, environment)
        self.wants = WANTS_REQUEST | WANTS_FIELDS
        self.samples = sample < 1
        self.below = <uint64_t> (sample * 18446744073709549568.0)       # of 2^64
        self.slow_us = slow_us
        self.random_state = int.from_bytes(os.urandom(8), "little") | 1

    def __repr__(self):
        return f"<TextLog {self.writer.target} {self.line!r}>"

    cdef bint _skips(self, const Facts* facts) noexcept:
        if facts.reason != R_NONE or facts.status >= 500 or facts.grpc_status > 0:
            return False
        if not facts.tunnel and facts.now_us - facts.started_us >= self.slow_us:
            return False
        return next_random(&self.random_state) >= self.below

    cdef int take(self, const Facts* facts, list attempts) except -1:
        cdef char* start
        cdef char* out
        if self.samples and self._skips(facts):
            return 0
        start = self.writer.reserve(LINE_MAX + (ATTEMPTS_ROOM if attempts is not None else 0))
        if start == NULL:
            return 0
        out = self.line.write(start, facts, attempts)
        out[0] = c'\n'
        self.writer.commit(<size_t> (out + 1 - start))
        return 0
