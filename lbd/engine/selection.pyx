# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Selection: which endpoints of a cluster serve now, in parts (tiers, zones) with shares and a Balancer each."""

from libc.stdint cimport uint32_t, uint64_t

from lbd.engine.endpoint cimport Balancer, Endpoint

cdef enum:
    PICK_EFFORT = 3         # picks of one part before an alternative may come from another
    PARTS_MAX = 16


cdef class Selection:
    """Which endpoints of a cluster serve, in parts with shares. Rebuilt by its cluster.

    divide: (endpoints, now in ms) -> Division; wants: which endpoints of the cluster it is about, None = all."""

    def __cinit__(self, divide, wants=None):
        self.divide = divide
        self.wants = wants
        self.region = ""
        self.parts = self.names = self.shares = ()

    def __repr__(self):
        return f"<Selection {' '.join(f'{n}={s:.0%}' for n, s in zip(self.names, self.shares))}>"

    def set_parts(self, parts, bint panic, str region):
        """parts: [(name, share, Balancer)], at most PARTS_MAX; shares of any scale."""
        cdef double total = sum([share for _, share, _ in parts])
        cdef double upto = 0
        cdef int i
        if len(parts) > PARTS_MAX:
            raise ValueError(f"more than {PARTS_MAX} parts")
        for i, (_, share, _) in enumerate(parts):
            upto += share / total
            self.bounds[i] = <uint32_t> min(upto * 2.0 ** 32, 2.0 ** 32 - 1)
        self.parts = tuple([part for _, _, part in parts])
        self.names = tuple([name for name, _, _ in parts])
        self.shares = tuple([share / total for _, share, _ in parts])
        self.only = self.parts[0] if len(parts) == 1 else None
        self.panic = panic
        self.region = region

    @property
    def endpoints(self):
        return tuple([endpoint for part in self.parts for endpoint in (<Balancer> part).endpoints])

    cdef bint holds(self, Endpoint endpoint) except -1:
        """Is it about this endpoint, whatever its state?"""
        return self.wants is None or self.wants(endpoint)

    cdef Endpoint pick(self, uint64_t key, int attempt) noexcept:
        """key decides the part as well: the same key, the same part. attempt: as for Balancer.pick."""
        cdef Balancer part = self.only
        cdef int i = 0
        cdef uint32_t point
        if part is None:
            if not self.parts:
                return None
            point = <uint32_t> ((key * 0x9E3779B97F4A7C15ULL) >> 32)
            while point > self.bounds[i] and i + 1 < len(self.parts):
                i += 1
            part = <Balancer> self.parts[(i + attempt // PICK_EFFORT) % len(self.parts)]
        i = part.pick(key, attempt)
        return None if i < 0 else <Endpoint> part.endpoints[i]


class Division:
    """What `divide` answers: parts [(name, share, endpoints)], whether health is being ignored, and the region in use."""

    __slots__ = ("next_change", "panic", "parts", "region")

    def __init__(self, parts, panic=False, next_change=0, region=""):
        self.region = region
        self.parts = parts
        self.panic = panic
        self.next_change = next_change      # ms on the clock, 0 = none


def divide_plain(endpoints, now):
    """All usable ones in one part with their weights: what there is without tiers, zones and a slow start."""
    for endpoint in endpoints:
        endpoint.weight = endpoint.wanted_weight
    usable = [endpoint for endpoint in endpoints if endpoint.usable and endpoint.weight]
    return Division([("all", 1.0, usable)] if usable else [])
