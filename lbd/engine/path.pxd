# cython: language_level=3
"""Normal form of a request path. See path.pyx."""

cdef enum:
    PATH_BAD = -1
    PATH_SAME = 0
    PATH_CHANGED = 1

cdef int normalise_path(const char* p, size_t n, char* out, size_t* out_len) noexcept nogil
