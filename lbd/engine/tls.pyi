from collections.abc import Callable, Mapping, Sequence

class TlsError(Exception):
    """OpenSSL refused a certificate, key, CA or cipher list; str() says which and why."""

class ClientIdentity:
    """Who a client's verified certificate says it is; `fields`: field lines about it for endpoints."""

    subject: bytes
    names: tuple[bytes, ...]
    fingerprint: bytes
    fields: bytes
    def __init__(
        self, subject: bytes, names: tuple[bytes, ...], fingerprint: bytes, fields: bytes
    ) -> None: ...

class ServerTls:
    """TLS settings of a listener with the certificates in force."""

    name: str
    alpn: bytes
    contexts: int
    has_tickets: bool
    identify: Callable[[bytes], ClientIdentity] | None

    def __init__(
        self,
        name: str,
        *,
        min_version: str = "1.2",
        ciphers: str | None = None,
        alpn: Sequence[bytes] = (),
        strict_sni: bool = False,
        client_ca: bytes | None = None,
        client_required: bool = False,
        ticket_keys: bytes | None = None,
    ) -> None: ...
    def install(self, certificates: Sequence[tuple[Sequence[str], bytes, bytes]]) -> None:
        """Replace all certificates for new handshakes: (host names, chain as PEM, key as PEM).
        The first is the default. TlsError: nothing is changed."""
    def set_ticket_keys(self, keys: bytes) -> None:
        """80 secret bytes, the same in all workers; tickets under the former keys end in a full handshake."""
    def set_challenges(self, challenges: Mapping[str, tuple[bytes, bytes]]) -> None:
        """Host -> (certificate PEM, key PEM) shown to clients whose ALPN is `acme-tls/1` (RFC 8737)."""

class ClientTls:
    def __init__(
        self,
        *,
        ca: bytes | None = None,
        verify: bool = True,
        cert: bytes | None = None,
        key: bytes | None = None,
        min_version: str = "1.2",
        alpn: Sequence[bytes] = (),
    ) -> None: ...
