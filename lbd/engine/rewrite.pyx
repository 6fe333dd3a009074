# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Heads as lbd sends them on: what came in, less what ends here, plus what a proxy adds.

Strategy: kept lines are copied in runs, so an ordinary head is one memcpy with a few lines behind it. Hop-by-hop fields
and those that Connection names are left out (RFC 9110 7.6.1), forwarding fields of peers that are not trusted are
replaced, trailers pass only by name (RFC 9110 6.5.1). The writers trust the parser: no bytes get here unchecked.

Room: out must hold head.length + 3 * head.authority_len + how.host_len + how.identity_len + ADDITIONS_MAX bytes;
paths never grow, and the forwarded addresses that are joined stood in the head before.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy

from lbd.engine.body cimport Body, parse_trailers
from lbd.engine.buffer cimport buffer_len
from lbd.engine.http1 cimport (
    BODY_CHUNKED, K_CLIENT_CERTIFICATE, K_CONNECTION, K_CONTENT_LENGTH, K_EXPECT, K_FORWARDED, K_FORWARDED_FOR,
    K_FORWARDED_HOST, K_FORWARDED_OTHER, K_FORWARDED_PROTO, K_HOP, K_HOST, K_NOMINATED, K_PLAIN, K_REQUEST_ID, K_TE,
    K_TRACE_ID, K_TRACEPARENT, K_TRACESTATE, K_TRAILER, K_TRANSFER_ENCODING, K_UNDERSCORE, K_UPGRADE, M_OPTIONS, Field, Head,
)


cdef inline char* _put(char* out, const char* p, size_t n) noexcept nogil:
    memcpy(out, p, n)
    return out + n


cdef inline uint32_t _line_end(const Head* head, uint32_t i) noexcept nogil:
    return head.fields[i + 1].name if i + 1 < head.n_fields else head.length - 2


cdef bint _keep_trace(const Field* field, const RequestRewrite* how) noexcept nogil:
    if not how.traced:
        return True
    if field.kind == K_TRACESTATE:
        return how.keep_state
    return field.kind == K_TRACE_ID and not how.id_fields


cdef bint _keep_in_request(const Head* head, const Field* field, const RequestRewrite* how) noexcept nogil:
    if field.kind == K_HOST:
        return not how.replace_host
    if field.kind == K_CONTENT_LENGTH or field.kind == K_TRANSFER_ENCODING:
        return True
    if field.kind == K_EXPECT:
        return head.minor == 1
    if field.kind == K_TRAILER:
        return head.framing == BODY_CHUNKED
    if field.kind == K_REQUEST_ID:
        return how.keep_request_id
    if field.kind >= K_TRACEPARENT:
        return _keep_trace(field, how)
    if field.kind == K_FORWARDED:
        return how.trusted and not how.rfc7239      # else it is written anew, with what stood there
    if field.kind == K_CLIENT_CERTIFICATE:
        return how.trusted and how.identity == NULL
    if field.kind == K_FORWARDED_PROTO or field.kind == K_FORWARDED_HOST or field.kind == K_FORWARDED_OTHER:
        return how.trusted
    return not (field.kind == K_HOP or field.kind == K_CONNECTION or field.kind == K_UPGRADE or field.kind == K_TE
                or field.kind == K_FORWARDED_FOR or field.kind == K_UNDERSCORE or field.kind == K_NOMINATED)


cdef char* _request_line(char* out, const Head* head, const RequestRewrite* how) noexcept nogil:
    out = _put(out, head.base, head.method_len)
    out[0] = c' '
    out += 1
    if how.path != NULL:
        out = _put(out, how.path, how.path_len)
    elif head.path_len:
        out = _put(out, head.base + head.path, head.path_len)
    elif head.method == M_OPTIONS and not head.has_query:
        out = _put(out, b"*", 1)                    # RFC 9112 3.2.4
    else:
        out = _put(out, b"/", 1)                    # absolute-form without a path (RFC 9112 3.2.1)
    if head.has_query:
        out[0] = c'?'
        out = _put(out + 1, head.base + head.query, head.query_len)
    return _put(out, b" HTTP/1.1\r\n", 11)


