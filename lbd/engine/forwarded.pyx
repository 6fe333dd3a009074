# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The one place that decides who the client is, for limits, matchers and logs.

Behind trusted proxies it is the rightmost address in X-Forwarded-For (or Forwarded) that is not one of them: all that
stands left of it may be invented. A value that is no address ends the walk, and the last good hop is taken.
"""

from libc.stdint cimport uint8_t
from libc.string cimport memcmp, memcpy, memset

from lbd.engine cimport sys as c
from lbd.engine.listener cimport Listener
from lbd.engine.fields cimport same_name
from lbd.engine.http1 cimport K_FORWARDED, K_FORWARDED_FOR, Field, Head

cdef extern from "<arpa/inet.h>" nogil:
    int inet_pton(int, const char*, void*)


cdef const char* MAPPED = b"\0\0\0\0\0\0\0\0\0\0\xff\xff"


cdef bint _parse(const char* p, size_t n, uint8_t* out) noexcept nogil:
    """Text to 16 bytes; brackets and a port are accepted, as some proxies write them."""
    cdef char[64] text
    cdef size_t i
    cdef size_t colons = 0
    if n and p[0] == c'[':
        p += 1
        n -= 1
        for i in range(n):
            if p[i] == c']':
                n = i
                break
    if n == 0 or n >= sizeof(text):
        return False
    memcpy(text, p, n)
    text[n] = 0
    for i in range(n):
        colons += p[i] == c':'
    if colons == 1:
        for i in range(n):
            if text[i] == c':':
                text[i] = 0
    if colons < 2:
        memset(out, 0, 10)
        out[10] = out[11] = 0xff
        return inet_pton(c.AF_INET, text, out + 12) == 1
    return inet_pton(c.AF_INET6, text, out) == 1


cdef bint _element(const char* p, size_t n, const char** node, size_t* node_len) noexcept nogil:
    """The for parameter of an element of Forwarded: `for=192.0.2.1;proto=http`, `For="[2001:db8::1]:80"` (RFC 7239 4, 6)."""
    cdef size_t i = 0
    cdef size_t start
    while i < n:
        while i < n and (p[i] == c' ' or p[i] == c'\t' or p[i] == c';'):
            i += 1
        start = i
        while i < n and p[i] != c';':
            i += 1
        if i - start > 4 and same_name(p + start, b"for=", 4):
            start += 4
            n = i
            while n > start and (p[n - 1] == c' ' or p[n - 1] == c'\t'):
                n -= 1
            if n - start >= 2 and p[start] == c'"' and p[n - 1] == c'"':
                start += 1
                n -= 1
            node[0] = p + start
            node_len[0] = n - start
            return True
    return False


cdef bint _walk(Listener listener, const char* value, size_t end, bint rfc7239, uint8_t* client) noexcept:
    """Hops of one field, from the right; client becomes each in turn. False when the walk ends with this field."""
    cdef size_t start, stop
    cdef const char* node
    cdef size_t node_len
    cdef uint8_t[16] hop
    while True:
        start = end
        while start > 0 and value[start - 1] != c',':
            start -= 1
        stop = end
        end = start
        while start < stop and (value[start] == c' ' or value[start] == c'\t'):
            start += 1
        while stop > start and (value[stop - 1] == c' ' or value[stop - 1] == c'\t'):
            stop -= 1
        node = value + start
        node_len = stop - start
        if rfc7239 and not _element(value + start, stop - start, &node, &node_len):
            return False
        if not _parse(node, node_len, hop):
            return False
        memcpy(client, hop, 16)
        if not listener.trusts(hop):
            return False
        if end == 0:
            return True
        end -= 1


cdef void find_client(Listener listener, const Head* head, const uint8_t* peer, uint8_t* client) noexcept:
    """Write the client's address: the peer's, unless that is a trusted proxy which names another.

    X-Forwarded-For decides when there is one, since most proxies keep it; else Forwarded.
    """
    cdef int f
    cdef const Field* field
    cdef int wanted = K_FORWARDED
    memcpy(client, peer, 16)
    if head.n_forwarded == 0 or not listener.trusts(peer):
        return
    for f in range(<int> head.n_fields):
        if head.fields[f].kind == K_FORWARDED_FOR:
            wanted = K_FORWARDED_FOR
    for f in range(<int> head.n_fields - 1, -1, -1):
        field = &head.fields[f]
        if field.kind == wanted and not _walk(
                listener, head.base + field.value, field.value_len, wanted == K_FORWARDED, client):
            return


cdef int format_address(const uint8_t* address, char* out) noexcept nogil:
    """Text of an address into 46 bytes, not terminated; its length. IPv4 in dotted form."""
    cdef int i
    cdef int n = 0
    if memcmp(address, MAPPED, 12):
        c.inet_ntop(c.AF_INET6, address, out, 46)
        while out[n]:
            n += 1
        return n
    for i in range(12, 16):                     # by hand: inet_ntop prints, which a new connection would feel
        if address[i] >= 100:
            out[n] = c'0' + <char> (address[i] // 100)
            n += 1
        if address[i] >= 10:
            out[n] = c'0' + <char> (address[i] // 10 % 10)
            n += 1
        out[n] = c'0' + <char> (address[i] % 10)
        out[n + 1] = c'.'
        n += 2
    return n - 1
