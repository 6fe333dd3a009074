"""Freeing: what a reload has replaced goes little by little; all at once would hold up the loop.

    former = Former.of(before, known)      as long as the old configuration is in force
    freed(former)                          steps, once another one is
"""

from __future__ import annotations

from dataclasses import dataclass

from lbd.control.compile import Runtime
from lbd.control.pieces import Known
from lbd.control.steps import Steps
from lbd.engine.router import Route

AT_ONCE = 100


@dataclass(slots=True)
class Former:
    """What was in force: routes as they were compiled, settings, and the pieces that these came in."""

    runtime: Runtime
    routes: list[Route]
    known: Known

    @classmethod
    def of(cls, runtime: Runtime, known: Known) -> Former:
        """Before listeners take other routes."""
        routers = [listener.router for listener in runtime.listeners.values()]
        return cls(runtime, [route for one in routers if one is not None for route in one.routes], known)


def freed(former: Former) -> Steps[None]:
    """Nothing else may hold what the new configuration has not got."""
    runtime, things = former.runtime, list[object](former.routes)
    things += runtime.config.clusters
    things += [route for listener in runtime.config.listeners for route in listener.routes]
    # these hold settings too, and are at the end: they go first
    things += runtime.makers.values()
    things += former.known.values()
    former.routes, former.known = [], {}
    runtime.makers.clear()
    runtime.listener_settings.clear()
    runtime.config = runtime.config.model_copy(update={"listeners": (), "clusters": ()})
    while things:
        del things[-AT_ONCE:]
        yield
