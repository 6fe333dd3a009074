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

from lbd.engine.endpoint cimport Balancer, Endpoint

cdef enum:
    LEVELS = 262144                 # 64 ** 3
    EXACT = 131072

cdef extern from * nogil:
    int __builtin_ctzll(unsigned long long)


cdef struct Place:
    int32_t before, after           # in the circle of its level
    int32_t level
    uint32_t active, weight


cdef class LeastConn(Balancer):
    score_means = "exchanges under way with one more, per weight; the lowest is picked, equals take turns"

    cdef Place* places              # by index of the endpoint
    cdef int32_t* first             # of each level: index of the endpoint next in turn, plus one; 0 = none
    cdef uint64_t top
    cdef uint64_t middle[64]
    cdef uint64_t* bottom
    cdef uint32_t scale             # level of one exchange at the highest weight, times the weight

    def __init__(self, endpoints):
        cdef Endpoint endpoint
        cdef int i
        self.tracks_load = True
        self.places = <Place*> PyMem_Calloc(max(1, len(self.endpoints)), sizeof(Place))
        self.first = <int32_t*> PyMem_Calloc(LEVELS, sizeof(int32_t))
        self.bottom = <uint64_t*> PyMem_Calloc(LEVELS // 64, sizeof(uint64_t))
        if self.places == NULL or self.first == NULL or self.bottom == NULL:
            raise MemoryError
        weights = {e.weight for e in self.endpoints}
        self.scale = 1 if len(weights) <= 1 else 64
        highest = max(weights, default=1)
        self.scale *= highest
        for i, endpoint in enumerate(self.endpoints):
            self.places[i].active = endpoint.active
            self.places[i].weight = endpoint.weight
            self._link(i, self._level(i))

    def __dealloc__(self):
        PyMem_Free(self.places)
        PyMem_Free(self.first)
        PyMem_Free(self.bottom)

    cdef int _level(self, int index) noexcept:
        cdef uint64_t level = <uint64_t> (self.places[index].active + 1) * self.scale // self.places[index].weight
        if level >= EXACT:
            level = EXACT + (level - EXACT) // 64
        return <int> level if level < LEVELS else LEVELS - 1

    cdef void _link(self, int index, int level) noexcept:
        """To the end of its level's circle."""
        cdef int head = self.first[level] - 1
        cdef Place* place = &self.places[index]
        place.level = level
        if head < 0:
            place.before = place.after = index
            self.first[level] = index + 1
            self.bottom[level >> 6] |= <uint64_t> 1 << (level & 63)
            self.middle[level >> 12] |= <uint64_t> 1 << ((level >> 6) & 63)
            self.top |= <uint64_t> 1 << (level >> 12)
            return
        place.after = head
        place.before = self.places[head].before
        self.places[place.before].after = index
        self.places[head].before = index

    cdef void _unlink(self, int index) noexcept:
        cdef Place* place = &self.places[index]
        cdef int level = place.level
        if place.after == index:
            self.first[level] = 0
            self.bottom[level >> 6] &= ~(<uint64_t> 1 << (level & 63))
            if self.bottom[level >> 6] == 0:
                self.middle[level >> 12] &= ~(<uint64_t> 1 << ((level >> 6) & 63))
                if self.middle[level >> 12] == 0:
                    self.top &= ~(<uint64_t> 1 << (level >> 12))
            return
        self.places[place.before].after = place.after
        self.places[place.after].before = place.before
        if self.first[level] == index + 1:
            self.first[level] = place.after + 1

    cdef int pick(self, uint64_t key, int attempt) noexcept:
        cdef int level = _lowest(self)
        cdef int index
        if level < 0:
            return -1
        index = self.first[level] - 1
        # the next one's turn, also when this pick comes to nothing
        self.first[level] = self.places[index].after + 1
        return index

    cdef bytes bookmark(self):
        """Picks turn the circle of one level, the lowest, from here on."""
        cdef int[2] place
        place[0] = _lowest(self)
        place[1] = self.first[place[0]] if place[0] >= 0 else 0
        return (<char*> place)[:sizeof(place)]

    cdef void go_back(self, bytes place) noexcept:
        cdef const int* at = <const int*> <const char*> place
        if at[0] >= 0:
            self.first[at[0]] = at[1]

    def scores(self, uint64_t key=0):
        return {e: (self.places[i].active + 1) / <double> max(1, self.places[i].weight)
                for i, e in enumerate(self.endpoints)}

    cdef void on_acquired(self, int index) noexcept:
        self.places[index].active += 1
        self._move(index)

    cdef void on_released(self, int index) noexcept:
        if self.places[index].active:
            self.places[index].active -= 1
        self._move(index)

    cdef void _move(self, int index) noexcept:
        cdef int level = self._level(index)
        if level != self.places[index].level:
            self._unlink(index)
            self._link(index, level)


cdef inline int _lowest(LeastConn self) noexcept:
    """The lowest level with endpoints, -1 when there are none."""
    cdef int a, b
    if self.top == 0:
        return -1
    a = __builtin_ctzll(self.top)
    b = a << 6 | __builtin_ctzll(self.middle[a])
    return b << 6 | __builtin_ctzll(self.bottom[b])
