# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The hash of the client's address chooses the endpoint: `hash` with its key fixed to `source`."""

from lbd.balance.hash cimport Hash

from lbd.balance.options import IpHashOptions


cdef class IpHash(Hash):
    Options = IpHashOptions
