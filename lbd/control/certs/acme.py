"""One conversation with an ACME authority (RFC 8555), by the `acme` library: account, order, certificate.

Synchronous: each method is a few requests and is called off the loop (`offloop`); waiting between requests
is the business of `issuer`, so that it can be cancelled. Imported only when a listener asks for ACME.

Every failure is an AcmeError: one line for the log, and when the authority wants to be asked again. What
the authority sends is bounded: TIMEOUT per read, MAX_BYTES per answer, https only.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, cast

import requests
from acme import challenges, client, crypto_util, errors, messages
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.b64 import b64encode
from josepy.errors import Error as JoseError
from josepy.interfaces import JSONDeSerializable
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from lbd import __version__
from lbd.config import transport
from lbd.control.certs.errors import CertificateError
from lbd.control.certs.files import Certificate, covers, parse_pair
from lbd.control.certs.selfsigned import key_to_pem
from lbd.control.certs.store import Store

TIMEOUT = 20  # seconds without a byte from the authority
MAX_BYTES = 2**20  # of one answer
NONCE_TRIES = 20  # RFC 8555, section 6.5: on badNonce try again
LONGEST_RETRY_AFTER = 7 * 86400.0  # seconds; nobody is believed who asks for more
NOT_OVER = ("pending", "processing")
# the last four: JSON of a shape that no authority should send
UNEXPECTED = (errors.Error, JoseError, OSError, ValueError, KeyError, TypeError, AttributeError)


class AcmeError(Exception):
    """str() says in a line what failed. Times are seconds from now, or None when the authority gave none."""

    def __init__(self, message: str, retry_after: float | None = None, rate_limited: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.rate_limited = rate_limited


@dataclass(frozen=True, slots=True)
class Challenge:
    """What has to be shown to prove control of a host (RFC 8555, section 8.1)."""

    host: str
    kind: str  # http-01 or tls-alpn-01
    token: str
    key_authorization: str
    url: str


class Authority:
    """A session, made for one order: no stale account or nonce outlives a failure.

    Call `open` and `order`; when something has to be shown, `answer`, then `poll_proof` until it is done;
    `advance` until it gives the certificate; and in any case `close`.
    """

    def __init__(self, settings: transport.Acme, store: Store) -> None:
        self.settings = settings
        self.store = store
        self.retry_after: float | None = None  # of the last answer
        self.status = 0  # of the last answer
        self.host = ""

    def open(self) -> None:
        """Fetch the directory and find or make the account (RFC 8555, sections 7.1.1 and 7.3)."""
        with self._translated():
            key = JWKEC(key=self.store.account_key())
            self.key = key
            self.net = _Network(key=key, alg=ES256, user_agent=f"lbd/{__version__}", timeout=TIMEOUT)
            # the library's type says bool; requests takes the path of a PEM file or directory too
            self.net.verify_ssl = cast(bool, self.settings.ca or system_authorities())
            self.net.session = session = _BoundedSession()
            session.hooks["response"].append(self._note)
            directory = messages.Directory.from_json(self.net.get(self.settings.directory).json())
            self.client = client.ClientV2(directory, self.net)
            if self.client.external_account_required():
                raise AcmeError("the authority asks for external account binding, which lbd does not support")
            self._log_in()

    def _log_in(self) -> None:
        email = self.settings.email
        contact = (f"mailto:{email}",) if email else ()
        wanted = messages.NewRegistration(contact=contact, terms_of_service_agreed=True)
        try:
            self.client.new_account(wanted)
        except errors.ConflictError as known:  # the library's word for an account that exists
            account = messages.RegistrationResource(uri=known.location, body=wanted)
            self.net.account = account
            if email != self.store.known_email():
                self.client.update_registration(account, messages.UpdateRegistration(contact=contact))
        if email != self.store.known_email():
            self.store.remember_email(email)

    def order(self, host: str) -> Challenge | None:
        """Order a certificate; what has to be shown for it, or None when an earlier proof still counts."""
        with self._translated():
            self.host = host
            self.private_key = ec.generate_private_key(ec.SECP256R1())
            request = crypto_util.make_csr(key_to_pem(self.private_key), [host])
            self.current = self.client.new_order(request)
            for authorization in self.current.authorizations:
                status = authorization.body.status.name
                if status == "pending":
                    self.pending = authorization
                    return self._challenge_of(authorization.body)
                if status != "valid":
                    raise AcmeError(f"the authorization of the new order is {status}")
            return None

    def _challenge_of(self, authorization: messages.Authorization) -> Challenge:
        for offered in authorization.challenges:
            # as JSON: newer versions of the library do not know TLS-ALPN-01 any more
            described = offered.chall.to_json()
            if described.get("type") == self.settings.challenge:
                token = str(described.get("token"))
                self.offered = offered
                if not 16 <= len(token) <= 256 or not set(token) <= _BASE64URL:
                    raise AcmeError("the authority sent a malformed token")
                thumbprint = b64encode(self.key.thumbprint()).decode("ascii")
                return Challenge(
                    self.host, self.settings.challenge, token, f"{token}.{thumbprint}", offered.uri
                )
        kinds = ", ".join(str(one.chall.to_json().get("type"))[:40] for one in authorization.challenges[:8])
        raise AcmeError(f"the authority does not offer {self.settings.challenge}, only {kinds}")

    def answer(self) -> None:
        """Tell the authority to look (RFC 8555, section 7.5.1)."""
        with self._translated():
            # not client.answer_challenge: it refuses answers without a Link, which nothing needs
            self._post(self.offered.uri, _Ready())

    def poll_proof(self) -> float | None:
        """None once the authority is convinced, else seconds until it should be asked again; AcmeError."""
        with self._translated():
            self.pending, _ = self.client.poll(self.pending)
            status = self.pending.body.status.name
            if status == "valid":
                return None
            if status in NOT_OVER:
                return self.retry_after or 0.0
            raise AcmeError(_reason_of(self.pending.body) or f"the authorization is {status}")

    def advance(self) -> Certificate | float:
        """Bring the order a step on: the certificate, or seconds until the next step; AcmeError.

        Hands in the certificate request as soon as the order is ready (RFC 8555, section 7.4).
        """
        with self._translated():
            order = messages.Order.from_json(self._fetch(self.current.uri).json())
            if order.status.name == "ready":
                order = self.client.begin_finalization(self.current.update(body=order)).body
            status = order.status.name
            if status in NOT_OVER or status == "ready":
                return self.retry_after or 0.0
            if status != "valid" or not order.certificate:
                raise AcmeError(
                    _one_line(f"the order is {status}" + (f": {order.error}" if order.error else ""))
                )
            return self._checked(self._fetch(order.certificate).content)

    def _checked(self, chain: bytes) -> Certificate:
        found = parse_pair(chain, key_to_pem(self.private_key), cert_name="the authority's certificate")
        problem = found.problem_at(time.time())
        if problem is None and not covers(found.hosts, self.host):
            problem = "is for other hosts"
        if problem is not None:
            raise AcmeError(f"the authority's certificate {problem}")
        return found

    def close(self) -> None:
        """Close connections."""
        if hasattr(self, "net"):
            self.net.session.close()

    def _fetch(self, url: str) -> requests.Response:
        """POST-as-GET (RFC 8555, section 6.3)."""
        # the library's type wants an object; None makes the empty body
        return self._post(url, cast(JSONDeSerializable, None))

    def _post(self, url: str, content: JSONDeSerializable) -> requests.Response:
        return self.net.post(url, content, new_nonce_url=self.client.directory["newNonce"])

    def _note(self, response: requests.Response, *_: Any, **__: Any) -> None:
        self.retry_after = parse_retry_after(response.headers.get("Retry-After"))
        self.status = response.status_code

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Failures of the library, the network and the store as AcmeError."""
        self.retry_after, self.status = None, 0
        try:
            yield
        except messages.Error as error:
            limited = error.code == "rateLimited" or self.status == 429
            message = f"{error.code or error.typ}: {error.detail or error.title or 'no details'}"
            raise AcmeError(_one_line(message), self.retry_after, limited) from error
        except requests.exceptions.SSLError as error:
            raise AcmeError(
                f"the https certificate of {self.settings.directory} is not trusted ({_innermost(error)}); "
                "if the authority is your own, name its CA in acme.ca"
            ) from error
        except requests.RequestException as error:
            raise AcmeError(f"cannot reach {self.settings.directory}: {_innermost(error)}") from error
        except CertificateError as error:
            raise AcmeError(str(error)) from error
        except UNEXPECTED as error:
            message = f"unexpected answer of the authority: {type(error).__name__}: {error}"
            raise AcmeError(_one_line(message), self.retry_after, self.status == 429) from error


