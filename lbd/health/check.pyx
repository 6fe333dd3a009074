# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Check: asks one endpoint again and again whether it is well, and says so in the state block.

Strategy: a check lives in the engine, with one timer in the worker's wheel and no Task: a thousand endpoints a second must
cost little. Subclasses know how to ask (http.pyx, tcp.pyx, external.pyx); here is when to ask and what follows from the
results. They run in one worker; the others see the state.

The first result decides at once; then it takes some in a row to change the state, asked for at a faster pace. What the
state block says from before a reload or restart of a worker counts as decided.
"""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from lbd.engine cimport sys as c
from lbd.engine.cluster cimport Cluster
from lbd.engine.endpoint cimport Endpoint
from lbd.engine.pool cimport ConnectionPool
from lbd.engine.reactor cimport Handler, Reactor, Stream
from lbd.engine.shared cimport HEALTH_DOWN, HEALTH_UNKNOWN, HEALTH_UP
from lbd.engine.timers cimport timer_set, timer_unlink

from lbd.engine.reasons import CODES


cdef str said_of(int reason):
    """A Reason in the words of the log."""
    return CODES[reason][0].replace("_", " ")


cdef class Check(Handler):
    """Times in milliseconds; jitter: share of the interval. `initially_down`: not in use before the first result."""

    def __init__(self, Reactor reactor not None, Cluster cluster not None, Endpoint endpoint not None, *, interval_ms,
                 fast_ms, timeout_ms, double jitter, healthy, unhealthy, bint initially_down=False):
        self.reactor = reactor
        self.cluster = cluster
        self.endpoint = endpoint
        self.interval_ms = interval_ms
        self.fast_ms = min(fast_ms, interval_ms)
        self.timeout_ms = timeout_ms
        self.jitter = jitter
        self.healthy = healthy
        self.unhealthy = unhealthy
        self.timer.owner = <void*> self
        self.timer.bare = True
        self.decided = endpoint.state.health != HEALTH_UNKNOWN
        if initially_down and not self.decided:
            endpoint.state.health = HEALTH_DOWN

    def __dealloc__(self):
        timer_unlink(&self.timer)

    def __repr__(self):
        return f"<{type(self).__name__} {self.cluster.name}/{self.endpoint.name} {self.endpoint.health}>"

    def start(self, after_ms):
        """Begin, so many milliseconds from now."""
        timer_set(&self.reactor.wheel, &self.timer, max(1, after_ms))

    def stop(self):
        """No more results. The state stays as it is."""
        self.stopped = True
        timer_unlink(&self.timer)
        self.timer.deadline = 0
        if self.under_way:
            self.cut()

    def report(self, bint ok, str why):
        """The result of a check that Python code has made."""
        if not self.stopped and self.under_way:
            self.done(ok, why)

    cdef int begin(self) except -1:
        """Ask; done() follows, at once or later."""
        raise NotImplementedError

    cdef int cut(self) except -1:
        """Give up what is under way; done() must not follow."""
        return 0

    cdef int on_timeout(self, Stream stream) except -1:
        if self.stopped:
            return 0
        if self.under_way:
            self.cut()
            return self.done(False, f"no answer within {self.timeout_ms} ms")
        self.under_way = True
        timer_set(&self.reactor.wheel, &self.timer, self.timeout_ms)
        if not self.endpoint.resolved:
            return self.done(False, "its name does not resolve")
        return self.begin()

    cdef int on_fault(self, Stream stream) except -1:
        """A defect of lbd; the endpoint is not to blame. Ask again later."""
        self.under_way = False
        timer_set(&self.reactor.wheel, &self.timer, self.interval_ms)
        return 0

    cdef int done(self, bint ok, str why) except -1:
        """The result; why: what was wrong, for people."""
        cdef uint64_t wait
        self.under_way = False
        if self.stopped:
            return 0
        self.endpoint.trouble = None if ok else why
        if self._settle(ok):
            self.cluster.mark_dirty()
            self.cluster.tell("up" if ok else "down", self.endpoint)
        wait = self.interval_ms
        if ok != (self.endpoint.state.health == HEALTH_UP):
            wait = self.fast_ms
        wait -= <uint64_t> (wait * self.jitter * (self.reactor.random() % 1024) / 1024)
        timer_set(&self.reactor.wheel, &self.timer, max(<uint64_t> 1, wait))
        return 0

    cdef bint _settle(self, bint ok) noexcept:
        """Count; has the endpoint's state changed by it?"""
        cdef uint32_t wanted = HEALTH_UP if ok else HEALTH_DOWN
        cdef bint first = not self.decided
        self.decided = True
        if ok:
            self.endpoint.state.checks_ok += 1
            self.good += 1
            self.bad = 0
        else:
            self.endpoint.state.checks_failed += 1
            self.bad += 1
            self.good = 0
        if self.endpoint.state.health == wanted:
            return first and not ok                 # initially down, and so it is: the log shall say why
        if not first and (self.good if ok else self.bad) < (self.healthy if ok else self.unhealthy):
            return False
        first = self.endpoint.state.health == HEALTH_UNKNOWN and ok
        self.endpoint.state.health = wanted
        return not first                            # it has served already: nothing changes but the word for it

    cdef void note_rtt(self, int fd) noexcept:
        """The kernel's estimate of the round trip on this connection, averaged."""
        cdef c.tcp_info info
        cdef c.socklen_t size = sizeof(info)
        cdef uint64_t was = self.endpoint.state.rtt_us
        if c.getsockopt(fd, c.IPPROTO_TCP, c.TCP_INFO, &info, &size) < 0 or info.tcpi_rtt == 0:
            return
        self.endpoint.state.rtt_us = (was * 3 + info.tcpi_rtt) // 4 if was else info.tcpi_rtt

    cdef bint take_address(self, ConnectionPool pool, int port) noexcept:
        """Point the checks' own pool at where the endpoint is now. port: 0 = the endpoint's."""
        cdef ConnectionPool source = self.endpoint.pool
        if source.address_len == 0:
            return False
        memcpy(&pool.address, &source.address, sizeof(pool.address))
        pool.address_len = source.address_len
        pool.tls_name = source.tls_name
        pool.tls_name_is_ip = source.tls_name_is_ip
        if port:
            if pool.address.ss_family == c.AF_INET:
                (<c.sockaddr_in*> &pool.address).sin_port = c.htons(<unsigned short> port)
            elif pool.address.ss_family == c.AF_INET6:
                (<c.sockaddr_in6*> &pool.address).sin6_port = c.htons(<unsigned short> port)
        return True
