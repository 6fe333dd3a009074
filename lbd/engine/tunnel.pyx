# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Tunnel: two sockets joined byte for byte (TCP mode, and connections after a 101).

Strategy: a direction starts with recv and send, which is cheaper for small messages, and goes over to splice when a
read fills much of the buffer; a short splice goes back. Each direction ends on its own: an end is passed on as a
half-close once everything before it has been written, a reset as a reset. Back-pressure is the kernel's: we read only
when the other side has taken what we had.
"""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

cimport cython

from lbd.engine cimport sys as c
from lbd.engine.cluster cimport Cluster
from lbd.engine.endpoint cimport Endpoint
from lbd.engine.guard cimport OUTCOME_FAILED, OUTCOME_NONE, OUTCOME_OK
from lbd.engine.exchange cimport Downstream, Exchange
from lbd.engine.facts cimport observe_tunnel
from lbd.engine.key cimport KeySource
from lbd.engine.listener cimport KIND_TCP, KIND_WEBSOCKET
from lbd.engine.observer cimport new_attempt
from lbd.engine.openssl cimport openssl
from lbd.engine.pool cimport ConnectionPool, PooledConnection, Waiter
from lbd.engine.preamble cimport write_preamble
from lbd.engine.reactor cimport IO_AGAIN, IO_ERROR, READ_SIZE, WRITE_BLOCKED, WRITE_DONE, WRITE_ERROR, Reactor, Stream
from lbd.engine.reasons cimport R_CONNECT_TIMEOUT, R_NO_ENDPOINT, R_NONE, R_OVERFLOW, R_QUEUE_TIMEOUT
from lbd.engine.retry cimport RETRY_CONNECT_FAILED, RETRY_CONNECT_TIMEOUT
from lbd.engine.splice cimport (
    SPLICE_AGAIN, SPLICE_END, SPLICE_LIMIT, SPLICE_NO_PIPE, SPLICE_TURN, pipe_release,
    splice_move,
)
from lbd.engine.sys cimport monotonic_us
from lbd.engine.tls_stream cimport TlsStream
from lbd.engine.websocket cimport (
    AWAY_DUE, AWAY_NO, GOING_AWAY, GOING_AWAY_LEN, pass_frames, send_away,
)

cdef enum:
    BULK_READ = 32768       # a read of this size makes the direction splice
    BULK_LEAST = 4096       # splices below it, several in a row, make it copy again
    BULK_SHORT = 8
    TURN = 8


@cython.no_gc
@cython.final
cdef class TunnelClient(Downstream):
    """The client's end."""

    # Each method holds the tunnel itself: it lets go of its ends when it is over.

    cdef int on_readable(self, Stream stream) except -1:
        cdef Tunnel tunnel = self.tunnel
        return tunnel.on_event()

    cdef int on_writable(self, Stream stream) except -1:
        cdef Tunnel tunnel = self.tunnel
        return tunnel.on_event()

    cdef int on_timeout(self, Stream stream) except -1:
        cdef Tunnel tunnel = self.tunnel
        if tunnel.queued:
            tunnel.endpoint.pool.leave_queue(tunnel)
            return tunnel._refused(R_QUEUE_TIMEOUT)
        return tunnel.end(True)

    cdef int on_fault(self, Stream stream) except -1:
        cdef Tunnel tunnel = self.tunnel
        if tunnel is None:
            return 0
        return tunnel.end(True)

    cdef int websockets(self) noexcept:
        cdef Tunnel tunnel = self.tunnel
        return tunnel is not None and tunnel.exchange is not None and tunnel.frames.away == AWAY_NO

    cdef int go_away(self) except -1:
        cdef Tunnel tunnel = self.tunnel
        return tunnel.go_away() if tunnel is not None else 0

    cdef int cut(self, int kinds) except -1:
        cdef Tunnel tunnel = self.tunnel
        cdef int kind = KIND_TCP if tunnel is None or tunnel.exchange is None else KIND_WEBSOCKET
        return tunnel.end(True) if tunnel is not None and kinds & kind else 0


