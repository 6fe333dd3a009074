# cython: language_level=3
"""Writing the heads that lbd sends on. See rewrite.pyx."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from lbd.engine.body cimport Body
from lbd.engine.http1 cimport Head

cdef enum:
    ADDITIONS_MAX = 512             # room that lbd's own fields take, less the authorities written into them

cdef struct RequestRewrite:
    const char* path                # normal form, or NULL for the target as received
    size_t path_len
    const char* host                # authority for the Host field
    size_t host_len
    bint replace_host
    const char* client              # text of the peer's address
    size_t client_len
    bint rfc7239                    # write Forwarded, too
    bint traced                     # lbd writes the trace itself, later
    bint keep_state                 # and the caller's tracestate holds
    bint id_fields                  # it writes X-Trace-ID and its kin as well
    bint trusted                    # the peer's forwarding fields are kept and extended
    bint secure
    bint upgrade                    # pass the upgrade that was asked for
    const char* request_id          # 32 hexadecimal digits
    bint keep_request_id            # a trusted peer sent one
    const char* identity            # field lines about the client's verified certificate, or NULL
    size_t identity_len

cdef size_t write_request(char* out, const Head* head, const RequestRewrite* how) noexcept nogil
cdef size_t write_response(char* out, const Head* head, uint8_t framing, bint close, bint keep_alive_10,
                           bytes extra) noexcept
cdef size_t write_trailers(char* out, Body* body, frozenset allowed, Head* scratch, bint grpc)
cdef char* frame_chunk(char* p, size_t* n) noexcept nogil
