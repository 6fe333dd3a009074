# cython: language_level=3
"""The functions of OpenSSL (3.0 or later) that the engine calls, found at import. See openssl.pyx."""

from libc.stdint cimport uint64_t

ctypedef void SSL
ctypedef void SSL_CTX
ctypedef void BIO
ctypedef void X509
ctypedef void EVP_PKEY
ctypedef int (*alpn_select_cb)(
    SSL*, const unsigned char**, unsigned char*, const unsigned char*, unsigned int, void*) noexcept
ctypedef int (*client_hello_cb)(SSL*, int*, void*) noexcept

cdef enum:
    SSL_ERROR_SSL = 1
    SSL_ERROR_WANT_READ = 2
    SSL_ERROR_WANT_WRITE = 3
    SSL_ERROR_SYSCALL = 5
    SSL_ERROR_ZERO_RETURN = 6
    SSL_VERIFY_NONE = 0
    SSL_VERIFY_PEER = 1
    SSL_VERIFY_FAIL_IF_NO_PEER_CERT = 2
    SSL_MODE_RELEASE_BUFFERS = 0x10
    SSL_CTRL_MODE = 33
    SSL_CTRL_SET_READ_AHEAD = 41
    SSL_CTRL_SET_SESS_CACHE_MODE = 44
    SSL_CTRL_SET_TLSEXT_SERVERNAME_CB = 53
    SSL_CTRL_SET_TLSEXT_SERVERNAME_ARG = 54
    SSL_CTRL_SET_TLSEXT_HOSTNAME = 55
    SSL_CTRL_SET_TLSEXT_TICKET_KEYS = 59
    SSL_CTRL_CHAIN_CERT = 89
    SSL_CTRL_SET_MIN_PROTO_VERSION = 123
    TLS1_2_VERSION = 0x0303
    TLS1_3_VERSION = 0x0304
    SSL_TLSEXT_ERR_OK = 0
    SSL_TLSEXT_ERR_ALERT_FATAL = 2
    SSL_TLSEXT_ERR_NOACK = 3
    SSL_AD_UNRECOGNIZED_NAME = 112
    TLSEXT_TYPE_ALPN = 16
    BIO_FLAGS_READ = 1
    BIO_FLAGS_WRITE = 2
    BIO_FLAGS_SHOULD_RETRY = 8
    BIO_CTRL_EOF = 2
    BIO_CTRL_FLUSH = 11
    BIO_TYPE_SOURCE_SINK = 0x400
    X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS = 4
    SSL_R_CERTIFICATE_VERIFY_FAILED = 134
    SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE = 199
    SSL_R_UNEXPECTED_EOF_WHILE_READING = 294
    TICKET_KEYS_SIZE = 80

cdef enum:
    # fit an int; the wider ones stand in openssl.pyx
    SSL_OP_IGNORE_UNEXPECTED_EOF = 1 << 7
    SSL_OP_NO_TICKET = 1 << 14
    SSL_OP_NO_COMPRESSION = 1 << 17
    SSL_OP_PRIORITIZE_CHACHA = 1 << 21
    SSL_OP_CIPHER_SERVER_PREFERENCE = 1 << 22
    SSL_OP_NO_RENEGOTIATION = 1 << 30


