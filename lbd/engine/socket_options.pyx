# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Options of sockets towards endpoints, set before they connect."""

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
