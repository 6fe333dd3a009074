# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""ExternalCheck: a check that Python code makes, such as running a program (exec.py)."""

from lbd.health.check cimport Check


cdef class ExternalCheck(Check):
    """launch(check) begins and answers what ends it early when called; check.report(ok, why) follows."""
    cdef object launch
    cdef object end

    def __init__(self, *args, launch, **settings):
        Check.__init__(self, *args, **settings)
        self.launch = launch

    cdef int begin(self) except -1:
        self.end = self.launch(self)
        return 0

    cdef int cut(self) except -1:
        if self.end is not None:
            self.end()
            self.end = None
        return 0
