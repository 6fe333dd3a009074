# cython: language_level=3
"""Heads between HTTP/2 and the form of HTTP/1 heads. See http2_head.pyx."""

from libc.stdint cimport int32_t, uint8_t, uint32_t

from lbd.engine.buffer cimport Buffer
from lbd.engine.http1 cimport Head
from lbd.engine.nghttp2 cimport NV
from lbd.engine.reactor cimport Reactor

cdef enum:
    NV_MAX = 1040                   # fields of one message that lbd sends: MAX_FIELDS and the pseudo-fields

cdef struct Pseudo:                 # offsets into HeadBlock.text; len 0: not given
    uint32_t at, len

cdef struct HeadBlock:              # a head that is being received
    int32_t stream
    Buffer text                     # values of pseudo-fields, then field lines
    Buffer cookies                  # their values, joined
    Pseudo method, path, authority, scheme, protocol, status
    uint32_t fields                 # where the field lines begin
    uint32_t decoded                # bytes of names and values, those that were dropped included
    uint32_t count
    bint has_length                 # content-length is among the lines
    bint conflict                   # host and :authority differ
    bint dropped                    # over the limits: lines are missing

cdef bint collect_field(HeadBlock* b, const uint8_t* name, size_t n, const uint8_t* value, size_t m) noexcept
cdef bint asks_websocket(HeadBlock* b) noexcept
cdef size_t compose_request(HeadBlock* b, char* out, size_t room, bint ended, Reactor reactor) noexcept
cdef size_t compose_response(HeadBlock* b, char* out, size_t room) noexcept
cdef int add_fields(NV* nv, int n, const Head* head, bint response, uint8_t framing) noexcept
cdef int add_field(NV* nv, int n, const char* name, size_t name_len, const char* value, size_t value_len) noexcept
cdef int without_field(NV* nv, int n, const char* lower, size_t m) noexcept
cdef int add_line(NV* nv, int n, bytes line, size_t name_len) noexcept
