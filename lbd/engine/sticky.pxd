# cython: language_level=3
"""Sessions that stay with their endpoint. See sticky.pyx."""

from libc.stdint cimport uint32_t, uint64_t

from lbd.engine.bytemap cimport ByteMap
from lbd.engine.cluster cimport Cluster
from lbd.engine.endpoint cimport Endpoint
from lbd.engine.key cimport KeySource
from lbd.engine.router cimport RequestView, Router

cdef struct Session:
    uint64_t key                # hash of the session's name, 0 = free
    uint32_t endpoint           # hash of the endpoint's name
    uint32_t seen               # seconds on the monotonic clock


cdef class Sticky:
    cdef readonly KeySource source
    cdef readonly bint by_cookie
    cdef bytes secret
    cdef str attributes
    cdef bytes cookie
    cdef dict lines             # Endpoint -> Set-Cookie line
    cdef ByteMap tokens         # token -> index into members
    cdef tuple members
    cdef dict by_hash           # uint32 of a name -> Endpoint
    cdef Session* table
    cdef uint64_t mask          # of buckets of four
    cdef uint32_t idle_s

    cdef Endpoint find(self, const RequestView* request, Router router, uint64_t now, uint64_t* session,
                       bint* known) noexcept
    cdef void remember(self, uint64_t session, Endpoint endpoint, uint64_t now) noexcept
    cdef bytes line(self, Endpoint endpoint, bint secure)
