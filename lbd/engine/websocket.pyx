# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Where the frames of a WebSocket begin and end, as they pass: a close frame of lbd's own fits between two of them.

A client that is told 1001 (going away) answers, closes, and comes back elsewhere; its answer goes on to the endpoint,
which so hears of it as well (RFC 6455, 5.2, 5.5.1 and 7.4.1).
"""

from libc.stdint cimport uint8_t, uint64_t

cdef enum:
    CLOSE = 8
    MASKED = 0x80

GOING_AWAY = b"\x88\x02\x03\xe9"
GOING_AWAY_LEN = 4


cdef void follow_frames(Frames* frames, const char* p, size_t n) noexcept:
    """Bytes that the endpoint has sent, in order."""
    _follow(frames, p, n, False)


cdef size_t pass_frames(Frames* frames, const char* p, size_t n, bint* say) noexcept:
    """Bytes that the endpoint has sent, in order: how many of them go to the client; say: and GOING_AWAY after them."""
    cdef size_t own
    say[0] = False
    if frames.away == AWAY_SAID:
        return 0
    own = _follow(frames, p, n, frames.away == AWAY_DUE)
    if frames.away == AWAY_DUE and between_frames(frames):
        frames.away = AWAY_SAID
        say[0] = not frames.closed
    return own


cdef bint send_away(Frames* frames) noexcept:
    """The client is to be told: whether GOING_AWAY can be written at once."""
    frames.away = AWAY_DUE
    if not between_frames(frames):
        return False
    frames.away = AWAY_SAID
    return not frames.closed


cdef inline bint between_frames(const Frames* frames) noexcept:
    return frames.left == 0 and frames.have == 0


cdef size_t _follow(Frames* frames, const char* p, size_t n, bint to_end) noexcept:
    """How many bytes were looked at, which are all, or, with to_end, those of the present frame."""
    cdef size_t i = 0
    cdef size_t taken
    while i < n:
        if frames.left:
            taken = n - i if n - i < frames.left else <size_t> frames.left
            frames.left -= taken
            i += taken
            continue
        if to_end and frames.have == 0:
            break
        frames.head[frames.have] = <uint8_t> p[i]
        frames.have += 1
        i += 1
        if frames.have >= 2 and frames.have == _head_size(frames):
            frames.left = _payload(frames)
            frames.closed = frames.closed or frames.head[0] & 15 == CLOSE
            frames.have = 0
    return i


cdef inline int _head_size(const Frames* frames) noexcept:
    cdef int length = frames.head[1] & 127
    return 2 + (2 if length == 126 else 8 if length == 127 else 0) + (4 if frames.head[1] & MASKED else 0)


cdef inline uint64_t _payload(const Frames* frames) noexcept:
    cdef uint64_t length = frames.head[1] & 127
    cdef int size = 2 if length == 126 else 8 if length == 127 else 0
    cdef int i
    if size:
        length = 0
        for i in range(size):
            length = length << 8 | frames.head[2 + i]
    return length
