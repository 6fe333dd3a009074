# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Rehearsal: where a request would go and why, decided by the functions that serve traffic, without a trace.

Strategy: the request is given to them as a client's would be (parse_request, Router.match with a recorder, take_request,
Cluster.pick and pick_again), by a client that nobody is. What they would change is kept before and put back after: turns
and random numbers of balancers and clusters, the tokens of the retry budget, what this worker has counted; and guards
decide on copies of their circuits. All of it happens within one call on the worker's loop, so no request of
a client comes between. The one thing that stays: the first request for a fallback with labels makes that selection.
"""

import ipaddress

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from lbd.engine.cluster cimport Cluster
from lbd.engine.endpoint cimport Balancer, Endpoint
from lbd.engine.exchange cimport INLINE_BODY_MAX, Downstream, Exchange
from lbd.engine.guard cimport Guard
from lbd.engine.http1 cimport BODY_LENGTH, BODY_NONE, MAX_FIELDS, PARSE_DONE, PARSE_MORE, Field, Head, parse_request
from lbd.engine.intake cimport open_exchange, take_request
from lbd.engine.key cimport KeySource
from lbd.engine.listener cimport Listener
from lbd.engine.path cimport PATH_BAD, PATH_ROOM, path_of
from lbd.engine.reasons cimport R_BAD_REQUEST, R_NO_ENDPOINT, R_NONE, reason_code, reason_status
from lbd.engine.retry cimport RETRY_CONNECT_FAILED, RETRY_RESET, RetryPolicy
from lbd.engine.router cimport RequestView, Respond, Route, Router
from lbd.engine.selection cimport Selection
from lbd.engine.shared cimport CIRCUIT_CLOSED, Circuit, ClusterStats

from lbd.engine.retry import CAUSES
from lbd.engine.router import packed_address

cdef enum:
    HOPS_MAX = 4                # clusters that are asked along fallbacks, as in serving()
    KEPT_MAX = 8                # clusters whose state is kept: all of these, and one more

cdef char[PATH_ROOM] PATH
STATES = ("closed", "open", "half-open")


cdef class _Nobody(Downstream):
    """A client without a connection: what a decision needs of one."""


cdef class _Recorder:
    """What Router.match reports."""
    cdef readonly list rows

    def __cinit__(self):
        self.rows = []

    def route(self, Route route, str outcome, detail):
        self.rows.append((route, outcome, detail))


cdef class _Kept:
    """The state of a cluster that deciding changes; it rehearses until `put_back`."""
    cdef Cluster cluster
    cdef ClusterStats stats     # of this worker, which alone writes them
    cdef uint64_t seed
    cdef double tokens
    cdef uint64_t tokens_at
    cdef list balancers         # (Balancer, bookmark)
    cdef object on_change

    def __cinit__(self, Cluster cluster not None):
        cdef Selection selection
        cdef Balancer part
        self.cluster = cluster
        self.stats = cluster.stats[0]
        self.seed = cluster.seed
        self.on_change = cluster.on_change
        if cluster.budget is not None:
            self.tokens = cluster.budget.tokens
            self.tokens_at = cluster.budget.at
        self.balancers = [(part, part.bookmark()) for selection in (cluster.selection, *cluster.subsets.values())
                          for part in selection.parts]
        cluster.on_change = None
        self._set(True)

    cdef void _set(self, bint rehearsing) noexcept:
        cdef Guard guard
        self.cluster.rehearsing = rehearsing
        for guard in (self.cluster.passive, self.cluster.breaker):
            if guard is not None:
                guard.rehearsing = rehearsing

    cdef void put_back(self) noexcept:
        cdef Balancer part
        cdef bytes place
        self._set(False)
        self.cluster.stats[0] = self.stats
        self.cluster.seed = self.seed
        self.cluster.on_change = self.on_change
        if self.cluster.budget is not None:
            self.cluster.budget.tokens = self.tokens
            self.cluster.budget.at = self.tokens_at
        for part, place in self.balancers:
            part.go_back(place)


cdef class Rehearsal:
    """One request at one listener: what it comes to stands in the attributes. raw_head: an HTTP/1.1 head up to its empty
    line; None at a TCP listener. peer: the IP literal that the connection comes from. ValueError for a head that does
    not end.

    reason: code of the refusal by lbd, "" when it is served. cause: of the pick, `session` or `balancer`."""

    cdef readonly Listener listener
    cdef readonly bytes path                # as matched, None when the request was refused before
    cdef readonly str client                # its address behind trusted proxies, as 16 bytes in `client_address`
    cdef readonly bytes client_address
    cdef readonly list considered           # (Route, "matched" | "refused" | "outranked", Matcher | Route | None)
    cdef readonly Route route               # matched, None: no route, or there was no need of one
    cdef readonly dict captures
    cdef readonly list walked               # (Cluster, reason code or ""), from the route's own along its fallbacks
    cdef readonly Respond respond           # answered by lbd itself
    cdef readonly Cluster cluster           # that serves
    cdef readonly Selection selection
    cdef readonly uint64_t key              # for balancers that choose by one, 0: the request has none
    cdef readonly bint has_session, knows_session   # the request names one; the cluster knows it
    cdef readonly Endpoint pinned           # of the session
    cdef readonly Endpoint picked
    cdef readonly str cause
    cdef readonly list alternatives         # Endpoints of further attempts, in turn, if each fails to connect
    cdef readonly str reason
    cdef readonly int status                # of an answer by lbd itself, 0: the endpoint's
    cdef readonly bytes upstream_head       # as written for endpoints
    cdef readonly RetryPolicy retry
    cdef readonly bint upgrade
    cdef readonly object body_length        # announced, None when there is none
    cdef Exchange x
    cdef bytes raw
    cdef Head head
    cdef Field[MAX_FIELDS] fields

    def __init__(self, Listener listener not None, bytes raw_head, str peer="127.0.0.1", *, bint secure=False):
        cdef _Nobody client = _Nobody.__new__(_Nobody)
        cdef bytes address = packed_address(peer)
        cdef bytes text = peer.encode()
        self.listener = listener
        self.raw = raw_head
        self.reason = ""
        self.client = peer
        self.considered = []
        self.captures = {}
        self.walked = []
        self.alternatives = []
        client.listener = listener
        client.secure = secure
        memcpy(client.peer, <const char*> address, 16)
        client.peer_text_len = <unsigned char> min(<size_t> len(text), sizeof(client.peer_text))
        memcpy(client.peer_text, <const char*> text, client.peer_text_len)
        self.client_address = address
        if listener.router is None and listener.redirect is None:
            self._connect(client)
        else:
            self._request(client)
        self.x = None

    # what is decided ---------------------------------------------------------------------------------------------

    cdef int _connect(self, _Nobody client) except -1:
        """A TCP listener: as a tunnel begins."""
        cdef int reason = R_NONE
        cdef list kept = self._keep(self.listener.cluster)
        try:
            self._walk(self.listener.cluster, 1, self.listener.cluster.selection, {})
            self.cluster = self.listener.cluster.serving(1, self.listener.cluster.selection, None, &reason)
            if reason:
                return self._refuse(reason)
            self.selection = self.cluster.selection
            self.retry = self.cluster.retry
            if self.cluster.key is not None:
                self.key = (<KeySource> self.cluster.key).of_address(client.peer)
            self._pick()
        finally:
            _put_back(kept)
        return 0

    cdef int _request(self, _Nobody client) except -1:
        cdef int status = parse_request(<const char*> self.raw, len(self.raw), &self.listener.limits, self._fields())
        cdef uint64_t random
        cdef list kept
        if status == PARSE_MORE:
            raise ValueError("the head does not end")
        if status != PARSE_DONE:
            return self._refuse(-status)
        self.body_length = self.head.content_length if self.head.framing == BODY_LENGTH else None
        random = self.listener.reactor.random_state
        self.x = open_exchange(client, &self.head)
        self.listener.reactor.random_state = random
        self.client_address = self.x.client[:16]
        if self.listener.redirect is None:
            self._match()
        kept = self._keep(self.route.cluster if self.route is not None else None)
        try:
            self._decide(client, kept)
        finally:
            _put_back(kept)
        return 0

    cdef Head* _fields(self) noexcept:
        self.head.fields = self.fields
        return &self.head

    cdef int _match(self) except -1:
        """The route, with what spoke against the others."""
        cdef RequestView view
        cdef _Recorder recorder = _Recorder()
        cdef Router router = self.listener.router
        cdef int i
        if path_of(&self.head, self.listener.path_mode, PATH, &view.path, &view.path_len) == PATH_BAD:
            return self._refuse(R_BAD_REQUEST)
        view.head = &self.head
        view.client = self.x.client
        view.identity = <void*> None
        self.path = view.path[:view.path_len]
        self.route = router.match(&view, recorder)
        self.considered = recorder.rows
        if self.route is not None:
            for i, name in enumerate(self.route.captures[:router.captured]):
                self.captures[name] = self.path[router.capture[i].start:router.capture[i].start + router.capture[i].length]
        return 0

    cdef int _decide(self, _Nobody client, list kept) except -1:
        cdef Exchange x = self.x
        cdef uint64_t sessions
        cdef int reason
        cdef dict before = {}       # cluster -> sessions that it has counted
        if self.route is not None and self.route.cluster is not None:
            self._walk(self.route.cluster, self.route.urgency, self.route.selection, self.route.labels)
        for one in kept:
            sessions = (<_Kept> one).stats.sticky_kept + (<_Kept> one).stats.sticky_lost
            before[(<_Kept> one).cluster] = sessions
        reason = take_request(client, x, &self.head)
        if reason:
            return self._refuse(reason)
        self.respond = x.respond
        if x.respond is not None:
            self.status = x.respond.status
            return 0
        self.cluster = x.cluster
        self.selection = x.selection
        self.retry = x.retry
        self.key = x.pick_key
        self.pinned = x.pinned
        self.upgrade = x.upgrade
        self.upstream_head = x.head[:x.head_len]
        if self.cluster.sticky is not None:
            self.has_session = x.session != 0
            sessions = self.cluster.stats.sticky_kept + self.cluster.stats.sticky_lost
            self.knows_session = sessions != before[self.cluster]
        self._pick()
        return 0

    cdef int _walk(self, Cluster cluster, int urgency, Selection selection, dict labels) except -1:
        """Each cluster that is asked, as serving() does it."""
        cdef int reason
        cdef int _hop
        for _hop in range(HOPS_MAX):
            if cluster is None:
                return 0
            reason = cluster.refusal(urgency, selection, labels)
            self.walked.append((cluster, reason_code(reason).decode()))
            if reason == R_NONE or cluster.fallback is None:
                return 0
            cluster = cluster.fallback
            selection = cluster.subset(labels) if labels else cluster.selection
        return 0

    cdef int _pick(self) except -1:
        """As an exchange starts, and then as it goes on when connecting fails."""
        cdef Endpoint endpoint
        cdef list tried = []
        cdef unsigned int _attempt
        self.cause = "balancer"
        if self.pinned is not None and self.cluster.may_take(self.pinned):
            self.cause = "session"
            self.picked = self.pinned
        else:
            self.picked = self.cluster.pick(self.selection, self.key, None)
        if self.picked is None:
            return self._refuse(R_NO_ENDPOINT)
        if self.retry is None:
            return 0
        endpoint = self.picked
        for _attempt in range(self.retry.limit):
            tried.append(endpoint)
            endpoint = self.cluster.pick_again(self.selection, self.key, tried, self.retry, RETRY_CONNECT_FAILED)
            if endpoint is None:
                break
            self.alternatives.append(endpoint)
        return 0

    cdef int _refuse(self, int reason) except -1:
        self.reason = reason_code(reason).decode()
        self.status = reason_status(reason)
        return 0

    cdef list _keep(self, Cluster cluster):
        """Of the cluster and all that may stand in for it."""
        cdef list kept = []
        seen = set()
        while cluster is not None and cluster not in seen and len(kept) < KEPT_MAX:
            seen.add(cluster)
            kept.append(_Kept(cluster))
            cluster = cluster.fallback
        return kept

    # what is told of it ------------------------------------------------------------------------------------------

    def pick_from(self, Cluster cluster not None, dict labels):
        """The endpoint that this request would be given by another cluster than its own, as for config tests: one made from
        settings alone, without sessions. None: it has none. What is asked of that cluster leaves traces there."""
        cdef Selection selection = cluster.subset(labels) if labels else cluster.selection
        cdef RequestView view
        cdef uint64_t key = 0
        if cluster.key is not None and self.raw is None:
            key = (<KeySource> cluster.key).of_address(<const unsigned char*> <const char*> self.client_address)
        elif cluster.key is not None:
            self._view(&view)
            self.listener.router.match(&view, None)     # what was captured
            key = (<KeySource> cluster.key).of_request(&view, self.listener.router)
        return cluster.pick(selection, key, None)

    cdef void _view(self, RequestView* view) noexcept:
        """Of a request that had a path."""
        view.head = &self.head
        view.path = <const char*> self.path
        view.path_len = len(self.path)
        view.client = <const unsigned char*> <const char*> self.client_address
        view.identity = <void*> None

    def limits(self):
        """What applies to it, as compiled: milliseconds (0: none) and bytes (-1: any), by the names of settings."""
        cdef Listener one = self.listener
        found = {
            "listener": {"timeouts.head": one.head_ms, "timeouts.body": one.body_ms, "timeouts.write": one.write_ms,
                         "timeouts.idle": one.idle_ms, "timeouts.tunnel": one.tunnel_ms},
        }
        if self.route is not None:
            found["route"] = {"timeouts.total": self.route.total_ms, "timeouts.tunnel": self.route.tunnel_ms,
                              "limits.body": self.route.body_limit, "limits.tunnels": self.route.max_tunnels}
        if self.cluster is not None:
            found["cluster"] = {"timeouts.queue": self.cluster.queue_ms, "max_requests": self.cluster.max_requests,
                                "timeouts.response": self.cluster.response_ms, "timeouts.body": self.cluster.body_ms}
            if self.route is not None:      # what it says goes before
                found["cluster"]["timeouts.response"] = self.route.response_ms or self.cluster.response_ms
                found["cluster"]["timeouts.body"] = self.route.body_ms or self.cluster.body_ms
        return found

    def retry_plan(self):
        """The policy with what it makes of this very request; None without one. Waits in seconds (shortest, longest)."""
        cdef RetryPolicy policy = self.retry
        cdef unsigned int turn
        if policy is None or self.cluster is None:
            return None
        causes = [name for name, number in CAUSES.items() if policy.causes & (1 << <int> number)]
        method = self.raw.partition(b" ")[0].decode("latin-1") if self.raw is not None else ""
        return {
            "limit": policy.limit,
            "causes": causes,
            "safe_causes": [name for name in causes if CAUSES[name] < RETRY_RESET],
            "statuses": [status for status in range(400, 600) if policy.covers(CAUSES["status"], status)],
            "grpc": [code for code in range(32) if policy.covers(CAUSES["grpc"], code)],
            "method": method,
            "allowed": self.upstream_head is not None and policy.would_allow(method, self.upstream_head),
            "body_is_kept": self._is_body_kept(policy),
            "waits": [(policy.backoff(turn, 0) / 1000.0, policy.backoff(turn, 0xFFFFFFFFFFFFFFFFULL) / 1000.0)
                      for turn in range(1, policy.limit + 1)],
            "try_timeout": policy.try_ms / 1000.0,
            "hedge_after": policy.hedge_ms / 1000.0,
            "budget": None if self.cluster.budget is None else self.cluster.budget.left(self.cluster.now()),
        }

    cdef bint _is_body_kept(self, RetryPolicy policy) noexcept:
        """As far as its head tells: a body of unknown length may outgrow the buffer."""
        if self.head.framing == BODY_LENGTH:
            return self.head.content_length <= max(<uint32_t> INLINE_BODY_MAX, policy.buffer)
        return self.head.framing == BODY_NONE or policy.buffer != 0


def circuits_of(Cluster cluster not None, Endpoint endpoint):
    """The circuits that are not closed: `ejection` and `breaker` of an endpoint, or `breaker` of the cluster when endpoint
    is None. name -> (state, seconds until it is half-open or 0, tries under way or made)."""
    cdef uint64_t now = cluster.now()
    found = {}
    if endpoint is None:
        _tell(&cluster.state.breaker, "breaker", now, found)
    else:
        _tell(&endpoint.state.ejection, "ejection", now, found)
        _tell(&endpoint.state.breaker, "breaker", now, found)
    return found


def connections_of(Endpoint endpoint not None):
    """{"open", "idle", "queued"} of its pool, and whether there is room for one more exchange: "room"."""
    if endpoint.pool is None:
        return {"open": 0, "idle": 0, "queued": 0, "room": True}
    return {"open": endpoint.pool.open, "idle": endpoint.stats.idle, "queued": endpoint.pool.queue_len,
            "room": bool(endpoint.pool.has_room())}


def value_of(Rehearsal rehearsal not None, KeySource source not None):
    """What the request has there: bytes, or None when it is absent or empty."""
    cdef RequestView view
    cdef const char* value = NULL
    cdef size_t n = 0
    rehearsal._view(&view)
    if not source.take(&view, rehearsal.listener.router, &value, &n):
        return None
    return value[:n]


def packed_text(bytes address not None):
    """16 bytes -> an IP literal, the inverse of packed_address."""
    found = ipaddress.IPv6Address(address)
    return str(found.ipv4_mapped or found)


cdef int _tell(const Circuit* circuit, str name, uint64_t now, dict found) except -1:
    if circuit.state != CIRCUIT_CLOSED:
        left = (circuit.until - now) / 1000.0 if circuit.state == 1 and circuit.until > now else 0.0
        found[name] = (STATES[circuit.state], left, circuit.probes)
    return 0


cdef void _put_back(list kept) noexcept:
    cdef _Kept one
    for one in kept:
        one.put_back()
