# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The life of one request: pick an endpoint, get a connection, send, relay the answer, finish; and every way it fails.

An Exchange knows no protocol. Its Downstream parsed the request and writes the response; its Upstream (a pooled
connection) does the reverse; body bytes pass between these two directly, the Exchange decides:

    start -> _next_endpoint -> pool (idle | connect | queue) -> on_connection -> send_request
          -> on_response_head -> [bodies] -> on_response_done -> finish
    failures: on_no_connection, on_upstream_failed, on_client_gone -> replay | another endpoint | fail -> finish

Rules of replay (RFC 9110 9.2.2, 9112 9.3.1), all of them only while everything that was given away is still held and
the client has seen nothing: when connecting failed or the endpoint refused, whatever the method, for nothing was acted
on; on a new connection, once, when a reused one broke before any response byte and the method is idempotent; and for
the causes, methods and paths of the retry policy (retry.pyx), as long as its limit and the budget last.
"""


from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cimport cython

from lbd.engine.answers cimport error_body, error_fields
from lbd.engine.attempts cimport Alarm, Hedge, another, give_kept, go_on, note_connected, set_alarm, start_hedge, try_again
from lbd.engine.body cimport Body
from lbd.engine.buffer cimport buffer_free
from lbd.engine.cluster cimport Cluster
from lbd.engine.endpoint cimport Endpoint
from lbd.engine.facts cimport observe_exchange
from lbd.engine.guard cimport OUTCOME_FAILED, OUTCOME_NONE, OUTCOME_OK
from lbd.engine.http1 cimport IDEMPOTENT, Head
from lbd.engine.listener cimport HEAD_BLOCK, KIND_REQUEST, Guest
from lbd.engine.observer cimport Tracing, new_attempt
from lbd.engine.pool cimport ConnectionPool, PooledConnection, Waiter
from lbd.engine.preamble cimport write_preamble
from lbd.engine.reactor cimport (
    WRITE_BLOCKED, WRITE_ERROR, Stream,
)
from lbd.engine.reasons cimport (
    R_CONNECT_TIMEOUT, R_DEADLINE, R_HEDGED, R_NO_ENDPOINT, R_NONE, R_OVERFLOW, R_RESPONSE_TIMEOUT, R_STALE,
    R_STREAM_REFUSED, R_UPSTREAM_RESET, R_UPSTREAM_TRUNCATED, reason_status,
)
from lbd.engine.retry cimport (
    RETRY_CONNECT_FAILED, RETRY_CONNECT_TIMEOUT, RETRY_REFUSED, RETRY_RESET, RETRY_STALE, RETRY_TIMEOUT, )
from lbd.engine.shared cimport STATUS_SLOT, histogram_add
from lbd.engine.sticky cimport Sticky
from lbd.engine.sys cimport monotonic_us
from lbd.engine.witness cimport note_stale


cdef enum:
    REFUSALS_MAX = 3                # by endpoints that are stopping
    GRPC_FAILURES = 1 << 13 | 1 << 14 | 1 << 15         # INTERNAL, UNAVAILABLE, DATA_LOSS


@cython.no_gc
cdef class Downstream(Guest):
    """What an Exchange needs of the client's side; the protocols subclass it."""

    cdef int cut(self, int kinds) except -1:
        return self.on_fault(self.stream) if kinds & KIND_REQUEST else 0

    cdef int begin_response(self, Exchange x, Head* head) except -1:
        """Take the head of the final response; it is written with the first write_body that follows at once."""
        raise NotImplementedError

    cdef int write_body(self, Exchange x, char* p, size_t n, Body* end) except -100:
        """Payload in the worker's read area (with the room of reactor.pxd around it); end: the finished Body. WRITE_*."""
        raise NotImplementedError

    cdef int write_informational(self, Exchange x, Head* head) except -1:
        raise NotImplementedError

    cdef Stream splice_sink(self, Exchange x) noexcept:
        """The stream to splice body bytes to as they are, or None when they need framing or encryption."""
        return None

    cdef int resume_request(self, Exchange x) except -1:
        """The upstream connection takes request body bytes (again)."""
        raise NotImplementedError

    cdef int reply(self, Exchange x, int reason) except -1:
        """Answer with an error of lbd's own."""
        return self.answer(x, reason_status(reason), error_fields(reason, x.as_json),
                           error_body(reason, x.request_id[:32], x.as_json))

    cdef int answer(self, Exchange x, int status, bytes fields, bytes body) except -1:
        """Answer with a whole response of lbd's own; fields: lines with their CRLF, without framing."""
        raise NotImplementedError

    cdef void take_over(self, Downstream old) noexcept:
        """Stand in the place of another that has found out what is spoken on its stream."""
        old.listener.delist(old)
        old.listener.reactor.retired.append(old)        # it is up the call stack
        self.listener = old.listener
        self.stream = old.stream
        self.stream.handler = self
        memcpy(self.peer, old.peer, 16)
        memcpy(self.peer_text, old.peer_text, sizeof(old.peer_text))
        self.peer_text_len = old.peer_text_len
        self.peer_port = old.peer_port
        self.local_port = old.local_port
        memcpy(self.local, old.local, 16)
        self.secure = old.secure
        self.identity = old.identity
        self.born = old.born
        old.stream = None
        self.listener.enlist(self)

    cdef void wait(self, uint64_t after_ms) noexcept:
        """The deadline of what the exchange waits for now; 0 = none."""
        self.stream.set_timer(after_ms)

    cdef bint is_blocked(self, Exchange x) noexcept:
        """Has the client not taken what was written so far?"""
        return self.stream.out.data != NULL or self.stream.blocked

    cdef int become_tunnel(self, Exchange x, Head* head, const char* rest, size_t n) except -1:
        """The endpoint switched protocols; `rest` came with its head."""
        raise NotImplementedError

    cdef int on_finished(self, Exchange x, bint clean) except -1:
        """The exchange is over; not clean: the client must see that the response is cut."""
        raise NotImplementedError


