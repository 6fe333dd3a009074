# cython: language_level=3
"""What comes before the protocol on a client's connection. See greeting.pyx."""

from lbd.engine.exchange cimport Downstream
from lbd.engine.listener cimport Listener
from lbd.engine.reactor cimport Stream
from lbd.engine.tls_stream cimport TlsStream


cdef class Greeting(Downstream):
    cdef bint wants_proxy           # a PROXY header must come first
    cdef bint tcp                   # what follows is no HTTP
    cdef bint heard                 # the client has sent something

    cdef int _read_proxy(self, Stream stream) except -1
    cdef int _shake(self, TlsStream stream) except -1
    cdef int _failed(self, TlsStream stream) except -1
    cdef int _go_on(self, Stream stream) except -1
    cdef int _refuse(self, int reason, str why) except -1


cdef int begin_protocol(Downstream old, bint http2, bint tcp) except -1
