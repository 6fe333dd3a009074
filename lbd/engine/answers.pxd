# cython: language_level=3
"""Answers that lbd makes itself. See answers.pyx."""

cdef int grpc_status(int reason) noexcept
cdef bytes error_fields(int reason, bint as_json)
cdef bytes error_body(int reason, bytes request_id, bint as_json)
cdef bytes add_hsts(bytes fields, bytes hsts)
cdef bytes whole_answer(int status, bytes fields, bytes body, bint head_only, bint close, bint http10)
