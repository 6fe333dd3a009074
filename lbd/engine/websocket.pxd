# cython: language_level=3
"""Where the frames of a WebSocket begin and end. See websocket.pyx."""

from libc.stdint cimport uint8_t, uint64_t

cdef enum:
    AWAY_NO             # nobody has said that lbd goes away
    AWAY_DUE            # to be said at the end of the present frame
    AWAY_SAID           # the endpoint's frames are read, and dropped


cdef struct Frames:
    uint64_t left       # bytes of the present frame's payload that are still to come
    uint8_t[14] head    # of the next frame
    int have            # bytes of it
    bint closed         # a close frame has begun: it is the last one
    int away            # AWAY_*


cdef const char* GOING_AWAY
cdef size_t GOING_AWAY_LEN

cdef void follow_frames(Frames* frames, const char* p, size_t n) noexcept
cdef size_t pass_frames(Frames* frames, const char* p, size_t n, bint* say) noexcept
cdef bint send_away(Frames* frames) noexcept
