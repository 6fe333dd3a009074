"""What the tests of health look at: samples of /metrics, lines of the log, who answered."""

from __future__ import annotations

import re
from collections import Counter

from harness.http_origin import Answer, HttpOrigin, Seen
from harness.lbd import Lbd
from harness.messages import get
from harness.waiting import TIMEOUT, eventually

SAMPLE = re.compile(r"^(\w+)\{(.*)\} (\S+)$")
LABEL = re.compile(r'(\w+)="([^"]*)"')


class Named(HttpOrigin):
    """Answers with its own name and .status, which may be changed at any time; checks are told apart
    by their path /health, and get .health."""

    def __init__(self, name: str, status: int = 200):
        super().__init__(self._say)
        self.name, self.status, self.health = name, status, 200
        self.served = 0  # requests other than checks

    def _say(self, seen: Seen) -> Answer:
        if seen.target == "/health":
            return Answer(self.health)
        self.served += 1
        return Answer(self.status, body=self.name.encode())


def sample(lbd: Lbd, name: str, **labels: str) -> float | None:
    """The one sample with these labels; None when there is none."""
    found = []
    for line in lbd.admin("/metrics").body.decode().splitlines():
        match = SAMPLE.match(line)
        if match and match[1] == name and labels.items() <= dict(LABEL.findall(match[2])).items():
            found.append(float(match[3]))
    assert len(found) <= 1, f"{name} {labels}: {found}"
    return found[0] if found else None


def is_healthy(lbd: Lbd, cluster: str) -> float | None:
    """Of a cluster with one endpoint."""
    return sample(lbd, "lbd_endpoint_healthy", cluster=cluster)


def said(lbd: Lbd, text: str) -> list[str]:
    """Lines of the log that contain the text."""
    return [line for line in list(lbd.lines) if text in line]


def await_line(lbd: Lbd, text: str, count: int = 1) -> str:
    """The count-th line of the log with the text, once it is there."""
    lines = eventually(
        lambda: (found := said(lbd, text))[count - 1 :] and found, f"{count} times {text!r}", 4 * TIMEOUT
    )
    return lines[count - 1]


def answers(lbd: Lbd, count: int, path: str = "/", listener: str = "web") -> Counter[str]:
    """Bodies (or, of errors by lbd, reasons) of requests one after another on one connection."""
    found: Counter[str] = Counter()
    with lbd.connect(listener) as client:
        for _ in range(count):
            response = client.ask(get(path))
            text = response.body.decode()
            found[text if response.status < 500 or "(request" not in text else response.reason] += 1
    return found
