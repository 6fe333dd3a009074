"""How many file descriptors a process may have, and what they are for."""

from __future__ import annotations

import resource

from lbd.observe.log import Log

RESERVED = 192  # for the admin listener, logs, pipes and libraries


def share_of_clients(log: Log) -> int:
    """How many clients a process takes: every one may need a connection to an endpoint as well."""
    limit = _raise_limit(log)
    return max(1, (limit - min(RESERVED, limit // 4)) // 2)


def _raise_limit(log: Log) -> int:
    """Use all that the hard limit allows; returns how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError) as error:
        log.warning(f"cannot raise the limit of open files from {soft} to {hard}: {error}")
        return soft
    return hard
