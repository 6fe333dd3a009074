# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The matchers that tables cannot decide: method, header, query, cookie, source network, declared body size.

Each looks at the raw head by offsets; nothing is copied and no Python object is made. Values are globs ("*" = any run
of characters), matched in O(pattern x value) at worst and without back-tracking state.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcmp

import ipaddress

from lbd.engine.fields cimport find_field
from lbd.engine.http1 cimport BODY_CHUNKED, BODY_LENGTH, Field, Head
from lbd.engine.path cimport PATH_ROOM, hex_value
from lbd.engine.router cimport Matcher, RequestView
from lbd.engine.tls cimport ClientIdentity


cdef bint glob_match(const char* p, size_t pn, const char* s, size_t n) noexcept nogil:
    """Glob with "*" only; the classic two-pointer walk that goes back to the last star."""
    cdef size_t i = 0
    cdef size_t j = 0
    cdef size_t star = pn
    cdef size_t mark = 0
    while j < n:
        if i < pn and p[i] == c'*':
            star = i
            mark = j
            i += 1
        elif i < pn and p[i] == s[j]:
            i += 1
            j += 1
        elif star < pn:
            mark += 1
            j = mark
            i = star + 1
        else:
            return False
    while i < pn and p[i] == c'*':
        i += 1
    return i == pn


cdef class ValueMatcher(Matcher):
    """Base: any of some globs, or presence, or absence."""

    def __init__(self, name, values):
        self.name = name.encode("latin-1")
        self.want_present = values is not False
        self.globs = () if isinstance(values, bool) else tuple(v.encode() for v in values)
        self.label = f"{type(self).__name__.lower()} {name}"

    def __repr__(self):
        wanted = [g.decode() for g in self.globs] or ("present" if self.want_present else "absent")
        return f"<{type(self).__name__} {self.name.decode('latin-1')} {wanted}>"

    def __str__(self):
        """What it wants, in words."""
        wanted = " or ".join(g.decode() for g in self.globs) or ("present" if self.want_present else "absent")
        return f"{self.label} must be {wanted}"

    cdef bint accepts(self, const char* value, size_t n) noexcept:
        cdef bytes glob
        if not self.globs:
            return True
        for glob in self.globs:
            if glob_match(<const char*> glob, len(glob), value, n):
                return True
        return False


cdef class Header(ValueMatcher):
    """A header field; with several of that name, any of them may match."""

    def __init__(self, name, values):
        super().__init__(name.lower(), values)

    cdef bint match(self, const RequestView* request) noexcept:
        cdef const Head* head = request.head
        cdef int at = -1
        cdef Field* field
        while True:
            at = find_field(head, <const char*> self.name, len(self.name), at + 1)
            if at < 0:
                return not self.want_present
            if not self.want_present:
                return False
            field = &head.fields[at]
            if self.accepts(head.base + field.value, field.value_len):
                return True


cdef size_t decode_query(const char* p, size_t n, char* out) noexcept nogil:
    """Percent-escapes and "+" of a query as forms write them; a bad escape stays as it is. Never longer than n."""
    cdef size_t i = 0
    cdef size_t o = 0
    cdef int high, low
    while i < n:
        out[o] = p[i]
        if p[i] == c'+':
            out[o] = c' '
        elif p[i] == c'%' and i + 2 < n:
            high = hex_value(<uint8_t> p[i + 1])
            low = hex_value(<uint8_t> p[i + 2])
            if high >= 0 and low >= 0:
                out[o] = <char> (high << 4 | low)
                i += 2
        o += 1
        i += 1
    return o

cdef char[PATH_ROOM] DECODED


cdef class Query(ValueMatcher):
    """A parameter of the query string, name and value compared as they are after decoding."""

    def __init__(self, name, values):
        super().__init__("", values)
        self.name = name.encode()
        self.label = f"query {name}"

    cdef bint match(self, const RequestView* request) noexcept:
        cdef const Head* head = request.head
        cdef const char* p = head.base + head.query
        cdef size_t start = 0
        cdef size_t end
        while head.has_query and start <= head.query_len:
            end = start
            while end < head.query_len and p[end] != c'&':
                end += 1
            if self._is_wanted(p + start, end - start):
                return self.want_present
            start = end + 1
        return not self.want_present

    cdef bint _is_wanted(self, const char* pair, size_t n) noexcept:
        """Has the pair this name, and an accepted value (any, when absence is wanted)?"""
        cdef size_t equals = 0
        cdef size_t m
        while equals < n and pair[equals] != c'=':
            equals += 1
        if n >= PATH_ROOM:
            return False
        m = decode_query(pair, equals, DECODED)
        if m != <size_t> len(self.name) or memcmp(DECODED, <const char*> self.name, m):
            return False
        if equals < n:
            equals += 1
        m = decode_query(pair + equals, n - equals, DECODED)
        return not self.want_present or self.accepts(DECODED, m)


cdef bint _is_blank(char x) noexcept nogil:
    return x == c' ' or x == c'\t'