@cython.no_gc
cdef class Upstream(PooledConnection):
    """What an Exchange needs of the endpoint's side; the protocols subclass it."""

    cdef int send_request(self, Exchange x) except -100:
        """Send x.head; what follows goes through write_body. WRITE_*."""
        raise NotImplementedError

    cdef int write_body(self, Exchange x, char* p, size_t n, Body* end) except -100:
        raise NotImplementedError

    cdef bint is_blocked(self) noexcept:
        """Has the endpoint not taken what was written so far?"""
        return False

    cdef int resume_response(self, Exchange x) except -1:
        """The client takes response bytes again."""
        raise NotImplementedError

    cdef int on_request_done(self, Exchange x) except -1:
        """All of the request has been written: from now on the endpoint's time runs."""
        raise NotImplementedError

    cdef void detach(self, bint reusable):
        """The exchange lets go of the connection: back to the pool, or closed."""
        raise NotImplementedError


cdef Exchange new_exchange(Downstream downstream):
    cdef Exchange x = Exchange.__new__(Exchange)
    x.downstream = downstream
    x.listener = downstream.listener
    x.head = x.listener.take_block()
    if x.head == NULL:
        raise MemoryError
    x.head_cap = HEAD_BLOCK
    x.started_us = monotonic_us()
    x.grpc_status = -1
    return x


