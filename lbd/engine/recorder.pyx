# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The flight recorder: the last exchanges in fixed memory, those that failed and those that were slow for longer.

Strategy: three rings of fixed slots per worker, in memory that all processes share, so that whoever answers the admin
API reads those of every worker. Writing is a copy of a few hundred bytes without a lock: the number of a slot is 0 while
it is written, and set last; a reader copies the slot and takes it when the number was the same before and behind.
Names and paths are cut. Fields of the request are not kept, nor is its query unless asked for: there are secrets in them.
"""

import ipaddress
import mmap
import os
from datetime import datetime, timezone

from libc.stdint cimport UINT64_MAX, int16_t, uint8_t, uint16_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset, strlen

from lbd.engine cimport sys as c
from lbd.engine.observer cimport WANTS_REQUEST, Attempt, Facts, Observer, Text, text_of
from lbd.engine.forwarded cimport format_address
from lbd.engine.reasons cimport R_NONE

from lbd.engine.reasons import CODES
from lbd.engine.router import packed_address

cdef extern from *:
    """
    #define lbd_publish(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
    #define lbd_look(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
    #define lbd_fence() __atomic_thread_fence(__ATOMIC_SEQ_CST)
    """
    void lbd_publish(uint64_t*, uint64_t) noexcept nogil
    uint64_t lbd_look(const uint64_t*) noexcept nogil
    void lbd_fence() noexcept nogil

KINDS = {"all": RING_ALL, "errors": RING_ERRORS, "slow": RING_SLOW}
REASONS = {code: number for number, (code, _) in enumerate(CODES) if code}


cdef inline Cut _cut(char* out, const Text* text, size_t room) noexcept nogil:
    """room: below 256."""
    cdef Cut cut
    cut.known = text.p != NULL
    cut.n = <uint8_t> min(text.n, room) if cut.known else 0
    if cut.n:
        memcpy(out, text.p, cut.n)
    return cut


cdef inline void _put_word(char* out, const char* word) noexcept nogil:
    """Up to eight bytes, filled up with zeros."""
    memset(out, 0, 8)
    memcpy(out, word, min(strlen(word), <size_t> 8))


cdef inline bint _same(const char* p, Cut cut, bytes wanted) noexcept:
    return wanted is None or (cut.n == len(wanted) and memcmp(p, <const char*> wanted, cut.n) == 0)


cdef inline str _text(const char* p, Cut cut):
    return p[:cut.n].decode("utf-8", "backslashreplace") if cut.known else None


cdef class Wanted:

    def __init__(self, *, listener=None, route=None, cluster=None, endpoint=None, method=None, host=None, path=None,
                 client=None, status=None, reason=None, double least=0, double since=0, double until=0):
        """path: how it begins. status: `404` or `5xx`. least: seconds that it took. since, until: Unix time of its
        end, until 0: now. ValueError for a status, reason or client that is none."""
        self.texts = {"listener": listener, "route": route, "cluster": cluster, "endpoint": endpoint, "method": method,
                      "host": host, "path": path, "client": client, "status": status, "reason": reason}
        self.listener, self.route, self.cluster, self.endpoint = (
            None if one is None else one.encode()[:NAME_KEPT] for one in (listener, route, cluster, endpoint))
        self.method = None if method is None else method.encode()[:METHOD_KEPT]
        self.host = None if host is None else host.encode()[:HOST_KEPT]
        self.path = None if path is None else path.encode()[:PATH_KEPT]
        self.client = None if client is None else packed_address(str(ipaddress.ip_address(client)))
        self.status_low, self.status_high = _statuses(status)
        self.reason = -1
        if reason is not None:
            if reason not in REASONS:
                raise ValueError(f"there is no reason {reason!r}")
            self.reason = REASONS[reason]
        self.least_us = <uint64_t> (max(least, 0.0) * 1e6)
        self.since_us = <uint64_t> (max(since, 0.0) * 1e6)
        self.until_us = <uint64_t> (until * 1e6) + 1 if until > 0 else UINT64_MAX    # + 1: what it was before it was a float

    def __repr__(self):
        return f"<Wanted {({name: text for name, text in self.texts.items() if text is not None})}>"

    cdef bint fits(self, const Record* record) noexcept:
        if record.duration_us < self.least_us or not self.since_us <= record.ended_us <= self.until_us:
            return False
        if not self.status_low <= record.status <= self.status_high:
            return False
        if self.reason >= 0 and record.reason != self.reason:
            return False
        if self.client is not None and memcmp(record.client, <const char*> self.client, 16):
            return False
        if self.path is not None and (record.path_cut.n < len(self.path)
                                      or memcmp(record.path, <const char*> self.path, len(self.path))):
            return False
        return (_same(record.listener, record.listener_cut, self.listener)
                and _same(record.route, record.route_cut, self.route)
                and _same(record.cluster, record.cluster_cut, self.cluster)
                and _same(record.endpoint, record.endpoint_cut, self.endpoint)
                and _same(record.method, record.method_cut, self.method)
                and _same(record.host, record.host_cut, self.host))


def _statuses(status):
    """`404` -> 404, 404; `5xx` -> 500, 599; None -> any."""
    if status is None:
        return 0, 0xffff
    text = str(status)
    if len(text) == 3 and text[0] in "12345" and text[1:].lower() == "xx":
        return int(text[0]) * 100, int(text[0]) * 100 + 99
    if len(text) == 3 and text.isascii() and text.isdigit():
        return int(text), int(text)
    raise ValueError("a status is a number such as 404, or a class such as 5xx")


cdef class Recorder(Observer):
    """One process makes it; workers attach by `fd` and write as `worker`, and all read."""

    def __init__(self, *, uint64_t size=1024, uint64_t errors=512, uint64_t slow=256, uint64_t slow_us=1000000,
                 bint query=False, int workers=1, int worker=0, int fd=-1):
        """size, errors, slow: records of each worker, at least 1. slow_us: what took as long is slow."""
        cdef uint8_t[::1] view
        if min(size, errors, slow) < 1 or workers < 1:
            raise ValueError("rings hold at least one record")
        self.capacity = (size, errors, slow)
        self.slow_us = slow_us
        self.query = query
        self.workers = workers
        self.worker = worker
        self.wants = WANTS_REQUEST
        self.section = sizeof(Section) + (size + errors + slow) * sizeof(Record)
        if fd < 0:
            fd = os.memfd_create("lbd recorder", os.MFD_CLOEXEC)
            os.ftruncate(fd, self.section * <size_t> workers)
        self.fd = fd
        self.memory = mmap.mmap(fd, self.section * <size_t> workers)
        view = self.memory
        self.base = <char*> &view[0]

    def __dealloc__(self):
        if self.fd > 0:
            c.close(self.fd)

    def __repr__(self):
        return f"<Recorder rings={tuple(self.capacity)} workers={self.workers}>"

    @property
    def size_bytes(self):
        """Memory that it takes once all rings are full."""
        return self.section * <size_t> self.workers

    cdef Section* _section(self, int worker) noexcept:
        return <Section*> (self.base + self.section * <size_t> worker)

    cdef Record* _slot(self, int worker, int ring, uint64_t index) noexcept:
        cdef Record* first = <Record*> (<char*> self._section(worker) + sizeof(Section))
        cdef int before
        for before in range(ring):
            first += self.capacity[before]
        return first + index % self.capacity[ring]

    # writing -----------------------------------------------------------------------------------------------------

    cdef int take(self, const Facts* facts, list attempts) except -1:
        cdef Section* section = self._section(self.worker)
        cdef Record* record = self._slot(self.worker, RING_ALL, section.written[RING_ALL])
        lbd_publish(&record.number, 0)
        lbd_fence()
        fill_record(record, facts, attempts, self.query)
        section.number += 1
        lbd_publish(&record.number, section.number)
        section.written[RING_ALL] += 1
        if record.reason != R_NONE or record.status >= 500 or record.grpc_status > 0:
            self._keep(RING_ERRORS, record)
        if record.duration_us >= self.slow_us and not facts.tunnel:
            self._keep(RING_SLOW, record)
        return 0

    cdef void _keep(self, int ring, const Record* record) noexcept:
        """A copy in another ring."""
        cdef Section* section = self._section(self.worker)
        cdef Record* slot = self._slot(self.worker, ring, section.written[ring])
        lbd_publish(&slot.number, 0)
        lbd_fence()
        memcpy(<char*> slot + sizeof(uint64_t), <const char*> record + sizeof(uint64_t), sizeof(Record) - sizeof(uint64_t))
        lbd_publish(&slot.number, record.number)
        section.written[ring] += 1

    # reading -----------------------------------------------------------------------------------------------------

    def records(self, str kind="all", Wanted wanted=None, int limit=100):
        """The newest first, of all workers, at most `limit` dicts; KeyError for an unknown kind.

        `errors` and `slow` reach back further than `all`.
        """
        cdef int ring = KINDS[kind]
        found = []
        for worker in range(self.workers):
            self._read(worker, ring, wanted, limit, found)
        found.sort(key=_by_time, reverse=True)
        return found[:max(limit, 0)]

    def find(self, str request_id not None):
        """The exchange of that id, the newest if it was used twice; None when it is forgotten."""
        cdef bytes wanted = request_id.encode("ascii", "replace")
        found = []
        if len(wanted) == 32:
            for worker in range(self.workers):
                for ring in range(RINGS):
                    self._read(worker, ring, None, 1, found, wanted)
        return max(found, key=_by_time, default=None)

    def _read(self, int worker, int ring, Wanted wanted, int limit, list found, bytes request_id=None):
        """Add those of one ring to `found`, from the newest on."""
        cdef Section* section = self._section(worker)
        cdef uint64_t at = lbd_look(&section.written[ring])
        cdef uint64_t last = at - self.capacity[ring] if at > self.capacity[ring] else 0
        cdef Record copy
        cdef Record* slot
        while at > last and limit > 0:
            at -= 1
            slot = self._slot(worker, ring, at)
            if wanted is not None and slot.ended_us > wanted.until_us:
                continue                        # spares the copy, for those who read it page by page
            copy.number = lbd_look(&slot.number)
            memcpy(<char*> &copy + sizeof(uint64_t), <char*> slot + sizeof(uint64_t), sizeof(Record) - sizeof(uint64_t))
            lbd_fence()
            if copy.number == 0 or copy.number != lbd_look(&slot.number):
                continue                        # is being written just now
            if request_id is not None and (not copy.has_id or memcmp(copy.request_id, <const char*> request_id, 32)):
                continue
            if wanted is not None and not wanted.fits(&copy):
                continue
            found.append(as_dict(&copy, worker))
            limit -= 1


cdef void fill_record(Record* record, const Facts* facts, list attempts, bint query):
    """All but its number."""
    cdef c.timespec now
    cdef Text path = facts.target
    cdef const char* mark
    c.clock_gettime(c.CLOCK_REALTIME, &now)
    record.ended_us = <uint64_t> now.tv_sec * 1000000 + <uint64_t> now.tv_nsec // 1000
    record.duration_us = facts.now_us - facts.started_us
    record.queue_us = facts.queue_us
    record.connect_us = facts.connect_us
    record.first_byte_us = facts.first_byte_us
    record.bytes_received = facts.bytes_received
    record.bytes_sent = facts.bytes_sent
    record.trace_high = facts.trace.high if facts.trace != NULL else 0
    record.trace_low = facts.trace.low if facts.trace != NULL else 0
    record.has_id = facts.request_id != NULL
    if record.has_id:
        memcpy(record.request_id, facts.request_id, 32)
    memcpy(record.client, facts.client, 16)
    _put_word(record.protocol, facts.protocol)
    record.has_tls = facts.tls != NULL
    if record.has_tls:
        _put_word(record.tls, facts.tls)
    record.status = <uint16_t> facts.status
    record.grpc_status = <int16_t> facts.grpc_status
    record.reason = <uint8_t> facts.reason
    if not query and path.p != NULL:
        mark = <const char*> memchr(path.p, c'?', path.n)
        path.n = path.n if mark == NULL else <size_t> (mark - path.p)
    record.method_cut = _cut(record.method, &facts.method, METHOD_KEPT)
    record.host_cut = _cut(record.host, &facts.host, HOST_KEPT)
    record.path_cut = _cut(record.path, &path, PATH_KEPT)
    record.listener_cut = _cut(record.listener, &facts.listener, NAME_KEPT)
    record.route_cut = _cut(record.route, &facts.route, NAME_KEPT)
    record.cluster_cut = _cut(record.cluster, &facts.cluster, NAME_KEPT)
    record.endpoint_cut = _cut(record.endpoint, &facts.endpoint, NAME_KEPT)
    record.attempts = 0
    record.attempts_made = 0
    if attempts is not None:
        _fill_attempts(record, facts, attempts)


cdef void _fill_attempts(Record* record, const Facts* facts, list attempts):
    cdef Attempt one
    cdef Text name
    cdef int room = ATTEMPTS_KEPT - (1 if facts.last_is_open else 0)
    record.attempts_made = <uint16_t> (len(attempts) + (1 if facts.last_is_open else 0))
    for one in attempts[-room:]:
        name = text_of(one.endpoint.name)
        _put_attempt(&record.tries[record.attempts], &name, one.status, one.reason, one.us)
        record.attempts += 1
    if facts.last_is_open:
        _put_attempt(&record.tries[record.attempts], &facts.endpoint, facts.status if facts.first_byte_us else 0,
                     facts.reason, facts.now_us - facts.attempt_us)
        record.attempts += 1


cdef void _put_attempt(AttemptRecord* tried, const Text* endpoint, int status, int reason, uint64_t us) noexcept:
    tried.us = us
    tried.status = <uint16_t> status
    tried.reason = <uint8_t> reason
    tried.endpoint_len = _cut(tried.endpoint, endpoint, NAME_KEPT).n


def _by_time(dict record):
    return record["ended"], record["id"]


cdef dict as_dict(const Record* record, int worker):
    """What applies; times in seconds."""
    cdef char[46] client
    cdef int n = format_address(record.client, client)
    cdef dict made = {
        "id": f"{worker}-{record.number}",
        "time": datetime.fromtimestamp(record.ended_us // 1000 / 1000, timezone.utc).isoformat(
            timespec="milliseconds").replace("+00:00", "Z"),
        "ended": record.ended_us / 1e6,
        "request_id": record.request_id[:32].decode() if record.has_id else None,
        "trace_id": f"{record.trace_high:016x}{record.trace_low:016x}" if record.trace_high | record.trace_low else None,
        "client": client[:n].decode(),
        "method": _text(record.method, record.method_cut),
        "host": _text(record.host, record.host_cut),
        "path": _text(record.path, record.path_cut),
        "protocol": record.protocol[:8].rstrip(b"\0").decode(),
        "tls": record.tls[:8].rstrip(b"\0").decode() if record.has_tls else None,
        "status": record.status or None,
        "grpc_status": record.grpc_status if record.grpc_status >= 0 else None,
        "reason": CODES[record.reason][0] or None,
        "listener": _text(record.listener, record.listener_cut),
        "route": _text(record.route, record.route_cut),
        "cluster": _text(record.cluster, record.cluster_cut),
        "endpoint": _text(record.endpoint, record.endpoint_cut),
        "duration": record.duration_us / 1e6,
        "queue": record.queue_us / 1e6 if record.queue_us else None,
        "connect": record.connect_us / 1e6 if record.connect_us else None,
        "first_byte": record.first_byte_us / 1e6 if record.first_byte_us else None,
        "bytes_received": record.bytes_received,
        "bytes_sent": record.bytes_sent,
    }
    if record.attempts:
        made["attempts"] = [_attempt_dict(&record.tries[i]) for i in range(record.attempts)]
        made["attempts_made"] = record.attempts_made
    return {name: value for name, value in made.items() if value is not None}


cdef dict _attempt_dict(const AttemptRecord* tried):
    made = {"endpoint": tried.endpoint[:tried.endpoint_len].decode("utf-8", "backslashreplace")}
    if tried.status:
        made["status"] = tried.status
    if tried.reason != R_NONE:
        made["reason"] = CODES[tried.reason][0]
    made["duration"] = tried.us / 1e6
    return made
