# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""From a parsed head to an Exchange that knows where it goes: what all protocols of clients do in the same way.

    open_exchange (identity, client address) -> take_request (challenge, 421, route, limits, the head for endpoints)

Every protocol brings its requests into the form of an HTTP/1 head, which parse_request has checked; from there on
nobody needs to know how it was carried.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, strncmp

from lbd.engine.cluster cimport Cluster
from lbd.engine.exchange cimport INLINE_BODY_MAX, Downstream, Exchange, new_exchange
from lbd.engine.listener cimport Listener
from lbd.engine.fields cimport find_field, same_name
from lbd.engine.forwarded cimport find_client
from lbd.engine.http1 cimport BODY_LENGTH, BODY_NONE, M_GET, Head
from lbd.engine.key cimport KeySource
from lbd.engine.observer cimport TRACE_ROOM, Tracing, text_of
from lbd.engine.openssl cimport openssl
from lbd.engine.path cimport PATH_BAD, PATH_CHANGED, PATH_ROOM, path_of
from lbd.engine.reasons cimport (
    R_BAD_REQUEST, R_BODY_TOO_LARGE, R_MISDIRECTED, R_NO_ROUTE, R_NONE, R_TOO_MANY_TUNNELS,
)
from lbd.engine.rewrite cimport ADDITIONS_MAX, RequestRewrite, write_request
from lbd.engine.router cimport RequestView, Respond, Route
from lbd.engine.sticky cimport Sticky
from lbd.engine.tls_stream cimport TlsStream

from lbd.engine.router import Respond as make_respond

cdef char[PATH_ROOM] PATH           # of the request at hand


cdef Exchange open_exchange(Downstream downstream, const Head* head):
    """A new Exchange with its id; head: NULL when the request could not even be read."""
    cdef Exchange x = new_exchange(downstream)
    cdef uint64_t high = downstream.listener.reactor.random()
    cdef uint64_t low = downstream.listener.reactor.random()
    cdef const char* digits = b"0123456789abcdef"
    cdef int i
    x.route = downstream.listener.unrouted
    for i in range(16):
        x.request_id[i] = digits[high & 15]
        x.request_id[16 + i] = digits[low & 15]
        high >>= 4
        low >>= 4
    memcpy(x.client, downstream.peer, 16)
    if downstream.secure and downstream.listener.observed:
        x.tls = openssl.SSL_get_version((<TlsStream> downstream.stream).ssl)
    if downstream.listener.tracer is not None:
        (<Tracing> downstream.listener.tracer).begin(&x.trace, head, downstream.listener.trusts(downstream.peer))
    if head == NULL:
        return x
    x.method = head.method
    x.minor = head.minor
    x.keep_alive = head.keep_alive and not downstream.listener.draining
    x.request_framing = head.framing
    x.as_json = _prefers_json(head)
    if head.n_forwarded:
        find_client(downstream.listener, head, downstream.peer, x.client)
    return x


cdef bint _prefers_json(const Head* head) noexcept:
    cdef int at = find_field(head, b"accept", 6, 0)
    if at < 0 or head.fields[at].value_len < 16:
        return False
    return same_name(head.base + head.fields[at].value, b"application/json", 16)


cdef int take_request(Downstream downstream, Exchange x, Head* head) except -1:
    """Decide where it goes and write the head for endpoints. 0, or a Reason to refuse it with."""
    cdef Listener listener = downstream.listener
    cdef const char* path = NULL
    cdef size_t path_len = 0
    cdef int reason
    if listener.well_known is not None and _is_challenge(listener, x, head):
        return 0
    if listener.redirect is not None:
        x.respond = listener.redirect
        return 0
    if downstream.secure and _is_misdirected(downstream, head):
        return R_MISDIRECTED
    reason = _find_route(downstream, x, head, &path, &path_len)
    if reason:
        return reason
    if head.framing == BODY_LENGTH and x.route.body_limit >= 0 and head.content_length > x.route.body_limit:
        return R_BODY_TOO_LARGE
    if x.cluster is not None:
        _write_head(downstream, x, head, path, path_len)
        if x.upgrade and x.route.max_tunnels and x.route.tunnels >= x.route.max_tunnels:
            return R_TOO_MANY_TUNNELS
    return 0


cdef bint _is_challenge(Listener listener, Exchange x, const Head* head):
    """A request of an ACME authority for one of our tokens (RFC 8555 8.3)."""
    cdef bytes body = listener.well_known.get(head.base[head.path:head.path + head.path_len])
    if body is None:
        return False
    x.respond = make_respond(200, [(b"Content-Type", b"application/octet-stream")], body)
    return True


cdef bint _is_misdirected(Downstream downstream, const Head* head):
    """Does the request's authority belong to another certificate than the connection (RFC 9110 7.4, 15.5.20)?"""
    cdef TlsStream stream = <TlsStream> downstream.stream
    cdef const char* name
    if stream is None or head.authority == NULL or downstream.listener.tls.contexts < 2:    # None: a rehearsal
        return False
    name = stream.server_name()
    if name != NULL and head.host_len and strncmp(name, head.authority, head.host_len) == 0 and name[head.host_len] == 0:
        return False
    return not downstream.listener.tls.shares_context(name, head.authority, head.host_len)


cdef int _find_route(Downstream downstream, Exchange x, Head* head, const char** path, size_t* path_len) except -1:
    """Normal form of the path, then the route. 0 or a Reason; *path stays NULL when the target is kept."""
    cdef RequestView view
    cdef Route route
    cdef int status = path_of(head, downstream.listener.path_mode, PATH, &view.path, &view.path_len)
    if status == PATH_BAD:
        return R_BAD_REQUEST
    if status == PATH_CHANGED:
        path[0] = view.path
        path_len[0] = view.path_len
    view.head = head
    view.client = x.client
    view.identity = <void*> downstream.identity
    route = downstream.listener.router.match(&view, None)
    if route is None:
        return R_NO_ROUTE
    x.route = route
    x.respond = route.respond
    if route.cluster is None:
        return 0
    x.urgency = route.urgency
    return _choose_cluster(downstream, x, route, &view)


