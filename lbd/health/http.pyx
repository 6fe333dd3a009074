# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""HttpCheck and GrpcCheck: ask by a request, on a connection that is kept between checks.

Strategy: the request is an Exchange like any other, with an Inquiry in the place of the client's connection, a cluster
and pool of its own in that of the endpoint's: so TLS, HTTP/2, strict parsing, keep-alive and its races are those of the
engine, and nothing shows up in the endpoint's figures.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

cimport cython

from lbd.engine.body cimport Body
from lbd.engine.buffer cimport Buffer, buffer_append, buffer_free, buffer_len, buffer_ptr
from lbd.engine.cluster cimport Cluster
from lbd.engine.endpoint cimport Endpoint
from lbd.engine.exchange cimport Downstream, Exchange, new_exchange
from lbd.engine.grpc cimport note_grpc_trailers
from lbd.engine.http1 cimport BODY_LENGTH, BODY_NONE, M_GET, M_HEAD, M_OPTIONS, M_POST, Head
from lbd.engine.listener cimport Listener
from lbd.engine.pool cimport ConnectionPool, SharedConnection
from lbd.engine.reactor cimport WRITE_DONE
from lbd.engine.reasons cimport R_DEADLINE
from lbd.engine.router cimport Route
from lbd.health.check cimport Check, said_of

cdef enum:
    BODY_KEPT = 65536           # bytes of a response that are looked at

METHODS = {"GET": M_GET, "HEAD": M_HEAD, "OPTIONS": M_OPTIONS, "POST": M_POST}


@cython.no_gc
cdef class Inquiry(Downstream):
    """The asking side."""

    cdef int begin_response(self, Exchange x, Head* head) except -1:
        self.check.status = head.status
        return 0

    cdef int write_body(self, Exchange x, char* p, size_t n, Body* end) except -100:
        cdef Buffer* body = &self.check.body
        n = min(n, BODY_KEPT - buffer_len(body))
        if n and not buffer_append(body, p, n):
            raise MemoryError
        if end != NULL:
            note_grpc_trailers(x, buffer_ptr(&end.trailers), buffer_len(&end.trailers))
        return WRITE_DONE

    cdef int write_informational(self, Exchange x, Head* head) except -1:
        return 0

    cdef int resume_request(self, Exchange x) except -1:
        return 0

    cdef int reply(self, Exchange x, int reason) except -1:
        self.check.reason = reason
        return 0

    cdef void wait(self, uint64_t after_ms) noexcept:
        pass                                        # the check has its own deadline

    cdef bint is_blocked(self, Exchange x) noexcept:
        return False

    cdef int on_finished(self, Exchange x, bint clean) except -1:
        if x is self.check.exchange:
            self.check.on_finished(x, clean)
        return 0


