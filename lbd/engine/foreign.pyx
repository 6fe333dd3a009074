# cython: language_level=3
"""C functions of libraries that Python packages bring along: OpenSSL with `ssl`, nghttp2 with `ngh2`.

Strategy: dlopen the extension module that is loaded already and look symbols up in it and in what it is linked with. So
lbd uses the very library that Python uses, gets its security updates, and needs no headers, no second copy and no
linking of its own; a call costs one indirect jump, where the module's Python interface would cost objects.
"""

cdef extern from "<dlfcn.h>" nogil:
    void* dlopen(const char*, int)
    void* dlsym(void*, const char*)
    const char* dlerror()
    int RTLD_NOW, RTLD_LOCAL


class MissingLibrary(ImportError):
    """A library that lbd needs is not reachable through this Python; str() says what to do."""


cdef class Library:
    """The library behind an extension module. MissingLibrary when the module has no file (built into the interpreter)."""

    def __cinit__(self, module not None, str what not None):
        self.what = what
        path = getattr(module, "__file__", None)
        # A module that is part of the executable: its symbols are those of the process, if it exports them.
        encoded = path.encode() if path is not None else b""
        self.handle = dlopen(<const char*> encoded if path is not None else NULL, RTLD_NOW | RTLD_LOCAL)
        if self.handle == NULL:
            raise MissingLibrary(f"cannot open {what}: {dlerror().decode(errors='replace')}")

    def __repr__(self):
        return f"<Library {self.what}>"

    cdef void* find(self, const char* symbol) except NULL:
        cdef void* found = dlsym(self.handle, symbol)
        if found == NULL:
            raise MissingLibrary(
                f"{self.what} of this Python has no function {symbol.decode()}: use a Python or package build that "
                "brings it as a shared library")
        return found
