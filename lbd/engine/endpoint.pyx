# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Endpoint: one server of a cluster with its live state. Balancer: what chooses among endpoints.

A Balancer (lbd/balance, one algorithm per file) is told of load and latency through the Seats of an endpoint, so that it
need not scan. It is rebuilt when endpoints or weights change; what was measured lives in the Endpoints and goes on.
"""

from libc.math cimport exp
from libc.stdint cimport uint32_t, uint64_t

from lbd.engine.pool cimport ConnectionPool
from lbd.engine.shared cimport EndpointState, EndpointStats, Recent, Shared

cdef double RECENT_MS = 10_000      # after so long, what was noted counts 1/e


cdef EndpointStats detached         # what pools of forgotten endpoints would count into


cdef class Endpoint:
    """One server."""

    def __cinit__(self, str name not None, str address not None, *, unsigned int weight=1, unsigned int priority=0,
                  dict labels=None, ConnectionPool pool=None, Shared shared=None, str cluster="", int worker=0,
                  bint foreign=False):
        self.name = name
        self.address = address
        self.weight = self.configured_weight = weight
        self.priority = priority
        self.labels = labels or {}
        self.zone = self.labels.get("zone", "")
        self.region = self.labels.get("region", "")
        self.foreign = foreign
        self.pool = pool
        self.resolved = pool is None or pool.address_len != 0
        self.usable = self.resolved
        self.stats = &self.own_stats
        self.state = &self.own_state
        self.workers = 1
        if shared is not None:
            self.worker, self.workers = worker, shared.workers
            self.stats_step = shared.step_of(sizeof(EndpointStats))
            identity = f"{cluster}/{name}"
            self.stats = <EndpointStats*> shared.find("endpoint", identity, sizeof(EndpointStats), worker)
            self.state = <EndpointState*> shared.find("endpoint_state", identity, sizeof(EndpointState), 0)
        if pool is not None:
            pool.stats = self.stats

    def resolve(self, str host, int port):
        """The address is known (now); Cluster.refresh lets it be picked."""
        self.pool.set_address(host, port)
        self.resolved = True

    def reconfigure(self, *, unsigned int weight, unsigned int priority, dict labels, str address=None,
                    bint foreign=False):
        """Take over settings that changed without a new identity. address: as configured; see `resolve` as well."""
        self.address = address or self.address
        self.configured_weight = weight
        self.priority = priority
        self.labels = labels
        self.zone = labels.get("zone", "")
        self.region = labels.get("region", "")
        self.foreign = foreign

    @property
    def quiet(self):
        """Nothing is under way with it, and nothing is connected, in any worker."""
        cdef EndpointStats* stats
        cdef int worker
        for worker in range(self.workers):
            stats = self.stats_of(worker)
            if stats.active or stats.open or stats.queued:
                return False
        return True

    def detach(self):
        """Let go of its records in the shared block, which another endpoint may get. Only for a removed, quiet one."""
        self.stats = &self.own_stats
        self.state = &self.own_state
        self.worker, self.workers = 0, 1
        if self.pool is not None:
            self.pool.stats = &detached     # the pool may outlive this object

    def __repr__(self):
        return f"<Endpoint {self.name} weight={self.weight} active={self.active}>"

    @property
    def wanted_weight(self):
        """As configured, or as set at run time."""
        return self.state.weight - 1 if self.state.weight else self.configured_weight

    @property
    def health(self):
        """What the active checks say: `unknown`, `up` or `down`."""
        return ("unknown", "up", "down")[self.state.health]

    @property
    def admin(self):
        """What the operator wants: `ready`, `draining` or `disabled`."""
        return ("ready", "draining", "disabled")[self.state.admin]

    @property
    def up_since(self):
        """Milliseconds on the monotonic clock, 0 = from the beginning."""
        return self.state.up_since

    @property
    def rtt(self):
        """Seconds to connect, averaged over active checks; None when not measured."""
        return self.state.rtt_us / 1e6 if self.state.rtt_us else None

    cdef EndpointStats* stats_of(self, int worker) noexcept:
        return <EndpointStats*> (<char*> self.stats + <ssize_t> self.stats_step * (worker - self.worker))

    @property
    def under_way(self):
        """Exchanges and tunnels, in all workers."""
        return sum([self.stats_of(worker).active for worker in range(self.workers)])

    def recent_requests(self, now):
        """(how many, share that failed, mean seconds to the first byte) of late in all workers; older ones count less.
        now: the clock of the cluster, in milliseconds."""
        cdef double requests = 0, failures = 0, us = 0
        cdef double left
        cdef Recent* recent
        cdef int worker
        for worker in range(self.workers):
            recent = &self.stats_of(worker).recent
            left = exp((<double> recent.at - <double> now) / RECENT_MS) if now > recent.at else 1.0
            requests += recent.requests * left
            failures += recent.failures * left
            us += recent.us * left
        if requests < 0.5:
            return (requests, 0.0, 0.0)
        return (requests, failures / requests, us / requests / 1e6)

    @property
    def recent_now(self):
        """recent_requests by the worker's clock."""
        return self.recent_requests(self.stats.recent.at if self.pool is None else self.pool.reactor.wheel.now)

    cdef void fade(self, uint64_t now) noexcept:
        """What was noted counts less with time."""
        cdef Recent* recent = &self.stats.recent
        cdef double left
        if now > recent.at:
            left = exp(-<double> (now - recent.at) / RECENT_MS)
            recent.requests *= left
            recent.failures *= left
            recent.us *= left
            recent.at = now

    cdef void note(self, bint failed, uint64_t us, uint64_t now) noexcept:
        cdef Recent* recent = &self.stats.recent
        self.fade(now)
        recent.requests += 1
        recent.failures += failed
        recent.us += us

    @property
    def measured(self):
        """What balancers go by, for tests and for whoever asks: seconds, shares; empty where nothing was measured."""
        cdef Measured* m = &self.measured
        found = {"latency": m.ewma_us / 1e6, "p95": m.p95_us / 1e6,
                 "error_rate": m.failures / m.responses if m.responses else 0,
                 "used": (m.used_ms - 1) / 1000 if m.used_ms else 0}
        return {name: value for name, value in found.items() if value}

    def set_health(self, str health):
        self.state.health = ("unknown", "up", "down").index(health)

    def set_rtt(self, double seconds):
        """For those who do not measure by active checks: tests and the simulator. 0: not measured."""
        self.state.rtt_us = <uint64_t> (seconds * 1e6)

    def set_admin(self, str admin):
        self.state.admin = ("ready", "draining", "disabled").index(admin)

    def set_weight(self, weight):
        """A weight that stands until it is set again; None: as configured."""
        self.state.weight = 0 if weight is None else <uint32_t> weight + 1


