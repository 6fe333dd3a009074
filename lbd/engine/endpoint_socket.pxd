# cython: language_level=3
"""Addresses and options of sockets towards endpoints. See endpoint_socket.pyx."""

from lbd.engine.pool cimport ConnectionPool
from lbd.engine.sys cimport sockaddr_storage, socklen_t

cdef void set_options(ConnectionPool pool, int fd) noexcept
cdef socklen_t write_address(sockaddr_storage* to, str host, int port) except 0
