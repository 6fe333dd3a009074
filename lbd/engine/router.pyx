# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Router: host table, path trie, then what is left to match, best rank wins.

Strategy: compile gives each route a rank (0 = first choice): priority, then host (exact, longer wildcard, shorter,
any), then path (literal before template before prefix), then order. A request looks up its host exactly, by each
parent domain, and for "any"; each hit is the root of a trie whose edges live in one hash table keyed by (node,
segment). Every route met on the way down is considered only if its rank beats the best so far. So the cost follows the
depth of the path and the number of labels in the host, not the number of routes.

The same call explains: with a recorder, each route considered is reported with the matcher that refused it.
"""

import ipaddress

from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.string cimport memchr, memcmp

from lbd.engine.bytemap cimport ByteMap
from lbd.engine.cluster cimport Cluster
from lbd.engine.http1 cimport MAX_FIELDS, PARSE_DONE, PARSE_MORE, Field, Head, Limits, parse_request
from lbd.engine.path cimport PATH_BAD, PATH_NORMALIZE, PATH_ROOM, path_of
from lbd.engine.reasons cimport reason_code
from lbd.engine.retry cimport RetryPolicy
from lbd.engine.shared cimport RouteStats, Shared

cdef enum:
    HOST_MAX = 256


cdef class Matcher:
    """One condition that tables cannot decide; see matchers.pyx."""

    cdef bint match(self, const RequestView* request) noexcept:
        return True


cdef class Respond:
    """An answer made by lbd itself."""

    def __init__(self, int status, headers=(), bytes body=b"", int https_port=0):
        self.status = status
        self.https_port = https_port
        self.headers = b"".join(b"%b: %b\r\n" % pair for pair in headers)
        self.body = body


cdef class Route:
    """Where a request goes and under which limits. Times in milliseconds (0 = none, or the
    cluster's), sizes in bytes (-1 = none)."""

    def __cinit__(self, str name not None, *, int rank=0, matchers=(), Cluster cluster=None, Respond respond=None,
                  dict labels=None, RetryPolicy retry=None, int urgency=1, captures=(), source=None,
                  response_ms=0, body_ms=0, tunnel_ms=0, total_ms=0, body_limit=-1, max_tunnels=0,
                  Shared shared=None, str listener="", int worker=0):
        self.name = name
        self.rank = rank
        self.matchers = tuple(matchers)
        self.cluster = cluster
        self.respond = respond
        self.labels = labels or {}
        if cluster is not None:
            self.selection = cluster.subset(self.labels) if self.labels else cluster.selection
        self.retry = retry
        self.urgency = urgency
        self.total_ms = total_ms
        self.captures = tuple(captures)
        self.source = source
        self.response_ms = response_ms
        self.body_ms = body_ms
        self.body_limit = body_limit
        self.tunnel_ms = tunnel_ms
        self.max_tunnels = max_tunnels
        if shared is not None:
            self.stats = <RouteStats*> shared.find(
                "route", f"{listener}/{name}/{cluster.name if cluster else ''}", sizeof(RouteStats), worker)

    def __repr__(self):
        return f"<Route {self.name} rank={self.rank}>"


cdef Head EXPLAINED
cdef Field[MAX_FIELDS] EXPLAINED_FIELDS
cdef char[PATH_ROOM] PATH
cdef Limits ANY
EXPLAINED.fields = EXPLAINED_FIELDS
ANY.request_line = ANY.head = PATH_ROOM
ANY.fields = MAX_FIELDS
ANY.keep_underscore = True


def packed_address(str text):
    """An IP literal as 16 bytes, IPv4 mapped into IPv6."""
    address = ipaddress.ip_address(text)
    return b"\0" * 10 + b"\xff\xff" + address.packed if address.version == 4 else address.packed


cdef class _Considered:
    """A recorder that keeps what match reports."""
    cdef readonly list rows

    def __cinit__(self):
        self.rows = []

    def route(self, Route route, str outcome, detail):
        self.rows.append((route.name, outcome, "" if detail is None else repr(detail)))


cdef class Node:
    """A place in the path trie."""
    cdef tuple exact            # routes that end here, by rank
    cdef tuple below            # routes of "/*" here
    cdef list templates         # [(suffix, node)], longer suffixes first
    cdef uint32_t best          # lowest rank in the subtree

    def __cinit__(self):
        self.exact = ()
        self.below = ()
        self.templates = []
        self.best = 0xFFFFFFFF


cdef class Router:
    """Built from [(host or None, segments or None, below, Route)], see control/routes.py for what they are made of.

    segments: list of bytes (literal) or (capture name, suffix bytes); None with below=True is every path.
    """

    def __init__(self, entries=()):
        self.known = {}
        self.hosts = ByteMap()
        self.wildcards = ByteMap()
        self.edges = ByteMap()
        self.nodes = []
        self.any_host = -1
        for entry in sorted(entries, key=lambda entry: entry[3].rank):
            self.add(*entry)

    def __repr__(self):
        return f"<Router routes={len(self.known)} nodes={len(self.nodes)}>"

    @property
    def routes(self):
        """By rank."""
        return tuple(self.known)

    def _new_node(self):
        self.nodes.append(Node())
        return len(self.nodes) - 1

    def _root(self, bytes host):
        cdef int32_t node
        cdef ByteMap table
        if host is None:
            if self.any_host < 0:
                self.any_host = self._new_node()
            return self.any_host
        table = self.hosts
        if host.startswith(b"*."):
            table = self.wildcards
            host = host[1:]
        node = table.find(0, <const char*> host, len(host))
        if node < 0:
            node = self._new_node()
            table.put(0, host, node)
        return node

    def _child(self, int32_t at, segment):
        cdef Node node = self.nodes[at]
        cdef int32_t child
        if isinstance(segment, bytes):
            child = self.edges.find(at, <const char*> <bytes> segment, len(segment))
            if child < 0:
                child = self._new_node()
                self.edges.put(at, segment, child)
            return child
        for suffix, child in node.templates:
            if suffix == segment[1]:
                return child
        child = self._new_node()
        node.templates.append((segment[1], child))
        node.templates.sort(key=lambda t: -len(t[0]))
        return child

    def add(self, host, segments, below, Route route):
        """One more way to a route, of a higher rank than those before; for those who make a Router little by little."""
        cdef Node node
        cdef int32_t at
        self.only = None
        if not self.nodes and host is None and not segments and below and not route.matchers:
            self.only = route
        self.known[route] = None
        at = self._root(host)
        for segment in (None, *(segments or ())):
            if segment is not None:
                at = self._child(at, segment)
            node = self.nodes[at]
            node.best = min(node.best, route.rank)
        if below:
            node.below += (route,)
        else:
            node.exact += (route,)

    def explain(self, bytes raw_head not None, str client="127.0.0.1", *, int path_mode=PATH_NORMALIZE):
        """How a request would be routed: route, captures and every route considered, best first last."""
        cdef RequestView view
        cdef bytes address = packed_address(client)
        cdef Route route
        cdef _Considered considered = _Considered()
        self._view(raw_head, address, path_mode, &view)
        route = self.match(&view, considered)
        path = view.path[:view.path_len]
        values = [path[self.capture[i].start:self.capture[i].start + self.capture[i].length].decode("latin-1")
                  for i in range(self.captured)]
        return {
            "route": None if route is None else route.name,
            "captures": {} if route is None else dict(zip(route.captures, values)),
            "considered": considered.rows,
        }

    def match_many(self, bytes raw_head not None, str client, long times):
        """Match the same request again and again (bench/micro)."""
        cdef RequestView view
        cdef bytes address = packed_address(client)
        cdef long _i
        self._view(raw_head, address, PATH_NORMALIZE, &view)
        for _i in range(times):
            self.match(&view, None)

    cdef int _view(self, bytes raw_head, bytes address, int path_mode, RequestView* view) except -1:
        """Parse a head given by hand into EXPLAINED; the views's pointers live as long as the arguments."""
        cdef int status = parse_request(<const char*> raw_head, len(raw_head), &ANY, &EXPLAINED)
        if status != PARSE_DONE:
            raise ValueError("incomplete head" if status == PARSE_MORE else reason_code(-status).decode())
        if path_of(&EXPLAINED, path_mode, PATH, &view.path, &view.path_len) == PATH_BAD:
            raise ValueError("the path has no normal form")
        view.head = &EXPLAINED
        view.client = <const uint8_t*> <const char*> address
        view.identity = <void*> None
        return 0

    cdef Route match(self, const RequestView* request, recorder):
        """The route of the request, or None. Captures of the chosen one are in `capture[:captured]`."""
        cdef char[HOST_MAX] host
        cdef const Head* head = request.head
        cdef Route best = None
        cdef size_t n = head.host_len
        cdef size_t i
        cdef int32_t root
        self.captured = 0
        if self.only is not None and recorder is None:
            self.matched = self.only
            return self.only
        if n and n < HOST_MAX and (self.hosts.used or self.wildcards.used):
            for i in range(n):
                host[i] = head.authority[i] | 0x20 if c'A' <= head.authority[i] <= c'Z' else head.authority[i]
            if n > 1 and host[n - 1] == c'.':           # a fully qualified name's final dot
                n -= 1
            root = self.hosts.find(0, host, n)
            if root >= 0:
                best = self._search(root, request, best, recorder)
            if self.wildcards.used:
                for i in range(1, n):
                    if host[i] == c'.':
                        root = self.wildcards.find(0, host + i, n - i)
                        if root >= 0:
                            best = self._search(root, request, best, recorder)
        if self.any_host >= 0:
            best = self._search(self.any_host, request, best, recorder)
        self.matched = best
        return best

    cdef Route _search(self, int32_t root, const RequestView* request, Route best, recorder):
        self.depth_captures = 0
        return self._walk(root, 0, 0, request, best, recorder)

    cdef Route _walk(self, int32_t at_node, size_t at, int depth, const RequestView* request, Route best, recorder):
        cdef Node node = <Node> self.nodes[at_node]
        cdef const char* path = request.path
        cdef size_t n = request.path_len
        cdef const char* slash
        cdef size_t start, length, suffix_len
        cdef int32_t child
        cdef bytes suffix
        cdef int captures = self.depth_captures
        if best is not None and node.best >= best.rank and recorder is None:
            return best
        if node.below:
            best = self._consider(node.below, request, best, recorder)
        if at >= n or depth >= MAX_DEPTH:
            return self._consider(node.exact, request, best, recorder) if at >= n and node.exact else best
        if path[0] != c'/':                             # "*" of OPTIONS: no segments
            return best
        start = at + 1
        slash = <const char*> memchr(path + start, c'/', n - start)
        length = (n if slash == NULL else <size_t> (slash - path)) - start
        child = self.edges.find(<uint32_t> at_node, path + start, length)
        if child >= 0:
            best = self._walk(child, start + length, depth + 1, request, best, recorder)
        for suffix, child in node.templates:
            suffix_len = len(suffix)
            if length <= suffix_len or captures >= MAX_CAPTURES:
                continue
            if memcmp(path + start + length - suffix_len, <const char*> suffix, suffix_len):
                continue
            self.taken[captures].start = <uint32_t> start
            self.taken[captures].length = <uint32_t> (length - suffix_len)
            self.depth_captures = captures + 1
            best = self._walk(child, start + length, depth + 1, request, best, recorder)
            self.depth_captures = captures
        return best

    cdef Route _consider(self, tuple candidates, const RequestView* request, Route best, recorder):
        cdef Route route
        cdef Matcher matcher
        cdef bint good
        for route in candidates:
            if best is not None and route.rank >= best.rank:
                if recorder is None:
                    return best
                recorder.route(route, "outranked", best)
                continue
            good = True
            for matcher in route.matchers:
                if not matcher.match(request):
                    good = False
                    if recorder is not None:
                        recorder.route(route, "refused", matcher)
                    break
            if good:
                if recorder is not None:
                    recorder.route(route, "matched", None)
                best = route
                self.captured = self.depth_captures
                for i in range(self.depth_captures):
                    self.capture[i] = self.taken[i]
        return best
