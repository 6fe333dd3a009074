# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Endpoints drawn at random by weight in O(1): Walker's alias method (Vose 1991, "A linear algorithm for generating random
numbers with a given distribution"). What random, p2c, peak_ewma and least_conn_rt have in common.

One 64-bit random number and one table row per draw, no row when all weights are equal. Among many endpoints each row is
a cache miss, so draws are made ahead of their use, and rows are fetched while others are used.
"""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint32_t

import os

from lbd.engine.xorshift cimport next_random

cdef enum:
    TRIES = 4                   # draws for one that was not given before


cdef Column* make_columns(list weights) except? NULL:
    """The table for these weights, to be freed by PyMem_Free; NULL (no error) when all are equal."""
    cdef uint32_t n = <uint32_t> len(weights)
    cdef uint32_t i, low, high
    cdef uint32_t smalls = 0
    cdef uint32_t larges = n            # the stack of the large ones grows down from the end
    cdef double mean
    cdef Column* columns
    cdef double* share
    cdef uint32_t* stack
    if n == 0 or min(weights) == max(weights):
        return NULL
    columns = <Column*> PyMem_Malloc(n * sizeof(Column))
    share = <double*> PyMem_Malloc(n * sizeof(double))
    stack = <uint32_t*> PyMem_Malloc(n * sizeof(uint32_t))
    if columns == NULL or share == NULL or stack == NULL:
        PyMem_Free(columns)
        PyMem_Free(share)
        PyMem_Free(stack)
        raise MemoryError
    mean = <double> sum(weights) / n
    for i in range(n):
        columns[i].threshold = 0xFFFFFFFF
        columns[i].alias = i
        share[i] = <double> weights[i] / mean
        if share[i] < 1:
            stack[smalls] = i
            smalls += 1
        else:
            larges -= 1
            stack[larges] = i
    while smalls and larges < n:
        smalls -= 1
        low = stack[smalls]
        high = stack[larges]
        columns[low].threshold = <uint32_t> min(share[low] * 4294967296.0, 4294967295.0)
        columns[low].alias = high
        share[high] -= 1 - share[low]
        if share[high] < 1:
            larges += 1
            stack[smalls] = high
            smalls += 1
    PyMem_Free(share)
    PyMem_Free(stack)
    return columns


cdef int draw_init(Draw* draw, list weights, object seed) except -1:
    """*draw must be all zeros. seed: None for one of the system's."""
    cdef uint32_t i
    draw.n = <uint32_t> len(weights)
    draw.state = (int.from_bytes(os.urandom(8), "little") if seed is None else seed * 2 + 1) | 1
    draw.columns = make_columns(weights)
    if draw.n:
        for i in range(AHEAD):
            draw.numbers[i] = next_random(&draw.state)
            draw.indexes[i] = column_of(draw.columns, draw.n, draw.numbers[i])
    return 0


cdef void draw_free(Draw* draw) noexcept:
    PyMem_Free(draw.columns)
    draw.columns = NULL


cdef int draw_other(Draw* draw, int index) noexcept nogil:
    """Another than this, of at least two."""
    cdef uint32_t found = draw_next(draw)
    if found == <uint32_t> index:       # a heavy one, drawn time and again: any other
        found = (found + 1 + <uint32_t> (((next_random(&draw.state) >> 32) * (draw.n - 1)) >> 32)) % draw.n
    return <int> found


cdef int _fresh(Draw* draw, int but) noexcept nogil:
    """One that was not given, and is not `but`; -1: there is none among those looked at."""
    cdef uint32_t i, start
    cdef int found
    cdef int _try
    for _try in range(TRIES):
        found = <int> draw_next(draw)
        if found != but and not draw_is_given(draw, found):
            return found
    start = <uint32_t> found
    for i in range(1, min(draw.n, <uint32_t> GIVEN + 3)):
        found = <int> ((start + i) % draw.n)
        if found != but and not draw_is_given(draw, found):
            return found
    return -1


cdef void draw_others(Draw* draw, int attempt, int* a, int* b) noexcept nogil:
    """draw_pair where that is not simple: few endpoints, or some of them given already."""
    if attempt == 0:
        draw.n_given = 0
    a[0] = _fresh(draw, -1)
    if a[0] < 0:                        # all were given: from the beginning
        a[0] = draw.given[attempt % draw.n_given] if draw.n_given else 0
    b[0] = _fresh(draw, a[0])
    if b[0] < 0:
        b[0] = a[0]
