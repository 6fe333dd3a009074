# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Passive checks: endpoints are judged by how exchanges with them end, and held back for a time when that is badly.

An endpoint is ejected after failures in a row, for too large a share of failures, or for being much slower than the
others; each time for longer. Then it is on probation: single exchanges try it (half-open). At most a share of the
cluster is out at a time, and never the last endpoint: when everything fails, the endpoints are not the ones to blame.
"""

from libc.stdint cimport uint32_t, uint64_t

from lbd.engine.cluster cimport Cluster
from lbd.engine.endpoint cimport Endpoint
from lbd.engine.guard cimport OUTCOME_FAILED, OUTCOME_NONE, Guard
from lbd.engine.shared cimport CIRCUIT_CLOSED, CIRCUIT_HALF_OPEN, CIRCUIT_OPEN, Circuit
from lbd.health.circuit cimport (
    CIRCUIT_MENDED, CIRCUIT_TRIPS, OPENED_BY_LATENCY, Rule, circuit_admit, circuit_figures, circuit_forgive,
    circuit_give_back, circuit_is_over, circuit_note, circuit_open, rule_of,
)

cdef enum:
    LATENCY_LOOK_MS = 1000      # how often latencies are compared
    LATENCY_PEERS = 3           # endpoints with enough requests, without which there is nothing to compare with


cdef class Passive(Guard):
    """rule: see circuit.rule_of. most: share of the endpoints that may be out. latency_factor: times the median of all
    that is too slow (0 = never), if also above latency_ms and with latency_volume recent requests."""
    cdef Rule rule
    cdef double most
    cdef double latency_factor, latency_us, latency_volume
    cdef Cluster cluster

    def __init__(self, *, rule, double most=0.5, double latency_factor=0.0, double latency_ms=0.0,
                 double latency_volume=0.0):
        rule_of(&self.rule, rule)
        self.most = most
        self.latency_factor = latency_factor
        self.latency_us = latency_ms * 1000
        self.latency_volume = latency_volume
        self.measures = latency_factor > 0

    def bind(self, cluster):
        self.cluster = cluster

    cdef bint admit(self, Endpoint endpoint, uint64_t now) noexcept:
        cdef Circuit copy
        if self.rehearsing:
            copy = endpoint.state.ejection
            return circuit_admit(&copy, &self.rule, now)
        return circuit_admit(&endpoint.state.ejection, &self.rule, now)

    cdef void on_outcome(self, Endpoint endpoint, int outcome, uint64_t us, uint64_t now) noexcept:
        cdef Circuit* circuit = &endpoint.state.ejection
        cdef bint probing = circuit.state == CIRCUIT_HALF_OPEN
        cdef int found
        if outcome == OUTCOME_NONE:
            if probing:
                circuit_give_back(circuit, &self.rule, us, now)
            return
        found = circuit_note(circuit, &self.rule, outcome == OUTCOME_FAILED, us, now)
        if found == CIRCUIT_TRIPS:
            self._eject(endpoint, probing, now)
        elif found == CIRCUIT_MENDED:
            self.cluster.mark_dirty()
            self.cluster.tell("recovered", endpoint)

    cdef void _eject(self, Endpoint endpoint, bint probing, uint64_t now) noexcept:
        cdef Circuit* circuit = &endpoint.state.ejection
        if not self._may_eject(endpoint, probing):
            circuit_forgive(circuit)
            self.cluster.stats.ejections_denied += 1
            return
        circuit_open(circuit, &self.rule, now)
        self.cluster.state.ejected += not probing
        self.cluster.hold_back(endpoint)
        self.cluster.tell("ejected", endpoint)

    cdef bint _may_eject(self, Endpoint endpoint, bint probing) noexcept:
        """Of few endpoints one may go, unless none may; the last one that serves never. One that failed its try is out
        already, but stays on probation while nobody else serves."""
        cdef uint32_t state
        cdef Endpoint other
        cdef double most = self.most * len(self.cluster.endpoints)
        if not probing and (self.most <= 0 or self.cluster.state.ejected + 1 > max(1.0, most)):
            return False
        for other in self.cluster.endpoints:
            state = other.state.ejection.state
            if (other is not endpoint and other.usable and other.weight
                    and (state == CIRCUIT_CLOSED or (probing and state == CIRCUIT_HALF_OPEN))):
                return True
        return False

    cdef bint holds_back(self, Endpoint endpoint, uint64_t now) noexcept:
        cdef Circuit copy
        if self.rehearsing:
            copy = endpoint.state.ejection
            return copy.state == CIRCUIT_OPEN and not circuit_is_over(&copy, now)
        return endpoint.state.ejection.state == CIRCUIT_OPEN and not circuit_is_over(&endpoint.state.ejection, now)

    cdef bint tries(self, Endpoint endpoint) noexcept:
        return endpoint.state.ejection.state == CIRCUIT_HALF_OPEN

    def figures(self, Endpoint endpoint=None):
        """How things stand with it, see circuit.circuit_figures."""
        return circuit_figures(&endpoint.state.ejection, &self.rule, self.cluster.now())

    def next_change(self, endpoints, now):
        cdef uint64_t due = 0
        cdef uint32_t out = 0
        cdef Endpoint endpoint
        if self.latency_factor:
            self._compare(endpoints, now)
            due = <uint64_t> now + LATENCY_LOOK_MS
        for endpoint in endpoints:
            if endpoint.state.ejection.state == CIRCUIT_OPEN:
                due = min(due or endpoint.state.ejection.until, endpoint.state.ejection.until)
            out += endpoint.state.ejection.state != CIRCUIT_CLOSED
        self.cluster.state.ejected = out
        return due

    def _compare(self, endpoints, now):
        """Eject who is much slower than the median of all. The figures are then forgotten: they are of old times later."""
        cdef Endpoint endpoint
        for endpoint in endpoints:
            endpoint.fade(now)
        busy = [e for e in endpoints if (<Endpoint> e).stats.recent.requests >= self.latency_volume]
        if len(busy) < LATENCY_PEERS:
            return
        means = sorted([(<Endpoint> e).stats.recent.us / (<Endpoint> e).stats.recent.requests for e in busy])
        bound = max(self.latency_us, self.latency_factor * means[(len(means) - 1) // 2])
        for endpoint in busy:
            if (endpoint.state.ejection.state == CIRCUIT_CLOSED
                    and endpoint.stats.recent.us > bound * endpoint.stats.recent.requests):
                endpoint.stats.recent.requests = endpoint.stats.recent.failures = endpoint.stats.recent.us = 0
                endpoint.state.ejection.cause = OPENED_BY_LATENCY
                self._eject(endpoint, False, now)
