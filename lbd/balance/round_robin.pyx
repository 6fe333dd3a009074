# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Smooth weighted round robin: proportional over each cycle and spread within it (5:1:1 gives a a b a c a a).

Strategy: the order of one whole cycle is written down when the balancer is built, by the smooth algorithm (each
endpoint gains its weight, the largest is taken and pays the total), so that a pick is an array read: O(1) whatever the
number of endpoints. With a heap over next due times the build is O(W log n), W being the sum of the weights reduced by
their common divisor; weights are scaled down when W would exceed a bound, each keeping at least one turn.
"""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint32_t, uint64_t

from heapq import heapify, heapreplace
from math import gcd

from lbd.engine.cluster cimport Balancer, Endpoint

cdef enum:
    CYCLE_MIN = 4096            # turns that a cycle may always have


cdef class RoundRobin(Balancer):
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

    cdef Endpoint pick(self, uint64_t key):
        cdef uint32_t index
        if self.turns == 0:
            return None
        index = self.order[self.at]
        self.at += 1
        if self.at == self.turns:
            self.at = 0
        return <Endpoint> self.endpoints[index]


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
    """Indexes of one cycle; endpoint i stands in it weights[i] times, its k-th turn due at (2k + 1) / (2 * weight)."""
    if not weights:
        return []
    if max(weights) == 1:
        return range(len(weights))
    heap = [(1 / (2 * w), i, 1) for i, w in enumerate(weights)]
    heapify(heap)
    cycle = []
    for _ in range(sum(weights)):
        _due, i, turn = heap[0]
        cycle.append(i)
        heapreplace(heap, ((2 * turn + 1) / (2 * weights[i]), i, turn + 1))
    return cycle
