# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""ByteMap: open addressing, linear probing, at most half full. Filled when a config is compiled, then only read."""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memcmp


cdef class ByteMap:

    def __cinit__(self):
        self.arena = bytearray()
        self.mask = 7
        self.slots = <Slot*> PyMem_Malloc(8 * sizeof(Slot))
        if self.slots == NULL:
            raise MemoryError
        for i in range(8):
            self.slots[i].value = -1

    def __dealloc__(self):
        PyMem_Free(self.slots)

    def __len__(self):
        return self.used

    cdef int32_t find(self, uint32_t salt, const char* key, size_t n) noexcept nogil:
        """The value, or -1."""
        cdef uint64_t h = hash_bytes(salt, key, n)
        cdef uint64_t i = h & self.mask
        cdef Slot* slot
        while True:
            slot = &self.slots[i]
            if slot.value < 0:
                return -1
            if (slot.hash == h and slot.salt == salt and slot.key_len == n
                    and memcmp(self.keys + slot.key, key, n) == 0):
                return slot.value
            i = (i + 1) & self.mask

    cdef int put(self, uint32_t salt, bytes key, int32_t value) except -1:
        cdef uint64_t h, i
        if 2 * (self.used + 1) > self.mask + 1:
            self._grow()
        h = hash_bytes(salt, <const char*> key, len(key))
        i = h & self.mask
        while self.slots[i].value >= 0:
            i = (i + 1) & self.mask
        self.slots[i].hash = h
        self.slots[i].salt = salt
        self.slots[i].key = len(self.arena)
        self.slots[i].key_len = <uint32_t> len(key)
        self.slots[i].value = value
        self.arena += key
        self.keys = <char*> self.arena
        self.used += 1
        return 0

    cdef int _grow(self) except -1:
        cdef uint64_t size = 2 * (self.mask + 1)
        cdef Slot* bigger = <Slot*> PyMem_Malloc(size * sizeof(Slot))
        cdef uint64_t i, j
        if bigger == NULL:
            raise MemoryError
        for i in range(size):
            bigger[i].value = -1
        for i in range(self.mask + 1):
            if self.slots[i].value >= 0:
                j = self.slots[i].hash & (size - 1)
                while bigger[j].value >= 0:
                    j = (j + 1) & (size - 1)
                bigger[j] = self.slots[i]
        PyMem_Free(self.slots)
        self.slots = bigger
        self.mask = size - 1
        return 0