_BASE64URL = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


class _Ready(challenges.ChallengeResponse):
    """The empty object that answers any challenge."""

    typ = "ready"

    def __bool__(self) -> bool:
        """The library would send no object at all for an empty one."""
        return True


class _Network(client.ClientNetwork):
    """Tries again on badNonce as often as an unlucky client may need, not once."""

    def post(self, *args: Any, **kwargs: Any) -> requests.Response:
        for _ in range(NONCE_TRIES - 1):
            try:
                return super().post(*args, **kwargs)
            except messages.Error as error:
                if error.code != "badNonce":
                    raise
        return super().post(*args, **kwargs)


class _BoundedSession(requests.Session):
    """https only (RFC 8555, section 6.1), and no answer is longer than MAX_BYTES."""

    def __init__(self) -> None:
        super().__init__()
        self.adapters.pop("http://")

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        response = super().send(request, **{**kwargs, "stream": True})
        content = bytearray()
        for piece in response.iter_content(65536):
            content += piece
            if len(content) > MAX_BYTES:
                response.close()
                raise requests.RequestException("the answer is longer than 1 MiB")
        response._content = bytes(content)  # what requests itself does without stream=True
        return response


def parse_retry_after(value: str | None) -> float | None:
    """Seconds from now of a Retry-After field (RFC 9110, section 10.2.3), at most a week, or None."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit() and len(text) <= 10:
        return min(float(text), LONGEST_RETRY_AFTER)
    try:
        seconds = parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, OverflowError, TypeError):
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


def system_authorities() -> str | bool:
    """The system's trusted authorities, which requests would pass over; True: requests' own bundle."""
    paths = ssl.get_default_verify_paths()
    return paths.cafile or paths.capath or True


def _reason_of(authorization: messages.Authorization) -> str | None:
    for challenge in authorization.challenges:
        if challenge.error is not None:
            detail = challenge.error.detail or challenge.error.title or "no details"
            return _one_line(f"{challenge.error.code or challenge.error.typ}: {detail}")
    return None


def _innermost(error: BaseException) -> str:
    """requests wraps urllib3 wraps the error that says something."""
    seen: BaseException = error
    for _ in range(8):
        inner = getattr(seen, "reason", None) or (seen.args[0] if seen.args else None)
        if not isinstance(inner, BaseException):
            break
        seen = inner
    return _one_line(str(seen) or type(seen).__name__)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:500]
