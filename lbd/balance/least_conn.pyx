# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Least connections, weighted, in O(1): the endpoint with the fewest exchanges under way per weight.

Strategy: endpoints stand in buckets by load level, (active + 1) scaled by the inverse of their weight; a bucket is a
circular list, so that equals take turns. Told of each acquire and release, the balancer moves one endpoint between two
buckets; a three-level bitmap of used buckets finds the lowest in three steps. No scan and no heap, whatever the number
of endpoints.

With equal weights the level is the number of exchanges under way. Levels are exact in the lower half and 64 times
coarser in the upper, so that tens of thousands of exchanges per endpoint still tell apart; the highest holds the rest.
"""

from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport int32_t, uint32_t, uint64_t

from lbd.engine.cluster cimport Balancer, Endpoint

cdef enum:
    LEVELS = 262144                 # 64 ** 3
    EXACT = 131072

cdef extern from * nogil:
    int __builtin_ctzll(unsigned long long)


cdef class LeastConn(Balancer):
    cdef int32_t* first             # of each level: slot of the endpoint next in turn, or -1
    cdef uint64_t top
    cdef uint64_t middle[64]
    cdef uint64_t* bottom
    cdef uint32_t scale             # level of one exchange at the highest weight, times the weight

    def __init__(self, endpoints):
        cdef Endpoint endpoint
        cdef int i
        self.first = <int32_t*> PyMem_Calloc(LEVELS, sizeof(int32_t))
        self.bottom = <uint64_t*> PyMem_Calloc(LEVELS // 64, sizeof(uint64_t))
        if self.first == NULL or self.bottom == NULL:
            raise MemoryError
        weights = {e.weight for e in self.endpoints}
        self.scale = 1 if len(weights) <= 1 else 64
        highest = max(weights, default=1)
        self.scale *= highest
        for i, endpoint in enumerate(self.endpoints):
            endpoint.slot = i
            self._link(endpoint, self._level(endpoint))

    def __dealloc__(self):
        PyMem_Free(self.first)
        PyMem_Free(self.bottom)

    cdef int _level(self, Endpoint endpoint) noexcept:
        cdef uint64_t level = <uint64_t> (endpoint.active + 1) * self.scale // endpoint.weight
        if level >= EXACT:
            level = EXACT + (level - EXACT) // 64
        return <int> level if level < LEVELS else LEVELS - 1

    cdef void _link(self, Endpoint endpoint, int level) noexcept:
        """To the end of its level's circle."""
        cdef int head = self.first[level] - 1
        cdef Endpoint next_in_turn, last
        endpoint.level = level
        if head < 0:
            endpoint.before = endpoint.after = endpoint.slot
            self.first[level] = endpoint.slot + 1          # stored plus one, so that zeroed memory means empty
            self.bottom[level >> 6] |= <uint64_t> 1 << (level & 63)
            self.middle[level >> 12] |= <uint64_t> 1 << ((level >> 6) & 63)
            self.top |= <uint64_t> 1 << (level >> 12)
            return
        next_in_turn = <Endpoint> self.endpoints[head]
        last = <Endpoint> self.endpoints[next_in_turn.before]
        endpoint.after = head
        endpoint.before = last.slot
        last.after = endpoint.slot
        next_in_turn.before = endpoint.slot

    cdef void _unlink(self, Endpoint endpoint) noexcept:
        cdef int level = endpoint.level
        if endpoint.after == endpoint.slot:
            self.first[level] = 0
            self.bottom[level >> 6] &= ~(<uint64_t> 1 << (level & 63))
            if self.bottom[level >> 6] == 0:
                self.middle[level >> 12] &= ~(<uint64_t> 1 << ((level >> 6) & 63))
                if self.middle[level >> 12] == 0:
                    self.top &= ~(<uint64_t> 1 << (level >> 12))
            return
        (<Endpoint> self.endpoints[endpoint.before]).after = endpoint.after
        (<Endpoint> self.endpoints[endpoint.after]).before = endpoint.before
        if self.first[level] == endpoint.slot + 1:
            self.first[level] = endpoint.after + 1

    cdef int pick(self, uint64_t key) noexcept:
        cdef int a, b, level, index
        if self.top == 0:
            return -1
        a = __builtin_ctzll(self.top)
        b = a << 6 | __builtin_ctzll(self.middle[a])
        level = b << 6 | __builtin_ctzll(self.bottom[b])
        index = self.first[level] - 1
        # the next one's turn, also when this pick comes to nothing
        self.first[level] = (<Endpoint> self.endpoints[index]).after + 1
        return index

    cdef void on_acquired(self, Endpoint endpoint) noexcept:
        self._move(endpoint)

    cdef void on_released(self, Endpoint endpoint) noexcept:
        self._move(endpoint)

    cdef void _move(self, Endpoint endpoint) noexcept:
        cdef int level
        if not 0 <= endpoint.slot < len(self.endpoints) or self.endpoints[endpoint.slot] is not endpoint:
            return                                          # of an older generation: it only ends its exchanges
        level = self._level(endpoint)
        if level != endpoint.level:
            self._unlink(endpoint)
            self._link(endpoint, level)
