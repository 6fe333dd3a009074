"""AdminClient: how verbs ask a running lbd, over its admin listener. Also their options and their errors.

Only the standard library is used: these verbs should answer at once. Where the listener is comes from the
configuration (-c) or from --admin; the token from LBD_ADMIN_TOKEN or the configuration.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

import click

from lbd.cli.addresses import TOKEN_VARIABLE, admin_token, reachable
from lbd.cli.loading import DEFAULT_PATH, admin_or_exit

TIMEOUT_SECONDS = 30.0
EXIT_FAILURE, EXIT_NOT_RUNNING = 1, 3


class NotRunning(Exception):
    """Nobody answers at the address; str() says why."""


class Refused(Exception):
    """lbd has said no; str() is what it said."""


def admin_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say where lbd is, passed as `path` and `address`, and --json, passed as `as_json`."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option(
            "--admin",
            "address",
            metavar="ADDRESS",
            callback=_admin_address,
            help=f"Admin listener, host:port or unix:/path, in place of that in the configuration. "
            f"The token comes from {TOKEN_VARIABLE}.",
        ),
        click.option(
            "-c",
            "--config",
            "path",
            metavar="FILE|DIR",
            type=click.Path(path_type=Path),
            help=f"Configuration of the lbd to ask.  [default: {DEFAULT_PATH}]",
        ),
    ):
        command = option(command)
    return command


def _admin_address(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    from lbd.config.units import parse_endpoint_address

    if value is None:
        return None
    try:
        return parse_endpoint_address(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


class AdminClient:
    """Asks over one connection, which is opened with the first request."""

    def __init__(self, address: str, token: str | None) -> None:
        self.address = address
        self._token = token
        self._connection = _connection_to(address)

    def get(self, path: str, holds: str | None = None) -> Any:
        """What stands there; `holds`: a member that it has when lbd answers. NotRunning, Refused."""
        return self._held(self._ask("GET", path, None), holds)

    def text(self, path: str) -> str:
        """A page that is text; NotRunning, Refused."""
        status, content = self._exchange("GET", path, None)
        if status != 200:
            raise Refused(_why_refused(status, _json_or_none(content), self.address))
        return content.decode("utf-8", "replace")

    def post(self, path: str, holds: str, body: dict[str, Any] | None = None) -> Any:
        """The answer to an order or a question, as for `get`; NotRunning, Refused."""
        return self._held(self._ask("POST", path, json.dumps(body or {})), holds)

    def patch(self, path: str, change: dict[str, Any], holds: str) -> Any:
        """The answer to a change, as for `get`; NotRunning, Refused."""
        return self._held(self._ask("PATCH", path, json.dumps(change)), holds)

    def put(self, path: str, value: dict[str, Any], holds: str) -> Any:
        """The answer to a new value, as for `get`; NotRunning, Refused."""
        return self._held(self._ask("PUT", path, json.dumps(value)), holds)

    def _held(self, data: Any, member: str | None) -> Any:
        """Other programs answer JSON as well."""
        if member is not None and not (isinstance(data, dict) and member in data):
            raise Refused(f"{self.address} is not an admin listener of lbd: its JSON has no {member!r}")
        return data

    def _ask(self, method: str, path: str, body: str | None) -> Any:
        status, content = self._exchange(method, path, body)
        data = _json_or_none(content)
        if data is None:
            raise Refused(f"{self.address} is not an admin listener of lbd: it answers {status}, and no JSON")
        if status != 200:
            raise Refused(_why_refused(status, data, self.address))
        return data

    def _exchange(self, method: str, path: str, body: str | None) -> tuple[int, bytes]:
        fields = {"Content-Type": "application/json"} if body is not None else {}
        if self._token is not None:
            fields["Authorization"] = f"Bearer {self._token}"
        try:
            self._connection.request(method, path, body, fields)
            response = self._connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()  # the next request opens another
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise NotRunning(f"no lbd answers at {self.address}: {why}") from None


def _json_or_none(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


def _why_refused(status: int, data: Any, address: str) -> str:
    why = data.get("error") if isinstance(data, dict) else None
    hint = f"; set {TOKEN_VARIABLE}, or admin.token in the configuration" if status == 401 else ""
    return f"{why or f'{address} answers {status}'}{hint}"


def _connection_to(address: str) -> http.client.HTTPConnection:
    from lbd.config.units import split_address

    if address.startswith("unix:"):
        return _UnixConnection(address.removeprefix("unix:"))
    return http.client.HTTPConnection(*split_address(address), timeout=TIMEOUT_SECONDS)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_SECONDS)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.sock.settimeout(TIMEOUT_SECONDS)
        self.sock.connect(self.path)


def client_of(path: Path | None, address: str | None) -> AdminClient:
    """The client for the options that were given; the process ends when they lead nowhere."""
    token = admin_token()
    if address is not None and path is None:
        return AdminClient(reachable(address), token)
    file = path or DEFAULT_PATH
    settings = admin_or_exit(file)
    if settings is not None and token is None and settings.token is not None:
        token = settings.token.get_secret_value()
    if address is None:
        if settings is None:
            fail(f"{file} has no 'admin', so lbd cannot be asked; add it, or name a listener with --admin")
        if settings.bind.endswith(":0"):
            fail(f"admin.bind of {file} leaves the port to the system; name it with --admin HOST:PORT")
        address = settings.bind
    return AdminClient(reachable(address), token)


def ask_or_exit(ask: Callable[[], Any]) -> Any:
    """The outcome of ask(); its error goes to stderr and the process ends with 1."""
    try:
        return ask()
    except (NotRunning, Refused) as error:
        fail(str(error))


def endpoint_path(name: str) -> str:
    """CLUSTER/ENDPOINT -> its path in the admin API."""
    cluster, slash, endpoint = name.partition("/")
    if not (cluster and slash and endpoint):
        raise click.BadParameter(f"{name!r} names no endpoint; write CLUSTER/ENDPOINT", param_hint="ENDPOINT")
    return f"/api/clusters/{quote(cluster, safe='')}/endpoints/{quote(endpoint, safe='')}"


def printable(text: str) -> str:
    """For a terminal: what could steer it is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def fail(message: str, code: int = EXIT_FAILURE) -> NoReturn:
    """The error, and the end of the process."""
    click.echo(f"Error: {printable(message)}", err=True)
    raise SystemExit(code)
