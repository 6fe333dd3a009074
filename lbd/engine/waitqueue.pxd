# cython: language_level=3
"""Who waits for a connection, by urgency. See waitqueue.pyx."""

from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    URGENCIES = 3                       # 0 high, 1 normal, 2 low


cdef class Queued:
    cdef void* queue_next               # borrowed, like queue_prev
    cdef void* queue_prev
    cdef readonly bint queued
    cdef public uint8_t urgency         # below URGENCIES; not changed while it is queued


cdef class WaitQueue:
    cdef void* heads[URGENCIES]         # each list holds one reference to each of its members
    cdef void* tails[URGENCIES]
    cdef readonly uint32_t length

    cpdef Queued first(self)
    cpdef Queued expendable(self, uint8_t urgency)
    cpdef void join(self, Queued one) noexcept
    cpdef void leave(self, Queued one) noexcept
