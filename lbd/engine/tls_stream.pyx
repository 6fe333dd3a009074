# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""TLS on the socket itself: a Stream whose reads and writes pass through OpenSSL.

Strategy: OpenSSL reads and writes through a BIO of ours, so that short reads tell that the kernel is drained (no extra
EAGAIN read), and so that nothing ever waits inside OpenSSL: what the kernel does not take stands, encrypted, in the
Stream's own out buffer, and the rest of the engine sees an ordinary Stream that cannot splice. Records of one write
leave in one send; the session tickets behind a handshake wait for the first response and share its send.
"""

from libc.string cimport memcpy, memset

cimport cython

from lbd.engine cimport sys as c
from lbd.engine.buffer cimport Buffer, buffer_append, buffer_free, buffer_len, buffer_ptr
from lbd.engine.openssl cimport (
    BIO, BIO_CTRL_EOF, BIO_CTRL_FLUSH, BIO_FLAGS_READ, BIO_FLAGS_SHOULD_RETRY, BIO_FLAGS_WRITE, BIO_TYPE_SOURCE_SINK,
    SSL_CTX, SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE, SSL_ERROR_ZERO_RETURN, X509, load_openssl, openssl,
    openssl_error,
)
from lbd.engine.reactor cimport IO_AGAIN, IO_ERROR, WRITE_BLOCKED, WRITE_DONE, WRITE_ERROR, Stream
from lbd.engine.sys cimport ssize_t

cdef enum:
    RECORD = 16384                  # most payload of one record
    EPROTO = 71

cdef void* METHOD = NULL            # of the BIO between OpenSSL and a Stream
cdef char[RECORD] JOIN              # two pieces of one write, so that they share a record


# The BIO ---------------------------------------------------------------------------------------------------------

cdef int _bio_read(BIO* bio, char* p, int n) noexcept:
    cdef TlsStream stream = <TlsStream> openssl.BIO_get_data(bio)
    cdef ssize_t got
    openssl.BIO_clear_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_WRITE | BIO_FLAGS_SHOULD_RETRY)
    while not stream.drained and not stream.eof:
        got = c.recv(stream.fd, p, <size_t> n, 0)
        if got > 0:
            if got < n and not stream.hangup:
                stream.drained = True
            return <int> got
        if got == 0:
            stream.eof = stream.hangup = True
        elif c.errno == c.EAGAIN:
            stream.drained = True
        elif c.errno != c.EINTR:
            stream.error = c.errno
            stream.eof = True
    if stream.eof:
        return 0 if stream.error == 0 else -1
    openssl.BIO_set_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY)
    return -1


cdef int _bio_write(BIO* bio, const char* p, int n) noexcept:
    """Takes all, always: into held, the kernel, or the out buffer."""
    cdef TlsStream stream = <TlsStream> openssl.BIO_get_data(bio)
    openssl.BIO_clear_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_WRITE | BIO_FLAGS_SHOULD_RETRY)
    if stream.corked:
        if not buffer_append(&stream.held, p, <size_t> n):
            stream.error = c.ENOMEM
            return -1
        return n
    return -1 if Stream.write(stream, p, <size_t> n) == WRITE_ERROR else n


cdef long _bio_ctrl(BIO* bio, int command, long number, void* p) noexcept:
    if command == BIO_CTRL_EOF:
        return (<TlsStream> openssl.BIO_get_data(bio)).eof
    return 1 if command == BIO_CTRL_FLUSH else 0


cdef int load_tls() except -1:
    """OpenSSL and the BIO method, once."""
    global METHOD
    if METHOD != NULL:
        return 0
    load_openssl()
    METHOD = openssl.BIO_meth_new(openssl.BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, b"lbd stream")
    if METHOD == NULL:
        raise MemoryError
    openssl.BIO_meth_set_read(METHOD, _bio_read)
    openssl.BIO_meth_set_write(METHOD, _bio_write)
    openssl.BIO_meth_set_ctrl(METHOD, _bio_ctrl)
    return 0


cdef int attach_tls(TlsStream stream, SSL_CTX* ctx, object owner) except -1:
    """Give a stream that was just made its SSL object; owner keeps what OpenSSL's callbacks point to."""
    cdef BIO* bio
    stream.owner = owner
    stream.ssl = openssl.SSL_new(ctx)
    bio = openssl.BIO_new(METHOD)
    if stream.ssl == NULL or bio == NULL:
        raise MemoryError
    openssl.BIO_set_data(bio, <void*> stream)
    openssl.BIO_set_init(bio, 1)
    openssl.SSL_set_bio(stream.ssl, bio, bio)
    stream.corked = True                    # until the handshake's flight is complete
    return 0


# The stream ------------------------------------------------------------------------------------------------------

