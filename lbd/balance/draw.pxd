# cython: language_level=3
"""Endpoints drawn at random by weight, a few draws ahead of their use. See draw.pyx."""

from libc.stdint cimport uint32_t, uint64_t

from lbd.engine.xorshift cimport next_random

cdef enum:
    AHEAD = 16                  # draws that are under way
    SOON = 8                    # of them resolved, their rows being fetched
    GIVEN = 8                   # alternatives that are kept apart

cdef struct Column:
    uint32_t threshold          # of 2^32: below it the column itself, else its alias
    uint32_t alias

cdef struct Draw:
    Column* columns             # NULL when all weights are equal
    uint32_t n
    uint32_t at
    uint64_t state
    uint64_t[AHEAD] numbers         # random, for the draws that follow
    uint32_t[AHEAD] indexes         # what the next ones of them have come to
    const char* rows            # what the owner will read of the endpoint drawn, or NULL
    size_t row_size
    int[GIVEN] given                # picks of this call of Cluster.pick
    int n_given

cdef extern from * nogil:
    void __builtin_prefetch(const void*)


cdef inline uint32_t column_of(const Column* columns, uint32_t n, uint64_t x) noexcept nogil:
    """The index that the random number x stands for."""
    cdef uint32_t column = <uint32_t> (((x >> 32) * n) >> 32)
    if columns != NULL and <uint32_t> x >= columns[column].threshold:
        return columns[column].alias
    return column


cdef inline uint32_t draw_next(Draw* draw) noexcept nogil:
    """An index by weight; there must be one. It was drawn earlier, and now others are in its place: what they need is
    fetched into the caches meanwhile."""
    cdef uint32_t at = draw.at & (AHEAD - 1)
    cdef uint32_t soon = (draw.at + SOON) & (AHEAD - 1)
    cdef uint32_t index = draw.indexes[at]
    cdef uint64_t x = next_random(&draw.state)
    draw.numbers[at] = x
    draw.at += 1
    if draw.columns != NULL:
        __builtin_prefetch(&draw.columns[((x >> 32) * draw.n) >> 32])
    draw.indexes[soon] = column_of(draw.columns, draw.n, draw.numbers[soon])
    if draw.rows != NULL:
        __builtin_prefetch(draw.rows + draw.indexes[soon] * draw.row_size)
    return index


cdef inline void draw_pair(Draw* draw, int attempt, int* a, int* b) noexcept nogil:
    """Two different ones, the same twice when there is no other. attempt: as for Balancer.pick; none that was given to the
    attempts before."""
    if attempt or draw.n < 3:
        draw_others(draw, attempt, a, b)
        return
    a[0] = <int> draw_next(draw)
    b[0] = <int> draw_next(draw)
    if b[0] == a[0]:
        b[0] = draw_other(draw, a[0])


cdef inline int draw_give(Draw* draw, int attempt, int index) noexcept nogil:
    """This one it is: keep it in mind for further attempts."""
    if attempt == 0:
        draw.n_given = 0
    if draw.n_given < GIVEN:
        draw.given[draw.n_given] = index
        draw.n_given += 1
    return index


cdef inline bint draw_is_given(const Draw* draw, int index) noexcept nogil:
    cdef int i
    for i in range(draw.n_given):
        if draw.given[i] == index:
            return True
    return False


cdef Column* make_columns(list weights) except? NULL
cdef int draw_init(Draw* draw, list weights, object seed) except -1
cdef void draw_free(Draw* draw) noexcept
cdef void draw_others(Draw* draw, int attempt, int* a, int* b) noexcept nogil
cdef int draw_other(Draw* draw, int index) noexcept nogil
