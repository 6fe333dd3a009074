# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Consistent hashing on a ring (Karger et al. 1997; ketama, Jones 2007): a key belongs to the endpoint of the next point.

Each endpoint has `virtual_nodes` points per unit of its weight, the places of which are hashes of its name and their
number. So when an endpoint comes or goes, or its weight changes, no key moves but to or from it. Shares are
uneven, by about 1 / sqrt(points of the endpoint).

The points stand in an array by place, and a table tells for the upper bits of a hash where to begin in it: two steps on
average instead of log n. When weights are large points are fewer by a power of two, see MOST_POINTS; it depends on
all members of the cluster, so that nothing changes when one of them is down.
"""

from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from lbd.balance.keyed cimport Keyed, Walk, mix
from lbd.engine.bytemap cimport hash_bytes

from lbd.balance.options import RingHashOptions

cdef enum:
    MOST_POINTS = 524288

cdef struct Point:
    uint32_t place
    uint32_t index              # of the endpoint


cdef class RingHash(Keyed):
    Options = RingHashOptions
    wants_members = True        # Cluster gives all its endpoints

    cdef Point* ring
    cdef uint32_t points
    cdef uint32_t* first        # by the upper bits of a place: the first point at or behind it
    cdef int shift

    def __init__(self, endpoints, *, members=None, virtual_nodes=160, load_factor=None, seed=None):
        Keyed.__init__(self, self.endpoints, load_factor=load_factor, seed=seed)
        if not self.n:
            return
        wished = sum([e.wanted_weight for e in {*(members or ()), *self.endpoints}]) * virtual_nodes
        per_weight = virtual_nodes
        while wished > MOST_POINTS:
            wished /= 2
            per_weight /= 2
        counts = [max(1, round(e.weight * per_weight)) for e in self.endpoints]
        self.points = sum(counts)
        self.ring = <Point*> PyMem_Malloc(self.points * sizeof(Point))
        if self.ring == NULL:
            raise MemoryError
        self._place(counts)
        self._sort()
        self._index()

    def __dealloc__(self):
        PyMem_Free(self.ring)
        PyMem_Free(self.first)

    cdef int _place(self, list counts) except -1:
        """By name, so that of two points at one place all nodes prefer the same."""
        cdef uint64_t hashed
        cdef uint32_t index, i
        cdef uint32_t at = 0
        cdef uint32_t count
        cdef bytes name
        for index in sorted(range(self.n), key=lambda index: self.endpoints[index].name):
            name = self.endpoints[index].name.encode()
            hashed = hash_bytes(0, <const char*> name, len(name))
            count = counts[index]
            for i in range(count):
                self.ring[at].place = <uint32_t> (mix(hashed + i * 0x9E3779B97F4A7C15ULL) >> 32)
                self.ring[at].index = index
                at += 1
        return 0

    cdef int _sort(self) except -1:
        """By place, stable: radix sort with 11 bits at a time."""
        cdef uint32_t[2048] starts
        cdef uint32_t i, digit, at, count
        cdef int shift
        cdef Point* other = <Point*> PyMem_Malloc(self.points * sizeof(Point))
        if other == NULL:
            raise MemoryError
        for shift in range(0, 33, 11):
            memset(starts, 0, sizeof(starts))
            for i in range(self.points):
                starts[(self.ring[i].place >> shift) & 2047] += 1
            at = 0
            for digit in range(2048):
                count = starts[digit]
                starts[digit] = at
                at += count
            for i in range(self.points):
                digit = (self.ring[i].place >> shift) & 2047
                other[starts[digit]] = self.ring[i]
                starts[digit] += 1
            self.ring, other = other, self.ring
        PyMem_Free(other)
        return 0

    cdef int _index(self) except -1:
        cdef uint64_t slots = 2
        cdef uint64_t slot
        cdef uint32_t at = 0
        self.shift = 31
        while slots < self.points:
            slots *= 2
            self.shift -= 1
        self.first = <uint32_t*> PyMem_Calloc(slots, sizeof(uint32_t))
        if self.first == NULL:
            raise MemoryError
        for slot in range(slots):
            while at < self.points and self.ring[at].place >> self.shift < slot:
                at += 1
            self.first[slot] = at
        return 0

    cdef void start(self, uint64_t hashed, Walk* walk) noexcept:
        cdef uint32_t place = <uint32_t> (hashed >> 32)
        cdef uint32_t at = self.first[place >> self.shift]
        while at < self.points and self.ring[at].place < place:
            at += 1
        walk.at = at

    cdef int step(self, Walk* walk) noexcept:
        if walk.at >= self.points:
            walk.at = 0
        walk.at += 1
        return <int> self.ring[walk.at - 1].index
