# cython: language_level=3
"""The PROXY header that goes first on a connection to an endpoint. See preamble.pyx."""

from lbd.engine.exchange cimport Downstream

cdef size_t write_preamble(char* out, int version, Downstream client, const char* request_id) noexcept
cdef size_t write_unknown(char* out, int version) noexcept
