"""An lbd whose configuration file is changed while it runs."""

from __future__ import annotations

import signal
from typing import Any

from admin.asking import JSON, ask
from harness.client import Client
from harness.lbd import Lbd
from harness.messages import get
from health.watching import await_line

START = 'admin: {bind: "127.0.0.1:0"}\nstate_directory: state\n'


class Changing(Lbd):
    """`write` puts another configuration into its file; `reload` waits for what becomes of it."""

    def __init__(self, config: str, **places: object):
        super().__init__(START + config, **places)
        self.places = places

    def write(self, config: str, **places: object) -> None:
        config = START + config
        for name, place in {**self.places, **places}.items():
            config = config.replace(f"<{name}>", str(place))
        if "drain_timeout" not in config:
            config = f"drain_timeout: 1s\n{config}"
        (self.directory / "lbd.yaml").write_text(config)

    def reload(self, config: str | None = None, **places: object) -> dict[str, Any]:
        """The report."""
        if config is not None:
            self.write(config, **places)
        response = ask(self, "POST", "/api/reload", JSON)
        assert response.status == 200, response.body
        report: dict[str, Any] = response.json()
        return report

    def refused(self, config: str, **places: object) -> str:
        """Why the configuration is not put in force."""
        self.write(config, **places)
        response = ask(self, "POST", "/api/reload", JSON)
        assert response.status == 409, response.body
        why: str = response.json()["error"]
        return why

    def hang_up(self, config: str) -> str:
        """Reload by signal; the line that tells of it."""
        self.write(config)
        done = len([line for line in self.lines if "reloaded in" in line])
        self.signal(signal.SIGHUP)
        return await_line(self, "reloaded in", done + 1)


def body(client: Client, path: str = "/") -> bytes:
    response = client.ask(get(path))
    assert response.status == 200, response
    return bytes(response.body)
