# cython: language_level=3
"""When a request is sent once more: policy, back-off, budget. See retry.pyx."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:                      # RetryCause
    RETRY_CONNECT_FAILED = 0
    RETRY_CONNECT_TIMEOUT
    RETRY_STALE                 # a pooled connection had ended: not the endpoint's fault
    RETRY_REFUSED               # the endpoint says that it has not looked at the request
    RETRY_RESET                 # the connection ended before a byte of the response
    RETRY_TIMEOUT
    RETRY_STATUS
    RETRY_GRPC
    RETRY_CAUSES                # how many there are; at most 16


cdef class RetryPolicy:
    cdef readonly uint32_t limit            # further attempts of one exchange
    cdef readonly uint32_t causes           # bit set of RetryCause
    cdef uint8_t[75] statuses               # bit set of status codes below 600
    cdef readonly uint32_t grpc             # bit set of gRPC codes
    cdef readonly uint32_t methods          # bit set of http1.M_*
    cdef readonly bint by_key               # any method when the request carries Idempotency-Key
    cdef readonly tuple excepted            # paths: (bytes, whether everything below is meant)
    cdef readonly uint64_t try_ms           # for one attempt, 0 = none of its own
    cdef readonly uint64_t base_ms, longest_ms
    cdef readonly double multiplier         # of the exponential back-off; 0: linear
    cdef readonly bint jitter
    cdef readonly uint32_t buffer           # bytes of a request body that are kept for another attempt
    cdef readonly uint64_t hedge_ms         # a second attempt runs beside the first after this; 0 = none

    cdef bint covers(self, int cause, int code) noexcept
    cdef bint allows(self, int method, const char* head, size_t n) noexcept
    cdef bint _is_excepted(self, const char* head, size_t n) noexcept
    cdef uint64_t backoff(self, uint32_t turn, uint64_t random) noexcept


cdef class RetryBudget:
    cdef readonly double ratio              # retries that each request pays for
    cdef readonly double least              # retries per second that are always there
    cdef double tokens, most
    cdef uint64_t at                        # ms

    cdef void deposit(self) noexcept
    cdef bint withdraw(self, uint64_t now) noexcept
    cdef double left(self, uint64_t now) noexcept
