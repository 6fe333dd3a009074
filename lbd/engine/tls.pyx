# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""TLS contexts: certificates, SNI, ALPN, client certificates, and what is verified of endpoints.

A listener has one base SSL_CTX without a certificate; SNI switches each handshake to the context of a certificate. All
contexts have the same settings, because OpenSSL takes some from the one and some from the other.

Policy (RFC 8446, RFC 9325): TLS 1.2 and 1.3, AEAD with ephemeral keys only, no renegotiation, no compression, no early
data.
"""

from libc.stdint cimport uint64_t
from libc.string cimport memcmp

from lbd.engine.openssl cimport (
    BIO, EVP_PKEY, SSL, SSL_AD_UNRECOGNIZED_NAME, SSL_CTRL_CHAIN_CERT, SSL_CTRL_MODE, SSL_CTRL_SET_MIN_PROTO_VERSION,
    SSL_CTRL_SET_READ_AHEAD, SSL_CTRL_SET_SESS_CACHE_MODE, SSL_CTRL_SET_TLSEXT_HOSTNAME,
    SSL_CTRL_SET_TLSEXT_SERVERNAME_ARG, SSL_CTRL_SET_TLSEXT_SERVERNAME_CB, SSL_CTRL_SET_TLSEXT_TICKET_KEYS,
    SSL_MODE_RELEASE_BUFFERS, SSL_OP_CIPHER_SERVER_PREFERENCE, SSL_OP_IGNORE_UNEXPECTED_EOF, SSL_OP_NO_COMPRESSION,
    SSL_OP_NO_RENEGOTIATION, SSL_OP_NO_TICKET, SSL_OP_PRIORITIZE_CHACHA, SSL_TLSEXT_ERR_ALERT_FATAL,
    SSL_TLSEXT_ERR_NOACK, SSL_TLSEXT_ERR_OK, SSL_VERIFY_FAIL_IF_NO_PEER_CERT, SSL_VERIFY_NONE, SSL_VERIFY_PEER,
    TICKET_KEYS_SIZE, TLS1_2_VERSION, TLS1_3_VERSION, TLSEXT_TYPE_ALPN, X509, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS,
    openssl, openssl_error,
)
from lbd.engine.tls_stream cimport TlsStream, attach_tls, load_tls

cdef enum:
    SSL_CLIENT_HELLO_SUCCESS = 1

CIPHERS = ("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
           "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305")
ACME_ALPN = b"acme-tls/1"


class TlsError(Exception):
    """OpenSSL refused a certificate, key, CA or cipher list; str() says which and why."""


cdef BIO* _memory(bytes pem) except NULL:
    cdef BIO* bio = openssl.BIO_new_mem_buf(<const char*> pem, <int> len(pem))
    if bio == NULL:
        raise MemoryError
    return bio


cdef class Context:

    def __dealloc__(self):
        if self.ctx != NULL:
            openssl.SSL_CTX_free(self.ctx)

    cdef int set_up(self, bint server, str min_version, str ciphers, bytes alpn) except -1:
        """What all contexts share. TlsError for a cipher list without a usable cipher."""
        cdef uint64_t options = SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION
        cdef bytes names = (ciphers or CIPHERS).encode()
        load_tls()
        self.ctx = openssl.SSL_CTX_new(openssl.TLS_server_method() if server else openssl.TLS_client_method())
        if self.ctx == NULL:
            raise TlsError(f"no TLS context: {openssl_error()}")
        if server:
            # A client that closes without close_notify has merely gone; HTTP's own framing tells whether a message is whole.
            options |= SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA | SSL_OP_IGNORE_UNEXPECTED_EOF
        openssl.SSL_CTX_set_options(self.ctx, options)
        openssl.SSL_CTX_ctrl(self.ctx, SSL_CTRL_SET_MIN_PROTO_VERSION,
                             TLS1_3_VERSION if min_version == "1.3" else TLS1_2_VERSION, NULL)
        openssl.SSL_CTX_ctrl(self.ctx, SSL_CTRL_MODE, SSL_MODE_RELEASE_BUFFERS, NULL)
        openssl.SSL_CTX_ctrl(self.ctx, SSL_CTRL_SET_READ_AHEAD, 1, NULL)
        openssl.SSL_CTX_ctrl(self.ctx, SSL_CTRL_SET_SESS_CACHE_MODE, 0, NULL)
        if openssl.SSL_CTX_set_cipher_list(self.ctx, <const char*> names) != 1:
            raise TlsError(f"cipher list {names.decode()!r}: {openssl_error()}")
        if alpn and not server:
            openssl.SSL_CTX_set_alpn_protos(self.ctx, <const unsigned char*> <const char*> alpn, <unsigned int> len(alpn))
        return 0

    cdef int use_certificate(self, bytes chain, bytes key) except -1:
        """Leaf, intermediates and private key, as PEM. TlsError."""
        cdef BIO* bio = _memory(chain)
        cdef BIO* key_bio
        cdef X509* certificate
        cdef EVP_PKEY* private
        cdef bint leaf = True
        cdef bint taken
        while True:
            certificate = openssl.PEM_read_bio_X509(bio, NULL, NULL, <void*> b"")
            if certificate == NULL:
                break
            if leaf:
                taken = openssl.SSL_CTX_use_certificate(self.ctx, certificate) == 1
            else:
                taken = openssl.SSL_CTX_ctrl(self.ctx, SSL_CTRL_CHAIN_CERT, 1, <void*> certificate) == 1
            openssl.X509_free(certificate)
            leaf = leaf and not taken
            if not taken:
                break
        openssl.BIO_free(bio)
        if leaf:
            raise TlsError(f"certificate: {openssl_error()}")
        openssl.ERR_clear_error()
        key_bio = _memory(key)
        private = openssl.PEM_read_bio_PrivateKey(key_bio, NULL, NULL, <void*> b"")
        openssl.BIO_free(key_bio)
        if private == NULL:
            raise TlsError(f"private key: {openssl_error()}")
        taken = openssl.SSL_CTX_use_PrivateKey(self.ctx, private) == 1
        openssl.EVP_PKEY_free(private)
        if not taken or openssl.SSL_CTX_check_private_key(self.ctx) != 1:
            raise TlsError(f"private key: {openssl_error()}")
        return 0

    cdef int trust(self, bytes ca, bint announce) except -1:
        """Accept certificates of these authorities (PEM); announce: name them to clients. TlsError."""
        cdef BIO* bio = _memory(ca)
        cdef X509* certificate
        cdef int count = 0
        while True:
            certificate = openssl.PEM_read_bio_X509(bio, NULL, NULL, <void*> b"")
            if certificate == NULL:
                break
            openssl.X509_STORE_add_cert(openssl.SSL_CTX_get_cert_store(self.ctx), certificate)
            if announce:
                openssl.SSL_CTX_add_client_CA(self.ctx, certificate)
            openssl.X509_free(certificate)
            count += 1
        openssl.BIO_free(bio)
        openssl.ERR_clear_error()
        if count == 0:
            raise TlsError("ca: no certificate in the file")
        return 0


def alpn_list(names):
    """Protocol names -> the wire form of RFC 7301 3.1."""
    return b"".join(bytes((len(name),)) + name for name in names)


cdef int _on_server_name(SSL* ssl, int* alert, void* arg) noexcept:
    try:
        return (<ServerTls> arg)._select(ssl, alert)
    except Exception:
        alert[0] = SSL_AD_UNRECOGNIZED_NAME
        return SSL_TLSEXT_ERR_ALERT_FATAL


cdef int _on_alpn(SSL* ssl, const unsigned char** out, unsigned char* out_len, const unsigned char* offered,
                  unsigned int n, void* arg) noexcept:
    """Our order of preference decides; without a common name the handshake goes on without ALPN (as nginx does)."""
    cdef const unsigned char* ours = <const unsigned char*> arg
    cdef unsigned int i
    while ours[0]:
        i = 0
        while i < n and i + 1 + offered[i] <= n:
            if offered[i] == ours[0] and memcmp(offered + i + 1, ours + 1, ours[0]) == 0:
                out[0] = offered + i + 1
                out_len[0] = offered[i]
                return SSL_TLSEXT_ERR_OK
            i += 1 + offered[i]
        ours += 1 + ours[0]
    return SSL_TLSEXT_ERR_NOACK


cdef class ServerTls:

    def __init__(self, str name not None, *, str min_version="1.2", str ciphers=None, alpn=(), bint strict_sni=False,
                 bytes client_ca=None, bint client_required=False, bytes ticket_keys=None):
        self.name = name
        self.min_version = min_version
        self.ciphers = ciphers
        self.alpn = alpn_list(alpn)
        self.strict_sni = strict_sni
        self.client_ca = client_ca
        self.asks_certificate = client_ca is not None
        self.needs_certificate = client_required
        self.ticket_keys = ticket_keys
        self.exact = {}
        self.wildcards = {}
        self.challenges = {}
        self.base = self._context(None, None, self.alpn)
        openssl.SSL_CTX_callback_ctrl(self.base.ctx, SSL_CTRL_SET_TLSEXT_SERVERNAME_CB,
                                      <void (*)() noexcept> _on_server_name)
        openssl.SSL_CTX_ctrl(self.base.ctx, SSL_CTRL_SET_TLSEXT_SERVERNAME_ARG, 0, <void*> self)
        if ticket_keys is not None:
            self.set_ticket_keys(ticket_keys)

    def __repr__(self):
        return f"<ServerTls {self.name} hosts={len(self.exact) + len(self.wildcards)}>"

    cdef Context _context(self, bytes chain, bytes key, bytes alpn):
        cdef Context made = Context.__new__(Context)
        cdef bytes session_id = self.name.encode()[:32]
        cdef int mode = SSL_VERIFY_NONE
        made.set_up(True, self.min_version, self.ciphers, alpn)
        if self.ticket_keys is None:
            openssl.SSL_CTX_set_options(made.ctx, SSL_OP_NO_TICKET)
            openssl.SSL_CTX_set_num_tickets(made.ctx, 0)
        if alpn:
            # borrowed: self.alpn and ACME_WIRE live as long as the contexts
            openssl.SSL_CTX_set_alpn_select_cb(made.ctx, _on_alpn, <void*> <const char*> alpn)
        openssl.SSL_CTX_set_session_id_context(
            made.ctx, <const unsigned char*> <const char*> session_id, <unsigned int> len(session_id))
        if self.asks_certificate:
            made.trust(self.client_ca, True)
            mode = SSL_VERIFY_PEER
            if self.needs_certificate:
                mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT
        openssl.SSL_CTX_set_verify(made.ctx, mode, NULL)
        if chain is not None:
            made.use_certificate(chain, key)
        return made

    @property
    def has_tickets(self):
        return self.ticket_keys is not None

    def set_ticket_keys(self, bytes keys not None):
        """80 secret bytes, the same in all workers; tickets under the former keys end in a full handshake."""
        if len(keys) != TICKET_KEYS_SIZE:
            raise ValueError(f"ticket keys have {TICKET_KEYS_SIZE} bytes")
        openssl.SSL_CTX_ctrl(self.base.ctx, SSL_CTRL_SET_TLSEXT_TICKET_KEYS, TICKET_KEYS_SIZE, <void*> <const char*> keys)

    def install(self, certificates):
        """Replace all certificates for new handshakes: (host names, chain as PEM, key as PEM); the first is the default.
        TlsError: nothing is changed."""
        exact, wildcards = {}, {}
        cdef Context default = None
        cdef Context made
        for hosts, chain, key in certificates:
            made = self._context(chain, key, self.alpn)
            if default is None:
                default = made
            for host in hosts:
                if host.startswith("*."):
                    wildcards.setdefault(host[2:].lower(), made)
                else:
                    exact.setdefault(host.lower(), made)
        self.exact, self.wildcards, self.default = exact, wildcards, default
        self.contexts = len(certificates)

    def set_challenges(self, challenges):
        """Host -> (certificate PEM, key PEM) shown to clients whose ALPN is `acme-tls/1` (RFC 8737)."""
        self.challenges = {host.lower(): self._context(chain, key, ACME_WIRE)
                           for host, (chain, key) in challenges.items()}
        if challenges:
            openssl.SSL_CTX_set_client_hello_cb(self.base.ctx, _on_client_hello, NULL)
        else:
            openssl.SSL_CTX_set_client_hello_cb(self.base.ctx, NULL, NULL)

    cdef Context choose(self, str host):
        """The context for an SNI, exact before wildcard (one label, RFC 6125 6.4.3), or None."""
        cdef object found
        host = host.lower().rstrip(".")
        found = self.exact.get(host)
        if found is None and "." in host:
            found = self.wildcards.get(host.partition(".")[2])
        return found

    cdef bint shares_context(self, const char* name, const char* host, size_t n):
        """Would a handshake for this host have got the same certificate as the one for name (NULL: without SNI)?"""
        cdef Context ours = self.choose(name.decode("latin-1")) if name != NULL else None
        cdef Context other = self.choose(host[:n].decode("latin-1"))
        if not self.strict_sni:
            ours = self.default if ours is None else ours
            other = self.default if other is None else other
        return ours is other

    cdef int _select(self, SSL* ssl, int* alert) except -1:
        """The servername callback; OpenSSL calls it without SNI as well."""
        cdef const char* name = openssl.SSL_get_servername(ssl, 0)
        cdef Context chosen = None
        cdef str host = None
        if name != NULL:
            host = name.decode("latin-1")
            if self.challenges and (<TlsStream> openssl.BIO_get_data(openssl.SSL_get_rbio(ssl))).acme:
                chosen = self.challenges.get(host.lower())
                if chosen is not None:              # an authority's validator has no client certificate
                    openssl.SSL_set_verify(ssl, SSL_VERIFY_NONE, NULL)
            if chosen is None:
                chosen = self.choose(host)
        if chosen is None and not self.strict_sni:
            chosen = self.default
        if chosen is None:
            alert[0] = SSL_AD_UNRECOGNIZED_NAME
            return SSL_TLSEXT_ERR_ALERT_FATAL
        openssl.SSL_set_SSL_CTX(ssl, chosen.ctx)
        return SSL_TLSEXT_ERR_OK

    cdef TlsStream open(self):
        """A stream for an accepted connection; the caller sets its fd and registers it."""
        cdef TlsStream stream = TlsStream.__new__(TlsStream)
        attach_tls(stream, self.base.ctx, self)
        openssl.SSL_set_accept_state(stream.ssl)
        return stream


ACME_WIRE = alpn_list([ACME_ALPN])


cdef int _on_client_hello(SSL* ssl, int* alert, void* arg) noexcept:
    """The only moment at which OpenSSL shows the ALPN extension before the certificate is chosen."""
    (<TlsStream> openssl.BIO_get_data(openssl.SSL_get_rbio(ssl))).acme = _offers_acme(ssl)
    return SSL_CLIENT_HELLO_SUCCESS


cdef bint _offers_acme(SSL* ssl) noexcept:
    """Does the ClientHello's ALPN extension (RFC 7301: a length, then the list) name acme-tls/1?"""
    cdef const unsigned char* p = NULL
    cdef size_t n = 0
    cdef size_t i = 2
    if openssl.SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_ALPN, &p, &n) != 1:
        return False
    while i < n and i + 1 + p[i] <= n:
        if p[i] == 10 and memcmp(p + i + 1, b"acme-tls/1", 10) == 0:
            return True
        i += 1 + p[i]
    return False


