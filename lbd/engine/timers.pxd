# cython: language_level=3
"""Deadlines without a timer per request: a coarse wheel of intrusive lists, swept once per tick.

A node stands in the slot of some time at or before its deadline. Moving a deadline later, or switching it off, is one
store: the sweep finds the node early and puts it where it belongs. Only a deadline earlier than the node's slot has to
relink it, which a keep-alive connection does about once per idle timeout and not once per request. O(1) throughout.
"""

from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    TICK_MS = 32
    SLOTS = 1024


cdef struct Timer:
    Timer* prev
    Timer* next
    uint64_t deadline       # ms on the wheel's clock; 0 = off
    uint64_t tick           # tick of the slot that holds it; 0 = in no slot
    void* owner             # borrowed; the owner unlinks before it dies
    bint bare               # the owner is a Handler, not a Stream


cdef struct Wheel:
    Timer slots[SLOTS]      # list heads
    uint64_t now            # ms
    uint64_t swept          # last tick swept


cdef inline void wheel_init(Wheel* w, uint64_t now) noexcept nogil:
    cdef int i
    for i in range(SLOTS):
        w.slots[i].prev = w.slots[i].next = &w.slots[i]
    w.now = now
    w.swept = now // TICK_MS


cdef inline void timer_unlink(Timer* t) noexcept nogil:
    if t.tick:
        t.prev.next = t.next
        t.next.prev = t.prev
        t.tick = 0


cdef inline void timer_link(Wheel* w, Timer* t) noexcept nogil:
    """Insert into the slot of the deadline, or of the horizon when it lies beyond."""
    cdef uint64_t tick = t.deadline // TICK_MS + 1
    cdef Timer* head
    if tick <= w.swept:
        tick = w.swept + 1
    elif tick >= w.swept + SLOTS:
        tick = w.swept + SLOTS - 1
    head = &w.slots[tick % SLOTS]
    t.tick = tick
    t.prev = head.prev
    t.next = head
    head.prev.next = t
    head.prev = t


cdef inline void timer_set(Wheel* w, Timer* t, uint64_t after_ms) noexcept nogil:
    """Fire after_ms from now; 0 switches the timer off."""
    if after_ms == 0:
        t.deadline = 0
        return
    t.deadline = w.now + after_ms
    if t.tick:
        if t.deadline // TICK_MS + 1 >= t.tick:
            return
        timer_unlink(t)
    timer_link(w, t)


cdef inline Timer* wheel_expired(Wheel* w) noexcept nogil:
    """The next node whose deadline has passed, unlinked and switched off; NULL when the sweep has caught up with now."""
    cdef uint64_t target = w.now // TICK_MS
    cdef Timer* head
    cdef Timer* t
    while w.swept < target:
        head = &w.slots[(w.swept + 1) % SLOTS]
        while head.next != head:
            t = head.next
            timer_unlink(t)
            if t.deadline == 0:
                continue
            if t.deadline <= w.now:
                t.deadline = 0
                return t
            w.swept += 1            # relink relative to the slot being swept, never back into it
            timer_link(w, t)
            w.swept -= 1
        w.swept += 1
    return NULL
