# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Smooth weighted round robin: proportional over each cycle and spread within it, turns in a row being rare.

Strategy: the order of one whole cycle is written down when the balancer is built, so that a pick is an array read: O(1)
whatever the number of endpoints. Each turn has a due time, the k-th of an endpoint (k + phase) / weight, and a heap
orders them: O(W log n), W being the sum of the weights reduced by their common divisor; weights are scaled down when W
would exceed a bound, each keeping at least one turn.
"""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from collections import Counter
from heapq import heapify, heapreplace
from math import gcd

from lbd.engine.endpoint cimport Balancer

cdef enum:
    CYCLE_MIN = 4096            # turns that a cycle may always have


cdef class RoundRobin(Balancer):
    score_means = "turns of others before its own"

    cdef uint32_t* order
    cdef uint32_t turns, at

    def __init__(self, endpoints):
        weights = scale_weights([e.weight for e in self.endpoints])
        cycle = smooth_cycle(weights)
        self.turns = len(cycle)
        self.order = <uint32_t*> PyMem_Malloc(max(1, self.turns) * sizeof(uint32_t))
        if self.order == NULL:
            raise MemoryError
        for i, index in enumerate(cycle):
            self.order[i] = index

    def __dealloc__(self):
        PyMem_Free(self.order)

    cdef int pick(self, uint64_t key, int attempt) noexcept:
        cdef uint32_t index
        if self.turns == 0:
            return -1
        index = self.order[self.at]
        self.at += 1
        if self.at == self.turns:
            self.at = 0
        return <int> index

    cdef bytes bookmark(self):
        return (<char*> &self.at)[:sizeof(uint32_t)]

    cdef void go_back(self, bytes place) noexcept:
        memcpy(&self.at, <const char*> place, sizeof(uint32_t))

    def scores(self, uint64_t key=0):
        cdef uint32_t turn
        found = {}
        for turn in range(self.turns):
            found.setdefault(self.endpoints[self.order[(self.at + turn) % self.turns]], float(turn))
            if len(found) == len(self.endpoints):
                break
        return found


def scale_weights(weights):
    """Weights divided by their gcd, and down to a bounded sum (4 turns per endpoint or CYCLE_MIN), each at least 1."""
    divisor = gcd(*weights) if weights else 1
    weights = [w // divisor for w in weights]
    bound = max(CYCLE_MIN, 4 * len(weights))
    total = sum(weights)
    if total <= bound:
        return weights
    return [max(1, round(w * bound / total)) for w in weights]


def smooth_cycle(weights):
    """Indexes of one cycle: endpoint i stands in it weights[i] times, spread evenly, endpoints of one weight staggered."""
    if not weights:
        return []
    if max(weights) == 1:
        return range(len(weights))
    same = Counter(weights)
    seen = Counter()
    heap = []
    for i, w in enumerate(weights):
        phase = (seen[w] + 0.5) / same[w]
        seen[w] += 1
        heap.append((phase / w, i, 1, phase))
    heapify(heap)
    cycle = []
    for _ in range(sum(weights)):
        _due, i, turn, phase = heap[0]
        cycle.append(i)
        heapreplace(heap, ((turn + phase) / weights[i], i, turn + 1, phase))
    separate_neighbours(cycle)
    return cycle


def separate_neighbours(cycle, reach=32):
    """Where two turns of one endpoint meet (round the seam too), swap one with the nearest turn that fits in its place."""
    n = len(cycle)

    def fits(index, place, other):
        return all(cycle[p % n] != index for p in (place - 1, place + 1) if p % n != other)

    def swap(place):
        for step in range(1, min(reach, n)):
            for other in ((place + step) % n, (place - step) % n):
                a, b = cycle[place], cycle[other]
                if a != b and fits(b, place, other) and fits(a, other, place):
                    cycle[place], cycle[other] = b, a
                    return True
        return False

    for place in range(n):
        if cycle[place] == cycle[place - 1]:
            swap(place) or swap((place - 1) % n)