cdef class Seat:
    """See cluster.pxd."""


cdef class Balancer:
    """Base of all algorithms: `endpoints` are those with weight > 0 that may be picked."""
    score_means = ""            # what `scores` are, in words

    def __cinit__(self, endpoints=(), *args, **kwargs):
        self.endpoints = tuple(endpoints)
        self.now_ms = &self.own_now

    def __repr__(self):
        return f"<{type(self).__name__} of {len(self.endpoints)}>"

    cdef int pick(self, uint64_t key, int attempt) noexcept:
        """Index of an endpoint in O(1), or -1 when there is none. It need not look at the endpoint itself, which in a
        large cluster is in no cache. attempt: 0 for the first choice, n for the n-th alternative to it."""
        return -1

    cdef void on_acquired(self, int index) noexcept:
        """An exchange goes to it; Endpoint.active has been counted."""
        pass

    cdef void on_released(self, int index) noexcept:
        pass

    cdef void on_response(self, int index, uint64_t us, bint failed) noexcept:
        """An attempt has ended: the time to the first byte of its response, or until it failed."""
        pass

    cdef bytes bookmark(self):
        """All that pick() changes: turns, random numbers. For those who want to know what would be picked."""
        return b""

    cdef void go_back(self, bytes place) noexcept:
        """Undo the picks since a bookmark; nothing else has happened meanwhile."""
        pass

    def scores(self, uint64_t key=0):
        """Endpoint -> what it goes by, the lowest first; `score_means` says what that is. Empty where endpoints are drawn
        or take turns by weight alone. Nothing is changed; the cost is that of a look at all endpoints."""
        return {}

    cdef int _slot(self, Endpoint endpoint):
        if self.slots is None:
            self.slots = {each: i for i, each in enumerate(self.endpoints)}
        return self.slots.get(endpoint, -1)

    # The same calls for tests, the simulator and explain, which run outside of the engine.
    def pick_one(self, uint64_t key=0, int attempt=0):
        cdef int index = self.pick(key, attempt)
        return None if index < 0 else self.endpoints[index]

    def peek(self, uint64_t key=0, int attempts=1):
        """What the next pick and its alternatives would be, [] when there is none. Nothing is changed."""
        cdef bytes place = self.bookmark()
        cdef int attempt
        found = [self.pick(key, attempt) for attempt in range(attempts)]
        self.go_back(place)
        return [self.endpoints[index] for index in found if index >= 0]

    def pick_many(self, long times):
        """Pick again and again (bench/micro)."""
        cdef long i
        for i in range(times):
            self.pick(<uint64_t> i * 0x9E3779B97F4A7C15ULL, 0)

    def acquire_one(self, Endpoint endpoint):
        cdef int index = self._slot(endpoint)
        endpoint.active += 1
        if index >= 0:
            self.on_acquired(index)

    def release_one(self, Endpoint endpoint):
        cdef int index = self._slot(endpoint)
        endpoint.active -= 1
        if index >= 0:
            self.on_released(index)

    def respond_one(self, Endpoint endpoint, double seconds, bint failed=False):
        cdef int index = self._slot(endpoint)
        if index >= 0:
            self.on_response(index, <uint64_t> (seconds * 1e6), failed)

    def set_time(self, double seconds):
        """The balancer's clock, for those without a reactor."""
        self.own_now = <uint64_t> (seconds * 1000)
