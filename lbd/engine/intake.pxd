# cython: language_level=3
"""From a parsed head to an Exchange that knows where it goes. See intake.pyx."""

from lbd.engine.exchange cimport Downstream, Exchange
from lbd.engine.http1 cimport Head

cdef Exchange open_exchange(Downstream downstream, const Head* head)
cdef int take_request(Downstream downstream, Exchange x, Head* head) except -1
cdef int respond(Downstream downstream, Exchange x, const Head* head) except -1
