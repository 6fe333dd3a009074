# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Circuits: closed while results are good, open for a time when they are not, half-open while single exchanges try.

Strategy: the record stands in the shared block, so that all workers act as one. While all is well a result costs one
comparison and writes nothing, unless a ratio is watched, which counts. Counts are of the present window and the one
before, which weighs as much as of it still lies within the last `window_ms`. Counters are added to atomically; a race
between workers over a change of state costs at most one result.

Each opening is longer than the one before (by `growth`), until the circuit has been closed for as long as the longest
one, or whoever owns it says that it is well again (`trips` = 0).
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from lbd.engine.shared cimport CIRCUIT_CLOSED, CIRCUIT_HALF_OPEN, CIRCUIT_OPEN, Circuit

cdef extern from * nogil:
    """
    #define lbd_add(p) __atomic_add_fetch((p), 1, __ATOMIC_RELAXED)
    static int lbd_swap(uint32_t *p, uint32_t from, uint32_t to) {
        return __atomic_compare_exchange_n(p, &from, to, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
    }
    """
    uint32_t lbd_add(uint32_t* p)
    bint lbd_swap(uint32_t* p, uint32_t before, uint32_t after)

STATES = ("closed", "open", "half-open")            # by CIRCUIT_*
CAUSES = (None, "failures in a row", "failure ratio", "failed tries", "latency")     # by OPENED_BY_*


cdef int circuit_note(Circuit* circuit, const Rule* rule, bint failed, uint64_t us, uint64_t now) noexcept nogil:
    """One result of an exchange that took so long. Those that began before it opened say nothing of how things are now."""
    if circuit.state == CIRCUIT_HALF_OPEN:
        return CIRCUIT_SAME if _is_old(circuit, rule, us, now) else _note_probe(circuit, rule, failed)
    if circuit.state != CIRCUIT_CLOSED:
        return CIRCUIT_SAME
    if rule.ratio:
        _roll(circuit, rule, now)
        lbd_add(&circuit.failed if failed else &circuit.ok)
    if not failed:
        if circuit.consecutive:
            circuit.consecutive = 0
        return CIRCUIT_SAME
    circuit.last_failure = now
    if lbd_add(&circuit.consecutive) >= rule.consecutive and rule.consecutive:
        return _trips(circuit, OPENED_BY_FAILURES)
    return _trips(circuit, OPENED_BY_RATIO) if rule.ratio and _is_too_bad(circuit, rule, now) else CIRCUIT_SAME


cdef int _trips(Circuit* circuit, uint32_t cause) noexcept nogil:
    circuit.cause = cause
    return CIRCUIT_TRIPS


cdef bint _is_old(Circuit* circuit, const Rule* rule, uint64_t us, uint64_t now) noexcept nogil:
    """Did the exchange begin before a circuit opened that is half-open now? Nothing was let through in between, so half of
    that time is a margin for clocks that stand still during a round of the loop."""
    return now + rule.open_ms // 2 < circuit.until + us // 1000


cdef int _note_probe(Circuit* circuit, const Rule* rule, bint failed) noexcept nogil:
    if failed:
        if lbd_add(&circuit.probes_failed) > rule.probes - rule.needed:
            return _trips(circuit, OPENED_BY_PROBES)
        return CIRCUIT_SAME
    if lbd_add(&circuit.probes_ok) < rule.needed:
        return CIRCUIT_SAME
    circuit_forgive(circuit)
    return CIRCUIT_MENDED if lbd_swap(&circuit.state, CIRCUIT_HALF_OPEN, CIRCUIT_CLOSED) else CIRCUIT_SAME


cdef void _roll(Circuit* circuit, const Rule* rule, uint64_t now) noexcept nogil:
    """Begin a new window when it is time."""
    cdef uint64_t age = now - circuit.window
    if age < rule.window_ms:
        return
    circuit.ok_before = circuit.ok if age < 2 * rule.window_ms else 0
    circuit.failed_before = circuit.failed if age < 2 * rule.window_ms else 0
    circuit.ok = circuit.failed = 0
    circuit.window = now - age % rule.window_ms


cdef bint _is_too_bad(Circuit* circuit, const Rule* rule, uint64_t now) noexcept nogil:
    cdef double failed
    cdef double total = _weigh(circuit, rule, now, &failed)
    # all failed is too bad by any ratio, also by 100 %, which no share exceeds
    return total >= rule.volume and (failed * 10000 > total * rule.ratio or failed == total)


cdef double _weigh(const Circuit* circuit, const Rule* rule, uint64_t now, double* failed) noexcept nogil:
    """Results in the last `window_ms`, and those of them that failed."""
    cdef double before = 1.0 - <double> (now - circuit.window) / rule.window_ms
    failed[0] = circuit.failed + before * circuit.failed_before
    return failed[0] + circuit.ok + before * circuit.ok_before


cdef uint64_t _open_ms(const Rule* rule, uint32_t trips) noexcept nogil:
    """How long it stays open after so many openings in a row before."""
    cdef double open_ms = rule.open_ms
    cdef uint32_t _trip
    for _trip in range(trips if rule.growth > 1 else 0):
        open_ms *= rule.growth
        if open_ms >= rule.longest_ms:
            return rule.longest_ms
    return <uint64_t> open_ms


