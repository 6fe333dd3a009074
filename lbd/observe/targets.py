"""Targets of access and audit logs: files and stdout (in the engine), the journal of systemd, and syslog.

The journal and syslog take a datagram per line. They are sent by the writer's thread, which waits a second
for a daemon that is stuck and then drops what it has; one that is away is tried again with the next lines.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import time
from collections.abc import Callable
from typing import Any

from lbd.config.observing import JOURNAL, SYSLOG, AccessLog
from lbd.config.units import split_address
from lbd.engine.accesslog import LogWriter

JOURNAL_SOCKET = "/run/systemd/journal/socket"
SYSLOG_SOCKET = "/dev/log"
FACILITIES = {"user": 1, "daemon": 3, **{f"local{number}": 16 + number for number in range(8)}}
INFORMATIONAL = 6
PATIENCE_SECONDS = 1.0
NOT_IN_HEADER = re.compile(r"[^!-~]")

Address = str | tuple[Any, ...]
OnTrouble = Callable[[str, OSError | None], None]


def target_of(setting: AccessLog) -> str:
    """What names the target of a log, and everything about it: two logs with the same share a writer."""
    kind, _, place = setting.to.partition(":")
    if kind == JOURNAL:
        return f"{JOURNAL}:{place or JOURNAL_SOCKET} {setting.tag}"
    if kind == SYSLOG:
        return f"{SYSLOG}:{place or f'unix:{SYSLOG_SOCKET}'} {setting.facility} {setting.tag}"
    return setting.to


def open_log(target: str, on_trouble: OnTrouble | None = None, kind: str = "access") -> LogWriter:
    """The writer for what `target_of` returned; OSError when a file cannot be opened. kind: the MSGID of
    syslog messages."""
    scheme, _, rest = target.partition(":")
    if scheme == JOURNAL and rest:
        path, tag = rest.rsplit(" ", 1)
        return LogWriter(target, JournalTarget(path, tag), on_trouble)
    if scheme == SYSLOG and rest:
        address, facility, tag = rest.rsplit(" ", 2)
        return LogWriter(target, SyslogTarget(address, facility, tag, kind), on_trouble)
    return LogWriter(target, None, on_trouble)


class DatagramTarget:
    """Lines to a socket that need not be there."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    def write(self, data: bytes) -> tuple[int, OSError | None]:
        """Whole lines; how many were lost, and why."""
        lines = data.split(b"\n")[:-1]
        lost, why = 0, None
        try:
            sender, address = self._open()
        except OSError as error:
            return len(lines), error
        start = self.start()
        for index, line in enumerate(lines):
            try:
                sender.sendto(start + line, address)
            except OSError as error:
                why = error
                if error.errno != errno.EMSGSIZE:  # the next ones would not fare better
                    lost += len(lines) - index
                    self.reopen()
                    break
                lost += 1
        return lost, why

    def _open(self) -> tuple[socket.socket, Address]:
        family, address = self.find()
        if self._socket is None or self._socket.family != family:
            self.reopen()
            self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.settimeout(PATIENCE_SECONDS)
        return self._socket, address

    def find(self) -> tuple[int, Address]:
        """Family and address of the receiver; OSError."""
        raise NotImplementedError

    def start(self) -> bytes:
        """What stands before a line in its datagram."""
        raise NotImplementedError

    def reopen(self) -> None:
        """Begin anew with the next lines."""
        self.close()
        self._socket = None

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()


class JournalTarget(DatagramTarget):
    """The native protocol of journald: lines of NAME=value, one entry per datagram."""

    def __init__(self, path: str, tag: str) -> None:
        super().__init__()
        self.path = path
        self._start = f"PRIORITY={INFORMATIONAL}\nSYSLOG_IDENTIFIER={tag}\nMESSAGE=".encode()

    def __repr__(self) -> str:
        return f"<JournalTarget {self.path}>"

    def find(self) -> tuple[int, Address]:
        return socket.AF_UNIX, self.path

    def start(self) -> bytes:
        return self._start


class SyslogTarget(DatagramTarget):
    """RFC 5424 over a unix datagram socket or UDP (RFC 5426)."""

    def __init__(self, address: str, facility: str, tag: str, kind: str = "access") -> None:
        super().__init__()
        self.address = address
        self.host = NOT_IN_HEADER.sub("-", socket.gethostname())[:255] or "-"
        self._priority = FACILITIES[facility] * 8 + INFORMATIONAL
        self._tag = tag
        self._kind = kind

    def __repr__(self) -> str:
        return f"<SyslogTarget {self.address}>"

    def find(self) -> tuple[int, Address]:
        if self.address.startswith("unix:"):
            return socket.AF_UNIX, self.address.removeprefix("unix:")
        host, port = split_address(self.address)
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        return family, address

    def start(self) -> bytes:
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        stamp += f".{int(now * 1000) % 1000:03d}Z"
        return f"<{self._priority}>1 {stamp} {self.host} {self._tag} {os.getpid()} {self._kind} - ".encode()
