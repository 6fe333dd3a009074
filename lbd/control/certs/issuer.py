"""When certificates are ordered by ACME, and again: one order at a time, over and over.

A stored certificate is taken at once; without one the order begins in the background. Renewal comes
`min(renew_before, a third of its life)` before the end, spread by chance; failures back off exponentially,
and Retry-After and rate limits of the authority are obeyed. Expiry is a matter of the wall clock, waiting
one of the monotonic clock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from lbd.config import transport
from lbd.config.units import format_duration
from lbd.control.certs.acme import AcmeError, Authority, Challenge
from lbd.control.certs.errors import CertificateError
from lbd.control.certs.files import Certificate, format_time
from lbd.control.certs.offloop import off_loop
from lbd.control.certs.store import Store
from lbd.observe.log import Log

LATEST_RENEWAL = 0.9  # renewal begins when between 100 % and 90 % of the margin before the end is left
LEAST_LIFE = 0.1  # share of its life that a new certificate is kept for, whatever the clock says


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast things happen; all in seconds. Tests shorten it."""

    shortest_retry: float = 60.0
    longest_retry: float = 6 * 3600.0
    poll: float = 2.0  # between questions to the authority, when it does not say
    order: float = 300.0  # for a whole order
    look: float = 600.0  # longest sleep, after which the clock is looked at again


@dataclass(slots=True)
class HostState:
    """What is known of one host."""

    host: str
    certificate: Certificate | None = None
    renew_at: float = 0.0  # Unix seconds
    failures: int = 0  # in a row
    retry_at: float = 0.0  # monotonic
    error: str | None = None


@dataclass(slots=True)
class Events:
    """Where the issuer reports: all are called on the loop."""

    show: Callable[[Challenge | None], None]  # present a proof, or take it back
    obtained: Callable[[str, Certificate], None]
    failed: Callable[[str], None]


@dataclass(slots=True)
class Issuer:
    """The certificates of all hosts of all listeners, from one authority."""

    settings: transport.Acme
    store: Store
    hosts: Sequence[str]
    log: Log
    events: Events
    pace: Pace = Pace()
    clock: Callable[[], float] = time.time
    random: Random = field(default_factory=Random)
    states: dict[str, HostState] = field(init=False)
    paused_until: float = field(init=False, default=0.0)  # monotonic: a rate limit of the authority

    def __post_init__(self) -> None:
        self.states = {host: HostState(host) for host in self.hosts}

    def load(self) -> None:
        """Take what is stored; a broken file is logged and replaced. CertificateError: no place to store."""
        self.store.prepare()
        for host, state in self.states.items():
            try:
                stored = self.store.certificate(host)
            except CertificateError as error:
                self.log.error(f"certificate for {host}: stored one is not usable: {error}")
                continue
            if stored is not None and self.clock() <= stored.not_after:
                self._adopt(state, stored)

    async def run(self) -> None:
        """Order and renew until cancelled."""
        while True:
            state = min(self.states.values(), key=self._delay)
            delay = self._delay(state)
            if delay > 0:
                await asyncio.sleep(min(delay, self.pace.look))
                continue
            try:
                await self._attempt(state)
            except AcmeError as error:
                self._fail(state, error)
            except Exception as error:  # a defect must not end renewals, nor repeat at full speed
                self._fail(state, AcmeError(f"internal error: {type(error).__name__}: {error}"))

    def _delay(self, state: HostState) -> float:
        """Seconds until a host has to be looked after; 0 for all that are due, which keeps their order."""
        now = time.monotonic()
        due = state.retry_at - now if state.failures else state.renew_at - self.clock()
        return max(due, self.paused_until - now, 0.0)

    async def _attempt(self, state: HostState) -> None:
        if await self._adopt_stored(state):
            return
        certificate = await self._order(state.host)
        try:
            await off_loop(self.store.save, state.host, certificate)
        except CertificateError as error:  # serve it nevertheless; it is lost only at the next start
            self.log.error(f"certificate for {state.host}: obtained, but not stored: {error}")
        self._adopt(state, certificate)
        # a wrong clock here, or an authority that gives old certificates, must not make a loop of orders
        least = (certificate.not_after - certificate.not_before) * LEAST_LIFE
        state.renew_at = max(state.renew_at, self.clock() + least)
        self.events.obtained(state.host, certificate)
        self.log.info(
            f"certificate for {state.host}: obtained, valid until {format_time(certificate.not_after)}"
        )

    async def _adopt_stored(self, state: HostState) -> bool:
        """Another process with the same state directory may have been here first."""
        try:
            stored = await off_loop(self.store.certificate, state.host)
        except CertificateError:  # said by load(); it is about to be replaced
            return False
        if stored is None or stored.problem_at(self.clock()) is not None:
            return False
        if state.certificate is not None and stored.not_after <= state.certificate.not_after:
            return False
        self._adopt(state, stored)
        if state.renew_at <= self.clock():
            return False
        self.events.obtained(state.host, stored)
        return True

    async def _order(self, host: str) -> Certificate:
        authority = Authority(self.settings, self.store)
        try:
            async with asyncio.timeout(self.pace.order):
                await off_loop(authority.open)
                challenge = await off_loop(authority.order, host)
                self.log.info(f"certificate for {host}: ordered")
                if challenge is not None:
                    self.events.show(challenge)
                    await off_loop(authority.answer)
                    while (wait := await off_loop(authority.poll_proof)) is not None:
                        await asyncio.sleep(wait or self.pace.poll)
                while not isinstance(step := await off_loop(authority.advance), Certificate):
                    await asyncio.sleep(step or self.pace.poll)
                return step
        except TimeoutError:
            raise AcmeError(f"no certificate within {format_duration(self.pace.order)}") from None
        finally:
            self.events.show(None)
            authority.close()

    def _adopt(self, state: HostState, certificate: Certificate) -> None:
        life = certificate.not_after - certificate.not_before
        margin = min(self.settings.renew_before, life / 3)
        state.certificate = certificate
        state.renew_at = certificate.not_after - margin * self.random.uniform(LATEST_RENEWAL, 1)
        state.failures, state.error = 0, None

    def _fail(self, state: HostState, error: AcmeError) -> None:
        state.failures += 1
        state.error = str(error)
        wait = self._backoff(state.failures)
        if error.retry_after is not None:
            wait = max(wait, error.retry_after)
        state.retry_at = time.monotonic() + wait
        if error.rate_limited:  # limits are those of the account, so the other hosts wait too
            self.paused_until = state.retry_at
        again = format_duration(max(1, round(wait)))
        line = f"certificate for {state.host}: failed: {error}, next try in {again}"
        expired = state.certificate is None or self.clock() > state.certificate.not_after
        (self.log.error if expired else self.log.warning)(line)
        self.events.failed(state.host)

    def _backoff(self, failures: int) -> float:
        """Seconds before the next try: doubled with each failure in a row, with jitter, bounded."""
        doubled = self.pace.shortest_retry * 2.0 ** min(failures - 1, 30)
        return min(doubled * self.random.uniform(1, 1.5), self.pace.longest_retry)
