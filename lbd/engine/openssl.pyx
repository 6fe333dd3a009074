# cython: language_level=3
"""OpenSSL as the `ssl` module of this Python has it (foreign.pyx says why): a table of its functions.

The declarations are those of the manual pages of OpenSSL 3. They are filled in when the first TLS object is made, so that a
configuration without TLS needs none of it.
"""

from lbd.engine.foreign cimport Library


cdef str openssl_error():
    """What went wrong last, in OpenSSL's words; clears the queue."""
    cdef unsigned long code = openssl.ERR_peek_last_error()
    cdef const char* text = openssl.ERR_reason_error_string(code) if code else NULL
    openssl.ERR_clear_error()
    return "unknown error" if text == NULL else text.decode("latin-1")


cdef int load_openssl() except -1:
    """Find all functions, once. MissingLibrary when this Python cannot serve."""
    global openssl_ready
    cdef Library library
    if openssl_ready:
        return 0
    import _ssl
    if _ssl.OPENSSL_VERSION_INFO < (3, 0):
        from lbd.engine.foreign import MissingLibrary
        raise MissingLibrary(f"TLS needs OpenSSL 3.0 or later; this Python has {_ssl.OPENSSL_VERSION}")
    library = Library(_ssl, "OpenSSL")
    (<void**> &openssl.TLS_server_method)[0] = library.find(b"TLS_server_method")
    (<void**> &openssl.TLS_client_method)[0] = library.find(b"TLS_client_method")
    (<void**> &openssl.SSL_CTX_new)[0] = library.find(b"SSL_CTX_new")
    (<void**> &openssl.SSL_CTX_free)[0] = library.find(b"SSL_CTX_free")
    (<void**> &openssl.SSL_CTX_ctrl)[0] = library.find(b"SSL_CTX_ctrl")
    (<void**> &openssl.SSL_CTX_callback_ctrl)[0] = library.find(b"SSL_CTX_callback_ctrl")
    (<void**> &openssl.SSL_CTX_set_options)[0] = library.find(b"SSL_CTX_set_options")
    (<void**> &openssl.SSL_CTX_use_certificate)[0] = library.find(b"SSL_CTX_use_certificate")
    (<void**> &openssl.SSL_CTX_use_PrivateKey)[0] = library.find(b"SSL_CTX_use_PrivateKey")
    (<void**> &openssl.SSL_CTX_check_private_key)[0] = library.find(b"SSL_CTX_check_private_key")
    (<void**> &openssl.SSL_CTX_set_cipher_list)[0] = library.find(b"SSL_CTX_set_cipher_list")
    (<void**> &openssl.SSL_CTX_set_alpn_select_cb)[0] = library.find(b"SSL_CTX_set_alpn_select_cb")
    (<void**> &openssl.SSL_CTX_set_alpn_protos)[0] = library.find(b"SSL_CTX_set_alpn_protos")
    (<void**> &openssl.SSL_CTX_set_verify)[0] = library.find(b"SSL_CTX_set_verify")
    (<void**> &openssl.SSL_CTX_get_cert_store)[0] = library.find(b"SSL_CTX_get_cert_store")
    (<void**> &openssl.SSL_CTX_add_client_CA)[0] = library.find(b"SSL_CTX_add_client_CA")
    (<void**> &openssl.SSL_CTX_set_default_verify_paths)[0] = library.find(b"SSL_CTX_set_default_verify_paths")
    (<void**> &openssl.SSL_CTX_set_session_id_context)[0] = library.find(b"SSL_CTX_set_session_id_context")
    (<void**> &openssl.SSL_CTX_set_num_tickets)[0] = library.find(b"SSL_CTX_set_num_tickets")
    (<void**> &openssl.SSL_new)[0] = library.find(b"SSL_new")
    (<void**> &openssl.SSL_free)[0] = library.find(b"SSL_free")
    (<void**> &openssl.SSL_set_bio)[0] = library.find(b"SSL_set_bio")
    (<void**> &openssl.SSL_set_accept_state)[0] = library.find(b"SSL_set_accept_state")
    (<void**> &openssl.SSL_set_connect_state)[0] = library.find(b"SSL_set_connect_state")
    (<void**> &openssl.SSL_do_handshake)[0] = library.find(b"SSL_do_handshake")
    (<void**> &openssl.SSL_read)[0] = library.find(b"SSL_read")
    (<void**> &openssl.SSL_write)[0] = library.find(b"SSL_write")
    (<void**> &openssl.SSL_shutdown)[0] = library.find(b"SSL_shutdown")
    (<void**> &openssl.SSL_get_error)[0] = library.find(b"SSL_get_error")
    (<void**> &openssl.SSL_has_pending)[0] = library.find(b"SSL_has_pending")
    (<void**> &openssl.SSL_ctrl)[0] = library.find(b"SSL_ctrl")
    (<void**> &openssl.SSL_set_SSL_CTX)[0] = library.find(b"SSL_set_SSL_CTX")
    (<void**> &openssl.SSL_get_servername)[0] = library.find(b"SSL_get_servername")
    (<void**> &openssl.SSL_get0_alpn_selected)[0] = library.find(b"SSL_get0_alpn_selected")
    (<void**> &openssl.SSL_client_hello_get0_ext)[0] = library.find(b"SSL_client_hello_get0_ext")
    (<void**> &openssl.SSL_session_reused)[0] = library.find(b"SSL_session_reused")
    (<void**> &openssl.SSL_get_version)[0] = library.find(b"SSL_get_version")
    (<void**> &openssl.SSL_get_rbio)[0] = library.find(b"SSL_get_rbio")
    (<void**> &openssl.SSL_set_verify)[0] = library.find(b"SSL_set_verify")
    (<void**> &openssl.SSL_CTX_set_client_hello_cb)[0] = library.find(b"SSL_CTX_set_client_hello_cb")
    (<void**> &openssl.SSL_get_verify_result)[0] = library.find(b"SSL_get_verify_result")
    (<void**> &openssl.SSL_get1_peer_certificate)[0] = library.find(b"SSL_get1_peer_certificate")
    (<void**> &openssl.SSL_set1_host)[0] = library.find(b"SSL_set1_host")
    (<void**> &openssl.SSL_set_hostflags)[0] = library.find(b"SSL_set_hostflags")
    (<void**> &openssl.SSL_get0_param)[0] = library.find(b"SSL_get0_param")
    (<void**> &openssl.X509_VERIFY_PARAM_set1_ip_asc)[0] = library.find(b"X509_VERIFY_PARAM_set1_ip_asc")
    (<void**> &openssl.X509_verify_cert_error_string)[0] = library.find(b"X509_verify_cert_error_string")
    (<void**> &openssl.X509_STORE_add_cert)[0] = library.find(b"X509_STORE_add_cert")
    (<void**> &openssl.X509_free)[0] = library.find(b"X509_free")
    (<void**> &openssl.i2d_X509)[0] = library.find(b"i2d_X509")
    (<void**> &openssl.EVP_PKEY_free)[0] = library.find(b"EVP_PKEY_free")
    (<void**> &openssl.PEM_read_bio_X509)[0] = library.find(b"PEM_read_bio_X509")
    (<void**> &openssl.PEM_read_bio_PrivateKey)[0] = library.find(b"PEM_read_bio_PrivateKey")
    (<void**> &openssl.BIO_new_mem_buf)[0] = library.find(b"BIO_new_mem_buf")
    (<void**> &openssl.BIO_get_new_index)[0] = library.find(b"BIO_get_new_index")
    (<void**> &openssl.BIO_meth_new)[0] = library.find(b"BIO_meth_new")
    (<void**> &openssl.BIO_meth_set_write)[0] = library.find(b"BIO_meth_set_write")
    (<void**> &openssl.BIO_meth_set_read)[0] = library.find(b"BIO_meth_set_read")
    (<void**> &openssl.BIO_meth_set_ctrl)[0] = library.find(b"BIO_meth_set_ctrl")
    (<void**> &openssl.BIO_new)[0] = library.find(b"BIO_new")
    (<void**> &openssl.BIO_free)[0] = library.find(b"BIO_free")
    (<void**> &openssl.BIO_set_data)[0] = library.find(b"BIO_set_data")
    (<void**> &openssl.BIO_get_data)[0] = library.find(b"BIO_get_data")
    (<void**> &openssl.BIO_set_init)[0] = library.find(b"BIO_set_init")
    (<void**> &openssl.BIO_set_flags)[0] = library.find(b"BIO_set_flags")
    (<void**> &openssl.BIO_clear_flags)[0] = library.find(b"BIO_clear_flags")
    (<void**> &openssl.ERR_peek_last_error)[0] = library.find(b"ERR_peek_last_error")
    (<void**> &openssl.ERR_clear_error)[0] = library.find(b"ERR_clear_error")
    (<void**> &openssl.ERR_reason_error_string)[0] = library.find(b"ERR_reason_error_string")
    openssl_ready = True
    return 0
