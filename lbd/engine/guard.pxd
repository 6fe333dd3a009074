# cython: language_level=3
"""What Guards and ConcurrencyLimits are to the engine. See guard.pyx."""

from libc.stdint cimport uint32_t, uint64_t

from lbd.engine.endpoint cimport Endpoint

cdef enum:                      # Outcome
    OUTCOME_NONE = 0            # nothing was learnt: the client went away, the request was bad
    OUTCOME_OK
    OUTCOME_FAILED


cdef class Guard:
    cdef readonly bint measures         # it looks at Endpoint.recent
    cdef readonly bint gates            # it holds back the cluster: each request has to be admitted
    cdef bint rehearsing                # what it is asked leaves no trace, see rehearsal.pyx
    cdef bint admit(self, Endpoint endpoint, uint64_t now) noexcept
    cdef void on_outcome(self, Endpoint endpoint, int outcome, uint64_t us, uint64_t now) noexcept
    cdef bint holds_back(self, Endpoint endpoint, uint64_t now) noexcept
    cdef bint tries(self, Endpoint endpoint) noexcept


cdef class ConcurrencyLimit:
    cdef readonly uint32_t limit

    cdef void on_sample(self, uint64_t us, uint32_t active, int outcome, uint64_t now) noexcept