cdef class ClientTls:
    """TLS towards the endpoints of a cluster. ca: PEM, the system's authorities when None. TlsError."""

    def __init__(self, *, bytes ca=None, bint verify=True, bytes cert=None, bytes key=None, str min_version="1.2", alpn=()):
        self.verify = verify
        self.context = Context.__new__(Context)
        self.context.set_up(False, min_version, None, alpn_list(alpn))
        if ca is not None:
            self.context.trust(ca, False)
        else:
            openssl.SSL_CTX_set_default_verify_paths(self.context.ctx)
        if cert is not None:
            self.context.use_certificate(cert, key)
        openssl.SSL_CTX_set_verify(self.context.ctx, SSL_VERIFY_PEER if verify else SSL_VERIFY_NONE, NULL)

    def __repr__(self):
        return f"<ClientTls verify={self.verify}>"

    cdef TlsStream open(self, bytes name, bint is_ip):
        """A stream for a new connection; name: what to ask for and to verify (RFC 6125), a host or an IP literal."""
        cdef TlsStream stream = TlsStream.__new__(TlsStream)
        attach_tls(stream, self.context.ctx, self)
        openssl.SSL_set_connect_state(stream.ssl)
        if is_ip:
            openssl.X509_VERIFY_PARAM_set1_ip_asc(openssl.SSL_get0_param(stream.ssl), <const char*> name)
        else:
            openssl.SSL_ctrl(stream.ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, 0, <void*> <const char*> name)
            openssl.SSL_set_hostflags(stream.ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS)
            openssl.SSL_set1_host(stream.ssl, <const char*> name)
        return stream


cdef class ClientIdentity:

    def __init__(self, bytes subject not None, tuple names not None, bytes fingerprint not None, bytes fields not None):
        self.subject = subject
        self.names = names
        self.fingerprint = fingerprint
        self.fields = fields

    def __repr__(self):
        return f"<ClientIdentity {self.subject.decode(errors='replace')}>"
