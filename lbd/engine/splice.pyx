# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""splice(2) from socket to socket through a pipe, with back-pressure.

Strategy: a pipe is borrowed from the worker while bytes are in flight and given back empty; one that still holds bytes
when its connection ends is closed. Pipes are made larger than the default, which saves calls; unprivileged users may
hold 64 MiB of pipe pages in all, so the size is modest and a refusal is no error.
"""

from libc.stdint cimport uint64_t

from lbd.engine cimport sys as c
from lbd.engine.reactor cimport Reactor, Stream
from lbd.engine.sys cimport ssize_t

cdef enum:
    IDLE_PIPES = 64
    PIPE_SIZE = 1048576
    TURN = 32                   # rounds of up to 64 KiB before others get their turn


cdef bint _borrow(Reactor reactor, Pipe* pipe) noexcept:
    cdef int[2] fds
    if reactor.idle_pipes:
        reactor.idle_pipes -= 1
        pipe.read_fd = reactor.pipes[reactor.idle_pipes][0]
        pipe.write_fd = reactor.pipes[reactor.idle_pipes][1]
    else:
        if c.pipe2(fds, c.O_NONBLOCK | c.O_CLOEXEC) < 0:
            return False
        c.fcntl(fds[1], c.F_SETPIPE_SZ, PIPE_SIZE)      # refused beyond the user's quota: then the default serves
        pipe.read_fd = fds[0]
        pipe.write_fd = fds[1]
    pipe.held = 0
    return True


cdef void pipe_release(Reactor reactor, Pipe* pipe) noexcept:
    """Give the pipe back; with bytes in it, close it."""
    if pipe.read_fd == 0:
        return
    if pipe.held == 0 and reactor.idle_pipes < IDLE_PIPES:
        reactor.pipes[reactor.idle_pipes][0] = pipe.read_fd
        reactor.pipes[reactor.idle_pipes][1] = pipe.write_fd
        reactor.idle_pipes += 1
    else:
        c.close(pipe.read_fd)
        c.close(pipe.write_fd)
    pipe.read_fd = pipe.write_fd = 0
    pipe.held = 0


cdef int splice_move(Reactor reactor, Pipe* pipe, Stream source, Stream sink, uint64_t* limit, uint64_t* moved) noexcept:
    """Move up to *limit bytes (lowered by what was read); *moved gets what reached the sink. SPLICE_*."""
    cdef int _turn
    cdef ssize_t n
    cdef int state = SPLICE_TURN
    if pipe.read_fd == 0 and not _borrow(reactor, pipe):
        return SPLICE_NO_PIPE
    for _turn in range(TURN):
        state = SPLICE_TURN
        if pipe.held == 0:
            if limit[0] == 0:
                state = SPLICE_LIMIT
                break
            n = c.splice(source.fd, NULL, pipe.write_fd, NULL, min(limit[0], <uint64_t> 1 << 20),
                         c.SPLICE_F_MOVE | c.SPLICE_F_NONBLOCK)
            if n == 0:
                source.hangup = True
                state = SPLICE_END
                break
            if n < 0:
                if c.errno == c.EAGAIN:
                    source.readable = source.hangup
                    state = SPLICE_AGAIN
                elif c.errno != c.EINTR:
                    source.error = c.errno
                    state = SPLICE_SOURCE_ERROR
                else:
                    continue
                break
            pipe.held = <uint64_t> n
            limit[0] -= <uint64_t> n
        n = c.splice(pipe.read_fd, NULL, sink.fd, NULL, pipe.held, c.SPLICE_F_MOVE | c.SPLICE_F_NONBLOCK)
        if n < 0:
            if c.errno == c.EAGAIN:
                sink.blocked = True
                return SPLICE_BLOCKED
            if c.errno != c.EINTR:
                sink.error = c.errno
                return SPLICE_SINK_ERROR
            continue
        pipe.held -= <uint64_t> n
        moved[0] += <uint64_t> n
    if pipe.held == 0 and state != SPLICE_TURN:
        pipe_release(reactor, pipe)
    return state