cdef char* _forwarded(char* out, const Head* head, const RequestRewrite* how) noexcept nogil:
    """One more element of Forwarded (RFC 7239 4), behind those of trusted proxies."""
    cdef uint32_t i
    cdef size_t j
    cdef bint colon = False
    out = _put(out, b"Forwarded: ", 11)
    if how.trusted:
        for i in range(head.n_fields):
            if head.fields[i].kind == K_FORWARDED and head.fields[i].value_len:
                out = _put(out, head.base + head.fields[i].value, head.fields[i].value_len)
                out = _put(out, b", ", 2)
    for j in range(how.client_len):
        colon |= how.client[j] == c':'
    out = _put(out, b'for="[', 6 if colon else 5)
    out = _put(out, how.client, how.client_len)
    out = _put(out, b']";host="', 9) if colon else _put(out, b'";host="', 8)
    out = _put(out, head.authority, head.authority_len)     # of a grammar without quotes and backslashes
    if how.secure:
        return _put(out, b'";proto=https\r\n', 15)
    return _put(out, b'";proto=http\r\n', 14)


cdef char* _forwarding(char* out, const Head* head, const RequestRewrite* how) noexcept nogil:
    """The fields that say where the request came from."""
    cdef uint32_t i
    cdef bint proto = False
    cdef bint host = False
    if how.rfc7239:
        out = _forwarded(out, head, how)
    out = _put(out, b"X-Forwarded-For: ", 17)
    if head.n_forwarded and how.trusted:
        for i in range(head.n_fields):
            if head.fields[i].kind == K_FORWARDED_FOR and head.fields[i].value_len:
                out = _put(out, head.base + head.fields[i].value, head.fields[i].value_len)
                out = _put(out, b", ", 2)
            proto |= head.fields[i].kind == K_FORWARDED_PROTO
            host |= head.fields[i].kind == K_FORWARDED_HOST
    out = _put(out, how.client, how.client_len)
    if not proto:
        if how.secure:
            out = _put(out, b"\r\nX-Forwarded-Proto: https", 26)
        else:
            out = _put(out, b"\r\nX-Forwarded-Proto: http", 25)
    if not host:
        out = _put(out, b"\r\nX-Forwarded-Host: ", 20)
        out = _put(out, head.authority, head.authority_len)
    if head.minor == 1:
        out = _put(out, b"\r\nVia: 1.1 lbd", 14)
    else:
        out = _put(out, b"\r\nVia: 1.0 lbd", 14)
    if not how.keep_request_id:
        out = _put(out, b"\r\nX-Request-ID: ", 16)
        out = _put(out, how.request_id, 32)
    return _put(out, b"\r\n", 2)


cdef size_t write_request(char* out, const Head* head, const RequestRewrite* how) noexcept nogil:
    """The head for endpoints; returns its length."""
    cdef char* start = out
    cdef uint32_t run = 0
    cdef uint32_t i
    if how.path != NULL or head.absolute or head.minor == 0:
        out = _request_line(out, head, how)
        run = head.fields_start
    if how.replace_host:
        if run == 0:
            out = _put(out, head.base, head.fields_start)
            run = head.fields_start
        out = _put(out, b"Host: ", 6)
        out = _put(out, how.host, how.host_len)
        out = _put(out, b"\r\n", 2)
    if head.special or how.replace_host or how.traced:
        for i in range(head.n_fields):
            if head.fields[i].kind != K_PLAIN and not _keep_in_request(head, &head.fields[i], how):
                out = _put(out, head.base + run, head.fields[i].name - run)
                run = _line_end(head, i)
    out = _put(out, head.base + run, head.length - 2 - run)
    out = _forwarding(out, head, how)
    if how.identity != NULL:
        out = _put(out, how.identity, how.identity_len)
    if how.upgrade:
        out = _put(out, b"Connection: Upgrade\r\nUpgrade: ", 30)
        out = _put(out, head.base + head.fields[head.upgrade].value, head.fields[head.upgrade].value_len)
        out = _put(out, b"\r\n", 2)
    out = _put(out, b"\r\n", 2)
    return <size_t> (out - start)


