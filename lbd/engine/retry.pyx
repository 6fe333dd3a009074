# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""When a request is sent once more. Pure decisions: the exchange and the simulator call them, time is an argument.

Why a budget and not only a limit per request: when an endpoint group is overloaded, each request failing and being tried
three times triples the load that broke it. The budget makes retries a share of the requests (RFC 9110 9.2.2 says what
may be repeated at all; Google's SRE book, chapter 22, why a ratio).
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memset

from lbd.engine.fields cimport same_name
from lbd.engine.http1 cimport (
    M_DELETE, M_GET, M_HEAD, M_OPTIONS, M_PATCH, M_POST, M_PUT, M_TRACE,
)

METHODS = {"GET": M_GET, "HEAD": M_HEAD, "OPTIONS": M_OPTIONS, "TRACE": M_TRACE, "PUT": M_PUT, "DELETE": M_DELETE,
           "POST": M_POST, "PATCH": M_PATCH}
CAUSES = {"connect_failed": RETRY_CONNECT_FAILED, "connect_timeout": RETRY_CONNECT_TIMEOUT,
          "stale_connection": RETRY_STALE, "refused": RETRY_REFUSED, "reset": RETRY_RESET, "timeout": RETRY_TIMEOUT,
          "status": RETRY_STATUS, "grpc": RETRY_GRPC}


cdef class RetryPolicy:
    """Times in milliseconds, sizes in bytes; see RetryPolicy in the schema for the meaning."""

    def __cinit__(self, *, unsigned int limit=2, causes=("connect_failed", "connect_timeout", "refused", "reset"),
                  statuses=(), grpc=(), methods=("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"),
                  bint by_key=True, excepted=(), try_ms=0, base_ms=0, longest_ms=0, double multiplier=2.0,
                  bint jitter=True, unsigned int buffer=0, hedge_ms=0):
        cdef int status
        self.limit = limit
        for name in causes:
            self.causes |= 1 << <int> CAUSES[name]
        memset(self.statuses, 0, sizeof(self.statuses))
        for status in statuses:
            self.statuses[status >> 3] |= 1 << (status & 7)
        if statuses:
            self.causes |= 1 << RETRY_STATUS
        for status in grpc:
            self.grpc |= 1 << status
        if grpc:
            self.causes |= 1 << RETRY_GRPC
        for name in methods:
            self.methods |= 1 << <int> METHODS[name]
        self.by_key = by_key
        self.excepted = tuple(excepted)
        self.try_ms = try_ms
        self.base_ms = base_ms
        self.longest_ms = longest_ms
        self.multiplier = multiplier
        self.jitter = jitter
        self.buffer = buffer
        self.hedge_ms = hedge_ms

    def __repr__(self):
        return f"<RetryPolicy limit={self.limit} causes={self.causes:#x}>"

    cdef bint covers(self, int cause, int code) noexcept:
        """Is this a cause for another attempt? code: the status or the gRPC code, where the cause is one."""
        if not self.causes & (1 << cause):
            return False
        if cause == RETRY_STATUS:
            return code < 600 and self.statuses[code >> 3] & (1 << (code & 7)) != 0
        if cause == RETRY_GRPC:
            return 0 <= code < 32 and self.grpc & (1 << code) != 0
        return True

    cdef bint allows(self, int method, const char* head, size_t n) noexcept:
        """May a request that an endpoint has perhaps begun to act on be sent again? head: as written for endpoints."""
        if self.excepted and self._is_excepted(head, n):
            return False
        if self.methods & (1 << method):
            return True
        return self.by_key and _has_field(head, n, b"idempotency-key", 15)

    cdef bint _is_excepted(self, const char* head, size_t n) noexcept:
        cdef bytes path
        cdef bint below
        cdef size_t start = 0
        cdef size_t end, size
        while start < n and head[start] != c' ':
            start += 1
        start += 1
        end = start
        while end < n and head[end] != c' ' and head[end] != c'?':
            end += 1
        for path, below in self.excepted:
            size = len(path)
            if end - start >= size and memcmp(head + start, <const char*> path, size) == 0 and (
                    end - start == size or (below and (head[start + size] == c'/' or path[size - 1] == c'/'))):
                return True
        return False

    cdef uint64_t backoff(self, uint32_t turn, uint64_t random) noexcept:
        """Milliseconds before the turn-th further attempt (1 is the first); with jitter between half of it and all."""
        cdef double wait = <double> self.base_ms
        cdef uint32_t _i
        if self.base_ms == 0:
            return 0
        if self.multiplier > 0:
            for _i in range(1, turn):
                wait *= self.multiplier
                if wait > <double> self.longest_ms:
                    break
        if self.longest_ms and wait > <double> self.longest_ms:
            wait = <double> self.longest_ms
        if self.jitter:
            wait *= 0.5 + 0.5 * (<double> (random >> 11) / 9007199254740992.0)
        return max(<uint64_t> 1, <uint64_t> wait)

    # the same for tests, the simulator and explain
    def would_retry(self, str cause, int code=0):
        return bool(self.covers(CAUSES[cause], code))

    def would_allow(self, str method, bytes head):
        return bool(self.allows(METHODS.get(method, 31), <const char*> head, len(head)))

    def wait(self, int turn, uint64_t random):
        """Seconds."""
        return self.backoff(turn, random) / 1000


cdef bint _has_field(const char* head, size_t n, const char* name, size_t size) noexcept:
    """Is there a field line of that name (in lower case) in a written head?"""
    cdef size_t at = 0
    while at + size + 1 < n:
        if head[at] == c'\n' and head[at + 1 + size] == c':' and same_name(head + at + 1, name, size):
            return True
        at += 1
    return False


cdef class RetryBudget:
    """A token bucket: each request adds `ratio`, each second `least`, each retry takes one."""

    def __cinit__(self, double ratio=0.2, double least=10.0):
        self.ratio = ratio
        self.least = least
        self.most = max(10 * least, 100 * ratio)
        self.tokens = max(least, 1.0 if ratio > 0 else 0.0)

    def __repr__(self):
        return f"<RetryBudget ratio={self.ratio} tokens={self.tokens:.1f}>"

    cdef void deposit(self) noexcept:
        if self.tokens < self.most:
            self.tokens += self.ratio

    cdef bint withdraw(self, uint64_t now) noexcept:
        """May one more attempt be made? now: milliseconds."""
        self.tokens = self.left(now)
        self.at = now
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True

    cdef double left(self, uint64_t now) noexcept:
        """Attempts that may be made at once, nothing being taken. now: milliseconds."""
        if self.at == 0:
            return self.tokens
        return min(self.most, self.tokens + <double> (now - self.at) * self.least / 1000.0)

    # the same for tests and the simulator
    def on_request(self):
        self.deposit()

    def take(self, double seconds):
        return bool(self.withdraw(<uint64_t> (seconds * 1000)))