@cython.no_gc
cdef class TlsStream(Stream):

    def __dealloc__(self):
        if self.ssl != NULL:
            openssl.SSL_free(self.ssl)
        buffer_free(&self.held)

    cdef int handshake(self) noexcept:
        """One step of the handshake: HANDSHAKE_*. What it wrote is on its way, but for the tickets behind it."""
        cdef int result
        self.drained = False
        openssl.ERR_clear_error()
        result = openssl.SSL_do_handshake(self.ssl)
        if result == 1:
            self.shaken = True
            self.readable = self._more()
            if openssl.SSL_get_version(self.ssl)[6] != c'3':
                self.uncork()               # TLS 1.2: the peer waits for our last flight
                self.corked = True
            return HANDSHAKE_DONE
        self.uncork()                       # a flight, or the alert that says why not
        self.corked = True
        result = openssl.SSL_get_error(self.ssl, result)
        if (result == SSL_ERROR_WANT_READ or result == SSL_ERROR_WANT_WRITE) and self.error == 0:
            self.readable = self._more()
            return HANDSHAKE_AGAIN
        return HANDSHAKE_FAILED

    cdef str failure(self):
        """Why the handshake failed, in words."""
        cdef long verified = openssl.SSL_get_verify_result(self.ssl)
        if self.error:
            return c.strerror(self.error).decode()
        if verified:
            openssl.ERR_clear_error()
            return openssl.X509_verify_cert_error_string(verified).decode()
        if self.eof and openssl.ERR_peek_last_error() == 0:
            return "the peer closed the connection"
        return openssl_error()

    cdef bint _more(self) noexcept:
        """May another recv yield something, without a new event?"""
        return not self.drained or self.eof or self.hangup or openssl.SSL_has_pending(self.ssl)

    cdef void uncork(self) noexcept:
        """Send what was held."""
        cdef Buffer held
        self.corked = False
        if self.held.data == NULL:
            return
        if self.out.data == NULL:
            self.out = self.held
            memset(&self.held, 0, sizeof(Buffer))
            self.flush()
            return
        held = self.held
        memset(&self.held, 0, sizeof(Buffer))
        if not buffer_append(&self.out, buffer_ptr(&held), buffer_len(&held)):
            self.error = c.ENOMEM
        buffer_free(&held)

    cdef ssize_t recv(self, char* p, size_t n) noexcept:
        cdef size_t total = 0
        cdef int got = 0
        self.drained = False
        openssl.ERR_clear_error()
        while total < n:
            got = openssl.SSL_read(self.ssl, p + total, <int> min(n - total, <size_t> 1 << 30))
            if got <= 0:
                break
            total += <size_t> got
            if self.drained and not openssl.SSL_has_pending(self.ssl):
                break
        if total:
            # An end or an error behind these bytes was told once; the next recv will be told again.
            self.readable = self._more() or (
                got <= 0 and openssl.SSL_get_error(self.ssl, got) != SSL_ERROR_WANT_READ)
            return <ssize_t> total
        return self._not_read(openssl.SSL_get_error(self.ssl, got))

    cdef ssize_t _not_read(self, int why) noexcept:
        if why == SSL_ERROR_WANT_READ and not self.eof:
            self.readable = False
            return IO_AGAIN
        if why == SSL_ERROR_ZERO_RETURN:
            self.hangup = True
            return 0
        if self.error == 0:
            self.error = c.ECONNRESET if self.eof else EPROTO
        self.told = True                    # after a fatal error nothing more may be written (SSL_shutdown(3))
        openssl.ERR_clear_error()
        return IO_ERROR

    cdef int write(self, const char* p, size_t n) noexcept:
        """Stream.write, encrypted: several records, and records that were held, leave in one send."""
        cdef bint many = n > RECORD or self.corked or self.out.data != NULL
        if n == 0:
            return WRITE_DONE if self.out.data == NULL else WRITE_BLOCKED
        self.corked = many
        openssl.ERR_clear_error()
        if openssl.SSL_write(self.ssl, p, <int> n) <= 0:
            if self.error == 0:
                self.error = EPROTO
            self.told = True
            openssl.ERR_clear_error()
            return WRITE_ERROR
        if many:
            self.uncork()
        if self.error:
            return WRITE_ERROR
        return WRITE_DONE if self.out.data == NULL else WRITE_BLOCKED

    cdef int write2(self, const char* a, size_t an, const char* b, size_t bn) noexcept:
        if bn == 0:
            return self.write(a, an)
        if an + bn <= RECORD:
            memcpy(JOIN, a, an)
            memcpy(JOIN + an, b, bn)
            return self.write(JOIN, an + bn)
        self.corked = True
        if an:
            openssl.ERR_clear_error()
            if openssl.SSL_write(self.ssl, a, <int> an) <= 0:
                self.told = True
                self.error = EPROTO if self.error == 0 else self.error
                return WRITE_ERROR
        return self.write(b, bn)

    cdef void _tell(self) noexcept:
        """close_notify, if the peer may still care."""
        if self.ssl == NULL or self.told or not self.shaken or self.error or self.broken:
            return
        self.told = True
        openssl.ERR_clear_error()
        openssl.SSL_shutdown(self.ssl)
        self.uncork()
        openssl.ERR_clear_error()

    cdef void shutdown_write(self) noexcept:
        self._tell()
        if self.out.data == NULL:
            Stream.shutdown_write(self)

    cdef void close(self) noexcept:
        if self.closed:
            return
        if not self.hangup:
            self._tell()
        Stream.close(self)

    cdef void reset(self) noexcept:
        self.told = True
        Stream.reset(self)

    cdef bytes peer_certificate(self):
        """The peer's certificate in DER when there is one that was verified, else None."""
        cdef X509* certificate = openssl.SSL_get1_peer_certificate(self.ssl)
        cdef unsigned char* p = NULL
        cdef int n
        if certificate == NULL:
            return None
        n = openssl.i2d_X509(certificate, NULL)
        der = b"\0" * n
        p = <unsigned char*> <char*> <const char*> der
        openssl.i2d_X509(certificate, &p)
        openssl.X509_free(certificate)
        return der if openssl.SSL_get_verify_result(self.ssl) == 0 else None

    cdef const char* server_name(self) noexcept:
        """The SNI that the client sent, or NULL."""
        return openssl.SSL_get_servername(self.ssl, 0)

    cdef int alpn(self, const unsigned char** name) noexcept:
        """The protocol that was agreed on: *name and its length, 0 without any."""
        cdef unsigned int n = 0
        openssl.SSL_get0_alpn_selected(self.ssl, name, &n)
        return <int> n
