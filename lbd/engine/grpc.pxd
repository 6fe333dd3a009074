# cython: language_level=3
"""What lbd understands of gRPC. See grpc.pyx."""

from lbd.engine.exchange cimport Exchange
from lbd.engine.http1 cimport Head

cdef void begin_grpc(Exchange x, const Head* head) noexcept
cdef void note_grpc_status(Exchange x, const char* p, size_t n) noexcept
cdef void note_grpc_trailers(Exchange x, const char* p, size_t n) noexcept
