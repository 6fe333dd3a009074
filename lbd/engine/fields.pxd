# cython: language_level=3
"""Field lines and the grammar of their bytes. See fields.pyx."""

from libc.stdint cimport uint8_t, uint32_t

from lbd.engine.http1 cimport Head

cdef enum:
    # classes of a byte
    C_TOKEN = 1             # RFC 9110 5.6.2 tchar
    C_UNDERSCORE = 2
    C_TARGET = 4            # may stand in a request target
    C_SUSPECT = 8           # makes a path worth normalising
    C_HOST = 16             # reg-name without percent-encoding and sub-delims
    C_DIGIT = 32
    C_HEX = 64
    C_PATH_BAD = 128        # allowed in a query, not in a path

cdef uint8_t[256] CLASS

cdef int parse_field_lines(const char* p, size_t at, size_t n, uint32_t max_fields, Head* head) noexcept nogil
cdef bint imitates(const char* name, size_t n) noexcept nogil
cdef bint is_clean(const char* p, size_t n) noexcept nogil
cdef bint same_name(const char* a, const char* lower, size_t n) noexcept nogil
cdef bint is_name(const char* p, size_t n, const char* lower, size_t m) noexcept nogil
cdef bint equal_fold(const char* a, const char* b, size_t n) noexcept nogil
cdef int find_field(const Head* head, const char* lower, size_t n, int start) noexcept nogil
cdef bint list_has(const char* value, size_t n, const char* lower, size_t m) noexcept nogil
