# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Further attempts of an exchange: whether there is one and where, what the first was given, back-off, and hedging.

Beside exchange.pyx, which says how an attempt ends; retry.pyx holds the policy itself. Nothing here runs for a request
that succeeds at once, but keep_body, and that only when the policy keeps bodies.
"""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset

cimport cython

from lbd.engine.body cimport Body
from lbd.engine.buffer cimport buffer_append, buffer_free, buffer_len, buffer_ptr
from lbd.engine.cluster cimport Cluster
from lbd.engine.endpoint cimport Endpoint
from lbd.engine.guard cimport OUTCOME_FAILED, OUTCOME_NONE
from lbd.engine.exchange cimport Exchange, Upstream
from lbd.engine.http1 cimport Head
from lbd.engine.observer cimport Tracing, new_attempt
from lbd.engine.pool cimport PooledConnection, Waiter
from lbd.engine.reactor cimport READ_ROOM_BEFORE, READ_SIZE, WRITE_BLOCKED, WRITE_ERROR, Handler, Stream
from lbd.engine.reasons cimport R_HEDGED, R_NONE, R_UPSTREAM_RESET
from lbd.engine.retry cimport RETRY_GRPC, RETRY_RESET, RETRY_STATUS, RetryPolicy
from lbd.engine.sys cimport monotonic_us
from lbd.engine.timers cimport timer_set, timer_unlink


@cython.no_gc
@cython.final
cdef class Alarm(Handler):

    def __dealloc__(self):
        timer_unlink(&self.timer)

    cdef void set(self, uint64_t after_ms) noexcept:
        timer_set(&self.exchange.listener.reactor.wheel, &self.timer, after_ms)

    cdef void stop(self) noexcept:
        self.timer.deadline = 0
        self.exchange = None

    cdef int on_timeout(self, Stream stream) except -1:
        cdef Exchange x = self.exchange
        if x is None:
            return 0
        return x.on_alarm()


@cython.no_gc
@cython.final
cdef class Hedge(Waiter):

    cdef PooledConnection fresh(self):
        return self.exchange.cluster.protocol.new_connection()

    cdef size_t preamble(self, char* out, int version) noexcept:
        return 0 if self.exchange is None else self.exchange.preamble(out, version)

    cdef bint takes(self, PooledConnection connection):
        return isinstance(connection, Upstream)

    cdef int on_connection(self, PooledConnection connection) except -1:
        cdef Exchange x = self.exchange
        cdef Upstream upstream = <Upstream> connection
        if x is None:
            upstream.drop(False)
            return 0
        self.upstream = upstream
        upstream.exchange = x
        self.endpoint.stats.requests += 1
        if x.trace.at:
            self._mark(x)
        if upstream.send_request(x) == WRITE_ERROR:
            self.cancel(OUTCOME_FAILED)
            return 0
        return upstream.on_request_done(x)

    cdef int on_no_connection(self, int reason) except -1:
        if self.exchange is not None:
            self.endpoint.stats.failures += 1
            self.cancel(OUTCOME_FAILED)
        return 0

    cdef void _mark(self, Exchange x) noexcept:
        """What the endpoint gets names this attempt; the first one has gone out with its own."""
        cdef uint64_t first = x.trace.attempt
        (<Tracing> x.listener.tracer).next_attempt(&x.trace, x.head)
        self.span = x.trace.attempt
        x.trace.attempt = first

    cdef int _why(self, Exchange x, int outcome) noexcept:
        if x.reason != R_NONE:
            return x.reason
        return R_HEDGED if outcome == OUTCOME_NONE else R_UPSTREAM_RESET

    cdef void cancel(self, int outcome):
        """It came too late, or failed: let go of everything."""
        cdef Exchange x = self.exchange
        cdef Upstream upstream = self.upstream
        if x is None:
            return
        self.exchange = None
        self.upstream = None
        x.hedge = None
        if upstream is not None:
            upstream.detach(False)
        if x.attempts is None:
            x.attempts = []
        x.attempts.append(new_attempt(self.endpoint, 0, self._why(x, outcome), self.began_us, monotonic_us(), self.span))
        if x.cluster.watched:
            x.cluster.on_outcome(self.endpoint, outcome, monotonic_us() - x.sent_us)
        x.cluster.release(self.endpoint)


cdef void note_connected(Exchange x, uint64_t now) noexcept:
    """There is a connection for the attempt: until now it was waited for."""
    if x.waited:
        x.queue_us += now - x.sent_us
        x.waited = False
    elif not x.reused:
        x.connect_us += now - x.sent_us
    x.sent_us = now


cdef void keep_body(Exchange x, const char* p, size_t n, Body* end) noexcept:
    """These bytes are about to be given to an endpoint; end: as for write_body."""
    if not x.body_given:
        x.keeping = x.retry is not None and x.retry.buffer != 0
    if not x.keeping:
        return
    if (buffer_len(&x.kept) + n > x.retry.buffer or (end != NULL and buffer_len(&end.trailers))
            or (n and not buffer_append(&x.kept, p, n))):
        x.keeping = False
        buffer_free(&x.kept)


cdef int give_kept(Exchange x, Upstream upstream) except -100:
    """What the attempt before this one was given, from the beginning. WRITE_*."""
    cdef char* area = x.listener.reactor.scratch + READ_ROOM_BEFORE
    cdef size_t at = 0
    cdef size_t n
    cdef Body whole
    cdef int written = WRITE_BLOCKED
    memset(&whole, 0, sizeof(whole))
    while at < buffer_len(&x.kept) and x.upstream is upstream:
        n = min(buffer_len(&x.kept) - at, <size_t> READ_SIZE)
        memcpy(area, buffer_ptr(&x.kept) + at, n)
        at += n
        written = upstream.write_body(
            x, area, n, &whole if x.request_done and at == buffer_len(&x.kept) else NULL)
    return written


cdef Endpoint another(Exchange x, int cause, int code):
    """Where to go with another attempt, which is paid for and counted then; None: there is to be none."""
    cdef RetryPolicy policy = x.retry
    cdef Cluster cluster = x.cluster
    cdef Endpoint endpoint
    if (policy is None or x.retries >= policy.limit or not policy.covers(cause, code) or not x._is_held()
            or x.response_begun or x.past_deadline()):
        return None
    if cause >= RETRY_RESET and not policy.allows(x.method, x.head, x.head_len):
        return None
    if x.tried is None:
        x.tried = []
    x.tried.append(x.endpoint)
    endpoint = cluster.pick_again(x.selection, x.pick_key, x.tried, policy, cause)
    if endpoint is not None:
        x.retries += 1
    return endpoint


cdef int go_on(Exchange x, Endpoint endpoint) except -1:
    cdef uint64_t wait = x.retry.backoff(x.retries, x.listener.reactor.random())
    cdef uint64_t now = x.listener.reactor.wheel.now
    if wait == 0:
        return x._take(endpoint)
    x.cluster.spare(endpoint)           # another one is picked when it is time
    x.pausing = True
    x.downstream.wait(0)
    if x.deadline and now + wait > x.deadline:
        wait = max(<uint64_t> 1, x.deadline - now)
    set_alarm(x, wait)
    return 0


cdef bint try_again(Exchange x, Upstream upstream, Head* head, bint whole):
    """Is this response a cause for another attempt, and is there one to be had?"""
    cdef int cause = RETRY_STATUS
    cdef int code = head.status
    cdef Endpoint endpoint
    if x.grpc and x.grpc_status > 0:
        cause = RETRY_GRPC
        code = x.grpc_status
    if x.upgrade:
        return False
    endpoint = another(x, cause, code)
    if endpoint is None:
        return False
    x.upstream = None
    upstream.detach(whole and x.request_done)
    x._end_attempt(head.status, R_NONE, OUTCOME_FAILED)
    x.grpc_status = -1
    go_on(x, endpoint)
    return True


cdef void set_alarm(Exchange x, uint64_t after_ms):
    cdef Alarm alarm = <Alarm> x.alarm
    if alarm is None:
        alarm = x.alarm = Alarm.__new__(Alarm)
        alarm.timer.owner = <void*> alarm
        alarm.timer.bare = True
    alarm.exchange = x
    alarm.set(after_ms)


cdef int start_hedge(Exchange x) except -1:
    """No response yet: ask another endpoint as well. A second attempt that fails leaves the first alone."""
    cdef Cluster cluster = x.cluster
    cdef Endpoint endpoint
    cdef PooledConnection idle
    cdef Hedge hedge
    cdef list tried = [x.endpoint] + (x.tried or [])
    if (x.response_begun or x.hedge is not None or x.upstream is None or x.body_given
            or not x.retry.allows(x.method, x.head, x.head_len)):
        return 0
    endpoint = cluster.pick(x.selection, x.pick_key, tried)
    if endpoint is None or endpoint in tried:
        return 0
    if cluster.budget is not None and not cluster.budget.withdraw(cluster.now()):
        cluster.spare(endpoint)
        cluster.stats.retries_denied += 1
        return 0
    hedge = x.hedge = Hedge.__new__(Hedge)
    hedge.exchange = x
    hedge.endpoint = endpoint
    hedge.began_us = monotonic_us()
    cluster.stats.hedges += 1
    cluster.acquire(endpoint)
    idle = endpoint.pool.take_idle()
    if idle is not None:
        hedge.on_connection(idle)
    elif endpoint.pool.is_full() or endpoint.pool.is_joining():
        hedge.cancel(OUTCOME_NONE)
    elif endpoint.pool.connect(hedge, hedge.fresh()) < 0:
        hedge.cancel(OUTCOME_FAILED)
    return 0
