# cython: language_level=3
"""Finding the Route of a request. See router.pyx."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from lbd.engine.bytemap cimport ByteMap
from lbd.engine.cluster cimport Cluster
from lbd.engine.selection cimport Selection
from lbd.engine.http1 cimport Head
from lbd.engine.retry cimport RetryPolicy
from lbd.engine.shared cimport RouteStats

cdef enum:
    MAX_CAPTURES = 16
    MAX_DEPTH = 64              # segments looked at; deeper paths match by prefix only

cdef struct RequestView:        # what matchers may look at
    const Head* head
    const char* path            # in the form that is matched and forwarded
    size_t path_len
    const uint8_t* client       # 16 bytes, IPv4 mapped into IPv6
    void* identity              # borrowed ClientIdentity of a verified certificate, or None

cdef struct Capture:
    uint32_t start, length      # in RequestView.path


cdef class Matcher:
    cdef bint match(self, const RequestView* request) noexcept


cdef class Respond:
    cdef readonly int status
    cdef readonly bytes headers         # field lines with CRLF, without framing
    cdef readonly bytes body
    cdef readonly int https_port        # a redirect to https there; 0: the fixed answer


cdef class Route:
    cdef readonly str name
    cdef readonly uint32_t rank
    cdef readonly tuple matchers        # what host and path tables do not decide
    cdef readonly Cluster cluster       # or
    cdef readonly Respond respond
    cdef readonly dict labels           # endpoints of the cluster must carry them; empty: any
    cdef readonly Selection selection   # of the cluster, by these labels
    cdef readonly RetryPolicy retry     # in place of the cluster's, or None
    cdef readonly uint8_t urgency       # 0 high, 1 normal, 2 low
    cdef readonly tuple captures        # names
    cdef readonly object source         # where the config wrote it, for explain
    cdef RouteStats* stats
    cdef uint64_t response_ms, body_ms, tunnel_ms
    cdef uint64_t total_ms              # for the whole exchange, 0 = none
    cdef uint32_t max_tunnels, tunnels  # WebSockets: at most (0 = any), open now
    cdef int64_t body_limit             # bytes, -1 = none


cdef class Router:
    cdef dict known
    cdef Route only                     # the one route without matchers, or None
    cdef ByteMap hosts                  # exact -> root node
    cdef ByteMap wildcards              # suffix with its dot -> root node
    cdef int32_t any_host               # root node, or -1
    cdef ByteMap edges                  # (node, segment) -> node
    cdef list nodes
    cdef Capture taken[MAX_CAPTURES]    # on the way down
    cdef readonly int captured
    cdef Route matched                  # the last result
    cdef Capture capture[MAX_CAPTURES]  # of the best so far
    cdef int depth_captures

    cdef int _view(self, bytes raw_head, bytes address, int path_mode, RequestView* view) except -1
    cdef Route match(self, const RequestView* request, recorder)
    cdef Route _search(self, int32_t root, const RequestView* request, Route best, recorder)
    cdef Route _walk(self, int32_t node, size_t at, int depth, const RequestView* request, Route best, recorder)
    cdef Route _consider(self, tuple candidates, const RequestView* request, Route best, recorder)
