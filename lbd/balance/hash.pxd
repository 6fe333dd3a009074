# cython: language_level=3
"""See hash.pyx."""

from libc.stdint cimport int32_t, uint32_t, uint64_t

from lbd.balance.draw cimport Column
from lbd.balance.keyed cimport Keyed

cdef struct WeightClass:        # the members of one weight; a column of an alias table over the classes
    uint32_t threshold
    uint32_t alias
    uint32_t first              # of its slots
    uint32_t size


cdef class Hash(Keyed):
    cdef WeightClass* classes
    cdef uint32_t n_classes
    cdef int32_t* slots         # by class and name: index of each member, -1: it does not serve now
    cdef Column* columns        # of those that serve, NULL when they have equal weights
    cdef uint32_t* accepts      # by index: part of its keys that it takes, of 2^32; NULL: all take all

    cdef int _fill(self, list table, dict index) except -1
    cdef int _accept_parts(self, list wanted) except -1
