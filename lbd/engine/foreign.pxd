# cython: language_level=3
"""C functions of libraries that Python packages bring along. See foreign.pyx."""

cdef class Library:
    cdef void* handle
    cdef readonly str what

    cdef void* find(self, const char* symbol) except NULL
