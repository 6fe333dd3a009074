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

cdef struct Recent:             # exchanges of late, older ones counting less and less
    double requests, failures
    double us                   # of all of them, to the first byte of the response
    uint64_t at                 # ms: what the figures are decayed to

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
    Recent recent               # kept up where somebody wants it

cdef enum:
    # EndpointState.health, as the active checks see it
    HEALTH_UNKNOWN = 0
    HEALTH_UP = 1
    HEALTH_DOWN = 2
    # EndpointState.admin, as the operator wants it
    ADMIN_READY = 0
    ADMIN_DRAINING = 1          # no new exchanges, but those of sessions that it has
    ADMIN_DISABLED = 2
    # Circuit.state
    CIRCUIT_CLOSED = 0
    CIRCUIT_OPEN = 1
    CIRCUIT_HALF_OPEN = 2

cdef struct Circuit:            # one for all workers, see health/circuit.pyx
    uint32_t state
    uint32_t consecutive        # failures in a row
    uint64_t until              # ms: open until then; half-open: when it became so
    uint32_t trips              # in a row, for growing times
    uint32_t probes             # half-open: exchanges let through
    uint32_t probes_ok
    uint32_t probes_failed
    uint64_t window             # ms: start of the window that is counted now; half-open: of the probes
    uint32_t ok, failed
    uint32_t ok_before, failed_before   # in the window before
    uint64_t opened             # times in all
    uint64_t last_failure       # ms
    uint32_t cause              # of the last opening, OPENED_BY_* of health/circuit.pxd
    uint32_t reserved

cdef struct EndpointState:      # one for all workers
    uint32_t health
    uint32_t admin
    uint32_t weight             # set at run time, plus one; 0 = as configured
    uint32_t reserved
    uint64_t up_since           # ms: when it last became usable, for the slow start; 0 = has been from the beginning
    uint64_t rtt_us             # time to connect, averaged by the active checks; 0 = not measured
    uint64_t checks_ok
    uint64_t checks_failed
    Circuit ejection            # passive checks
    Circuit breaker             # breakers of scope endpoint

cdef struct ClusterState:       # one for all workers
    Circuit breaker
    uint64_t panics             # times it began to ignore health
    uint32_t panic              # gauge: does it ignore health now
    uint32_t ejected            # gauge: endpoints held back by passive checks
    uint64_t generation         # grows whenever workers have to look at its endpoints again

cdef struct ClusterStats:       # one per worker
    uint64_t active             # gauge: exchanges and tunnels under way
    uint64_t pending            # gauge: of them, those that wait for a connection
    uint64_t retries[16]        # by what made them, RETRY_* of engine/retry.pxd
    uint64_t retries_denied     # by the budget
    uint64_t hedges
    uint64_t hedges_won
    uint64_t shed               # refused for overload
    uint64_t broken             # refused by the breaker
    uint64_t fallbacks
    uint64_t ejections_denied   # by the share that may be out
    uint64_t panic_picks
    uint64_t cross_zone         # picks outside of lbd's own zone
    uint64_t sticky_kept        # sessions that reached their endpoint again
    uint64_t sticky_lost
    uint64_t limit              # gauge: adaptive concurrency

cdef struct WorkerStats:        # one per worker, about itself
    uint64_t beat               # ms: when its loop last ticked
    uint64_t lag_us             # how late that was
    uint64_t faults             # exceptions that cost a connection
    uint64_t pid
    uint64_t cpu_us             # user and system time
    uint64_t log_lines, log_dropped     # of access logs
    uint64_t exported, unqueued, unexported     # traces: taken by the collector, lost before, lost by it

cdef uint8_t[600] STATUS_SLOT


cdef extern from * nogil:
    """
    #define lbd_grow(p) __atomic_add_fetch((p), 1, __ATOMIC_RELEASE)
    """
    uint64_t lbd_grow(uint64_t* p)


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
    cdef readonly int fd        # of the memory, which workers get
    cdef readonly bint attached     # another process has made it: records are found, not made
    cdef list news              # identities since `export` was last asked
    cdef char* base
    cdef size_t size, used
    cdef dict directory         # (kind, name) -> (offset, bytes per worker)
    cdef dict spare             # bytes per worker -> offsets of forgotten records
    cdef readonly int workers
    cdef readonly bytes secret  # of this run, the same in all workers
    cdef uint64_t* generation   # grows when the state of endpoints or clusters changes: others look again

    cdef size_t step_of(self, size_t size) noexcept
    cdef void* find(self, str kind, str name, size_t size, int worker) except NULL