cdef struct OpenSSL:
    const void* (*TLS_server_method)() noexcept
    const void* (*TLS_client_method)() noexcept
    SSL_CTX* (*SSL_CTX_new)(const void*) noexcept
    void (*SSL_CTX_free)(SSL_CTX*) noexcept
    long (*SSL_CTX_ctrl)(SSL_CTX*, int, long, void*) noexcept
    long (*SSL_CTX_callback_ctrl)(SSL_CTX*, int, void (*)() noexcept) noexcept
    uint64_t (*SSL_CTX_set_options)(SSL_CTX*, uint64_t) noexcept
    int (*SSL_CTX_use_certificate)(SSL_CTX*, X509*) noexcept
    int (*SSL_CTX_use_PrivateKey)(SSL_CTX*, EVP_PKEY*) noexcept
    int (*SSL_CTX_check_private_key)(const SSL_CTX*) noexcept
    int (*SSL_CTX_set_cipher_list)(SSL_CTX*, const char*) noexcept
    void (*SSL_CTX_set_alpn_select_cb)(SSL_CTX*, alpn_select_cb, void*) noexcept
    int (*SSL_CTX_set_alpn_protos)(SSL_CTX*, const unsigned char*, unsigned int) noexcept
    void (*SSL_CTX_set_verify)(SSL_CTX*, int, void*) noexcept
    void* (*SSL_CTX_get_cert_store)(const SSL_CTX*) noexcept
    int (*SSL_CTX_add_client_CA)(SSL_CTX*, X509*) noexcept
    int (*SSL_CTX_set_default_verify_paths)(SSL_CTX*) noexcept
    int (*SSL_CTX_set_session_id_context)(SSL_CTX*, const unsigned char*, unsigned int) noexcept
    int (*SSL_CTX_set_num_tickets)(SSL_CTX*, size_t) noexcept
    SSL* (*SSL_new)(SSL_CTX*) noexcept
    void (*SSL_free)(SSL*) noexcept
    void (*SSL_set_bio)(SSL*, BIO*, BIO*) noexcept
    void (*SSL_set_accept_state)(SSL*) noexcept
    void (*SSL_set_connect_state)(SSL*) noexcept
    int (*SSL_do_handshake)(SSL*) noexcept
    int (*SSL_read)(SSL*, void*, int) noexcept
    int (*SSL_write)(SSL*, const void*, int) noexcept
    int (*SSL_shutdown)(SSL*) noexcept
    int (*SSL_get_error)(const SSL*, int) noexcept
    int (*SSL_has_pending)(const SSL*) noexcept
    long (*SSL_ctrl)(SSL*, int, long, void*) noexcept
    SSL_CTX* (*SSL_set_SSL_CTX)(SSL*, SSL_CTX*) noexcept
    const char* (*SSL_get_servername)(const SSL*, int) noexcept
    void (*SSL_get0_alpn_selected)(const SSL*, const unsigned char**, unsigned int*) noexcept
    int (*SSL_client_hello_get0_ext)(SSL*, unsigned int, const unsigned char**, size_t*) noexcept
    int (*SSL_session_reused)(const SSL*) noexcept
    const char* (*SSL_get_version)(const SSL*) noexcept
    BIO* (*SSL_get_rbio)(const SSL*) noexcept
    void (*SSL_set_verify)(SSL*, int, void*) noexcept
    void (*SSL_CTX_set_client_hello_cb)(SSL_CTX*, client_hello_cb, void*) noexcept
    long (*SSL_get_verify_result)(const SSL*) noexcept
    X509* (*SSL_get1_peer_certificate)(const SSL*) noexcept
    int (*SSL_set1_host)(SSL*, const char*) noexcept
    void (*SSL_set_hostflags)(SSL*, unsigned int) noexcept
    void* (*SSL_get0_param)(SSL*) noexcept
    int (*X509_VERIFY_PARAM_set1_ip_asc)(void*, const char*) noexcept
    const char* (*X509_verify_cert_error_string)(long) noexcept
    int (*X509_STORE_add_cert)(void*, X509*) noexcept
    void (*X509_free)(X509*) noexcept
    int (*i2d_X509)(X509*, unsigned char**) noexcept
    void (*EVP_PKEY_free)(EVP_PKEY*) noexcept
    X509* (*PEM_read_bio_X509)(BIO*, X509**, void*, void*) noexcept
    EVP_PKEY* (*PEM_read_bio_PrivateKey)(BIO*, EVP_PKEY**, void*, void*) noexcept
    BIO* (*BIO_new_mem_buf)(const void*, int) noexcept
    int (*BIO_get_new_index)() noexcept
    void* (*BIO_meth_new)(int, const char*) noexcept
    int (*BIO_meth_set_write)(void*, int (*)(BIO*, const char*, int) noexcept) noexcept
    int (*BIO_meth_set_read)(void*, int (*)(BIO*, char*, int) noexcept) noexcept
    int (*BIO_meth_set_ctrl)(void*, long (*)(BIO*, int, long, void*) noexcept) noexcept
    BIO* (*BIO_new)(const void*) noexcept
    int (*BIO_free)(BIO*) noexcept
    void (*BIO_set_data)(BIO*, void*) noexcept
    void* (*BIO_get_data)(BIO*) noexcept
    void (*BIO_set_init)(BIO*, int) noexcept
    void (*BIO_set_flags)(BIO*, int) noexcept
    void (*BIO_clear_flags)(BIO*, int) noexcept
    unsigned long (*ERR_peek_last_error)() noexcept
    void (*ERR_clear_error)() noexcept
    const char* (*ERR_reason_error_string)(unsigned long) noexcept


cdef OpenSSL openssl
cdef bint openssl_ready

cdef int load_openssl() except -1
cdef str openssl_error()
