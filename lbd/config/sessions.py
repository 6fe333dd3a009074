"""Settings of sessions that stay with their endpoint. Part of `schema.py`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from lbd.config.key import KeyChoice, KeySetting
from lbd.config.transport import Settings
from lbd.config.types import CookieName, Integer, PositiveDuration, Secret
from lbd.config.units import BadValue


class StickyCookie(Settings):
    """A cookie that lbd sets. It names no address: a signed token that says nothing to anybody else."""

    name: CookieName = Field(default="lbd-session", description="Name of the cookie.")
    path: Annotated[str, Field(pattern=r"^/[!-:<-~]*$", max_length=256)] = Field(
        default="/", description="Paths for which the browser sends it."
    )
    domain: Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]+$", max_length=253)] | None = Field(
        default=None, description="Domain for which the browser sends it; the host alone when absent."
    )
    max_age: PositiveDuration | None = Field(
        default=None, description="How long the browser keeps it; until it is closed when absent."
    )
    same_site: Literal["lax", "strict", "none"] = Field(
        default="lax", description="Whether it goes with requests from other sites."
    )
    secret: Secret | None = Field(
        default=None,
        description="Signs the token; with the same one on all nodes, sessions survive restarts and moves.",
    )


def _no_source(key: Any) -> Any:
    if isinstance(key, KeyChoice) and key.kind in ("source", "host", "path"):
        raise BadValue("must be a header, cookie, query parameter or capture that names a session")
    return key


class Sticky(Settings):
    """Requests of a session go to one endpoint, as long as it can serve them. Give `cookie` or `key`."""

    cookie: StickyCookie | None = Field(default=None, description="The session is in a cookie of lbd's own.")
    key: Annotated[KeySetting, AfterValidator(_no_source)] | None = Field(
        default=None,
        description="Or the request names it: `{header: N}`, `{cookie: N}`, `{query: N}`, `{capture: N}`.",
    )
    idle: PositiveDuration = Field(
        default=1800.0, description="After so long without a request a session by `key` is forgotten."
    )
    sessions: Annotated[Integer, Field(ge=64, le=2**24)] = Field(
        default=65536, description="Sessions by `key` that are remembered; the longest unused give way."
    )
