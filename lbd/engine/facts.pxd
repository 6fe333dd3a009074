# cython: language_level=3
"""Facts of finished exchanges and tunnels, gathered. See facts.pyx."""

from libc.stdint cimport uint32_t

from lbd.engine.http1 cimport Head


cdef struct Seen:                   # lengths of the texts that stand one behind the other in Exchange.seen_text
    uint32_t method, target, host, referer, agent
    bint has_host, has_referer, has_agent


cdef int see(object exchange, const Head* head, uint32_t wants) except -1
cdef int observe_exchange(object exchange) except -1
cdef int observe_tunnel(object tunnel) except -1
