# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""IdleLimit: learn after how long an endpoint closes unused connections, and say up to when they may be used.

A request that meets an endpoint's close on the way cannot always be sent again, so the limit stays below what was seen:
90 % less half a second, but no less than half of it.

Evidence for a shorter time: the endpoint closed an idle connection (the shortest wins), or announced it (Keep-Alive:
timeout=N, RFC 2068 19.7.1.1). Evidence for a longer one: a close that came later (a quarter of the way), or a witness, a
connection left open unused that is still there (all of the way). Connections that have served no request may be under
another timeout of the endpoint than the others, so what the one kind has shown is not refuted by the other.

A restart closes all connections at one moment, whatever their age: closes in one burst that differ in age teach nothing,
and what the first of them taught is taken back. A restart that closes a single connection does teach a wrong time, which
costs a few connections more until a witness refutes it.
"""

from libc.stdint cimport uint64_t

from lbd.engine.fields cimport same_name

cdef enum:
    BURST_MS = 250              # closes that are nearer to each other belong together
    TOLERANCE_MS = 500          # within which their ages count as the same, or an eighth
    SHORTEST_MS = 200           # an earlier close has another reason than idleness
    MARGIN_MS = 500
    LONGEST_MS = 1 << 30        # that an announcement may say

cdef uint64_t NEVER = <uint64_t> 1 << 62


cdef class IdleLimit:

    def __cinit__(self, configured=0):
        """configured: milliseconds, which the limit never exceeds; 0 = none."""
        self.configured = configured
        self._set(0)

    def __repr__(self):
        return f"<IdleLimit known={self.known} ms={self.ms}>"

    cpdef void ended(self, uint64_t age, bint served, uint64_t now) noexcept:
        """The endpoint has closed a connection that was idle for `age` ms; served: it had carried requests."""
        cdef uint64_t apart
        if now - self.burst_at <= BURST_MS and self.burst_at:
            apart = age - self.burst_age if age > self.burst_age else self.burst_age - age
            if apart > max(<uint64_t> TOLERANCE_MS, max(age, self.burst_age) // 8):
                self.restarting = True
                self._set(self.before)
        else:
            self.restarting = False
            self.before = self.known
        self.burst_at = now
        self.burst_age = age
        if self.restarting or age < SHORTEST_MS:
            return
        if self.known == 0 or age < self.known:
            self.unserved = not served
            self._set(age)
        elif self.can_refute(served):
            self._set(self.known + (age - self.known) // 4)

    cpdef void announced(self, uint64_t after) noexcept:
        """The endpoint says that it closes after so many ms."""
        if self.known == 0 or after < self.known:
            self.unserved = False
            self._set(max(after, <uint64_t> 1))

    cpdef void outlived(self, uint64_t age) noexcept:
        """A witness is still open after `age` ms."""
        if self.known and age > self.known:
            self._set(0 if self.configured and age >= self.configured else age)

    cpdef bint can_refute(self, bint served) noexcept:
        return served != self.unserved

    cdef void _set(self, uint64_t known) noexcept:
        cdef uint64_t most = self.configured if self.configured else NEVER
        cdef uint64_t less = known // 10 * 9
        self.known = known
        if known == 0:
            self.ms = most
            return
        less = less - MARGIN_MS if less > MARGIN_MS else 0
        self.ms = min(most, max(max(less, known // 2), <uint64_t> 1))


cdef uint64_t announced_ms(const char* value, size_t n) noexcept nogil:
    """The timeout that a Keep-Alive field names, in ms; 0 when it names none that can be read."""
    cdef size_t i = 0
    cdef uint64_t seconds = 0
    cdef size_t start
    while i + 8 < n and not (same_name(value + i, b"timeout", 7) and (i == 0 or value[i - 1] == c','
                             or value[i - 1] == c' ' or value[i - 1] == c';')):
        i += 1
    if i + 8 >= n:
        return 0
    i += 7
    while i < n and value[i] == c' ':
        i += 1
    if i >= n or value[i] != c'=':
        return 0
    i += 1
    while i < n and (value[i] == c' ' or value[i] == c'"'):
        i += 1
    start = i
    while i < n and c'0' <= value[i] <= c'9' and i - start < 9:
        seconds = seconds * 10 + <uint64_t> (value[i] - c'0')
        i += 1
    if i == start:
        return 0
    return min(max(seconds * 1000, <uint64_t> 1), <uint64_t> LONGEST_MS)


def parse_announcement(bytes value not None):
    """The milliseconds of a Keep-Alive field, or None (tests, explain)."""
    return announced_ms(value, len(value)) or None
