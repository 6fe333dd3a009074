# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Sessions that stay with their endpoint: by a cookie of lbd's own, or by a name that the request carries.

Strategy, cookie: each endpoint has one token, an HMAC of its name under a secret; it tells nothing of the endpoint, cannot
be guessed, needs no table, and is the same in all workers and, with a configured secret, on all nodes and after
restarts. Strategy, name (header, capture, query, another cookie): a table in the shared block, four places to a bucket,
the longest unused of which gives way; nothing in it is older than the idle time.

A session goes back to its endpoint while that serves what it has: also when it drains, never when it is disabled,
unhealthy or held back. Then the balancer chooses, and the session has a new endpoint.
"""

import base64
import hashlib
import hmac

from libc.stdint cimport uint32_t, uint64_t

from lbd.engine.bytemap cimport ByteMap, hash_bytes
from lbd.engine.endpoint cimport Endpoint
from lbd.engine.key cimport KeySource
from lbd.engine.router cimport RequestView, Router
from lbd.engine.shared cimport Shared

cdef enum:
    WAYS = 4
    TOKEN_BYTES = 18            # 144 bits: 24 characters


cdef class Sticky:
    """source: where the session's name is; by_cookie: it is the cookie that lbd sets, with these attributes."""

    def __cinit__(self, KeySource source not None, *, str cluster, bint by_cookie=False, bytes secret=b"",
                  str attributes="", Shared shared=None, unsigned int sessions=65536, unsigned int idle_s=1800):
        self.source = source
        self.by_cookie = by_cookie
        self.secret = secret + b"\0" + cluster.encode()
        self.attributes = attributes
        self.cookie = source.name.encode()
        self.idle_s = idle_s
        self.members = ()
        self.lines = {}
        self.by_hash = {}
        self.tokens = ByteMap()
        if not by_cookie:
            if sessions & (sessions - 1) or sessions < WAYS:
                raise ValueError("sessions must be a power of two")
            self.mask = sessions // WAYS - 1
            self.table = <Session*> shared.find("sessions", f"{cluster}/{sessions}", sessions * sizeof(Session), 0)

    def __repr__(self):
        return f"<Sticky {self.source!r}>"

    def set_members(self, endpoints):
        """The endpoints of the cluster, whatever their state."""
        cdef bytes token
        cdef int i
        self.members = tuple(endpoints)
        self.by_hash = {_short(endpoint): endpoint for endpoint in endpoints}
        if not self.by_cookie:
            return
        self.tokens = ByteMap()
        self.lines = {}
        for i, endpoint in enumerate(self.members):
            token = self.token(endpoint)
            self.tokens.put(0, token, i)
            plain = b"Set-Cookie: %b=%b%b\r\n" % (self.cookie, token, self.attributes.encode())
            self.lines[endpoint] = (plain, plain[:-2] + b"; Secure\r\n")

    def token(self, endpoint):
        """What the cookie says for this endpoint."""
        mac = hmac.new(self.secret, endpoint.name.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(mac[:TOKEN_BYTES])

    cdef Endpoint find(self, const RequestView* request, Router router, uint64_t now, uint64_t* session,
                       bint* known) noexcept:
        """The endpoint of the request's session, or None; *session: for remember(), 0 when it has none; *known: it had an
        endpoint."""
        cdef const char* value = NULL
        cdef size_t n = 0
        cdef int index
        cdef Endpoint endpoint = None
        cdef Session* bucket
        session[0] = 0
        if not self.source.take(request, router, &value, &n):
            return None
        session[0] = hash_bytes(1, value, n) or 1
        if self.by_cookie:
            index = self.tokens.find(0, value, n)
            known[0] = True
            endpoint = None if index < 0 else <Endpoint> self.members[index]
        else:
            bucket = &self.table[(session[0] & self.mask) * WAYS]
            for index in range(WAYS):
                if bucket[index].key == session[0] and <uint32_t> (now // 1000) - bucket[index].seen <= self.idle_s:
                    known[0] = True
                    endpoint = <Endpoint> self.by_hash.get(bucket[index].endpoint)
        return endpoint if endpoint is not None and endpoint.keeps else None

    cdef void remember(self, uint64_t session, Endpoint endpoint, uint64_t now) noexcept:
        """This endpoint serves the session now."""
        cdef Session* bucket
        cdef int index
        cdef int chosen = 0
        if self.by_cookie or session == 0:
            return
        bucket = &self.table[(session & self.mask) * WAYS]
        for index in range(WAYS):
            if bucket[index].key == session:
                chosen = index
                break
            if bucket[index].seen < bucket[chosen].seen:
                chosen = index
        bucket[chosen].endpoint = _short(endpoint)
        bucket[chosen].seen = <uint32_t> (now // 1000)
        bucket[chosen].key = session

    cdef bytes line(self, Endpoint endpoint, bint secure):
        """The Set-Cookie line that binds a session to this endpoint."""
        cdef tuple pair = self.lines.get(endpoint)
        return None if pair is None else pair[1] if secure else pair[0]


cdef uint32_t _short(Endpoint endpoint):
    cdef bytes name = endpoint.name.encode()
    return <uint32_t> hash_bytes(2, <const char*> name, len(name))
