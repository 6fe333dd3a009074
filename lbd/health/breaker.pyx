# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Circuit breaker (Nygard, "Release It!"): stop asking who cannot answer, for its sake and for that of those who wait.

Of a cluster: while open, nothing is sent there; a fallback serves, or 503. Of each endpoint: while open, that one is not
picked, whatever remains; passive checks do nearly the same, but leave a share of the endpoints in.
"""

from libc.stdint cimport uint64_t

from lbd.engine.cluster cimport Cluster
from lbd.engine.endpoint cimport Endpoint
from lbd.engine.guard cimport OUTCOME_FAILED, OUTCOME_NONE, Guard
from lbd.engine.shared cimport CIRCUIT_HALF_OPEN, CIRCUIT_OPEN, Circuit
from lbd.health.circuit cimport (
    CIRCUIT_MENDED, CIRCUIT_TRIPS, Rule, circuit_admit, circuit_figures, circuit_give_back, circuit_is_over, circuit_note,
    circuit_open, rule_of,
)


cdef class Breaker(Guard):
    """rule: see circuit.rule_of; each_endpoint: one circuit for each, in place of one for the cluster."""
    cdef Rule rule
    cdef bint each_endpoint
    cdef Cluster cluster

    def __init__(self, *, rule, bint each_endpoint=False):
        rule_of(&self.rule, rule)
        self.each_endpoint = each_endpoint
        self.gates = not each_endpoint

    def bind(self, cluster):
        self.cluster = cluster

    cdef Circuit* _circuit(self, Endpoint endpoint) noexcept:
        return &endpoint.state.breaker if self.each_endpoint else &self.cluster.state.breaker

    cdef bint admit(self, Endpoint endpoint, uint64_t now) noexcept:
        cdef Circuit* circuit
        cdef Circuit copy
        cdef uint64_t was
        cdef bint admitted
        if endpoint is None and self.each_endpoint:
            return True
        circuit = self._circuit(endpoint)
        if self.rehearsing:
            copy = circuit[0]
            return circuit_admit(&copy, &self.rule, now)
        was = circuit.state
        admitted = circuit_admit(circuit, &self.rule, now)
        if was == CIRCUIT_OPEN and circuit.state == CIRCUIT_HALF_OPEN:
            self.cluster.tell("breaker half-open", endpoint)
        return admitted

    cdef void on_outcome(self, Endpoint endpoint, int outcome, uint64_t us, uint64_t now) noexcept:
        cdef Circuit* circuit = self._circuit(endpoint)
        cdef int found
        if outcome == OUTCOME_NONE:
            circuit_give_back(circuit, &self.rule, us, now)
            return
        found = circuit_note(circuit, &self.rule, outcome == OUTCOME_FAILED, us, now)
        if found == CIRCUIT_TRIPS:
            circuit_open(circuit, &self.rule, now)
            if self.each_endpoint:
                self.cluster.hold_back(endpoint)
            self.cluster.tell("breaker open", endpoint if self.each_endpoint else None)
        elif found == CIRCUIT_MENDED:
            circuit.trips = 0           # it grows from one failed try to the next only
            self.cluster.mark_dirty()
            self.cluster.tell("breaker closed", endpoint if self.each_endpoint else None)

    cdef bint holds_back(self, Endpoint endpoint, uint64_t now) noexcept:
        cdef Circuit copy
        if self.rehearsing:
            copy = endpoint.state.breaker
            return self.each_endpoint and copy.state == CIRCUIT_OPEN and not circuit_is_over(&copy, now)
        return (self.each_endpoint and endpoint.state.breaker.state == CIRCUIT_OPEN
                and not circuit_is_over(&endpoint.state.breaker, now))

    cdef bint tries(self, Endpoint endpoint) noexcept:
        return self.each_endpoint and endpoint.state.breaker.state == CIRCUIT_HALF_OPEN

    def figures(self, Endpoint endpoint=None):
        """How things stand, see circuit.circuit_figures. endpoint: when there is one for each."""
        return circuit_figures(self._circuit(endpoint), &self.rule, self.cluster.now())

    def next_change(self, endpoints, now):
        cdef uint64_t due = 0
        cdef Endpoint endpoint
        if self.each_endpoint:
            for endpoint in endpoints:
                if endpoint.state.breaker.state == CIRCUIT_OPEN:
                    due = min(due or endpoint.state.breaker.until, endpoint.state.breaker.until)
        return due
