# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What watches how attempts end: Guards (lbd/health) hold back endpoints or a whole cluster, ConcurrencyLimits (lbd/limit)
find how many exchanges a cluster bears."""

from libc.stdint cimport uint32_t, uint64_t

from lbd.engine.endpoint cimport Endpoint


cdef class Guard:
    """Base of passive checks and breakers (lbd/health). endpoint is None where it is about a whole cluster."""

    cdef bint admit(self, Endpoint endpoint, uint64_t now) noexcept:
        """May an exchange go there? Asked only while the guard is not at rest; the answer yes may use up a probe, which
        on_outcome gives back. While `rehearsing` nothing is used up: it decides on a copy of its record."""
        return True

    cdef void on_outcome(self, Endpoint endpoint, int outcome, uint64_t us, uint64_t now) noexcept:
        pass

    cdef bint holds_back(self, Endpoint endpoint, uint64_t now) noexcept:
        """Is it out of the selection?"""
        return False

    cdef bint tries(self, Endpoint endpoint) noexcept:
        """Is it on probation: in the selection, but each exchange has to be admitted?"""
        return False

    def bind(self, cluster):
        """The cluster that it watches; once, before anything else."""

    def figures(self, Endpoint endpoint=None):
        """How things stand, for people: see circuit_figures of lbd/health/circuit.pyx."""
        raise NotImplementedError

    def next_change(self, endpoints, now):
        """Look at all endpoints. When (ms) the guard wants to look again, or changes its mind by itself; 0 = never."""
        return 0


cdef class ConcurrencyLimit:
    """Base of adaptive limits (lbd/limit): at most `limit` exchanges under way."""

    cdef void on_sample(self, uint64_t us, uint32_t active, int outcome, uint64_t now) noexcept:
        pass
