"""Giving up root: once its addresses are bound, lbd goes on as another user, who may still bind low ports.

What stays is CAP_NET_BIND_SERVICE, also for programs that this one starts (its workers, a hot restart), so
that a reload can bind what is new. That is what systemd/lbd.service gives it from the start.
"""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CAP_NET_BIND_SERVICE = 10
CAPABILITY_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3
PR_SET_KEEPCAPS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 8, 47, 2


class PrivilegesKept(Exception):
    """lbd cannot become the user that is configured; str() says why."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom to become."""

    user: str
    uid: int
    gid: int
    groups: tuple[int, ...]

    @classmethod
    def of(cls, user: str, group: str | None) -> Identity:
        """As the system knows them; without a group, the user's own. PrivilegesKept."""
        try:
            entry = pwd.getpwnam(user)
        except KeyError:
            raise PrivilegesKept(f"user {user!r} does not exist") from None
        try:
            gid = entry.pw_gid if group is None else grp.getgrnam(group).gr_gid
        except KeyError:
            raise PrivilegesKept(f"group {group!r} does not exist") from None
        return cls(user, entry.pw_uid, gid, tuple(os.getgrouplist(user, gid)))

    def is_ours(self) -> bool:
        """Are we this user already?"""
        return os.geteuid() == self.uid and os.getegid() == self.gid


def drop(identity: Identity, binds: Iterable[str], state_directory: Path | None) -> None:
    """Become this user, for good. Unix sockets of ours and a state directory that was missing go along.

    PrivilegesKept; then lbd must not serve."""
    if identity.is_ours():
        return
    if os.geteuid() != 0:
        raise PrivilegesKept(f"cannot become user {identity.user!r}: lbd was not started as root")
    try:
        for bind in binds:
            if bind.startswith("unix:"):
                os.chown(bind.removeprefix("unix:"), identity.uid, identity.gid)
        if state_directory is not None and not state_directory.exists():
            state_directory.mkdir(mode=0o700, parents=True)
            os.chown(state_directory, identity.uid, identity.gid)
        _prctl(PR_SET_KEEPCAPS, 1)
        os.setgroups(identity.groups)
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
        _keep_only(CAP_NET_BIND_SERVICE)
    except OSError as error:
        raise PrivilegesKept(f"cannot become user {identity.user!r}: {error}") from error


def _keep_only(capability: int) -> None:
    """Of all capabilities(7): effective, permitted, inheritable, and ambient for what is executed."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    data = (ctypes.c_uint32 * 6)(*[1 << capability] * 3)  # the low halves, then the high ones
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset(header, data) != 0:
        raise OSError(ctypes.get_errno(), f"capset: {os.strerror(ctypes.get_errno())}")
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability)


def _prctl(option: int, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    padded = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    if libc.prctl(option, *padded) != 0:
        raise OSError(ctypes.get_errno(), f"prctl: {os.strerror(ctypes.get_errno())}")
