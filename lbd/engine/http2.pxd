# cython: language_level=3
"""An HTTP/2 connection over nghttp2, either side. See http2.pyx."""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from lbd.engine.body cimport Body
from lbd.engine.buffer cimport Buffer
from lbd.engine.http2_head cimport HeadBlock
from lbd.engine.nghttp2 cimport DataProvider, Frame, Session
from lbd.engine.reactor cimport Handler, Reactor, Stream

cdef enum:
    SEND_MAX = 131072               # bytes made ready before the socket takes some
    DATA_AREA = 65536

cdef struct Budget:                 # a token bucket on the wheel's clock
    double level
    uint64_t at                     # ms


cdef class Http2Session:
    """The protocol's state; a subclass says what heads, data and closed streams mean."""
    cdef Session* session
    cdef Stream stream
    cdef Handler owner              # the handler of the stream; it asks for the end of the round
    cdef Buffer outgoing            # frames for the end of the round
    cdef HeadBlock block
    cdef Budget resets, glitches
    cdef uint32_t max_head, max_fields
    cdef uint32_t reset_burst, glitch_burst
    cdef uint32_t streams           # open
    cdef int32_t credit             # WINDOW_UPDATE frames that data sent has earned
    cdef bint receiving             # inside nghttp2: nothing may be sent now
    cdef bint sending               # nghttp2 is making frames: a stream's owner may be up the call stack
    cdef bint scheduled             # the owner's on_round_end will come
    cdef bint over                  # no frame may be handled any more
    cdef int reason                 # why the connection was ended, or R_NONE
    cdef object error               # an exception that a callback let through

    cdef int set_up(self, bint server, Stream stream, Handler owner, const Http2Tuning* tuning) except -1
    cdef int receive(self, const char* p, size_t n) except -1
    cdef int produce(self) except -1
    cdef void schedule(self)
    cdef int deliver(self) except -1
    cdef void end(self) noexcept
    cdef int calm(self, int reason) noexcept
    cdef bint spend(self, Budget* budget, uint32_t burst, double rate, double cost) noexcept
    cdef int _count_frame(self, const Frame* frame) noexcept
    cdef int keep_trailers(self, Body* body) except -1
    cdef int on_begin(self, int32_t id, int category) except -1
    cdef int on_head(self, int32_t id, int category, bint ended) except -1
    cdef int on_data(self, int32_t id, const char* p, size_t n, bint last) except -1
    cdef int on_end(self, int32_t id) except -1
    cdef int on_closed(self, int32_t id, uint32_t error) except -1
    cdef int on_goaway(self, int32_t last, uint32_t error) except -1
    cdef int on_sent(self, int32_t id, bint ended) except -1
    cdef int on_settings(self) except -1


cdef struct Http2Tuning:
    uint32_t streams, window, header_table, continuations, settings, pending_acks, resets, glitches
    uint32_t head, fields


cdef class Http2Half:
    """The body that goes out on a stream: what nghttp2's data provider reads."""
    cdef Http2Session session
    cdef Buffer waiting             # behind what the peer's window or the socket takes
    cdef const char* fresh          # in the caller's memory, during write()
    cdef size_t fresh_len
    cdef Buffer trailers            # field lines
    cdef int32_t id
    cdef bint ending                # END_STREAM follows what is there
    cdef bint deferred              # nghttp2 waits for resume
    cdef bint gone                  # the stream is closed

    cdef void provider(self, DataProvider* provider) noexcept
    cdef int write(self, const char* p, size_t n, bint end) except -1
    cdef void clear(self) noexcept
