# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The life of one request: pick an endpoint, get a connection, send, relay the answer, finish; and every way it fails.

An Exchange knows no protocol. Its Downstream parsed the request and writes the response; its Upstream (a pooled
connection) does the reverse; body bytes pass between these two directly, the Exchange decides:

    start -> _next_endpoint -> pool (idle | connect | queue) -> on_connection -> send_request
          -> on_response_head -> [bodies] -> on_response_done -> finish
    failures: on_no_connection, on_upstream_failed, on_client_gone -> replay | another endpoint | fail -> finish

Rules of replay (RFC 9110 9.2.2, 9112 9.3.1): a request goes to another endpoint when connecting failed, for then
nothing was sent. It is sent again once, on a new connection, when a reused connection broke before any response byte,
if its method is idempotent and all of it is still held. Nothing else is repeated here.
"""


from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cimport cython

from lbd.engine.answers cimport error_body, error_fields
from lbd.engine.cluster cimport Cluster, Endpoint
from lbd.engine.http1 cimport (
    M_DELETE, M_GET, M_HEAD, M_OPTIONS, M_PUT, M_TRACE, Head,
)
from lbd.engine.matchers cimport in_networks
from lbd.engine.path cimport PATH_NORMALIZE
from lbd.engine.pool cimport PooledConnection, Waiter
from lbd.engine.preamble cimport write_preamble
from lbd.engine.reactor cimport WRITE_BLOCKED, WRITE_ERROR, Handler, Reactor, Stream
from lbd.engine.reasons cimport (
    R_NO_ENDPOINT, R_NONE, R_OVERFLOW, R_STREAM_REFUSED, R_UPSTREAM_RESET, reason_status,
)
from lbd.engine.router cimport Respond, Route, Router
from lbd.engine.shared cimport STATUS_SLOT, ListenerStats, Shared, histogram_add
from lbd.engine.sys cimport monotonic_us
from lbd.engine.tls cimport ServerTls

from lbd.engine.matchers import network_table

cdef enum:
    FREE_BLOCKS = 1024
    REFUSALS_MAX = 3                # by endpoints that are stopping


cdef class AccessLog:
    """Base: writes one line for a finished exchange."""

    cdef int record(self, Exchange x) except -1:
        raise NotImplementedError


cdef class Listener:
    """Settings in engine units: milliseconds (0 = none), bytes (-1 = none), bytes for text."""

    def __cinit__(self, str name not None, Reactor reactor not None, *, Shared shared, int worker=0,
                  Router router=None, Cluster cluster=None, AccessLog access_log=None,
                  head_ms=10000, body_ms=30000, idle_ms=75000, write_ms=30000, tunnel_ms=3600000,
                  request_line=8192, head=32768, fields=100, body=-1, connections=20000,
                  body_rate=0, bint keep_underscore=False, int path_mode=PATH_NORMALIZE, trusted=(), trailers=(),
                  bytes authority=b"localhost", ServerTls tls=None, proxy_sources=(), handshake_ms=10000,
                  bytes hsts=None, Respond redirect=None, dict http2=None, bint rfc7239=False):
        self.name = name
        self.reactor = reactor
        self.router = router
        self.cluster = cluster
        self.access_log = access_log
        self.stats = <ListenerStats*> shared.find("listener", name, sizeof(ListenerStats), worker)
        self.head_ms = head_ms
        self.body_ms = body_ms
        self.idle_ms = idle_ms
        self.write_ms = write_ms
        self.tunnel_ms = tunnel_ms
        self.limits.request_line = request_line
        self.limits.head = head
        self.limits.fields = fields
        self.limits.keep_underscore = keep_underscore
        self.body_limit = body
        self.max_connections = connections
        self.body_rate = body_rate
        self.wants_head = access_log is not None and access_log.wants_head
        if router is not None:
            self.unrouted = Route("-", shared=shared, listener=name, worker=worker)
        self.path_mode = path_mode
        self.trusted = network_table(trusted)
        self.proxy_sources = network_table(proxy_sources) if proxy_sources else None
        self.tls = tls
        self.handshake_ms = handshake_ms
        self.hsts = hsts
        self.redirect = redirect
        self.rfc7239 = rfc7239
        self.http2.off = http2 is None
        if http2 is not None:
            self.http2.streams = http2["streams"]
            self.http2.window = http2["window"]
            self.http2.header_table = http2["header_table"]
            self.http2.continuations = http2["continuations"]
            self.http2.settings = http2["settings"]
            self.http2.pending_acks = http2["pending_acks"]
            self.http2.resets = http2["resets"]
            self.http2.glitches = http2["glitches"]
        self.trailers = frozenset(name.lower().encode() for name in trailers)
        self.authority = authority
        self.acceptors = []
        self.blocks = <void**> PyMem_Malloc(FREE_BLOCKS * sizeof(void*))
        if self.blocks == NULL:
            raise MemoryError

    def __dealloc__(self):
        while self.n_blocks:
            self.n_blocks -= 1
            PyMem_Free(self.blocks[self.n_blocks])
        PyMem_Free(self.blocks)

    def __repr__(self):
        return f"<Listener {self.name} connections={self.n_connections}>"

    @property
    def open_connections(self):
        return self.n_connections

    def start_drain(self):
        """Close idle connections and tell busy ones to end after their exchange; returns how many are left."""
        cdef void* at = self.first
        cdef Downstream connection
        self.draining = True
        while at != NULL:
            connection = <Downstream> at
            at = connection.listed_next
            connection.start_drain()
        return self.n_connections

    cdef void enlist(self, Downstream connection) noexcept:
        connection.listed_prev = NULL
        connection.listed_next = self.first
        if self.first != NULL:
            (<Downstream> self.first).listed_prev = <void*> connection
        self.first = <void*> connection
        self.n_connections += 1
        self.reactor.clients += 1
        self.stats.open += 1

    cdef void delist(self, Downstream connection) noexcept:
        if connection.listed_prev != NULL:
            (<Downstream> connection.listed_prev).listed_next = connection.listed_next
        elif self.first == <void*> connection:
            self.first = connection.listed_next
        else:
            return
        if connection.listed_next != NULL:
            (<Downstream> connection.listed_next).listed_prev = connection.listed_prev
        connection.listed_prev = connection.listed_next = NULL
        self.n_connections -= 1
        self.reactor.clients -= 1
        self.stats.open -= 1
        if self.paused and self.n_connections < self.max_connections:
            self.resume_accept()

    cdef int resume_accept(self) except -1:
        """A connection slot is free again."""
        cdef Stream stream
        self.paused = False
        for stream in self.acceptors:
            self.reactor.defer(stream)
        return 0

    cdef char* take_block(self) noexcept:
        if self.n_blocks:
            self.n_blocks -= 1
            return <char*> self.blocks[self.n_blocks]
        return <char*> PyMem_Malloc(HEAD_BLOCK)

    cdef void return_block(self, char* block) noexcept:
        if self.n_blocks < FREE_BLOCKS:
            self.blocks[self.n_blocks] = block
            self.n_blocks += 1
        else:
            PyMem_Free(block)

    cdef bint trusts(self, const uint8_t* address) noexcept:
        return in_networks(<const uint8_t*> <const char*> self.trusted, len(self.trusted), address)


@cython.no_gc
cdef class Downstream(Handler):
    """What an Exchange needs of the client's side; the protocols subclass it."""

    cdef int start_drain(self) except -1:
        """lbd is going away: close if idle, else after the present exchange."""
        return 0

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
        """The request's head (and small body) stands in self.head, route and cluster are set."""
        return self._next_endpoint(None)

    cdef int _next_endpoint(self, Endpoint avoid) except -1:
        """Pick, and get a connection or wait for one."""
        cdef int status
        while True:
            self.endpoint = self.cluster.pick(self.pick_key, avoid)
            if self.endpoint is None:
                return self.fail(R_NO_ENDPOINT)
            self.cluster.acquire(self.endpoint)
            self.holds_endpoint = True
            status = self._connect()
            if status >= 0:
                return 0
            avoid = self.endpoint
            self._release_endpoint()
            if self.connects >= self.cluster.attempts or status == -<int> R_OVERFLOW:
                return self.fail(-status)

    cdef int _connect(self) except? -100:
        """An idle connection, a new one, or a place in the queue. 0, or minus a Reason."""
        cdef PooledConnection idle
        if not self.replayed:               # a replay wants a connection that has just been opened
            idle = self.endpoint.pool.take_idle()
            if idle is not None:
                self.on_connection(idle)
                return 0
        if self.endpoint.pool.is_full() or self.endpoint.pool.is_joining():
            if not self.endpoint.pool.enqueue(self):
                return -<int> R_OVERFLOW
            self.downstream.wait(self.cluster.queue_ms)
            return 0
        return self.endpoint.pool.connect(self, self.fresh())

    cdef PooledConnection fresh(self):
        self.connects += 1                  # also when the pool connects for the first in its queue
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
        self.reused = upstream.requests > 0
        if self.reused:
            self.endpoint.stats.reused += 1
        self.endpoint.stats.requests += 1
        self.sent_us = monotonic_us()
        self.unsent = True
        written = upstream.send_request(self)
        if written == WRITE_ERROR:
            return self.on_upstream_failed(R_NONE, True)
        if self.request_done:
            return upstream.on_request_done(self)
        if written != WRITE_BLOCKED:
            return self.downstream.resume_request(self)
        return 0

    cdef int on_no_connection(self, int reason) except -1:
        """Connecting failed: nothing was sent, so another endpoint may try, whatever the method."""
        cdef Endpoint failed = self.endpoint
        if self.finished:
            return 0
        if failed is not None:
            failed.stats.failures += 1
        self._release_endpoint()
        if self.connects >= self.cluster.attempts:
            return self.fail(reason)
        return self._next_endpoint(failed)

    cdef void _release_endpoint(self) noexcept:
        if self.holds_endpoint:
            self.holds_endpoint = False
            self.cluster.release(self.endpoint)

    # the response ------------------------------------------------------------------------------------------------

    cdef int on_response_head(self, Head* head) except -1:
        """A final response; the upstream goes on with write_body at once."""
        self.endpoint.stats.status_class[head.status // 100] += 1
        histogram_add(&self.endpoint.stats.first_byte, monotonic_us() - self.sent_us)
        self.status = head.status
        self.response_begun = True
        return self.downstream.begin_response(self, head)

    cdef int on_response_done(self, bint reusable) except -1:
        """The response is complete and written (or buffered) for the client."""
        cdef Upstream upstream = self.upstream
        self.upstream = None
        upstream.detach(reusable and self.request_done)
        return self.finish(True)

    # failures ----------------------------------------------------------------------------------------------------

    cdef bint _replayable(self) noexcept:
        if not self.reused or self.replayed or self.body_given:
            return False
        if self.unsent:
            return True
        return (self.request_done
                and (self.method == M_GET or self.method == M_HEAD or self.method == M_OPTIONS or self.method == M_PUT
                     or self.method == M_DELETE or self.method == M_TRACE))

    cdef int on_upstream_failed(self, int reason, bint silent) except -1:
        """The connection broke or broke the rules; silent: before any byte of a response."""
        cdef Upstream upstream = self.upstream
        cdef Endpoint endpoint = self.endpoint
        self.upstream = None
        if upstream is not None:
            upstream.detach(False)
        if silent and self._replayable():
            endpoint.stats.stale += 1
            self.replayed = True
            self._release_endpoint()
            return self._next_endpoint(None)
        endpoint.stats.failures += 1
        endpoint.stats.status_class[0] += 1
        return self.fail(reason if reason != R_NONE else R_UPSTREAM_RESET)

    cdef int on_refused(self) except -1:
        """The endpoint said that it has not looked at the request (RFC 9113 8.7): another attempt is safe."""
        cdef Upstream upstream = self.upstream
        cdef Endpoint endpoint = self.endpoint
        self.upstream = None
        if upstream is not None:
            upstream.detach(False)
        self.refusals += 1
        endpoint.stats.stale += 1
        if self.body_given or self.refusals > REFUSALS_MAX:
            endpoint.stats.failures += 1
            endpoint.stats.status_class[0] += 1
            return self.fail(R_STREAM_REFUSED)
        self._release_endpoint()
        return self._next_endpoint(endpoint)

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
        if self.listener.access_log is not None:
            self.listener.access_log.record(self)
        if downstream is None:                      # a tunnel took its place
            return 0
        return downstream.on_finished(self, clean)
