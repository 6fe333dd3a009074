"""The certificates of listeners over the admin API. Nothing of private keys is known here."""

from __future__ import annotations

import math
import time
from typing import Any, Literal

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from lbd.admin import views


class CertificateView(BaseModel):
    """Unix times; what is not known of one that is not there yet is null."""

    listener: str
    names: list[str] = Field(description="Names and addresses that it is for.")
    source: Literal["file", "acme"]
    file: str | None = Field(description="Where it was read, of `file`.")
    issuer: str | None
    not_before: float | None
    not_after: float | None
    days_left: int | None = Field(description="Whole days; below 0 when it has ended.")
    fingerprint: str | None = Field(description="SHA-256, hexadecimal.")
    error: str | None = Field(description="Why it is not replaced, or not there, as of the last try.")


class Certificates(BaseModel):
    certificates: list[CertificateView] = Field(
        description="In the order of the configuration; the first of a listener is its default."
    )


def view_certificate(record: views.KnownCertificate, now: float) -> dict[str, Any]:
    """As CertificateView. now: Unix time."""
    ends = record.not_after
    return {
        "listener": record.listener,
        "names": list(record.hosts),
        "source": record.source,
        "file": record.file,
        "issuer": record.issuer,
        "not_before": record.not_before,
        "not_after": ends,
        "days_left": None if ends is None else math.floor((ends - now) / 86400),
        "fingerprint": record.fingerprint,
        "error": record.error,
    }


def add_certificates(api: FastAPI, worker: views.Administered) -> None:
    """Reading only."""

    @api.get("/api/certificates", responses={200: {"model": Certificates}})
    async def certificates() -> JSONResponse:
        """The certificates in force, from files and by ACME."""
        records = worker.keeper.certificates() if worker.keeper is not None else ()
        now = time.time()
        return JSONResponse({"certificates": [view_certificate(record, now) for record in records]})
