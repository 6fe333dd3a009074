# cython: language_level=3
"""Bytes between two plain sockets without copying them to user space. See splice.pyx."""

from libc.stdint cimport uint64_t

from lbd.engine.reactor cimport Reactor, Stream

cdef enum:
    SPLICE_AGAIN = 0            # the source has nothing now
    SPLICE_BLOCKED = 1          # the sink is full; its on_writable follows
    SPLICE_LIMIT = 2            # all that was asked for has been moved
    SPLICE_END = 3              # the source has ended, and all of it has been moved
    SPLICE_TURN = 4             # the turn is used up; call again later
    SPLICE_SOURCE_ERROR = -1
    SPLICE_SINK_ERROR = -2
    SPLICE_NO_PIPE = -3
    SPLICE_MIN = 32768          # below this, copying is cheaper

cdef struct Pipe:
    int read_fd                 # 0 = none borrowed (fd 0 is never a pipe of ours)
    int write_fd
    uint64_t held               # bytes in it

cdef int splice_move(Reactor reactor, Pipe* pipe, Stream source, Stream sink, uint64_t* limit, uint64_t* moved) noexcept
cdef void pipe_release(Reactor reactor, Pipe* pipe) noexcept
