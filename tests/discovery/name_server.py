"""A name server on loopback, UDP and TCP, that answers as told (wire format by dnslib).

with NameServer() as names: names.set("app.test", "127.0.0.1", ttl=300); str(names) is its address.
What it does not know is NXDOMAIN. `asked` holds every question as (name, type, transport)."""

from __future__ import annotations

import socket
import struct
import threading
from typing import Self

from dnslib import AAAA, CNAME, QTYPE, RCODE, RR, SRV, A, DNSRecord
from harness.waiting import TIMEOUT, eventually

Question = tuple[str, str, str]


class NameServer:
    def __init__(self) -> None:
        self.udp, self.tcp = _sockets()
        self.port: int = self.udp.getsockname()[1]
        self.asked: list[Question] = []
        self.errors: list[Exception] = []
        self._records: dict[str, list[RR]] = {}
        self._failures: dict[tuple[str, str], str] = {}
        self._cut: set[str] = set()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._threads = [
            threading.Thread(target=run, daemon=True) for run in (self._serve_udp, self._serve_tcp)
        ]

    def __str__(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:  # recvfrom does not see a close
            waker.sendto(b"", ("127.0.0.1", self.port))
        self.tcp.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(TIMEOUT)
        self.udp.close()
        self.tcp.close()
        assert not self.errors, f"the name server itself failed: {self.errors!r}"

    # what it knows

    def set(self, name: str, *values: str, ttl: int = 300) -> None:
        """Addresses of either family, and SRV records written `priority weight port target`."""
        with self._lock:
            self._records[name] = [_record(name, value, ttl) for value in values]

    def forget(self, name: str) -> None:
        with self._lock:
            self._records.pop(name, None)

    def alias(self, name: str, target: str, ttl: int) -> None:
        with self._lock:
            self._records[name] = [RR(name, QTYPE.CNAME, rdata=CNAME(target), ttl=ttl)]

    def fail(self, name: str, how: str, *types: str) -> None:
        """how: SERVFAIL, REFUSED, silence, garbage, or `good` again; of all types, or these."""
        with self._lock:
            for kind in types or ("A", "AAAA", "SRV"):
                self._failures[name, kind] = how

    def cut(self, name: str) -> None:
        """Answers over UDP are truncated: the whole one has to be asked for over TCP."""
        self._cut.add(name)

    def count(self, name: str, kind: str = "A") -> int:
        return sum(question[:2] == (name, kind) for question in list(self.asked))

    def await_question(self, name: str, kind: str = "A", more: int = 1, timeout: float = TIMEOUT) -> None:
        """Until it is asked `more` times from now on."""
        wanted = self.count(name, kind) + more
        eventually(lambda: self.count(name, kind) >= wanted, f"{more} questions for {name} {kind}", timeout)

    # answering

    def _answer(self, data: bytes, transport: str) -> bytes | None:
        request = DNSRecord.parse(data)
        name, kind = str(request.q.qname).rstrip(".").lower(), QTYPE[request.q.qtype]
        with self._lock:
            records = list(self._records.get(name, ()))
            known = name in self._records
            how = self._failures.get((name, kind), "good")
            self.asked.append((name, kind, transport))
            while records and records[-1].rtype == QTYPE.CNAME:
                records += self._records.get(str(records[-1].rdata.label).rstrip("."), [])
        reply = request.reply()
        if how == "silence":
            return None
        if how == "garbage":
            return data[:2] + b"\xff" * 40
        if how != "good":
            reply.header.rcode = getattr(RCODE, how)
        elif not known:
            reply.header.rcode = RCODE.NXDOMAIN
        elif transport == "udp" and name in self._cut:
            reply.header.tc = 1
        else:
            for record in records:
                if QTYPE[record.rtype] in (kind, "CNAME"):
                    reply.add_answer(record)
        packed: bytes = reply.pack()
        return packed

    def _serve_udp(self) -> None:
        while True:
            data, client = self.udp.recvfrom(4096)
            if self._closing.is_set():
                return
            try:
                answer = self._answer(data, "udp")
                if answer is not None:
                    self.udp.sendto(answer, client)
            except OSError:  # the client is gone
                continue
            except Exception as error:
                self.errors.append(error)

    def _serve_tcp(self) -> None:
        while True:
            try:
                connection, _ = self.tcp.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(TIMEOUT)
                try:
                    self._talk(connection)
                except OSError:
                    continue
                except Exception as error:
                    self.errors.append(error)

    def _talk(self, connection: socket.socket) -> None:
        stream = connection.makefile("rb")
        while head := stream.read(2):
            answer = self._answer(stream.read(struct.unpack("!H", head)[0]), "tcp")
            if answer is not None:
                connection.sendall(struct.pack("!H", len(answer)) + answer)


def _record(name: str, value: str, ttl: int) -> RR:
    if " " in value:
        priority, weight, port, target = value.split()
        return RR(name, QTYPE.SRV, rdata=SRV(int(priority), int(weight), int(port), target), ttl=ttl)
    if ":" in value:
        return RR(name, QTYPE.AAAA, rdata=AAAA(value), ttl=ttl)
    return RR(name, QTYPE.A, rdata=A(value), ttl=ttl)


def _sockets() -> tuple[socket.socket, socket.socket]:
    """Both on the same port, of the kernel's choice."""
    while True:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        tcp = socket.socket()
        try:
            tcp.bind(udp.getsockname())
        except OSError:  # somebody else has it for TCP
            udp.close()
            tcp.close()
            continue
        tcp.listen(64)
        return udp, tcp
