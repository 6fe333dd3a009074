# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Cluster: a named group of endpoints with a balancer. What the control plane compiles; what exchanges pick from.

A Balancer (lbd/balance, one algorithm per file) is built from the endpoints that may be picked and rebuilt when that
set or the weights change, never per pick; on_acquired and on_released tell it of load, so that it need not scan.
"""

from libc.stdint cimport uint64_t

from lbd.engine.pool cimport ConnectionPool, Protocol
from lbd.engine.shared cimport EndpointStats, Shared

cdef enum:
    PICK_EFFORT = 3         # picks before an endpoint to be avoided is taken all the same


cdef class Endpoint:
    """One server."""

    def __cinit__(self, str name not None, str address not None, *, unsigned int weight=1, dict labels=None,
                  ConnectionPool pool=None, Shared shared=None, str cluster="", int worker=0):
        self.name = name
        self.address = address
        self.weight = weight
        self.labels = labels or {}
        self.pool = pool
        self.available = pool is not None and pool.address_len != 0
        self.slot = self.before = self.after = -1
        if shared is not None:
            self.stats = <EndpointStats*> shared.find(
                "endpoint", f"{cluster}/{name}", sizeof(EndpointStats), worker)
        if pool is not None and self.stats != NULL:
            pool.stats = self.stats

    def resolved(self, str host, int port):
        """The address is known (now); the cluster has to be rebuilt for it to be picked."""
        self.pool.set_address(host, port)
        self.available = True

    def __repr__(self):
        return f"<Endpoint {self.name} weight={self.weight} active={self.active}>"


cdef class Balancer:
    """Base of all algorithms: `endpoints` are those with weight > 0 that may be picked."""

    def __cinit__(self, endpoints=(), *args, **kwargs):
        self.endpoints = tuple(endpoints)

    def __repr__(self):
        return f"<{type(self).__name__} of {len(self.endpoints)}>"

    cdef int pick(self, uint64_t key) noexcept:
        """Index of an endpoint in O(1), or -1 when there is none. It need not look at the endpoint itself, which in a
        large cluster is in no cache."""
        return -1

    cdef void on_acquired(self, Endpoint endpoint) noexcept:
        pass

    cdef void on_released(self, Endpoint endpoint) noexcept:
        pass

    # The same calls for tests, the simulator and explain, which run outside of the engine.
    def pick_one(self, uint64_t key=0):
        cdef int index = self.pick(key)
        return None if index < 0 else self.endpoints[index]

    def pick_many(self, long times):
        """Pick again and again (bench/micro)."""
        cdef long i
        for i in range(times):
            self.pick(<uint64_t> i * 0x9E3779B97F4A7C15ULL)

    def acquire_one(self, Endpoint endpoint):
        endpoint.active += 1
        self.on_acquired(endpoint)

    def release_one(self, Endpoint endpoint):
        endpoint.active -= 1
        self.on_released(endpoint)


cdef class Cluster:
    """Immutable but for its balancer, which is swapped when endpoints or weights change."""

    def __cinit__(self, str name not None, endpoints, *, balancer_class, dict options=None,
                  Protocol protocol=None, bytes host=None,
                  response_ms=0, body_ms=0, queue_ms=0):
        self.name = name
        self.endpoints = tuple(endpoints)
        self.protocol = protocol
        self.host = host
        self.response_ms = response_ms
        self.body_ms = body_ms
        self.queue_ms = queue_ms
        self.attempts = min(3, len(self.endpoints))
        self.balancer_class = balancer_class
        self.options = options or {}
        self.rebuild()

    def rebuild(self):
        """After a change of weights or availability: a new balancer over those that may be picked."""
        usable = [e for e in self.endpoints if e.available and e.weight > 0]
        self.balancer = self.balancer_class(usable, **self.options)

    def __repr__(self):
        return f"<Cluster {self.name} {self.balancer!r}>"

    cdef Endpoint pick(self, uint64_t key, Endpoint avoid):
        """Bounded effort to find one that is not `avoid` and has room for a connection; else the first one found."""
        cdef Balancer balancer = self.balancer
        cdef int index = balancer.pick(key)
        cdef int tries = 0
        cdef Endpoint first, endpoint
        if index < 0:
            return None
        first = endpoint = <Endpoint> balancer.endpoints[index]
        while endpoint is avoid or not endpoint.pool.has_room():
            tries += 1
            if tries >= PICK_EFFORT:
                return first if first is not avoid else endpoint
            endpoint = <Endpoint> balancer.endpoints[balancer.pick(key)]
        return endpoint

    cdef void acquire(self, Endpoint endpoint) noexcept:
        endpoint.active += 1
        endpoint.stats.active += 1
        self.balancer.on_acquired(endpoint)

    cdef void release(self, Endpoint endpoint) noexcept:
        endpoint.active -= 1
        endpoint.stats.active -= 1
        self.balancer.on_released(endpoint)
