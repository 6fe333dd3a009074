# cython: language_level=3
"""The flight recorder. See recorder.pyx."""

from libc.stdint cimport int16_t, uint8_t, uint16_t, uint32_t, uint64_t

from lbd.engine.observer cimport Facts, Observer

cdef enum:
    RINGS = 3
    RING_ALL = 0
    RING_ERRORS = 1
    RING_SLOW = 2
    ATTEMPTS_KEPT = 4
    METHOD_KEPT = 16
    HOST_KEPT = 64
    PATH_KEPT = 192
    NAME_KEPT = 48


cdef struct Cut:                    # a text, cut
    uint8_t n
    bint known

cdef struct AttemptRecord:
    uint64_t us
    uint16_t status
    uint8_t reason
    uint8_t endpoint_len
    char[NAME_KEPT] endpoint

cdef struct Record:                 # of fixed size, without pointers: other processes read it
    uint64_t number                 # of the exchange in its worker, from 1; 0: empty, or being written
    uint64_t ended_us               # Unix time
    uint64_t duration_us, queue_us, connect_us, first_byte_us
    uint64_t bytes_received, bytes_sent
    uint64_t trace_high, trace_low
    char[32] request_id
    uint8_t[16] client
    char[8] protocol
    char[8] tls
    uint16_t status
    int16_t grpc_status             # -1: none
    uint8_t reason
    uint8_t attempts                # that stand below
    uint16_t attempts_made
    bint has_id, has_tls
    Cut method_cut, host_cut, path_cut, listener_cut, route_cut, cluster_cut, endpoint_cut
    char[METHOD_KEPT] method
    char[HOST_KEPT] host
    char[PATH_KEPT] path
    char[NAME_KEPT] listener, route, cluster, endpoint
    AttemptRecord[ATTEMPTS_KEPT] tries


cdef struct Section:                # of a worker, its rings behind it
    uint64_t number                 # of the last exchange
    uint64_t[RINGS] written         # records, in each ring


cdef class Wanted:
    """Which records to read."""
    cdef readonly dict texts        # for __repr__
    cdef bytes listener, route, cluster, endpoint, method, host, path, client
    cdef int status_low, status_high
    cdef int reason                 # -1: any
    cdef uint64_t least_us, since_us, until_us

    cdef bint fits(self, const Record* record) noexcept


cdef class Recorder(Observer):
    cdef object memory              # the mmap
    cdef readonly int fd            # of the memory
    cdef char* base
    cdef size_t section             # bytes of a worker
    cdef uint64_t[RINGS] capacity
    cdef uint64_t slow_us
    cdef bint query                 # kept with the path
    cdef readonly int workers
    cdef public int worker          # whose section this process writes

    cdef Section* _section(self, int worker) noexcept
    cdef Record* _slot(self, int worker, int ring, uint64_t index) noexcept
    cdef void _keep(self, int ring, const Record* record) noexcept


cdef void fill_record(Record* record, const Facts* facts, list attempts, bint query)
cdef dict as_dict(const Record* record, int worker)
