# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""TcpCheck: does the endpoint take a connection (and a TLS handshake, where it is to speak TLS)?"""

from lbd.engine.endpoint cimport Endpoint
from lbd.engine.pool cimport ConnectionPool, PooledConnection, Waiter
from lbd.engine.preamble cimport write_unknown
from lbd.health.check cimport Check, said_of


cdef class Attempt(Waiter):
    """One connection under way; it outlives the check that gave it up."""

    cdef PooledConnection fresh(self):
        return PooledConnection.__new__(PooledConnection)

    cdef size_t preamble(self, char* out, int version) noexcept:
        return write_unknown(out, version)

    cdef int on_connection(self, PooledConnection connection) except -1:
        cdef TcpCheck check = self.check
        if check is not None:
            check.note_rtt(connection.stream.fd)
        connection.drop(False)
        if check is not None:
            check.attempt = None
            check.done(True, None)
        return 0

    cdef int on_no_connection(self, int reason) except -1:
        cdef TcpCheck check = self.check
        if check is not None:
            check.attempt = None
            check.done(False, said_of(reason))
        return 0


cdef class TcpCheck(Check):
    """asked: a copy of the endpoint with a pool and figures for checks only; port: 0 = the endpoint's. The rest: see
    Check."""

    def __init__(self, *args, Endpoint asked not None, int port=0, **settings):
        Check.__init__(self, *args, **settings)
        self.asked = asked
        self.port = port

    def stop(self):
        Check.stop(self)
        self.asked.detach()             # a connection under way counts on

    cdef int begin(self) except -1:
        cdef ConnectionPool pool = self.asked.pool
        cdef int status
        self.take_address(pool, self.port)
        self.attempt = Attempt.__new__(Attempt)
        self.attempt.check = self
        status = pool.connect(self.attempt, self.attempt.fresh())
        if status < 0:
            self.attempt = None
            return self.done(False, said_of(-status))
        return 0

    cdef int cut(self) except -1:
        if self.attempt is not None:
            self.attempt.check = None
            self.attempt = None
        return 0
