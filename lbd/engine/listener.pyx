# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Listener: settings, tables and counters that the connections of one accepting socket share, and the list of them."""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint8_t, uint64_t

cimport cython

from lbd.engine.cluster cimport Cluster
from lbd.engine.observer cimport Observer
from lbd.engine.matchers cimport in_networks
from lbd.engine.path cimport PATH_NORMALIZE
from lbd.engine.reactor cimport Handler, Reactor, Stream
from lbd.engine.router cimport Respond, Route, Router
from lbd.engine.shared cimport ListenerStats, Shared
from lbd.engine.tls cimport ServerTls

from lbd.engine.matchers import network_table

cdef enum:
    FREE_BLOCKS = 1024

KINDS = {"request": KIND_REQUEST, "websocket": KIND_WEBSOCKET, "tcp": KIND_TCP}


@cython.no_gc
cdef class Guest(Handler):

    cdef int start_drain(self) except -1:
        """lbd is going away: the next exchange, or the one under way, is the last one."""
        return 0

    cdef int close_idle(self, bint fresh) except -1:
        """Close if nothing is under way. fresh: even if nothing ever was, and so a request may be on its way."""
        return 0

    cdef int websockets(self) noexcept:
        """How many it carries whose clients have not been told that lbd is going away."""
        return 0

    cdef int go_away(self) except -1:
        """Tell the clients of its WebSockets: how many were told."""
        return 0

    cdef int cut(self, int kinds) except -1:
        """Close now what is of these kinds."""
        return 0


cdef class Listener:
    """Settings in engine units: milliseconds (0 = none), bytes (-1 = none), bytes for text."""

    def __cinit__(self, str name not None, Reactor reactor not None, *, Shared shared, int worker=0, **settings):
        self.name = name
        self.reactor = reactor
        self.worker, self.workers = worker, shared.workers
        self.stats_step = shared.step_of(sizeof(ListenerStats))
        self.stats = <ListenerStats*> shared.find("listener", name, sizeof(ListenerStats), worker)
        if settings.get("router") is not None:
            self.unrouted = Route("-", shared=shared, listener=name, worker=worker)
        self.acceptors = []
        self.blocks = <void**> PyMem_Malloc(FREE_BLOCKS * sizeof(void*))
        if self.blocks == NULL:
            raise MemoryError
        self.configure(**settings)

    def configure(self, *, Router router=None, Cluster cluster=None, access_log=None,
                  head_ms=10000, body_ms=30000, idle_ms=75000, write_ms=30000, tunnel_ms=3600000,
                  request_line=8192, head=32768, fields=100, body=-1, connections=20000,
                  body_rate=0, bint keep_underscore=False, int path_mode=PATH_NORMALIZE, trusted=(), trailers=(),
                  bytes authority=b"localhost", ServerTls tls=None, proxy_sources=(), handshake_ms=10000,
                  bytes hsts=None, Respond redirect=None, dict http2=None, bint rfc7239=False):
        """All of its settings. Connections that are open go by them from their next step on; their TLS stays as it is."""
        self.router = router
        self.cluster = cluster
        self.access_log = access_log
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
        self.observe(self.recorder, self.tracer)
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
        if self.paused and not self.is_full():
            self.resume_accept()

    def __dealloc__(self):
        while self.n_blocks:
            self.n_blocks -= 1
            PyMem_Free(self.blocks[self.n_blocks])
        PyMem_Free(self.blocks)

    def __repr__(self):
        return f"<Listener {self.name} connections={self.n_connections}>"

    def observe(self, Observer recorder=None, Observer tracer=None):
        """Who is told of finished exchanges, beside the access log."""
        cdef Observer observer
        self.recorder = recorder
        self.tracer = tracer
        self.observed = False
        self.wants = 0
        for observer in (self.access_log, recorder, tracer):
            if observer is not None:
                self.observed = True
                self.wants |= observer.wants

    @property
    def open_connections(self):
        return self.n_connections

    def start_drain(self):
        """Exchanges that begin from now on end their connection; returns how many connections there are.
        To say it again says nothing."""
        cdef void* at = self.first
        cdef Guest connection
        if self.draining:
            return self.n_connections
        self.draining = True
        while at != NULL:
            connection = <Guest> at
            at = connection.listed_next
            connection.start_drain()
        return self.n_connections

    def close_idle(self, bint fresh=True):
        """Close connections with nothing under way; those that have not been used yet with `fresh` only."""
        cdef void* at = self.first
        cdef Guest connection
        while at != NULL:
            connection = <Guest> at
            at = connection.listed_next
            connection.close_idle(fresh)

    @property
    def websockets(self):
        """Those whose clients have not been told yet that lbd is going away."""
        cdef void* at = self.first
        cdef int found = 0
        while at != NULL:
            found += (<Guest> at).websockets()
            at = (<Guest> at).listed_next
        return found

    def send_away(self, int most):
        """Tell clients of WebSockets that lbd is going away (close frame 1001), about `most` of them."""
        cdef void* at = self.first
        cdef Guest connection
        while at != NULL and most > 0:
            connection = <Guest> at
            at = connection.listed_next
            most -= connection.go_away()

    def cut(self, str kind=None):
        """Close what is still under way: all, or the `request`s, `websocket`s or `tcp` connections."""
        cdef int kinds = KINDS[kind] if kind is not None else KIND_REQUEST | KIND_WEBSOCKET | KIND_TCP
        cdef void* at = self.first
        cdef Guest connection
        while at != NULL:
            connection = <Guest> at
            at = connection.listed_next
            connection.cut(kinds)

    cdef void enlist(self, Guest connection) noexcept:
        connection.listed_prev = NULL
        connection.listed_next = self.first
        if self.first != NULL:
            (<Guest> self.first).listed_prev = <void*> connection
        self.first = <void*> connection
        self.n_connections += 1
        self.reactor.clients += 1
        self.stats.open += 1

    cdef void delist(self, Guest connection) noexcept:
        if connection.listed_prev != NULL:
            (<Guest> connection.listed_prev).listed_next = connection.listed_next
        elif self.first == <void*> connection:
            self.first = connection.listed_next
        else:
            return
        if connection.listed_next != NULL:
            (<Guest> connection.listed_next).listed_prev = connection.listed_prev
        connection.listed_prev = connection.listed_next = NULL
        self.n_connections -= 1
        self.reactor.clients -= 1
        self.stats.open -= 1
        if self.paused and not self.is_full():
            self.resume_accept()

    cdef bint is_full(self) noexcept:
        """Does it have as many connections as it may have, in all workers?"""
        cdef uint64_t found = 0
        cdef int worker
        if self.workers == 1:
            return self.n_connections >= self.max_connections
        for worker in range(self.workers):
            found += (<ListenerStats*> (<char*> self.stats + <ssize_t> self.stats_step * (worker - self.worker))).open
        return found >= self.max_connections

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
