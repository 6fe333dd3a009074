# cython: language_level=3
"""The shared state block and the layouts of what stands in it. See shared.pyx."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from lbd.engine.reasons cimport REASONS_COUNT

cdef enum:
    STATUS_SLOTS = 64           # known status codes and "other", see shared.pyx
    # latency in microseconds: 4 buckets per power of two from 16 us to 2^27 us (134 s), one below, one above
    BUCKET_FIRST_BIT = 4
    BUCKET_OCTAVES = 23
    BUCKETS = 4 * 23 + 2

cdef struct Histogram:
    uint64_t sum_us
    uint64_t buckets[BUCKETS]

cdef struct RouteStats:         # one per worker and route: plain stores, summed when read
    uint64_t status[STATUS_SLOTS]
    uint64_t grpc[18]           # gRPC calls by status, [17]: none or unknown
    uint64_t bytes_received     # request bodies
    uint64_t bytes_sent         # response bodies
    Histogram duration          # first byte of the head to the last of the response

cdef struct ListenerStats:
    uint64_t accepted
    uint64_t open               # gauge
    uint64_t accept_errors
    uint64_t accept_pauses      # times accepting stopped for lack of fds, memory or connection slots
    uint64_t bytes_received     # tcp mode
    uint64_t bytes_sent
    uint64_t handshakes
    uint64_t resumed            # handshakes that resumed a session
    uint64_t http2              # connections that speak HTTP/2
    uint64_t reasons[REASONS_COUNT]

cdef struct EndpointStats:
    uint64_t requests
    uint64_t status_class[6]    # 1xx..5xx at [1]..[5]; [0]: no response
    uint64_t connects
    uint64_t connect_failures
    uint64_t reused
    uint64_t stale              # pooled connections found dead at first use
    uint64_t failures           # exchanges that failed for the endpoint's fault
    uint64_t active             # gauges
    uint64_t open
    uint64_t idle
    uint64_t queued
    Histogram first_byte        # request sent to response head

cdef uint8_t[600] STATUS_SLOT


cdef inline void histogram_add(Histogram* h, uint64_t us) noexcept nogil:
    cdef uint64_t x = us >> BUCKET_FIRST_BIT
    cdef int bit, index
    h.sum_us += us
    if x == 0:
        h.buckets[0] += 1
        return
    bit = 63 - __builtin_clzll(x)
    if bit >= BUCKET_OCTAVES:
        h.buckets[BUCKETS - 1] += 1
        return
    index = 1 + 4 * bit + <int> ((us >> (bit + BUCKET_FIRST_BIT - 2)) & 3)
    h.buckets[index] += 1


cdef extern from * nogil:
    int __builtin_clzll(unsigned long long)


cdef class Shared:
    cdef object memory          # the mmap
    cdef char* base
    cdef size_t size, used
    cdef dict directory         # (kind, name) -> (offset, bytes per worker)
    cdef readonly int workers
    cdef readonly bytes secret  # of this run, the same in all workers

    cdef void* find(self, str kind, str name, size_t size, int worker) except NULL
