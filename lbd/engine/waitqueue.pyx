# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""WaitQueue: first come, first served within one urgency, and the more urgent before all others.

Strategy: one intrusive list for each urgency, so joining, leaving from anywhere, and finding who is next or who has to
go are O(1). Strict order: while urgent ones keep coming the others wait, until their queue timeout.
"""

from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint8_t

cimport cython


@cython.no_gc
cdef class Queued:
    """Something that can wait in a WaitQueue, in one at a time."""


@cython.no_gc
@cython.final
cdef class WaitQueue:

    def __dealloc__(self):
        cdef Queued one
        while self.length:
            one = self.first()
            self.leave(one)

    def __repr__(self):
        return f"<WaitQueue length={self.length}>"

    cpdef Queued first(self):
        """Who is served next, or None."""
        cdef int i
        for i in range(URGENCIES):
            if self.heads[i] != NULL:
                return <Queued> self.heads[i]
        return None

    cpdef Queued expendable(self, uint8_t urgency):
        """Who has to go for one of this urgency: the last to come of the least urgent, if they are less urgent; or None."""
        cdef int i
        for i in range(URGENCIES - 1, <int> urgency, -1):
            if self.tails[i] != NULL:
                return <Queued> self.tails[i]
        return None

    cpdef void join(self, Queued one) noexcept:
        """To the end of its urgency; no effect on one that is queued."""
        cdef void* last = self.tails[one.urgency]
        if one.queued:
            return
        one.queued = True
        one.queue_next = NULL
        one.queue_prev = last
        if last == NULL:
            self.heads[one.urgency] = <void*> one
        else:
            (<Queued> last).queue_next = <void*> one
        self.tails[one.urgency] = <void*> one
        self.length += 1
        Py_INCREF(one)

    cpdef void leave(self, Queued one) noexcept:
        """From wherever it stands; no effect on one that is not queued."""
        if not one.queued:
            return
        one.queued = False
        if one.queue_prev == NULL:
            self.heads[one.urgency] = one.queue_next
        else:
            (<Queued> one.queue_prev).queue_next = one.queue_next
        if one.queue_next == NULL:
            self.tails[one.urgency] = one.queue_prev
        else:
            (<Queued> one.queue_next).queue_prev = one.queue_prev
        one.queue_next = one.queue_prev = NULL
        self.length -= 1
        Py_DECREF(one)
