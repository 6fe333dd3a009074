# cython: language_level=3
"""The three states of a Circuit (engine/shared.pxd) and what moves it between them. See circuit.pyx."""

from libc.stdint cimport uint32_t, uint64_t

from lbd.engine.shared cimport Circuit

cdef enum:                      # what circuit_note has found
    CIRCUIT_SAME = 0
    CIRCUIT_TRIPS               # it should open: circuit_open, or circuit_forgive
    CIRCUIT_MENDED              # it has closed

cdef enum:                      # Circuit.cause
    OPENED_BY_FAILURES = 1      # in a row
    OPENED_BY_RATIO
    OPENED_BY_PROBES            # that failed
    OPENED_BY_LATENCY


cdef struct Rule:
    uint32_t consecutive        # failures in a row that open it, 0 = any
    uint32_t ratio              # failures of 10 000 that open it, 0 = any
    uint32_t volume             # fewer results than this in the window say nothing
    uint64_t window_ms
    uint64_t open_ms            # the first time; each further one is `growth` times longer, up to
    uint64_t longest_ms
    double growth
    uint32_t probes             # let through when half-open
    uint32_t needed             # of them that must succeed


cdef int circuit_note(Circuit* circuit, const Rule* rule, bint failed, uint64_t us, uint64_t now) noexcept nogil
cdef void circuit_open(Circuit* circuit, const Rule* rule, uint64_t now) noexcept nogil
cdef void circuit_forgive(Circuit* circuit) noexcept nogil
cdef bint circuit_admit(Circuit* circuit, const Rule* rule, uint64_t now) noexcept nogil
cdef void circuit_give_back(Circuit* circuit, const Rule* rule, uint64_t us, uint64_t now) noexcept nogil
cdef bint circuit_is_over(Circuit* circuit, uint64_t now) noexcept nogil
cdef int rule_of(Rule* rule, settings) except -1
cdef dict circuit_figures(const Circuit* circuit, const Rule* rule, uint64_t now)