cdef class RequestCheck(Check):
    """listener: a hidden one; asked: a cluster with one endpoint, the pool of which is for checks; head, body: the
    request as written for endpoints. port: 0 = the endpoint's. The rest: see Check."""

    def __init__(self, *args, Listener listener not None, Cluster asked not None, str method="GET",
                 bytes head not None, bytes body=b"", int port=0, **settings):
        Check.__init__(self, *args, **settings)
        self.inquiry = Inquiry.__new__(Inquiry)
        self.inquiry.check = self
        self.inquiry.listener = listener
        self.inquiry.local_port = 1     # with no port of a peer: the PROXY header says nothing of a client
        self.asked = asked
        self.route = Route("check", cluster=asked, response_ms=self.timeout_ms, body_ms=self.timeout_ms)
        self.method = METHODS[method]
        self.head = head
        self.request_body = body
        self.port = port

    def __dealloc__(self):
        buffer_free(&self.body)

    def stop(self):
        Check.stop(self)
        self.inquiry = None
        (<Endpoint> self.asked.endpoints[0]).pool.close_idle()
        (<Endpoint> self.asked.endpoints[0]).detach()   # a connection under way counts on

    cdef int begin(self) except -1:
        cdef Exchange x = new_exchange(self.inquiry)
        cdef size_t n = len(self.head)
        self._aim()
        self.status = self.reason = 0
        buffer_free(&self.body)
        if n > x.head_cap:
            x.grow_head(n)
        memcpy(x.head, <const char*> self.head, n)
        x.head_len = <uint32_t> n
        x.request_framing = BODY_NONE
        if self.request_body:
            x.request_framing = BODY_LENGTH
            x.take_inline(<const char*> self.request_body, len(self.request_body))
        x.route = self.route
        x.cluster = self.asked
        x.selection = self.asked.selection
        x.method = <unsigned char> self.method
        x.minor = 1
        x.grpc = self.grpc
        x.request_done = True
        self.exchange = x
        x.start()
        return 0

    cdef int _aim(self) except -1:
        """At where the endpoint is now."""
        cdef Endpoint target = <Endpoint> self.asked.endpoints[0]
        self.take_address(target.pool, self.port)
        if not target.resolved:
            target.resolved = True
            self.asked.refresh()
        return 0

    cdef int cut(self) except -1:
        cdef Exchange x = self.exchange
        self.exchange = None
        if x is not None:
            x.on_client_gone(R_DEADLINE)
        return 0

    cdef int on_finished(self, Exchange x, bint clean) except -1:
        cdef str why
        self.exchange = None
        if self.reason or not clean:
            why = said_of(self.reason or x.reason)
        else:
            why = self.judge(self.status, x.grpc_status, buffer_ptr(&self.body)[:buffer_len(&self.body)])
            self._note_connection()
        buffer_free(&self.body)
        return self.done(why is None, why)

    cdef void _note_connection(self):
        """Measure on the connection that has been kept."""
        cdef ConnectionPool pool = (<Endpoint> self.asked.endpoints[0]).pool
        if pool.shared is not None and pool.shared:
            self.note_rtt((<SharedConnection> pool.shared[0]).stream.fd)
        elif pool.idle_top is not None:
            self.note_rtt(pool.idle_top.stream.fd)

    def judge(self, int status, int grpc_status, bytes body):
        """None when the answer is good, else what is wrong with it."""
        raise NotImplementedError


cdef class HttpCheck(RequestCheck):
    """ranges: [(first, last)] of good status codes; text: must be in the body; search: must find something there."""
    cdef tuple ranges
    cdef bytes text
    cdef object search

    def __init__(self, *args, ranges, bytes text=None, search=None, **settings):
        RequestCheck.__init__(self, *args, **settings)
        self.ranges = tuple(ranges)
        self.text = text
        self.search = search

    def judge(self, int status, int grpc_status, bytes body):
        if not any([first <= status <= last for first, last in self.ranges]):
            return f"status {status}"
        if self.text is not None and self.text not in body:
            return "the expected text is not in the body"
        if self.search is not None and not self.search(body):
            return "the expected expression is not found in the body"
        return None


cdef class GrpcCheck(RequestCheck):
    """grpc.health.v1.Health/Check; see grpc.message_of for the body."""

    def __init__(self, *args, **settings):
        RequestCheck.__init__(self, *args, **settings)
        self.grpc = True

    def judge(self, int status, int grpc_status, bytes body):
        if status != 200 or grpc_status != 0:
            return f"grpc-status {grpc_status}" if grpc_status >= 0 else f"status {status}"
        return serving_status(body)


SERVING = ("unknown", "serving", "not serving", "service unknown")


def serving_status(bytes body):
    """None for a HealthCheckResponse that says SERVING (its one field is `ServingStatus status = 1`), else what it says."""
    cdef int at = 5
    cdef int value = 0
    if len(body) < 5 or body[0] != 0 or int.from_bytes(body[1:5], "big") != len(body) - 5:
        return "not a message of grpc.health.v1"
    while at + 1 < len(body) and body[at + 1] < 128:        # other fields than small varints stand in no such message
        if body[at] == 8:
            value = body[at + 1]
        elif body[at] & 7:
            break
        at += 2
    if value == 1:
        return None
    return SERVING[value] if value < len(SERVING) else f"status {value}"


def health_request(str service not None):
    """The gRPC message of a HealthCheckRequest (its one field is `string service = 1`)."""
    name = service.encode()
    if not name:
        return b"\0\0\0\0\0"
    size = bytes([len(name) & 127 | 128, len(name) >> 7]) if len(name) > 127 else bytes([len(name)])
    message = b"\x0a" + size + name
    return b"\0" + len(message).to_bytes(4, "big") + message