cdef class Cookie(ValueMatcher):
    """A cookie of the Cookie fields (RFC 6265 4.2.1), blanks around its name and value left out."""

    cdef bint match(self, const RequestView* request) noexcept:
        cdef const Head* head = request.head
        cdef const char* p
        cdef size_t n, start, end
        cdef int at = -1
        while True:
            at = find_field(head, b"cookie", 6, at + 1)
            if at < 0:
                return not self.want_present
            p = head.base + head.fields[at].value
            n = head.fields[at].value_len
            start = 0
            while start <= n:
                end = start
                while end < n and p[end] != c';':
                    end += 1
                if self._is_wanted(p + start, end - start):
                    return self.want_present
                start = end + 1

    cdef bint _is_wanted(self, const char* pair, size_t n) noexcept:
        cdef size_t equals = 0
        cdef size_t name_end, start
        while n and _is_blank(pair[0]):
            pair += 1
            n -= 1
        while n and _is_blank(pair[n - 1]):
            n -= 1
        while equals < n and pair[equals] != c'=':
            equals += 1
        name_end = equals
        while name_end and _is_blank(pair[name_end - 1]):
            name_end -= 1
        if name_end != <size_t> len(self.name) or memcmp(pair, <const char*> self.name, name_end):
            return False
        start = min(equals + 1, n)
        while start < n and _is_blank(pair[start]):
            start += 1
        return not self.want_present or self.accepts(pair + start, n - start)


cdef class MethodIn(Matcher):
    """The request method (case-sensitive, RFC 9110 9.1)."""
    cdef tuple methods

    def __init__(self, methods):
        self.methods = tuple(m.encode() for m in methods)

    def __repr__(self):
        return f"<MethodIn {[m.decode() for m in self.methods]}>"

    def __str__(self):
        return f"method must be {' or '.join(m.decode() for m in self.methods)}"

    cdef bint match(self, const RequestView* request) noexcept:
        cdef bytes method
        for method in self.methods:
            if (<uint32_t> len(method) == request.head.method_len
                    and memcmp(<const char*> method, request.head.base, request.head.method_len) == 0):
                return True
        return False


cdef class Source(Matcher):
    """The client's address (behind trusted proxies: the one they report) in one of some networks."""
    cdef list networks
    cdef bytes table                # 17 bytes each: address, prefix length (IPv4 mapped into IPv6)

    def __init__(self, networks):
        self.networks = [str(n) for n in networks]
        self.table = network_table(networks)

    def __repr__(self):
        return f"<Source {self.networks}>"

    def __str__(self):
        return f"client must be in {' or '.join(self.networks)}"

    cdef bint match(self, const RequestView* request) noexcept:
        return in_networks(<const uint8_t*> <const char*> self.table, len(self.table), request.client)


def network_table(networks):
    """Networks as the flat table that in_networks reads."""
    rows = []
    for network in networks:
        network = ipaddress.ip_network(network, strict=False)
        packed = network.network_address.packed
        if network.version == 4:
            rows.append(b"\0" * 10 + b"\xff\xff" + packed + bytes([network.prefixlen + 96]))
        else:
            rows.append(packed + bytes([network.prefixlen]))
    return b"".join(rows)


cdef bint in_networks(const uint8_t* table, size_t n, const uint8_t* address) noexcept nogil:
    cdef size_t i = 0
    cdef int bits, whole
    while i < n:
        bits = table[i + 16]
        whole = bits >> 3
        if memcmp(table + i, address, whole) == 0 and (
                bits & 7 == 0 or (table[i + whole] ^ address[whole]) >> (8 - (bits & 7)) == 0):
            return True
        i += 17
    return False


cdef class BodySize(Matcher):
    """The declared Content-Length; 0 without a body. A chunked body declares nothing and never matches."""
    cdef int64_t low, high

    def __init__(self, low, high):
        self.low = low
        self.high = high

    def __repr__(self):
        return f"<BodySize {self.low}..{self.high}>"

    def __str__(self):
        upto = f" and at most {self.high}" if self.high < 1 << 62 else ""
        return f"announced length of the body must be at least {self.low}{upto}"

    cdef bint match(self, const RequestView* request) noexcept:
        cdef int64_t size = request.head.content_length if request.head.framing == BODY_LENGTH else 0
        return request.head.framing != BODY_CHUNKED and self.low <= size <= self.high


cdef class ClientCertificate(Matcher):
    """The verified certificate of the client: globs for its subject, names and fingerprint; all that are given must hold."""
    cdef readonly str label
    cdef tuple subject, names, fingerprint      # None: not asked

    def __init__(self, subject=None, names=None, fingerprint=None):
        self.label = "client_certificate"
        self.subject = _globs(subject)
        self.names = _globs(names)
        self.fingerprint = _globs(fingerprint)

    def __repr__(self):
        return f"<ClientCertificate subject={self.subject} names={self.names} fingerprint={self.fingerprint}>"

    def __str__(self):
        return "the client must present another certificate"

    cdef bint match(self, const RequestView* request) noexcept:
        cdef object who = <object> request.identity
        cdef ClientIdentity identity
        if who is None:
            return False
        identity = <ClientIdentity> who
        if self.subject is not None and not _any_matches(self.subject, identity.subject):
            return False
        if self.fingerprint is not None and not _any_matches(self.fingerprint, identity.fingerprint):
            return False
        if self.names is None:
            return True
        for name in identity.names:
            if _any_matches(self.names, name):
                return True
        return False


cdef tuple _globs(values):
    return None if values is None else tuple(value.encode() for value in values)


cdef bint _any_matches(tuple globs, bytes value) noexcept:
    cdef bytes glob
    for glob in globs:
        if glob_match(<const char*> glob, len(glob), <const char*> value, len(value)):
            return True
    return False
