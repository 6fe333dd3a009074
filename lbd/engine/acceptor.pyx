# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Accepting: listening socket -> Downstream of the listener's protocol.

Strategy: accept4 until nothing is left or a turn is used up. Options that clients' sockets need (TCP_NODELAY) are set on
the listening socket, from which Linux lets them inherit: no call per connection. When there is no free slot, fd or
memory, accepting stops; the backlog holds the clients back, and accepting goes on when a connection has closed or the
next tick finds fds again. Nothing spins: the edge-triggered event is spent, we come back by ourselves.
"""

from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset

from lbd.engine cimport sys as c
from lbd.engine.downstream_http1 cimport Http1Downstream
from lbd.engine.exchange cimport Downstream
from lbd.engine.listener cimport Listener
from lbd.engine.forwarded cimport format_address
from lbd.engine.greeting cimport Greeting, begin_protocol
from lbd.engine.matchers cimport in_networks
from lbd.engine.reactor cimport Handler, Stream, open_stream, register_stream
from lbd.engine.tunnel cimport Tunnel, TunnelClient

cdef enum:
    TURN = 64
    LAST_TURNS = 64             # before it closes: what is still in the backlog then is refused
    RETRY_MS = 100              # after EMFILE, ENOBUFS and their like


cdef class Acceptor(Handler):
    """One listening socket."""
    cdef Listener listener
    cdef Stream stream
    cdef bint tcp
    cdef bint troubled          # out of fds or memory: said once, until an accept succeeds
    cdef object on_problem      # called with an errno when accepting has to pause

    def __init__(self, Listener listener not None, int fd, *, bint tcp, on_problem):
        self.listener = listener
        self.tcp = tcp
        self.on_problem = on_problem
        self.stream = open_stream(listener.reactor, fd, self)
        listener.acceptors.append(self.stream)

    def __repr__(self):
        return f"<Acceptor {self.listener.name}>"

    def move(self, Listener listener not None, *, bint tcp):
        """Whoever connects from now on is a client of this listener."""
        if listener is not self.listener:
            self.listener.acceptors.remove(self.stream)
            listener.acceptors.append(self.stream)
            self.listener = listener
        self.tcp = tcp

    def close(self):
        """Take those who are connected already, and stop listening; owns and closes the fd."""
        if self.stream is not None:
            for _turn in range(LAST_TURNS):
                self.on_readable(self.stream)
                if not self.stream.readable:
                    break
            self.listener.acceptors.remove(self.stream)
            self.listener.reactor.forget(self.stream)   # other processes have the socket as well
            self.stream.close()
            self.stream = None

    cdef int on_readable(self, Stream stream) except -1:
        cdef c.sockaddr_storage address
        cdef c.socklen_t size
        cdef Listener listener = self.listener
        cdef int fd, _turn
        for _turn in range(TURN):
            if listener.is_full():
                if not listener.paused:
                    listener.paused = True
                    listener.stats.accept_pauses += 1
                if listener.workers > 1:
                    stream.set_timer(RETRY_MS)      # a connection of another worker may make room
                return 0
            if listener.reactor.clients >= listener.reactor.max_clients:
                return self._pause(stream, c.EMFILE)
            size = sizeof(address)
            fd = c.accept4(stream.fd, <c.sockaddr*> &address, &size, c.SOCK_NONBLOCK | c.SOCK_CLOEXEC)
            if fd < 0:
                if c.errno == c.EAGAIN:
                    stream.readable = False
                    return 0
                if c.errno == c.EINTR or c.errno == c.ECONNABORTED:
                    continue
                return self._pause(stream, c.errno)
            self.troubled = False
            listener.stats.accepted += 1
            self._open(fd, &address)
        listener.reactor.defer(stream)
        return 0

    cdef int _pause(self, Stream stream, int error) except -1:
        """Out of fds or memory, or a protocol error of the network: try again a little later."""
        self.listener.stats.accept_errors += 1
        if not self.troubled:
            self.troubled = True
            self.listener.stats.accept_pauses += 1
            self.on_problem(self.listener.name, error)
        stream.set_timer(RETRY_MS)
        return 0

    cdef int on_timeout(self, Stream stream) except -1:
        self.listener.paused = False
        return self.on_readable(stream)

    cdef int on_fault(self, Stream stream) except -1:
        stream.set_timer(RETRY_MS)          # the connection that raised is closed; the listener must live
        return 0

    cdef int _open(self, int fd, c.sockaddr_storage* address) except -1:
        """A Downstream for a new connection; the common case, plain HTTP, knows at once which one."""
        cdef Listener listener = self.listener
        cdef Downstream downstream
        cdef Stream stream
        cdef bint greets = listener.tls is not None or listener.proxy_sources is not None
        if greets:
            downstream = Greeting.__new__(Greeting)
        elif self.tcp:
            downstream = TunnelClient.__new__(TunnelClient)
        else:
            downstream = Http1Downstream.__new__(Http1Downstream)
        if listener.tls is None:
            stream = open_stream(listener.reactor, fd, downstream)
        else:
            stream = listener.tls.open()
            register_stream(stream, listener.reactor, fd, downstream)
        downstream.listener = listener
        downstream.stream = stream
        downstream.born = listener.reactor.wheel.now
        _take_address(downstream, address)
        listener.enlist(downstream)
        if greets:
            return self._greet(<Greeting> downstream)
        if self.tcp:
            return (<Tunnel> Tunnel.__new__(Tunnel)).start(<TunnelClient> downstream)
        stream.set_timer(listener.head_ms)
        return 0

    cdef int _greet(self, Greeting greeting) except -1:
        cdef Listener listener = self.listener
        greeting.tcp = self.tcp
        greeting.secure = listener.tls is not None
        greeting.wants_proxy = listener.proxy_sources is not None and in_networks(
            <const uint8_t*> <const char*> listener.proxy_sources, len(listener.proxy_sources), greeting.peer)
        greeting.stream.set_timer(listener.handshake_ms)
        if not greeting.wants_proxy and not greeting.secure:
            return begin_protocol(greeting, False, self.tcp)
        return 0


cdef void _take_address(Downstream downstream, const c.sockaddr_storage* address) noexcept:
    """The peer's address as 16 bytes and as text."""
    memset(downstream.peer, 0, 16)
    downstream.peer_port = 0
    if address.ss_family == c.AF_INET:
        downstream.peer[10] = downstream.peer[11] = 0xff
        memcpy(downstream.peer + 12, &(<const c.sockaddr_in*> address).sin_addr, 4)
        downstream.peer_port = c.ntohs((<const c.sockaddr_in*> address).sin_port)
    elif address.ss_family == c.AF_INET6:
        memcpy(downstream.peer, &(<const c.sockaddr_in6*> address).sin6_addr, 16)
        downstream.peer_port = c.ntohs((<const c.sockaddr_in6*> address).sin6_port)
    downstream.peer_text_len = <uint8_t> format_address(downstream.peer, downstream.peer_text)