cdef void circuit_open(Circuit* circuit, const Rule* rule, uint64_t now) noexcept nogil:
    if circuit.state == CIRCUIT_CLOSED and circuit.opened and now - circuit.until > rule.longest_ms:
        circuit.trips = 0
    circuit_forgive(circuit)
    circuit.until = now + _open_ms(rule, circuit.trips)
    circuit.trips += 1
    circuit.opened += 1
    circuit.state = CIRCUIT_OPEN


cdef void circuit_forgive(Circuit* circuit) noexcept nogil:
    """Forget the results so far."""
    circuit.consecutive = 0
    circuit.ok = circuit.failed = circuit.ok_before = circuit.failed_before = 0
    circuit.probes = circuit.probes_ok = circuit.probes_failed = 0


cdef bint circuit_admit(Circuit* circuit, const Rule* rule, uint64_t now) noexcept nogil:
    """May an exchange go through? Yes while half-open uses up a probe, which its result or circuit_give_back settles."""
    if circuit.state == CIRCUIT_CLOSED:
        return True
    if circuit.state == CIRCUIT_OPEN:
        if now < circuit.until:
            return False
        circuit_is_over(circuit, now)
    elif now > circuit.window + rule.open_ms:   # results that do not come, perhaps of a worker that was killed
        circuit.probes = circuit.probes_ok + circuit.probes_failed
        circuit.window = now
    if circuit.probes >= rule.probes:
        return False
    return lbd_add(&circuit.probes) <= rule.probes


cdef bint circuit_is_over(Circuit* circuit, uint64_t now) noexcept nogil:
    """Half-open from now on, if its time is over; `until` is when it became so."""
    if circuit.state != CIRCUIT_OPEN or now < circuit.until:
        return False
    if lbd_swap(&circuit.state, CIRCUIT_OPEN, CIRCUIT_HALF_OPEN):
        circuit_forgive(circuit)
        circuit.until = circuit.window = now
    return True


cdef void circuit_give_back(Circuit* circuit, const Rule* rule, uint64_t us, uint64_t now) noexcept nogil:
    """A probe that took so long has ended without telling anything."""
    if (circuit.state == CIRCUIT_HALF_OPEN and circuit.probes > circuit.probes_ok + circuit.probes_failed
            and not _is_old(circuit, rule, us, now)):
        circuit.probes -= 1


cdef int rule_of(Rule* rule, settings) except -1:
    """From a mapping with the names of the struct; times in milliseconds."""
    rule.consecutive = settings["consecutive"]
    rule.ratio = settings["ratio"]
    rule.volume = settings["volume"]
    rule.window_ms = settings["window_ms"]
    rule.open_ms = settings["open_ms"]
    rule.longest_ms = max(settings["open_ms"], settings["longest_ms"])
    rule.growth = settings["growth"]
    rule.probes = settings["probes"]
    rule.needed = settings["needed"]
    if not 1 <= rule.needed <= rule.probes or (rule.ratio and not rule.window_ms) or not rule.open_ms:
        raise ValueError(f"not a rule of a circuit: {settings}")
    return 0


cdef dict circuit_figures(const Circuit* circuit, const Rule* rule, uint64_t now):
    """For people. Times are seconds ago, or from now on: since (None while closed), last_failure (None: never),
    retry_in (None unless open; below 0: with the next exchange). The ratio is None where it is not watched, or without
    results."""
    cdef Circuit copy = circuit[0]
    cdef double failed = 0.0
    cdef double total = 0.0
    cdef uint64_t since = 0
    if rule.ratio and copy.state == CIRCUIT_CLOSED:
        _roll(&copy, rule, now)
        total = _weigh(&copy, rule, now, &failed)
    if copy.state == CIRCUIT_OPEN:
        since = copy.until - min(copy.until, _open_ms(rule, copy.trips - 1 if copy.trips else 0))
    elif copy.state == CIRCUIT_HALF_OPEN:
        since = copy.until
    return {
        "state": STATES[copy.state],
        "since": None if copy.state == CIRCUIT_CLOSED else _seconds(now, since),
        "retry_in": _seconds(copy.until, now) if copy.state == CIRCUIT_OPEN else None,
        "cause": CAUSES[copy.cause] if copy.state != CIRCUIT_CLOSED else None,
        "failures_in_a_row": copy.consecutive,
        "failure_ratio": failed / total if total > 0 else None,
        "results": round(total),
        "last_failure": _seconds(now, copy.last_failure) if copy.last_failure else None,
        "opened": copy.opened,
        "tries": {"under_way": copy.probes - min(copy.probes, copy.probes_ok + copy.probes_failed),
                  "ok": copy.probes_ok, "failed": copy.probes_failed,
                  "needed": rule.needed} if copy.state == CIRCUIT_HALF_OPEN else None,
    }


cdef double _seconds(uint64_t later, uint64_t sooner) noexcept:
    """Below 0 by a little where another process, whose clock ticked since, has written one of them."""
    return <double> <int64_t> (later - sooner) / 1000.0
