# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The shared state block: memory that all workers map, holding every counter and gauge and the state of endpoints.

One process makes records, and tells the others where they are (`export`, `learn`) before they need them: no lock.

Strategy: each (kind, name) owns one cache-aligned record per worker, written by that worker with plain stores and
summed by whoever reads, so that counting costs one increment and no atomics. Records are found by identity, not by
position: a reload that keeps a route or an endpoint keeps its numbers. The address space is reserved, the memory is
only used where it is touched.
"""

from libc.string cimport memset

import mmap
import os

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer

from lbd.engine.reasons cimport REASONS_COUNT
from lbd.engine cimport sys as c
from lbd.engine.sys cimport monotonic_us


cdef enum:
    LINE = 64

KNOWN_STATUS = (
    200, 201, 202, 203, 204, 205, 206, 207, 300, 301, 302, 303, 304, 307, 308, 400, 401, 402, 403, 404, 405, 406, 407,
    408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421, 422, 423, 424, 425, 426, 428, 429, 431, 451, 499, 500,
    501, 502, 503, 504, 505, 506, 507, 508, 510, 511, 101, 520, 521, 522, 529, 440, 444,
)


cdef void _fill_slots():
    cdef int i, status
    for i in range(600):
        STATUS_SLOT[i] = 0
    for i, status in enumerate(KNOWN_STATUS):
        STATUS_SLOT[status] = <unsigned char> (i + 1)

if len(KNOWN_STATUS) >= STATUS_SLOTS:
    raise AssertionError("more known status codes than slots")
_fill_slots()


def bucket_bounds():
    """Upper bounds of the histogram's buckets in seconds, the last one infinite."""
    bounds = [2.0 ** BUCKET_FIRST_BIT / 1e6]
    for octave in range(BUCKET_OCTAVES):
        for quarter in range(1, 5):
            bounds.append((1 + 0.25 * quarter) * 2.0 ** (octave + BUCKET_FIRST_BIT) / 1e6)
    return [*bounds, float("inf")]


cdef enum:                      # forms of fields
    WORD
    WORDS
    HISTOGRAM
    SMALL                       # half a word, in records that all workers share
    CIRCUIT
    MOST_WORDS = BUCKETS + 1


def _layouts():
    """kind -> field -> bytes from the start of its record, words, form."""
    cdef RouteStats route
    cdef ListenerStats listener
    cdef EndpointStats endpoint
    cdef ClusterStats cluster
    cdef ClusterState state
    cdef EndpointState one
    return {
        "route": {
            "status": (<char*> route.status - <char*> &route, STATUS_SLOTS, WORDS),
            "grpc": (<char*> route.grpc - <char*> &route, 18, WORDS),
            "bytes_received": (<char*> &route.bytes_received - <char*> &route, 1, WORD),
            "bytes_sent": (<char*> &route.bytes_sent - <char*> &route, 1, WORD),
            "duration": (<char*> &route.duration - <char*> &route, BUCKETS + 1, HISTOGRAM),
        },
        "listener": {
            "accepted": (<char*> &listener.accepted - <char*> &listener, 1, WORD),
            "open": (<char*> &listener.open - <char*> &listener, 1, WORD),
            "accept_errors": (<char*> &listener.accept_errors - <char*> &listener, 1, WORD),
            "accept_pauses": (<char*> &listener.accept_pauses - <char*> &listener, 1, WORD),
            "bytes_received": (<char*> &listener.bytes_received - <char*> &listener, 1, WORD),
            "bytes_sent": (<char*> &listener.bytes_sent - <char*> &listener, 1, WORD),
            "handshakes": (<char*> &listener.handshakes - <char*> &listener, 1, WORD),
            "resumed": (<char*> &listener.resumed - <char*> &listener, 1, WORD),
            "http2": (<char*> &listener.http2 - <char*> &listener, 1, WORD),
            "reasons": (<char*> listener.reasons - <char*> &listener, <int> REASONS_COUNT, WORDS),
        },
        "endpoint": {
            "requests": (<char*> &endpoint.requests - <char*> &endpoint, 1, WORD),
            "status_class": (<char*> endpoint.status_class - <char*> &endpoint, 6, WORDS),
            "connects": (<char*> &endpoint.connects - <char*> &endpoint, 1, WORD),
            "connect_failures": (<char*> &endpoint.connect_failures - <char*> &endpoint, 1, WORD),
            "reused": (<char*> &endpoint.reused - <char*> &endpoint, 1, WORD),
            "stale": (<char*> &endpoint.stale - <char*> &endpoint, 1, WORD),
            "failures": (<char*> &endpoint.failures - <char*> &endpoint, 1, WORD),
            "active": (<char*> &endpoint.active - <char*> &endpoint, 1, WORD),
            "open": (<char*> &endpoint.open - <char*> &endpoint, 1, WORD),
            "idle": (<char*> &endpoint.idle - <char*> &endpoint, 1, WORD),
            "queued": (<char*> &endpoint.queued - <char*> &endpoint, 1, WORD),
            "first_byte": (<char*> &endpoint.first_byte - <char*> &endpoint, BUCKETS + 1, HISTOGRAM),
        },
        "cluster": {
            "retries": (<char*> cluster.retries - <char*> &cluster, 16, WORDS),
            "retries_denied": (<char*> &cluster.retries_denied - <char*> &cluster, 1, WORD),
            "hedges": (<char*> &cluster.hedges - <char*> &cluster, 1, WORD),
            "hedges_won": (<char*> &cluster.hedges_won - <char*> &cluster, 1, WORD),
            "shed": (<char*> &cluster.shed - <char*> &cluster, 1, WORD),
            "broken": (<char*> &cluster.broken - <char*> &cluster, 1, WORD),
            "fallbacks": (<char*> &cluster.fallbacks - <char*> &cluster, 1, WORD),
            "panic_picks": (<char*> &cluster.panic_picks - <char*> &cluster, 1, WORD),
            "active": (<char*> &cluster.active - <char*> &cluster, 1, WORD),
            "limit": (<char*> &cluster.limit - <char*> &cluster, 1, WORD),
            "ejections_denied": (<char*> &cluster.ejections_denied - <char*> &cluster, 1, WORD),
            "cross_zone": (<char*> &cluster.cross_zone - <char*> &cluster, 1, WORD),
            "sticky_kept": (<char*> &cluster.sticky_kept - <char*> &cluster, 1, WORD),
            "sticky_lost": (<char*> &cluster.sticky_lost - <char*> &cluster, 1, WORD),
        },
        "cluster_state": {
            "breaker": (<char*> &state.breaker - <char*> &state, 1, CIRCUIT),
            "panics": (<char*> &state.panics - <char*> &state, 1, WORD),
            "panic": (<char*> &state.panic - <char*> &state, 1, SMALL),
            "ejected": (<char*> &state.ejected - <char*> &state, 1, SMALL),
        },
        "endpoint_state": {
            "health": (<char*> &one.health - <char*> &one, 1, SMALL),
            "admin": (<char*> &one.admin - <char*> &one, 1, SMALL),
            "weight": (<char*> &one.weight - <char*> &one, 1, SMALL),
            "rtt_us": (<char*> &one.rtt_us - <char*> &one, 1, WORD),
            "checks_ok": (<char*> &one.checks_ok - <char*> &one, 1, WORD),
            "checks_failed": (<char*> &one.checks_failed - <char*> &one, 1, WORD),
            "ejection": (<char*> &one.ejection - <char*> &one, 1, CIRCUIT),
            "breaker": (<char*> &one.breaker - <char*> &one, 1, CIRCUIT),
        },
    }


