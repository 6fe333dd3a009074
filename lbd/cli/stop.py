"""`lbd stop`: let a running lbd finish what it has and end, and wait for that."""

from __future__ import annotations

import contextlib
import json
import os
import select
import time
from pathlib import Path
from typing import Any

import click

from lbd.cli.admin_client import AdminClient, NotRunning, admin_options, ask_or_exit, client_of, fail

POLL_SECONDS = 0.1


@click.command(short_help="Drain, and end.", epilog="Example: lbd stop -c /etc/lbd/lbd.yaml --wait 60")
@click.option(
    "--wait",
    "seconds",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    help="Wait no longer than that; exits with 1 when lbd is still there then.",
)
@admin_options
def stop(seconds: float | None, path: Path | None, address: str | None, as_json: bool) -> None:
    """Let a running lbd accept nobody new, finish what is under way, and end; wait until it is gone.

    What takes longer than `drain_timeout` is cut.
    """
    client = client_of(path, address)
    began = time.monotonic()
    told: dict[str, Any] = ask_or_exit(lambda: client.post("/api/stop", "drain_timeout"))
    pid = told["pid"]
    with contextlib.ExitStack() as stack:
        process = _open(pid, client.address)
        if process is not None:
            stack.callback(os.close, process)
        if not as_json:
            click.echo(f"lbd (pid {pid}) drains, for up to {told['drain_timeout']:g} s", err=True)
        while not _has_gone(client, process):
            left = None if seconds is None else began + seconds - time.monotonic()
            if left is not None and left <= 0:
                fail(f"lbd (pid {pid}) is still draining after {seconds:g} s")
            time.sleep(POLL_SECONDS if left is None else min(POLL_SECONDS, left))
    took = time.monotonic() - began
    click.echo(json.dumps({"pid": pid, "seconds": round(took, 3)}) if as_json else f"stopped in {took:.1f} s")


def _open(pid: int, address: str) -> int | None:
    """A descriptor of the process, when it is one that can be seen here; it may be in a container."""
    if not address.startswith(("unix:", "127.", "localhost:", "[::1]:")):
        return None
    try:
        if b"lbd" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return os.pidfd_open(pid)
    except OSError:  # it has gone, or is not ours to see
        pass
    return None


def _has_gone(client: AdminClient, process: int | None) -> bool:
    """Whether the process has ended; where it cannot be seen, whether nobody answers any more."""
    if process is not None:
        return bool(select.select([process], [], [], 0)[0])
    try:
        client.get("/api/info")
    except NotRunning:
        return True
    return False