@cython.no_gc
@cython.final
cdef class Exchange(Waiter):

    def __dealloc__(self):
        buffer_free(&self.kept)
        if self.head != NULL:
            if self.head_cap == HEAD_BLOCK and self.listener is not None:
                self.listener.return_block(self.head)
            else:
                PyMem_Free(self.head)

    def __repr__(self):
        return f"<Exchange {self.request_id[:32].decode()} route={self.route and self.route.name} status={self.status}>"

    cdef int grow_head(self, size_t room) except -1:
        """A larger place for the head and what stands there already."""
        cdef char* bigger = <char*> PyMem_Malloc(room)
        if bigger == NULL:
            raise MemoryError
        memcpy(bigger, self.head, self.head_len + self.inline_len)
        if self.head_cap == HEAD_BLOCK:
            self.listener.return_block(self.head)
        else:
            PyMem_Free(self.head)
        self.head = bigger
        self.head_cap = <uint32_t> room
        return 0

    cdef int take_inline(self, const char* p, size_t n) except -1:
        """A whole body, small enough to be kept behind the head."""
        if self.head_len + n > self.head_cap:
            self.grow_head(self.head_len + n)
        if n:
            memcpy(self.head + self.head_len, p, n)
        self.inline_len = <uint32_t> n
        return 0

    cdef uint64_t within_deadline(self, uint64_t after_ms) noexcept:
        """The time to wait for something: no longer than the call's own deadline leaves."""
        cdef uint64_t now = self.listener.reactor.wheel.now
        if self.deadline == 0:
            return after_ms
        if self.deadline <= now:
            return 1
        if self.grpc:                               # a call may be silent for as long as its caller is patient
            return self.deadline - now
        return min(after_ms, self.deadline - now)

    cdef bint past_deadline(self) noexcept:
        return self.deadline != 0 and self.deadline <= self.listener.reactor.wheel.now

    # from the request to a connection ---------------------------------------------------------------------------

    cdef int start(self) except -1:
        """The request's head (and small body) stands in self.head; route, cluster and selection are set."""
        cdef Cluster cluster = self.cluster
        if cluster.budget is not None:
            cluster.budget.deposit()
        self.sent_us = self.started_us
        if self.pinned is not None and cluster.may_take(self.pinned):
            return self._take(self.pinned)
        return self._next_endpoint()

    cdef int _next_endpoint(self) except -1:
        cdef Endpoint endpoint = self.cluster.pick(self.selection, self.pick_key, self.tried)
        return self.fail(R_NO_ENDPOINT) if endpoint is None else self._take(endpoint)

    cdef int _take(self, Endpoint endpoint) except -1:
        """Go to this one: get a connection or wait for one."""
        cdef int status
        self.endpoint = endpoint
        if self.trace.at and self.attempts is not None:
            (<Tracing> self.listener.tracer).next_attempt(&self.trace, self.head)
        self.cluster.acquire(endpoint)
        self.holds_endpoint = self.outcome_due = True
        status = self._connect()
        if status >= 0:
            return 0
        return self.fail(R_OVERFLOW) if status == -<int> R_OVERFLOW else self.on_no_connection(-status)

    cdef int _connect(self) except? -100:
        """An idle connection, a new one, or a place in the queue. 0, or minus a Reason."""
        cdef PooledConnection idle
        cdef ConnectionPool pool = self.endpoint.pool
        if not self.replayed:               # a replay wants a connection that has just been opened
            idle = pool.take_idle()
            if idle is not None:
                self.on_connection(idle)
                return 0
        if pool.is_full():
            pool.make_room(self.replayed)
        if pool.is_full() or pool.is_joining():
            if not pool.enqueue(self):
                return -<int> R_OVERFLOW
            self.waited = True
            self.downstream.wait(self.cluster.queue_ms)
            return 0
        return pool.connect(self, self.fresh())

    cdef PooledConnection fresh(self):
        return self.cluster.protocol.new_connection()

    cdef size_t preamble(self, char* out, int version) noexcept:
        return 0 if self.finished else write_preamble(out, version, self.downstream, self.request_id)

    cdef bint takes(self, PooledConnection connection):
        return isinstance(connection, Upstream)

    cdef int on_connection(self, PooledConnection connection) except -1:
        """A connection for this exchange."""
        cdef Upstream upstream = <Upstream> connection
        cdef int written
        if self.finished:
            upstream.drop(False)
            return 0
        self.upstream = upstream
        upstream.exchange = self
        self.reused = upstream.requests > 0 or upstream.idle_since != 0
        if self.reused:
            self.endpoint.stats.reused += 1
        self.endpoint.stats.requests += 1
        note_connected(self, monotonic_us())
        self.unsent = True
        written = upstream.send_request(self)
        if written == WRITE_ERROR:
            return self.on_upstream_failed(upstream, R_NONE, True)
        if self.kept.data != NULL:
            written = give_kept(self, upstream)
        if self.request_done:
            if self.retry is not None and self.retry.hedge_ms and self.upstream is upstream:
                set_alarm(self, self.retry.hedge_ms)
            return upstream.on_request_done(self)
        if written != WRITE_BLOCKED:
            return self.downstream.resume_request(self)
        return 0

    cdef int on_no_connection(self, int reason) except -1:
        """Connecting failed: nothing was sent, so another endpoint may try, whatever the method."""
        if self.finished:
            return 0
        self.endpoint.stats.failures += 1
        self._end_attempt(0, reason, OUTCOME_FAILED)
        if self._retry(RETRY_CONNECT_TIMEOUT if reason == R_CONNECT_TIMEOUT else RETRY_CONNECT_FAILED, 0):
            return 0
        return self.fail(reason)

    cdef int on_pushed_out(self) except -1:
        return self.fail(R_OVERFLOW)

    cdef uint64_t response_wait(self) noexcept:
        """How long this attempt may wait for the head of its response."""
        cdef uint64_t after = self.route.response_ms or self.cluster.response_ms
        if self.retry is not None and self.retry.try_ms and (after == 0 or self.retry.try_ms < after):
            after = self.retry.try_ms
        return self.within_deadline(after)

    cdef uint64_t body_wait(self) noexcept:
        """How long the endpoint may pause within a body."""
        return self.within_deadline(self.route.body_ms or self.cluster.body_ms)

    # another attempt ---------------------------------------------------------------------------------------------

    cdef bint _is_held(self) noexcept:
        """Is all of the request that has been given away still here?"""
        return not self.body_given or self.keeping

    cdef int _retry(self, int cause, int code) except -1:
        """The attempt has ended: begin another one, now or after a back-off. 1: it is under way; 0: there is none."""
        cdef Endpoint endpoint = another(self, cause, code)
        if endpoint is None:
            return 0
        go_on(self, endpoint)
        return 1

    cdef int on_alarm(self) except -1:
        if self.finished:
            return 0
        if not self.pausing:
            return start_hedge(self)
        self.pausing = False
        self.sent_us = monotonic_us()
        if self.past_deadline():
            return self.fail(R_DEADLINE)
        return self._next_endpoint()

    cdef void _promote(self, Waiter second):
        """The second attempt takes the place of the first, whose connection has been let go."""
        cdef Hedge hedge = <Hedge> second
        self.hedge = None
        hedge.exchange = None
        self.upstream = hedge.upstream
        self.endpoint = hedge.endpoint
        self.trace.attempt = hedge.span
        self.holds_endpoint = self.outcome_due = True
        self.cluster.stats.hedges_won += 1

    cdef bint _hand_over(self, Waiter second):
        """The first attempt has ended before the second: does that go on alone? One without a connection is given up."""
        cdef Hedge hedge = <Hedge> second
        if hedge.upstream is None:
            hedge.cancel(OUTCOME_NONE)
            return False
        self._promote(hedge)
        return True

    # how an attempt ends -----------------------------------------------------------------------------------------

    cdef void _tell(self, int outcome) noexcept:
        """Let the cluster know how the attempt went; once for each."""
        self.outcome_due = False
        if self.cluster.watched:
            self.cluster.on_outcome(self.endpoint, outcome, monotonic_us() - self.sent_us)

    cdef void _end_attempt(self, int status, int reason, int outcome):
        """One that is not the last, perhaps: for the log, and the endpoint is free."""
        cdef uint64_t now = monotonic_us()
        if self.attempts is None:
            self.attempts = []
        self.attempts.append(new_attempt(self.endpoint, status, reason, self.sent_us, now, self.trace.attempt))
        if self.outcome_due:
            self._tell(outcome)
        self.sent_us = now
        self.first_byte_us = 0
        self._release_endpoint()

    cdef void _release_endpoint(self) noexcept:
        if self.outcome_due:
            self._tell(OUTCOME_NONE)
        if self.holds_endpoint:
            self.holds_endpoint = False
            self.cluster.release(self.endpoint)

    # the response ------------------------------------------------------------------------------------------------

    cdef int on_response_head(self, Upstream upstream, Head* head, bint whole) except -1:
        """A final response; the upstream goes on with write_body at once, unless the answer is 1: then this response is
        not wanted, and the upstream has been let go. whole: nothing of it is still to come."""
        cdef Cluster cluster = self.cluster
        cdef Endpoint endpoint
        cdef Hedge hedge = <Hedge> self.hedge
        cdef Upstream loser
        cdef uint64_t now
        if hedge is not None:
            if upstream is hedge.upstream:
                loser = self.upstream
                self.upstream = None
                loser.detach(False)
                self._end_attempt(0, R_HEDGED, OUTCOME_NONE)
                self._promote(hedge)
            else:
                hedge.cancel(OUTCOME_NONE)
        endpoint = self.endpoint
        endpoint.stats.status_class[head.status // 100] += 1
        now = monotonic_us()
        histogram_add(&endpoint.stats.first_byte, now - self.sent_us)
        self.first_byte_us = now - self.started_us
        if self.retry is not None and (head.status >= 400 or self.grpc) and try_again(self, upstream, head, whole):
            return 1
        if not self.grpc or self.grpc_status >= 0:      # else the trailers will say how the call went
            self._tell(OUTCOME_FAILED if self._is_failure(head.status) else OUTCOME_OK)
        self.status = head.status
        self.response_begun = True
        if cluster.sticky is not None:
            self._bind_session(<Sticky> cluster.sticky)
        self.downstream.begin_response(self, head)
        return 0

    cdef int _bind_session(self, Sticky sticky) except -1:
        """The session belongs to the endpoint that has answered."""
        if sticky.by_cookie:
            if self.endpoint is not self.pinned:
                self.own_fields = sticky.line(self.endpoint, self.downstream.secure)
        else:
            sticky.remember(self.session, self.endpoint, self.listener.reactor.wheel.now)
        return 0

    cdef bint _is_failure(self, int status) noexcept:
        if self.grpc and self.grpc_status >= 0:
            return (GRPC_FAILURES >> self.grpc_status) & 1
        return self.cluster.failure_statuses[status >> 3] & (1 << (status & 7)) != 0

    cdef void on_switched(self) noexcept:
        """The endpoint switched protocols: an answer like any other, to those who watch."""
        self.first_byte_us = monotonic_us() - self.started_us
        if self.outcome_due:
            self._tell(OUTCOME_OK)

    cdef int on_response_done(self, bint reusable) except -1:
        """The response is complete and written (or buffered) for the client."""
        cdef Upstream upstream = self.upstream
        self.upstream = None
        upstream.detach(reusable and self.request_done)
        if self.outcome_due:
            self._tell(OUTCOME_FAILED if self._is_failure(self.status) else OUTCOME_OK)
        return self.finish(True)

    # failures ----------------------------------------------------------------------------------------------------

    cdef bint _is_stale(self) noexcept:
        """Did a pooled connection end before this request reached the endpoint, or may it be sent again all the same?"""
        if not self.reused or self.replayed or not self._is_held():
            return False
        if self.unsent:
            return True
        return self.request_done and (IDEMPOTENT >> self.method) & 1

    cdef int on_upstream_failed(self, Upstream upstream, int reason, bint silent) except -1:
        """The connection broke or broke the rules; silent: before any byte of a response."""
        cdef Endpoint endpoint = self.endpoint
        cdef Hedge hedge = <Hedge> self.hedge
        cdef int cause = -1
        if hedge is not None and upstream is hedge.upstream:
            hedge.endpoint.stats.failures += 1
            hedge.endpoint.stats.status_class[0] += 1
            hedge.cancel(OUTCOME_FAILED)
            return 0
        self.upstream = None
        upstream.detach(False)
        if silent and hedge is None and self._is_stale():
            endpoint.stats.stale += 1
            note_stale(endpoint.pool, upstream, self.sent_us // 1000)
            self.cluster.stats.retries[RETRY_STALE] += 1
            self.replayed = True
            self._end_attempt(0, R_STALE, OUTCOME_NONE)
            return self._next_endpoint()
        endpoint.stats.failures += 1
        endpoint.stats.status_class[0] += 1
        if reason == R_NONE:
            reason = R_UPSTREAM_RESET
        if self.response_begun:
            if self.cluster.watched:
                self.cluster.on_outcome(endpoint, OUTCOME_FAILED, monotonic_us() - self.sent_us)
            return self.fail(reason)
        self._end_attempt(0, reason, OUTCOME_FAILED)
        if hedge is not None and self._hand_over(hedge):
            return 0
        if reason == R_UPSTREAM_RESET or reason == R_UPSTREAM_TRUNCATED:
            cause = RETRY_RESET
        elif reason == R_RESPONSE_TIMEOUT:
            cause = RETRY_TIMEOUT
        if cause >= 0 and self._retry(cause, 0):
            return 0
        return self.fail(reason)

    cdef int on_refused(self, Upstream upstream) except -1:
        """The endpoint said that it has not looked at the request (RFC 9113 8.7): another attempt is safe."""
        cdef Endpoint endpoint = self.endpoint
        cdef Hedge hedge = <Hedge> self.hedge
        if hedge is not None and upstream is hedge.upstream:
            hedge.cancel(OUTCOME_NONE)
            return 0
        self.upstream = None
        upstream.detach(False)
        self.refusals += 1
        endpoint.stats.stale += 1
        self.cluster.stats.retries[RETRY_REFUSED] += 1
        if not self._is_held() or self.refusals > REFUSALS_MAX:
            endpoint.stats.failures += 1
            endpoint.stats.status_class[0] += 1
            return self.fail(R_STREAM_REFUSED)
        self._end_attempt(0, R_STREAM_REFUSED, OUTCOME_NONE)
        if hedge is not None and self._hand_over(hedge):
            return 0
        if self.tried is None:
            self.tried = []
        self.tried.append(endpoint)
        return self._next_endpoint()

    cdef int on_client_gone(self, int reason) except -1:
        """Nobody waits for the response any more: free the endpoint at once."""
        if self.finished:
            return 0
        self.reason = reason
        self._drop_upstream()
        if not self.response_begun:
            self.status = 499
        return self.finish(False)

    cdef int _drop_upstream(self) except -1:
        cdef Upstream upstream = self.upstream
        self.upstream = None
        self.pausing = False
        if self.alarm is not None:
            (<Alarm> self.alarm).stop()
        if self.hedge is not None:
            (<Hedge> self.hedge).cancel(OUTCOME_NONE)
        if self.queued:
            self.endpoint.pool.leave_queue(self)
        if upstream is not None:
            upstream.detach(False)
        return 0

    cdef int fail(self, int reason) except -1:
        """End with an error of lbd's own: an answer while there is none yet, else a visibly cut response."""
        if self.finished:
            return 0
        self.reason = reason
        self._drop_upstream()
        if self.response_begun:
            return self.finish(False)
        self.status = <uint16_t> reason_status(reason)
        self.response_begun = True
        self.downstream.reply(self, reason)
        return self.finish(True)

    # the end -----------------------------------------------------------------------------------------------------

    cdef int finish(self, bint clean) except -1:
        """Count, log, and let the client's side go on."""
        cdef Downstream downstream = self.downstream
        if self.finished:
            return 0
        self.finished = True
        if self.alarm is not None:
            (<Alarm> self.alarm).stop()
        self.last_is_open = self.holds_endpoint
        self._release_endpoint()
        if self.reason != R_NONE:
            self.listener.stats.reasons[self.reason] += 1
        if self.route is not None and self.route.stats != NULL:
            self.route.stats.status[STATUS_SLOT[self.status if self.status < 600 else 0]] += 1
            if self.grpc:
                self.route.stats.grpc[self.grpc_status if 0 <= self.grpc_status < 17 else 17] += 1
            self.route.stats.bytes_received += self.bytes_received
            self.route.stats.bytes_sent += self.bytes_sent
            histogram_add(&self.route.stats.duration, monotonic_us() - self.started_us)
        if self.listener.observed:
            observe_exchange(self)
        if downstream is None:                      # a tunnel took its place
            return 0
        return downstream.on_finished(self, clean)