@cython.no_gc
@cython.final
cdef class TunnelServer(PooledConnection):
    """The endpoint's end."""

    cdef int on_readable(self, Stream stream) except -1:
        cdef Tunnel tunnel = self.tunnel
        if self.connecting:
            return PooledConnection.on_readable(self, stream)
        if tunnel is None:
            self.drop(False)
            return 0
        return tunnel.on_event()

    cdef int on_writable(self, Stream stream) except -1:
        cdef Tunnel tunnel = self.tunnel
        if self.connecting:
            return PooledConnection.on_writable(self, stream)
        if tunnel is None:
            return 0
        return tunnel.on_event()

    cdef int on_fault(self, Stream stream) except -1:
        cdef Tunnel tunnel = self.tunnel
        if tunnel is not None:
            return tunnel.end(True)
        self.drop(True)
        return 0


@cython.no_gc
@cython.final
cdef class Tunnel(Waiter):

    def __repr__(self):
        return f"<Tunnel up={self.up.moved} down={self.down.moved}{' over' if self.over else ''}>"

    # making ------------------------------------------------------------------------------------------------------

    cdef int start(self, TunnelClient client) except -1:
        """TCP mode: a client has been accepted."""
        cdef int reason = R_NONE
        self.client = client
        self.urgency = 1
        self.started_us = self.began_us = monotonic_us()
        self.listener = client.listener
        self.idle_ms = self.listener.tunnel_ms
        self.cluster = self.listener.cluster
        client.tunnel = self
        if client.secure and self.listener.observed:
            self.tls = openssl.SSL_get_version((<TlsStream> client.stream).ssl)
        self.cluster = self.cluster.serving(self.urgency, self.cluster.selection, None, &reason)
        if reason:
            return self._refused(reason)
        if self.cluster.key is not None:
            self.pick_key = (<KeySource> self.cluster.key).of_address(client.peer)
        return self._next_endpoint()

    cdef int _next_endpoint(self) except -1:
        cdef int status
        cdef ConnectionPool pool
        self.endpoint = self.cluster.pick(self.cluster.selection, self.pick_key, self.tried)
        if self.endpoint is None:
            return self._refused(R_NO_ENDPOINT)
        pool = self.endpoint.pool
        self.cluster.acquire(self.endpoint)
        self.holds_endpoint = self.outcome_due = True
        self.began_us = monotonic_us()
        if pool.is_full():
            pool.make_room(True)                # it cannot use what is idle
        if pool.is_full():
            if pool.enqueue(self):
                self.waited = True
                self.client.stream.set_timer(self.cluster.queue_ms)
                return 0
            return self._refused(R_OVERFLOW)
        status = pool.connect(self, self.fresh())
        return 0 if status == 0 else self.on_no_connection(-status)

    cdef PooledConnection fresh(self):
        return TunnelServer.__new__(TunnelServer)

    cdef size_t preamble(self, char* out, int version) noexcept:
        return 0 if self.over else write_preamble(out, version, self.client, NULL)

    cdef int on_connection(self, PooledConnection connection) except -1:
        if self.over:
            connection.drop(False)
            return 0
        self.server = <TunnelServer> connection
        self.server.tunnel = self
        self.endpoint.stats.requests += 1
        if self.waited:
            self.queue_us += monotonic_us() - self.began_us
        else:
            self.connect_us += monotonic_us() - self.began_us
        self._tell(OUTCOME_OK)
        self.server.stream.uncork()             # the endpoint may be the one to speak first
        return self.on_event()

    cdef int on_no_connection(self, int reason) except -1:
        cdef Cluster cluster = self.cluster
        cdef Endpoint failed = self.endpoint
        cdef int cause = RETRY_CONNECT_TIMEOUT if reason == R_CONNECT_TIMEOUT else RETRY_CONNECT_FAILED
        if self.over:
            return 0
        failed.stats.failures += 1
        self._tell(OUTCOME_FAILED)
        self._release_endpoint()
        self.waited = False
        if self.tried is None:
            self.tried = []
            self.attempts = []
        self.attempts.append(new_attempt(failed, 0, reason, self.began_us, monotonic_us(), 0))
        self.tried.append(failed)
        if (cluster.retry is None or <int> cluster.retry.limit < len(self.tried) or not cluster.retry.covers(cause, 0)
                or len(self.tried) >= len(cluster.endpoints)):
            return self._refused(reason)
        cluster.stats.retries[cause] += 1
        return self._next_endpoint()

    cdef int on_pushed_out(self) except -1:
        return 0 if self.over else self._refused(R_OVERFLOW)

    cdef int _refused(self, int reason) except -1:
        self.listener.stats.reasons[reason] += 1
        self.reason = reason
        return self.end(True)

    cdef void _tell(self, int outcome):
        self.outcome_due = False
        if self.cluster.watched:
            self.cluster.on_outcome(self.endpoint, outcome, monotonic_us() - self.began_us)

    cdef void _release_endpoint(self):
        if self.outcome_due:
            self._tell(OUTCOME_NONE)
        if self.holds_endpoint:
            self.holds_endpoint = False
            self.cluster.release(self.endpoint)

    cdef int adopt(self, Exchange x, Downstream old, bint broken, const char* early, size_t n) except -1:
        """Take over both connections of an exchange after its 101; early: client bytes read before it."""
        cdef TunnelClient client = TunnelClient.__new__(TunnelClient)
        cdef TunnelServer server = TunnelServer.__new__(TunnelServer)
        cdef PooledConnection upstream = x.upstream
        self.exchange = x
        self.idle_ms = x.route.tunnel_ms if x.route.tunnel_ms else old.listener.tunnel_ms
        x.route.tunnels += 1
        self.client = client
        self.server = server
        self.listener = old.listener
        self.cluster = x.cluster
        self.endpoint = x.endpoint
        client.tunnel = server.tunnel = self
        client.listener = old.listener
        self.listener.reactor.retired += [old, upstream]    # both are up the call stack
        client.stream = old.stream
        client.stream.handler = client
        memcpy(client.peer, old.peer, 16)
        memcpy(client.peer_text, old.peer_text, sizeof(old.peer_text))
        client.peer_text_len = old.peer_text_len
        client.peer_port = old.peer_port
        client.secure = old.secure
        client.born = old.born
        client.listener.enlist(client)
        server.pool = upstream.pool
        server.counted = upstream.counted
        server.stream = upstream.stream
        server.stream.handler = server
        upstream.counted = False
        upstream.stream = None
        x.upstream.detach(False)
        x.upstream = None
        server.stream.set_timer(0)
        client.stream.readable = server.stream.readable = True
        if broken or (n and server.stream.write(early, n) == WRITE_ERROR):
            return self.end(True)
        return self.on_event()

    # relaying ----------------------------------------------------------------------------------------------------

    cdef int on_event(self) except -1:
        """Anything happened on either side: move what can be moved, both ways."""
        if self.over:
            return 0
        if self.server is None:                     # still connecting: watch the client only
            if self.client.stream.hangup and self.client.stream.error == 0 and self._client_reset():
                return self.end(True)
            return 0
        self.client.stream.set_timer(self.idle_ms)
        self._pump(self.client.stream, self.server.stream, &self.up)
        if not self.over:
            self._pump(self.server.stream, self.client.stream, &self.down)
        if not self.over and ((self.up.ended and self.client.stream.broken)
                              or (self.down.ended and self.server.stream.broken)):
            return self.end(True)
        if not self.over and self.up.shut and self.down.shut:
            return self.end(False)
        return 0

    cdef bint _client_reset(self) noexcept:
        """Is the client gone for good (not merely done with sending)?"""
        cdef char byte
        return c.recv(self.client.stream.fd, &byte, 1, c.MSG_PEEK | c.MSG_DONTWAIT) < 0 and c.errno != c.EAGAIN

    cdef int _pump(self, Stream source, Stream sink, Direction* way) except -1:
        cdef int result = sink.flush()
        if result == WRITE_ERROR:
            return self.end(True)
        if result == WRITE_BLOCKED or sink.blocked:
            return 0
        if way.bulk or way.pipe.held:
            self._splice(source, sink, way)
        if not way.bulk and not self.over and not way.ended and not sink.blocked:
            self._copy(source, sink, way)
        if way.ended and not way.shut and not self.over and sink.out.data == NULL and way.pipe.held == 0:
            way.shut = True
            sink.shutdown_write()
        return 0

    cdef int _copy(self, Stream source, Stream sink, Direction* way) except -1:
        cdef ssize_t got
        cdef int _turn, result
        for _turn in range(TURN):
            if not source.readable:
                return 0
            got = source.recv(source.reactor.rbuf, READ_SIZE)
            if got == IO_AGAIN:
                return 0
            if got == 0:
                way.ended = True
                return 0
            if got == IO_ERROR:
                return self.end(True)
            way.moved += <uint64_t> got
            if self.exchange is not None and way == &self.down:
                result = self._pass_down(source.reactor.rbuf, <size_t> got)
            else:
                result = sink.write(source.reactor.rbuf, <size_t> got)
            if result == WRITE_ERROR:
                return self.end(True)
            if result == WRITE_BLOCKED:
                return 0
            if got >= BULK_READ and source.can_splice and sink.can_splice and self._splice_limit(way) >= BULK_READ:
                way.bulk = True
                way.short_splices = 0
                return self._splice(source, sink, way)
        source.reactor.defer(source)
        return 0

    cdef int _splice(self, Stream source, Stream sink, Direction* way) except -1:
        cdef uint64_t limit = self._splice_limit(way)
        cdef uint64_t moved = 0
        cdef int state
        cdef bint framed = way == &self.down and self.exchange is not None
        if way.ended and way.pipe.held == 0:
            return 0
        if not source.readable and way.pipe.held == 0:
            return 0
        state = splice_move(source.reactor, &way.pipe, source, sink, &limit, &moved)
        way.moved += moved
        if framed:
            self.frames.left = limit
            if limit == 0 and way.pipe.held == 0:   # the head of the next frame has to be seen
                way.bulk = False
                if self.frames.away == AWAY_DUE:
                    return self._say_away()
        if state == SPLICE_NO_PIPE or state == SPLICE_LIMIT:
            way.bulk = False
        elif state == SPLICE_END:
            way.ended = True
        elif state == SPLICE_TURN:
            source.reactor.defer(source)
        elif state < 0:
            return self.end(True)
        elif moved >= BULK_LEAST:
            way.short_splices = 0
        elif state == SPLICE_AGAIN:
            way.short_splices += 1
            if way.short_splices >= BULK_SHORT:
                way.bulk = False
        return 0

    cdef uint64_t _splice_limit(self, Direction* way) noexcept:
        """How many bytes need not be looked at: of a WebSocket, the rest of the endpoint's present frame."""
        return self.frames.left if way == &self.down and self.exchange is not None else <uint64_t> 1 << 62

    cdef int _pass_down(self, const char* p, size_t n) except -100:
        """Bytes of a WebSocket's endpoint to the client: WRITE_*. After the close frame of ours, none."""
        cdef bint say
        cdef int result = WRITE_DONE
        cdef size_t own = pass_frames(&self.frames, p, n, &say)
        if own:
            result = self.client.stream.write(p, own)
        if say and result != WRITE_ERROR:
            result = self.client.stream.write(GOING_AWAY, GOING_AWAY_LEN)
        return result

    cdef int go_away(self) except -1:
        """Tell the client of a WebSocket that lbd is going; 0 when there is nobody to tell."""
        if self.over or self.exchange is None or self.frames.away != AWAY_NO:
            return 0
        if self.down.pipe.held or self.down.ended:
            self.frames.away = AWAY_DUE
        else:
            self._say_away()
        return 1

    cdef int _say_away(self) except -1:
        if send_away(&self.frames) and self.client.stream.write(GOING_AWAY, GOING_AWAY_LEN) == WRITE_ERROR:
            return self.end(True)
        return 0

    # the end -----------------------------------------------------------------------------------------------------

    cdef int end(self, bint reset) except -1:
        """Close both sides; a reset or an error on one is shown as a reset on the other."""
        cdef Exchange x = self.exchange
        cdef Reactor reactor = self.listener.reactor
        if self.over:
            return 0
        self.over = True
        if self.queued:
            self.endpoint.pool.leave_queue(self)
        pipe_release(reactor, &self.up.pipe)
        pipe_release(reactor, &self.down.pipe)
        self.listener.delist(self.client)
        if reset:
            self.client.stream.reset()
        else:
            self.client.stream.close()
        self.client.tunnel = None
        if self.server is not None:
            self.server.tunnel = None
            self.server.drop(reset)
        self._release_endpoint()
        if x is None:
            self.listener.stats.bytes_received += self.up.moved
            self.listener.stats.bytes_sent += self.down.moved
            if self.listener.observed:
                observe_tunnel(self)
        else:
            x.bytes_received += self.up.moved
            x.bytes_sent += self.down.moved
            x.route.tunnels -= 1
            x.downstream = None
            x.finish(True)
        self.client = None
        self.server = None
        self.exchange = None
        return 0
