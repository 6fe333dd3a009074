# cython: language_level=3
"""Options of sockets towards endpoints. See socket_options.pyx."""

from lbd.engine.pool cimport ConnectionPool

cdef void set_options(ConnectionPool pool, int fd) noexcept
