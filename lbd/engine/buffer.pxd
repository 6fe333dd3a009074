# cython: language_level=3
"""A growable byte queue as a plain C struct, so that a connection without pending bytes owns no memory for them.

Invariants: start <= end <= cap; data is NULL exactly when cap is 0; an emptied buffer gives its memory back,
because an idle keep-alive connection must cost no buffer (design, section 5).
"""

from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove


cdef struct Buffer:
    char* data
    size_t start
    size_t end
    size_t cap


cdef inline size_t buffer_len(const Buffer* b) noexcept nogil:
    return b.end - b.start


cdef inline char* buffer_ptr(Buffer* b) noexcept nogil:
    return b.data + b.start


cdef inline void buffer_free(Buffer* b) noexcept nogil:
    free(b.data)
    b.data = NULL
    b.start = b.end = b.cap = 0


cdef inline bint buffer_reserve(Buffer* b, size_t room) noexcept nogil:
    """Make `room` bytes writable after the content; False when memory is refused."""
    cdef size_t used = b.end - b.start
    cdef size_t cap
    cdef char* data
    if b.cap - b.end >= room:
        return True
    if b.start and b.cap - used >= room:
        memmove(b.data, b.data + b.start, used)
        b.start = 0
        b.end = used
        return True
    cap = 512
    while cap < used + room:
        cap *= 2
    data = <char*> malloc(cap)
    if data == NULL:
        return False
    if used:
        memcpy(data, b.data + b.start, used)
    free(b.data)
    b.data = data
    b.start = 0
    b.end = used
    b.cap = cap
    return True


cdef inline bint buffer_append(Buffer* b, const char* p, size_t n) noexcept nogil:
    """Copy n bytes behind the content; False when memory is refused (nothing is copied then)."""
    if not buffer_reserve(b, n):
        return False
    memcpy(b.data + b.end, p, n)
    b.end += n
    return True


cdef inline void buffer_consume(Buffer* b, size_t n) noexcept nogil:
    b.start += n
    if b.start >= b.end:
        buffer_free(b)
