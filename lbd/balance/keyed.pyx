# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Base of the balancers that choose by a key: hash, ip_hash, ring_hash, maglev.

A subclass gives each key an order of endpoints. Here is what they have in common: a request without a key is spread at
random, further attempts go down the order, and with a load factor c no endpoint gets more than c times its share
of the exchanges under way: a full one is left out (Mirrokni, Thorup, Zadimoghaddam 2018, "Consistent hashing with bounded
loads"). As sum(ceil(c * share)) exceeds what is under way, one that is not full always exists.
"""

from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

import os

from lbd.engine.endpoint cimport Balancer, Endpoint
from lbd.engine.xorshift cimport next_random

cdef enum:
    EFFORT = 48                 # steps of one walk
    SEEN = 8                    # endpoints kept apart for further attempts
    LOOK = 64                   # endpoints looked at one by one when the walk was not enough


cdef class Keyed(Balancer):
    keyed = True                # control/compile.py: the cluster needs a KeySource
    score_means = "place in the order that the key gives them, full ones last; the first is picked"

    def __init__(self, endpoints, *, load_factor=None, seed=None):
        cdef Endpoint endpoint
        cdef int i
        self.needs_key = True
        self.n = <unsigned int> len(self.endpoints)
        self.state = (int.from_bytes(os.urandom(8), "little") if seed is None else seed * 2 + 1) | 1
        if load_factor is None or not self.n:
            return
        self.tracks_load = True
        self.loads = <Load*> PyMem_Calloc(self.n, sizeof(Load))
        if self.loads == NULL:
            raise MemoryError
        weights = sum([e.weight for e in self.endpoints])
        for i, endpoint in enumerate(self.endpoints):
            self.loads[i].active = endpoint.active
            self.loads[i].most = load_factor * endpoint.weight / weights
            self.total += endpoint.active

    def __dealloc__(self):
        PyMem_Free(self.loads)

    cdef void start(self, uint64_t hashed, Walk* walk) noexcept:
        """Where the order of this key begins."""
        walk.at = hashed
        walk.steps = 0

    cdef int step(self, Walk* walk) noexcept:
        """The next of the order, perhaps one that was there before; -1: one that does not serve now."""
        return -1

    cdef int pick(self, uint64_t key, int attempt) noexcept:
        cdef Walk walk
        cdef uint64_t hashed
        cdef int index, _step
        if self.n == 0:
            return -1
        # the part of the cluster was chosen by the key as well: its endpoints are chosen by other bits of it
        hashed = mix(key if key != 0 else next_random(&self.state))
        self.start(hashed, &walk)
        if attempt or self.loads != NULL:
            return self._walk_on(&walk, hashed, attempt)
        for _step in range(EFFORT):
            index = self.step(&walk)
            if index >= 0:
                return index
        return self._rest(hashed, 0, NULL, 0)

    cdef int _walk_on(self, Walk* walk, uint64_t hashed, int attempt) noexcept:
        """The first with room, but for those that earlier attempts were given."""
        cdef int[SEEN] seen
        cdef int n_seen = 0
        cdef int index, _step
        for _step in range(EFFORT):
            index = self.step(walk)
            if index < 0 or _among(seen, n_seen, index) or self._is_full(index):
                continue
            if n_seen == attempt:
                return index
            if n_seen < SEEN:
                seen[n_seen] = index
                n_seen += 1
        return self._rest(hashed, attempt, seen, n_seen)

    cdef int _rest(self, uint64_t hashed, int attempt, int* seen, int n_seen) noexcept:
        """The walk has met too few: go over the others as they stand, from a place that the key decides."""
        cdef int full = -1
        cdef int index, i
        for i in range(min(<int> self.n, <int> LOOK)):
            index = <int> ((scale(hashed, self.n) + <unsigned int> i) % self.n)
            if _among(seen, n_seen, index):
                continue
            if self._is_full(index):
                full = index if full < 0 else full
                continue
            if n_seen == attempt:
                return index
            if n_seen < SEEN:
                seen[n_seen] = index
                n_seen += 1
        if full >= 0:
            return full
        return seen[attempt % n_seen] if n_seen else <int> scale(hashed, self.n)

    cdef bytes bookmark(self):
        return (<char*> &self.state)[:sizeof(uint64_t)]

    cdef void go_back(self, bytes place) noexcept:
        memcpy(&self.state, <const char*> place, sizeof(uint64_t))

    def scores(self, uint64_t key=0):
        """Places in the order that the key gives the endpoints, as far as one walk goes; those that are full under bounded
        load come behind all others. Empty without a key."""
        cdef Walk walk
        cdef int index, _step
        order = []
        if key == 0 or self.n == 0:
            return {}
        self.start(mix(key), &walk)
        for _step in range(EFFORT):
            index = self.step(&walk)
            if index >= 0 and index not in order:
                order.append(index)
        return {self.endpoints[index]: float(place + (self.n if self._is_full(index) else 0))
                for place, index in enumerate(order)}

    cdef bint _is_full(self, int index) noexcept:
        """One exchange more would be more than ceil(most * total), which is an integer as often as not: it is not left to
        rounding on which side of it the product lies."""
        cdef Load* load
        if self.loads == NULL:
            return False
        load = &self.loads[index]
        return <double> load.active >= <double> (self.total + 1) * load.most - 1e-6

    cdef void on_acquired(self, int index) noexcept:
        if self.loads != NULL:
            self.loads[index].active += 1
            self.total += 1

    cdef void on_released(self, int index) noexcept:
        if self.loads != NULL and self.loads[index].active:
            self.loads[index].active -= 1
            self.total -= 1


cdef bint _among(const int* seen, int n_seen, int index) noexcept:
    cdef int i
    for i in range(n_seen):
        if seen[i] == index:
            return True
    return False