cdef bint _keep_in_response(const Head* head, const Field* field, uint8_t framing) noexcept nogil:
    if field.kind == K_CONTENT_LENGTH:
        return framing != BODY_CHUNKED and head.status >= 200 and head.status != 204
    if field.kind == K_UPGRADE:
        return head.status == 101 or head.status == 426
    if field.kind == K_TRAILER:
        return framing == BODY_CHUNKED
    return not (field.kind == K_HOP or field.kind == K_CONNECTION or field.kind == K_NOMINATED
                or field.kind == K_TRANSFER_ENCODING or field.kind == K_TE)


cdef size_t write_response(char* out, const Head* head, uint8_t framing, bint close, bint keep_alive_10,
                           bytes extra) noexcept:
    """The head for the client, framed as given; returns its length. extra: field lines of lbd's own, or None."""
    cdef char* start = out
    cdef uint32_t run = 0
    cdef uint32_t i
    if head.minor == 0:
        out = _put(out, b"HTTP/1.1", 8)
        run = 8
    if head.special:
        for i in range(head.n_fields):
            if head.fields[i].kind != K_PLAIN and not _keep_in_response(head, &head.fields[i], framing):
                out = _put(out, head.base + run, head.fields[i].name - run)
                run = _line_end(head, i)
    out = _put(out, head.base + run, head.length - 2 - run)
    if framing == BODY_CHUNKED:
        out = _put(out, b"Transfer-Encoding: chunked\r\n", 28)
    if head.status == 101:
        out = _put(out, b"Connection: Upgrade\r\n", 21)
    elif close:
        out = _put(out, b"Connection: close\r\n", 19)
    elif keep_alive_10:
        out = _put(out, b"Connection: keep-alive\r\n", 24)
    if extra is not None:
        out = _put(out, <const char*> extra, len(extra))
    out = _put(out, b"\r\n", 2)
    return <size_t> (out - start)


cdef size_t write_trailers(char* out, Body* body, frozenset allowed, Head* scratch, bint grpc):
    """The last chunk and the trailers that may pass, at most TRAILERS_MAX + 5 bytes; scratch holds TRAILER_FIELDS_MAX.

    Of a gRPC call all pass that mean nothing to a proxy: they are its trailing metadata."""
    cdef char* start = out
    cdef Field* field
    cdef uint32_t i
    cdef bytes name
    out = _put(out, b"0\r\n", 3)
    if buffer_len(&body.trailers):
        parse_trailers(body, scratch)
        for i in range(scratch.n_fields):
            field = &scratch.fields[i]
            name = scratch.base[field.name:field.name + field.name_len].lower()
            if (field.kind == K_PLAIN or field.kind >= K_TRACEPARENT) and (
                    grpc or name in allowed or name.startswith((b"grpc-", b"x-amz-checksum-"))):
                out = _put(out, scratch.base + field.name, _line_end(scratch, i) - field.name)
    out = _put(out, b"\r\n", 2)
    return <size_t> (out - start)


cdef char* frame_chunk(char* p, size_t* n) noexcept nogil:
    """Make a chunk of the *n payload bytes at p, around them where they stand: its start, and its length in *n.

    Needs 18 writable bytes before p and 2 behind the payload. No payload, no chunk: an empty one would end the body.
    """
    cdef const char* digits = b"0123456789abcdef"
    cdef size_t size = n[0]
    cdef char* end = p + size
    if size == 0:
        return p
    end[0] = c'\r'
    end[1] = c'\n'
    p -= 2
    p[0] = c'\r'
    p[1] = c'\n'
    while size:
        p -= 1
        p[0] = digits[size & 15]
        size >>= 4
    n[0] = <size_t> (end + 2 - p)
    return p