cdef dict LAYOUTS = _layouts()


cdef object _field(const char* record, size_t step, int workers, tuple place):
    """The value of a field. Numbers of the workers are added up here and not in Python: a scrape reads a million of
    them. Half words and circuits stand in the first record only, for all workers."""
    cdef const char* first = record + <size_t> place[0]
    cdef int words = place[1], form = place[2], worker, i
    cdef const uint64_t* part
    cdef uint64_t[MOST_WORDS] total
    if form == SMALL:
        return (<const uint32_t*> first)[0]
    if form == CIRCUIT:
        return [(<const Circuit*> first).state, (<const Circuit*> first).opened]
    memset(total, 0, words * sizeof(uint64_t))
    for worker in range(workers):
        part = <const uint64_t*> (first + step * worker)
        for i in range(words):
            total[i] += part[i]
    if form == WORD:
        return total[0]
    if form == HISTOGRAM:
        return [total[0] / 1e6, [total[i] for i in range(1, words)]]
    return [total[i] for i in range(words)]


cdef class Shared:
    """The block; `size` bytes of address space for `workers` workers."""

    def __cinit__(self, int workers=1, size_t size=1 << 30, int fd=-1, bytes secret=None):
        """fd, secret: of a block that another process has made, which knows the records by `learn`."""
        cdef Py_buffer view
        self.attached = fd >= 0
        if self.attached:
            self.fd = fd
        else:
            self.fd = os.memfd_create("lbd", os.MFD_CLOEXEC)
            os.ftruncate(self.fd, size)
        self.memory = mmap.mmap(self.fd, size, flags=mmap.MAP_SHARED | 0x4000)      # MAP_NORESERVE
        PyObject_GetBuffer(self.memory, &view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        self.base = <char*> view.buf
        PyBuffer_Release(&view)
        self.size = size
        self.workers = workers
        self.directory = {}
        self.spare = {}
        self.news = []
        self.secret = os.urandom(32) if secret is None else secret
        if self.attached:
            self.generation = <uint64_t*> self.base     # the first record of all
        else:
            self.generation = <uint64_t*> self.find("generation", "", sizeof(uint64_t), 0)
            for worker in range(workers):
                self.find("worker", "", sizeof(WorkerStats), worker)

    def __dealloc__(self):
        if self.fd >= 0:
            c.close(self.fd)

    def __repr__(self):
        return f"<Shared workers={self.workers} records={len(self.directory)} used={self.used}>"

    cdef size_t step_of(self, size_t size) noexcept:
        """From the record of one worker to that of the next."""
        return (size + LINE - 1) // LINE * LINE

    cdef void* find(self, str kind, str name, size_t size, int worker) except NULL:
        """The record of this identity for this worker, zeroed when new; MemoryError when the block is full."""
        cdef size_t step = self.step_of(size)
        cdef size_t offset
        if not 0 <= worker < self.workers:
            raise ValueError(f"worker {worker} of {self.workers}")
        found = self.directory.get((kind, name))
        if found is None:
            if self.attached:
                raise KeyError(f"the supervisor has no {kind} {name!r}")
            if self.spare.get(step):
                offset = self.spare[step].pop()
                memset(self.base + offset, 0, step * self.workers)
            elif self.used + step * self.workers > self.size:
                raise MemoryError(f"shared state block is full ({self.size} bytes)")
            else:
                offset = self.used
                self.used += step * self.workers
            self.directory[kind, name] = (offset, step)
            self.news.append((kind, name))
        else:
            offset = found[0]
            if found[1] != step:
                raise ValueError(f"{kind} {name!r} has {found[1]} bytes, not {step}")
        return self.base + offset + step * worker

    def forget(self, str kind, str name):
        """Let another identity have this record, which nobody writes to any more. No effect when there is none."""
        found = self.directory.pop((kind, name), None)
        if found is not None and not self.attached:
            self.spare.setdefault(found[1], []).append(found[0])

    def export(self, bint everything=False):
        """Identities and places for `learn` in other processes: those that are new since the last time, or all."""
        if everything:
            return dict(self.directory)
        news, self.news = self.news, []
        return {identity: self.directory[identity] for identity in news if identity in self.directory}

    def learn(self, places):
        """What `export` in the process that made the block has said."""
        self.directory.update(places)

    def clear_gauges(self, int worker):
        """A worker has ended, or is about to begin: nothing is under way in it."""
        cdef EndpointStats* endpoint
        cdef ClusterStats* cluster
        for (kind, _), (offset, step) in self.directory.items():
            if kind == "endpoint":
                endpoint = <EndpointStats*> (self.base + <size_t> offset + <size_t> step * worker)
                endpoint.active = endpoint.open = endpoint.idle = endpoint.queued = 0
                memset(&endpoint.recent, 0, sizeof(Recent))
            elif kind == "cluster":
                cluster = <ClusterStats*> (self.base + <size_t> offset + <size_t> step * worker)
                cluster.active = cluster.pending = cluster.limit = 0
            elif kind == "listener":
                (<ListenerStats*> (self.base + <size_t> offset + <size_t> step * worker)).open = 0

    def beat(self, int worker, *, double lag, faults, cpu, log, traces):
        """A worker is alive: what it says of itself. Times in seconds; log: lines made, dropped; traces: exported, dropped
        before they reached the collector, and by it."""
        cdef WorkerStats* stats = <WorkerStats*> self.find("worker", "", sizeof(WorkerStats), worker)
        stats.beat = monotonic_us() // 1000
        stats.lag_us = <uint64_t> (lag * 1e6)
        stats.faults = faults
        stats.cpu_us = <uint64_t> (cpu * 1e6)
        stats.log_lines, stats.log_dropped = log
        stats.exported, stats.unqueued, stats.unexported = traces
        stats.pid = os.getpid()

    def beats(self):
        """What each worker has said of itself last; `silent`: seconds since then."""
        cdef WorkerStats* stats
        cdef uint64_t now = monotonic_us() // 1000
        found = []
        for worker in range(self.workers):
            stats = <WorkerStats*> self.find("worker", "", sizeof(WorkerStats), worker)
            found.append({
                "pid": stats.pid, "silent": (now - stats.beat) / 1000 if stats.beat else None,
                "lag": stats.lag_us / 1e6, "faults": stats.faults, "cpu": stats.cpu_us / 1e6,
                "log_lines": stats.log_lines, "log_dropped": stats.log_dropped, "exported": stats.exported,
                "unqueued": stats.unqueued, "unexported": stats.unexported})
        return found

    def names(self, str kind):
        """Identities of a kind: 'route' (listener/route/cluster), 'listener', 'endpoint' (cluster/endpoint), 'cluster'."""
        return [name for k, name in self.directory if k == kind]

    def read(self, str kind, str name, str field=None):
        """A record as a dict of numbers and lists, summed over the workers; with `field` only that value of it.

        KeyError: there is no such record (any more)."""
        offset, step = self.directory[kind, name]
        cdef char* record = self.base + <size_t> offset
        cdef dict layout = LAYOUTS[kind]
        if field is not None:
            place = layout.get(field)
            if place is None:
                raise ValueError(f"a record of {kind} has no {field!r}")
            return _field(record, step, self.workers, place)
        return {field: _field(record, step, self.workers, place) for field, place in layout.items()}
