# cython: language_level=3
"""Who the client is. See forwarded.pyx."""

from libc.stdint cimport uint8_t

from lbd.engine.listener cimport Listener
from lbd.engine.http1 cimport Head

cdef void find_client(Listener listener, const Head* head, const uint8_t* peer, uint8_t* client) noexcept
cdef int format_address(const uint8_t* address, char* out) noexcept nogil
