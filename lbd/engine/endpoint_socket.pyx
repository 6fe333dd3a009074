# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Addresses of endpoints, and the options of sockets towards them, set before they connect."""

from libc.string cimport memcpy

import os
import socket as pysocket

from lbd.engine cimport sys as c
from lbd.engine.pool cimport ConnectionPool


cdef void set_options(ConnectionPool pool, int fd) noexcept:
    """TCP options; one that the kernel refuses is no reason not to connect (the control plane has tried them)."""
    cdef int value = 1
    if pool.address.ss_family == c.AF_UNIX:
        return
    c.setsockopt(fd, c.IPPROTO_TCP, c.TCP_NODELAY, &value, sizeof(value))
    if pool.keepalive_s:
        c.setsockopt(fd, c.SOL_SOCKET, c.SO_KEEPALIVE, &value, sizeof(value))
        c.setsockopt(fd, c.IPPROTO_TCP, c.TCP_KEEPIDLE, &pool.keepalive_s, sizeof(pool.keepalive_s))
    if pool.fast_open:
        c.setsockopt(fd, c.IPPROTO_TCP, c.TCP_FASTOPEN_CONNECT, &value, sizeof(value))
    if pool.user_timeout_ms:
        c.setsockopt(fd, c.IPPROTO_TCP, c.TCP_USER_TIMEOUT, &pool.user_timeout_ms, sizeof(pool.user_timeout_ms))
    if pool.congestion is not None:
        c.setsockopt(fd, c.IPPROTO_TCP, c.TCP_CONGESTION, <const char*> pool.congestion,
                     <c.socklen_t> len(pool.congestion))


cdef c.socklen_t write_address(c.sockaddr_storage* to, str host, int port) except 0:
    """The socket address of an IP literal and port, or of `unix:` and a path; its length. `to` must be zeroed."""
    cdef c.sockaddr_un* local = <c.sockaddr_un*> to
    cdef c.sockaddr_in* v4 = <c.sockaddr_in*> to
    cdef c.sockaddr_in6* v6 = <c.sockaddr_in6*> to
    cdef bytes raw
    if host.startswith("unix:"):
        raw = os.fsencode(host[5:])
        if len(raw) >= sizeof(local.sun_path):
            raise ValueError(f"{host}: the path is too long for a unix socket")
        local.sun_family = c.AF_UNIX
        memcpy(local.sun_path, <const char*> raw, len(raw) + 1)
        return <c.socklen_t> (sizeof(local.sun_family) + len(raw) + 1)
    if ":" in host:
        raw = pysocket.inet_pton(pysocket.AF_INET6, host)
        v6.sin6_family = c.AF_INET6
        v6.sin6_port = pysocket.htons(port)
        memcpy(&v6.sin6_addr, <const char*> raw, 16)
        return sizeof(c.sockaddr_in6)
    raw = pysocket.inet_pton(pysocket.AF_INET, host)
    v4.sin_family = c.AF_INET
    v4.sin_port = pysocket.htons(port)
    memcpy(&v4.sin_addr, <const char*> raw, 4)
    return sizeof(c.sockaddr_in)
