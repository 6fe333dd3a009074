"""docs/operations.md names every reason code with its status, and every metric."""

from __future__ import annotations

import re
from pathlib import Path

from harness.http_origin import EchoOrigin
from harness.lbd import Lbd

from lbd.engine.reasons import CODES

DOCUMENT = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
CONFIG = """
admin: {bind: "127.0.0.1:0"}
access_log: {to: stdout}
listeners: [{name: web, bind: "127.0.0.1:0", cluster: app}]
clusters: [{name: app, endpoints: [<origin>]}]
"""


def test_every_reason_stands_there_with_its_status() -> None:
    rows = dict(re.findall(r"^\| `([a-z0-9_]+)` \| (\d{3}) \|", DOCUMENT, re.MULTILINE))
    assert rows == {code: str(status) for code, status in CODES if code}


def test_every_metric_stands_there_and_no_other() -> None:
    with EchoOrigin() as origin, Lbd(CONFIG, origin=origin) as lbd:
        page = lbd.admin("/metrics").body.decode()
    served = set(re.findall(r"^# TYPE (\S+)", page, re.MULTILINE))
    assert served == set(re.findall(r"`(lbd_[a-z0-9_]+)`", DOCUMENT))
