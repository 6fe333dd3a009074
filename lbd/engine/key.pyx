# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The part of a request that decides which endpoint serves it: its value, and its hash for balancers.

The hash depends on nothing but the bytes, so that all workers and all nodes of lbd choose alike. Values are found by the
matchers of routes, of which these subclasses take down what they would compare.
"""

from libc.stdint cimport uint8_t, uint64_t

from lbd.engine.bytemap cimport hash_bytes
from lbd.engine.matchers cimport Cookie, Header, Query
from lbd.engine.router cimport RequestView, Router

cdef const char* VALUE              # of the request at hand
cdef size_t VALUE_LEN

KINDS = ("source", "host", "path", "header", "cookie", "query", "capture")


cdef class _TakeHeader(Header):
    cdef bint accepts(self, const char* value, size_t n) noexcept:
        return _note(value, n)


cdef class _TakeCookie(Cookie):
    cdef bint accepts(self, const char* value, size_t n) noexcept:
        return _note(value, n)


cdef class _TakeQuery(Query):
    cdef bint accepts(self, const char* value, size_t n) noexcept:
        return _note(value, n)


cdef bint _note(const char* value, size_t n) noexcept:
    global VALUE, VALUE_LEN
    VALUE = value
    VALUE_LEN = n
    return True


cdef class KeySource:
    """kind: one of KINDS; name: of the header, cookie, parameter or capture."""

    def __cinit__(self, str kind not None, str name=""):
        if kind not in KINDS:
            raise ValueError(kind)
        self.kind = kind
        self.name = name
        if kind == "header":
            self.taker = _TakeHeader(name, True)
        elif kind == "cookie":
            self.taker = _TakeCookie(name, True)
        elif kind == "query":
            self.taker = _TakeQuery(name, True)

    def __repr__(self):
        return f"<KeySource {self.kind} {self.name}>"

    cdef bint take(self, const RequestView* request, Router router, const char** value, size_t* n) noexcept:
        """The value, valid until the next request is looked at; False when the request has none."""
        cdef int i
        if self.taker is not None:
            if not self.taker.match(request):
                return False
            value[0] = VALUE
            n[0] = VALUE_LEN
            return n[0] != 0
        if self.kind == "source":
            value[0] = <const char*> request.client
            n[0] = 0 if _is_nobody(request.client) else 16
        elif self.kind == "path":
            value[0] = request.path
            n[0] = request.path_len
        elif self.kind == "host":
            value[0] = request.head.authority
            n[0] = request.head.host_len
        else:
            i = self._capture(router)
            if i < 0:
                return False
            value[0] = request.path + router.capture[i].start
            n[0] = router.capture[i].length
        return n[0] != 0

    cdef int _capture(self, Router router) noexcept:
        cdef tuple names
        if router.matched is None:
            return -1
        names = router.matched.captures
        for i in range(min(router.captured, <int> len(names))):
            if names[i] == self.name:
                return i
        return -1

    cdef uint64_t of_request(self, const RequestView* request, Router router) noexcept:
        """The hash of the value; 0 when there is none."""
        cdef const char* value = NULL
        cdef size_t n = 0
        cdef char[256] lower
        cdef size_t i
        if not self.take(request, router, &value, &n):
            return 0
        if self.kind == "host" and n <= sizeof(lower):      # a name in any case is the same host
            for i in range(n):
                lower[i] = value[i] | 0x20 if 0x41 <= value[i] <= 0x5a else value[i]
            value = lower
        return hash_bytes(0, value, n) or 1

    cdef uint64_t of_address(self, const uint8_t* address) noexcept:
        """Of a connection, whose only key is the client's address (16 bytes); 0 when it has none."""
        if _is_nobody(address):
            return 0
        return hash_bytes(0, <const char*> address, 16) or 1


cdef bint _is_nobody(const uint8_t* address) noexcept:
    """The client of a Unix socket, which has no address."""
    cdef int i
    for i in range(16):
        if address[i]:
            return False
    return True


def hash_of(bytes value not None):
    """The hash of a value, as of_request makes it."""
    return hash_bytes(0, <const char*> value, len(value)) or 1
