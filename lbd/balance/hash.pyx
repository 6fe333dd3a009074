# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The hash of a key chooses the endpoint, by weight, in O(1).

Strategy: it chooses among all members of the cluster, also those that do not serve now. When the chosen one does not
serve, the key is hashed again; so the keys of an endpoint that goes down move, and come back with it, while all others
stay (as in nginx without `consistent`). An endpoint whose weight is held down for a while (slow start) gives away some of
its keys. With other members or weights, however, most keys move: ring_hash and maglev are for clusters that change.

An alias table chooses among the weights that occur, of which there are few; then all members of that weight are equal.
So of what grows with the cluster a pick reads 4 bytes. Members stand in the order of their names: nodes and workers
with the same members choose alike.
"""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int32_t, uint32_t, uint64_t

from collections import Counter

from lbd.balance.draw cimport Column, column_of, make_columns
from lbd.balance.keyed cimport Keyed, Walk, mix, scale

from lbd.balance.options import HashOptions

cdef enum:
    MEMBER_STEPS = 24           # members that a key is given to before only those that serve are looked at

cdef uint64_t GOLDEN = 0x9E3779B97F4A7C15ULL


cdef class Hash(Keyed):
    Options = HashOptions
    wants_members = True        # Cluster gives all its endpoints

    def __init__(self, endpoints, *, members=None, load_factor=None, seed=None):
        Keyed.__init__(self, self.endpoints, load_factor=load_factor, seed=seed)
        index = {endpoint: i for i, endpoint in enumerate(self.endpoints)}
        table = [e for e in {*(members or ()), *self.endpoints} if e.wanted_weight or e in index]
        table.sort(key=lambda endpoint: (_weight(endpoint), endpoint.name))
        self._fill(table, index)
        self.columns = make_columns([e.weight for e in self.endpoints])
        self._accept_parts([_weight(e) for e in self.endpoints])

    def __dealloc__(self):
        PyMem_Free(self.classes)
        PyMem_Free(self.slots)
        PyMem_Free(self.columns)
        PyMem_Free(self.accepts)

    cdef int _fill(self, list table, dict index) except -1:
        """table: members by weight."""
        cdef Column* columns
        cdef uint32_t i
        weights = [_weight(e) for e in table]
        sizes = Counter(weights)
        self.n_classes = <uint32_t> len(sizes)
        self.classes = <WeightClass*> PyMem_Malloc(max(1, len(sizes)) * sizeof(WeightClass))
        self.slots = <int32_t*> PyMem_Malloc(max(1, len(table)) * sizeof(int32_t))
        if self.classes == NULL or self.slots == NULL:
            raise MemoryError
        for i, endpoint in enumerate(table):
            self.slots[i] = index.get(endpoint, -1)
        columns = make_columns([weight * sizes[weight] for weight in sorted(sizes)])
        first = 0
        for i, weight in enumerate(sorted(sizes)):
            self.classes[i].threshold = columns[i].threshold if columns != NULL else 0xFFFFFFFF
            self.classes[i].alias = columns[i].alias if columns != NULL else i
            self.classes[i].first = first
            self.classes[i].size = sizes[weight]
            first += sizes[weight]
        PyMem_Free(columns)
        return 0

    cdef int _accept_parts(self, list wanted) except -1:
        """Some weights may be less than what the table was made of; the scale of weights has no meaning."""
        cdef uint32_t i
        parts = [e.weight / w for e, w in zip(self.endpoints, wanted)]
        if not parts or min(parts) == max(parts):
            return 0
        self.accepts = <uint32_t*> PyMem_Malloc(self.n * sizeof(uint32_t))
        if self.accepts == NULL:
            raise MemoryError
        for i in range(self.n):
            self.accepts[i] = min(0xFFFFFFFF, int(parts[i] / max(parts) * 2**32))
        return 0

    cdef int pick(self, uint64_t key, int attempt) noexcept:
        """The first step of most picks, written out: fewer instructions let the processor overlap cache misses."""
        cdef int32_t index
        if key != 0 and attempt == 0 and self.loads == NULL and self.accepts == NULL and self.n:
            index = _member(self, mix(key))
            if index >= 0:
                return index
        return Keyed.pick(self, key, attempt)

    cdef int step(self, Walk* walk) noexcept:
        cdef uint64_t x = walk.at
        cdef int32_t index
        walk.at = mix(x + GOLDEN)
        walk.steps += 1
        if walk.steps > MEMBER_STEPS:
            return <int> column_of(self.columns, self.n, x)
        index = _member(self, x)
        if index >= 0 and self.accepts != NULL and <uint32_t> mix(x) > self.accepts[index]:
            return -1
        return index


cdef inline int32_t _member(Hash self, uint64_t x) noexcept:
    """The index of the member that x stands for, -1 when it does not serve."""
    cdef const WeightClass* weights = &self.classes[scale(x, self.n_classes)]
    if <uint32_t> x > weights.threshold:
        weights = &self.classes[weights.alias]
    return self.slots[weights.first + scale(x * 0xD6E8FEB86659FD93ULL, weights.size)]


def _weight(endpoint):
    """The weight that does not change with health or time; of one that has none now, what it was given anyway."""
    return endpoint.wanted_weight or endpoint.weight