cdef int _choose_cluster(Downstream downstream, Exchange x, Route route, const RequestView* view) except -1:
    """The route's cluster, or what serves in its place while it cannot. 0 or a Reason."""
    cdef int reason = R_NONE
    cdef Cluster cluster = route.cluster.serving(x.urgency, route.selection, route.labels, &reason)
    if reason and cluster.fallback_respond is not None:
        cluster.stats.fallbacks += 1
        x.respond = <Respond> cluster.fallback_respond
        return 0
    if reason:
        return reason
    x.selection = route.selection
    if cluster is not route.cluster:
        # the labels of the route hold there as well: what must stay in a region does
        x.selection = cluster.subset(route.labels) if route.labels else cluster.selection
    x.cluster = cluster
    x.retry = route.retry if route.retry is not None else cluster.retry
    if route.total_ms:
        x.deadline = x.listener.reactor.wheel.now + route.total_ms
    if cluster.key is not None:
        x.pick_key = (<KeySource> cluster.key).of_request(view, downstream.listener.router)
    if cluster.sticky is not None:
        _find_session(downstream, x, view)
    return 0


cdef int _find_session(Downstream downstream, Exchange x, const RequestView* view) except -1:
    """The endpoint of the request's session, if it has one that may serve it."""
    cdef Cluster cluster = x.cluster
    cdef bint known = False
    x.pinned = (<Sticky> cluster.sticky).find(view, downstream.listener.router, cluster.now(), &x.session, &known)
    if x.pinned is not None and not x.selection.holds(x.pinned):
        x.pinned = None
    if x.pinned is not None:
        cluster.stats.sticky_kept += 1
    elif known:
        cluster.stats.sticky_lost += 1
    return 0


cdef int _write_head(Downstream downstream, Exchange x, Head* head, const char* path, size_t path_len) except -1:
    """The head for endpoints into x.head, with room for a small body behind it."""
    cdef RequestRewrite how
    cdef Listener listener = downstream.listener
    cdef bytes host = x.cluster.host
    cdef size_t room
    cdef int at
    how.path = path
    how.path_len = path_len
    how.replace_host = head.absolute or host is not None or head.authority == NULL
    if head.authority == NULL:
        head.authority = <const char*> listener.authority
        head.authority_len = <uint32_t> len(listener.authority)
    how.host = head.authority
    how.host_len = head.authority_len
    if host is not None:
        how.host = <const char*> host
        how.host_len = len(host)
    how.client = downstream.peer_text
    how.client_len = downstream.peer_text_len
    how.secure = downstream.secure
    how.trusted = head.n_forwarded != 0 and listener.trusts(downstream.peer)
    how.request_id = x.request_id
    how.keep_request_id = False
    if how.trusted:
        at = find_field(head, b"x-request-id", 12, 0)
        if at >= 0 and head.fields[at].value_len:
            how.keep_request_id = True
            if head.fields[at].value_len == 32:
                memcpy(x.request_id, head.base + head.fields[at].value, 32)
    how.upgrade = (head.upgrade >= 0 and head.method == M_GET and head.minor == 1 and head.framing == BODY_NONE
                   and head.fields[head.upgrade].value_len == 9
                   and same_name(head.base + head.fields[head.upgrade].value, b"websocket", 9))
    x.upgrade = how.upgrade
    how.identity = NULL
    how.identity_len = 0
    if downstream.identity is not None:
        how.identity = <const char*> downstream.identity.fields
        how.identity_len = len(downstream.identity.fields)
    how.rfc7239 = listener.rfc7239
    how.traced = listener.tracer is not None
    how.keep_state = x.trace.keeps_state
    how.id_fields = how.traced and (<Tracing> listener.tracer).id_fields
    room = head.length + 3 * head.authority_len + how.host_len + how.identity_len + ADDITIONS_MAX
    if head.framing == BODY_LENGTH and head.content_length <= INLINE_BODY_MAX:
        room += <size_t> head.content_length
    if how.traced:
        room += TRACE_ROOM + text_of(x.route.name).n
    if room > x.head_cap:
        x.grow_head(room)
    x.head_len = <uint32_t> write_request(x.head, head, &how)
    if how.traced:
        x.head_len = (<Tracing> listener.tracer).write_fields(x.head, x.head_len, &x.trace, x.route.name)
    return 0


cdef int respond(Downstream downstream, Exchange x, const Head* head) except -1:
    """The answer that the route or the listener gives: fixed, or the way to https."""
    cdef Respond answer = x.respond
    cdef bytes fields = answer.headers
    if answer.https_port:
        fields = _location(head, answer.https_port, downstream.listener.authority)
    x.status = <unsigned short> answer.status
    x.response_begun = True
    downstream.answer(x, answer.status, fields, answer.body)
    return x.finish(True)


cdef bytes _location(const Head* head, int port, bytes authority):
    """The same resource by https. The target is as received: parse_request let only printable ASCII through."""
    cdef bytes host = authority.rpartition(b":")[0]
    cdef bytes path = head.base[head.path:head.path + head.path_len]
    if head.authority != NULL:
        host = head.authority[:head.host_len]
    if path == b"*" or not path:
        path = b"/"
    if head.has_query:
        path += b"?" + head.base[head.query:head.query + head.query_len]
    if port != 443:
        host = b"%b:%d" % (host, port)
    return b"Location: https://%b%b\r\n" % (host, path)
