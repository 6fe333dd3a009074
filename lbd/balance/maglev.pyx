# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Maglev hashing (Eisenbud et al. 2016, "Maglev: a fast and reliable software network load balancer", section 3.4): a
table of endpoints, looked up by the hash of a key. O(1).

The endpoints take turns in filling the table, each by its own permutation of the places, which its name decides; with
weights a lighter one misses some of its turns. When endpoints come or go, nearly all others find most of their
places as before: more keys move than need to, but few. Shares are even to one place of the table, or as even as hashes
get where it has few places per endpoint.

Nothing but names and weights goes into the table: all nodes and workers choose alike, whatever the order of their files.
"""

from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc
from libc.stdint cimport int32_t, uint32_t, uint64_t

from lbd.balance.keyed cimport Keyed, Walk, mix, scale
from lbd.engine.bytemap cimport hash_bytes

from lbd.balance.options import MaglevOptions

SIZES = (65537, 655373, 6553621)        # of tables, primes; the first with PLACES for each endpoint, else the last
PLACES = 6

cdef struct Filler:
    uint32_t index              # of the endpoint
    uint32_t at                 # place that its permutation has come to
    uint32_t skip
    double due                  # turns that it may take, saved up
    double weight               # of the heaviest


cdef class Maglev(Keyed):
    Options = MaglevOptions

    cdef int32_t* table
    cdef uint32_t places

    def __init__(self, endpoints, *, table_size=None, load_factor=None, seed=None):
        cdef Filler* fillers
        Keyed.__init__(self, self.endpoints, load_factor=load_factor, seed=seed)
        if not self.n:
            return
        self.places = table_size if table_size and table_size > self.n else _size_for(self.n)
        self.table = <int32_t*> PyMem_Malloc(self.places * sizeof(int32_t))
        fillers = <Filler*> PyMem_Calloc(self.n, sizeof(Filler))
        if self.table == NULL or fillers == NULL:
            PyMem_Free(fillers)
            raise MemoryError
        self._permute(fillers)
        self._fill(fillers)
        PyMem_Free(fillers)

    def __dealloc__(self):
        PyMem_Free(self.table)

    cdef int _permute(self, Filler* fillers) except -1:
        cdef uint64_t hashed
        cdef uint32_t i
        cdef bytes name
        heaviest = max(e.weight for e in self.endpoints)
        order = sorted(range(self.n), key=lambda index: self.endpoints[index].name)
        for i in range(self.n):
            endpoint = self.endpoints[order[i]]
            name = endpoint.name.encode()
            hashed = mix(hash_bytes(0, <const char*> name, len(name)))
            fillers[i].index = order[i]
            fillers[i].at = scale(hashed, self.places)
            fillers[i].skip = scale(mix(hashed), self.places - 1) + 1
            fillers[i].weight = <double> endpoint.weight / heaviest
            fillers[i].due = 1          # whoever is there has one place at least, if there are so many
        return 0

    cdef void _fill(self, Filler* fillers) noexcept:
        cdef uint32_t i
        cdef uint32_t filled = 0
        cdef Filler* filler
        for i in range(self.places):
            self.table[i] = -1
        while True:
            for i in range(self.n):
                filler = &fillers[i]
                if filler.due >= 1:
                    filler.due -= 1
                    while self.table[filler.at] >= 0:
                        filler.at += filler.skip
                        if filler.at >= self.places:
                            filler.at -= self.places
                    self.table[filler.at] = <int32_t> filler.index
                    filled += 1
                    if filled == self.places:
                        return
                filler.due += filler.weight

    cdef int pick(self, uint64_t key, int attempt) noexcept:
        """Most picks, written out."""
        if key != 0 and attempt == 0 and self.loads == NULL and self.n:
            return self.table[scale(mix(key), self.places)]
        return Keyed.pick(self, key, attempt)

    cdef void start(self, uint64_t hashed, Walk* walk) noexcept:
        walk.at = scale(hashed, self.places)

    cdef int step(self, Walk* walk) noexcept:
        """Places in a row belong to endpoints that have nothing to do with each other."""
        cdef int index = self.table[walk.at]
        walk.at += 1
        if walk.at == self.places:
            walk.at = 0
        return index


def _size_for(endpoints):
    return next((size for size in SIZES if size >= PLACES * endpoints), max(SIZES))
