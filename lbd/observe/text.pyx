# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Prometheus' text format, version 0.0.4: families of metrics, made sample by sample.

Text is made in pieces, of one record each at most, so that who asks can pause in between: an lbd with thousands
of routes has a million samples, which is also why they are written here and not in Python, where each costs 5 us.
Nothing is kept of a piece that has been handed over.
"""

from collections.abc import Iterable, Iterator
from typing import Optional

from libc.stdint cimport uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_AsUTF8AndSize

from lbd.engine.logtext cimport put_number

from lbd.observe.histogram import LE, SHOWN_EVERY

cdef enum:
    NUMBER_SIZE = 32                # more than a whole number below 1e15 takes

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Pieces = Iterator[bytes]
Row = Optional[tuple[Iterable[str], float]]
NAMES = {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}


cdef class Lines:
    """Text under way."""

    cdef char* data
    cdef size_t used, size

    def __dealloc__(self):
        free(self.data)

    cdef char* room(self, size_t more) except NULL:
        """Where so many bytes can be written."""
        cdef char* data
        if self.used + more > self.size:
            data = <char*> realloc(self.data, 2 * (self.used + more))
            if data == NULL:
                raise MemoryError()
            self.data = data
            self.size = 2 * (self.used + more)
        return self.data + self.used

    cdef int put(self, bytes text) except -1:
        memcpy(self.room(<size_t> len(text)), <const char*> text, <size_t> len(text))
        self.used += <size_t> len(text)
        return 0

    cdef int put_value(self, str value) except -1:
        """The value of a label, between quotes."""
        cdef Py_ssize_t n, i
        cdef const char* text = PyUnicode_AsUTF8AndSize(value, &n)
        cdef char* out = self.room(2 * <size_t> n)
        for i in range(n):
            if text[i] == c'\\' or text[i] == c'"' or text[i] == c'\n':
                out[0] = c'\\'
                out += 1
            out[0] = c'n' if text[i] == c'\n' else text[i]
            out += 1
        self.used = out - self.data
        return 0

    cdef int put_float(self, double value) except -1:
        """As Go writes it, as all of Prometheus' own programs do: with an exponent from a million on."""
        cdef char* out
        cdef char* start
        cdef int digits
        if not (0 <= value < 1e15 and value == <double> <uint64_t> value):
            return self.put(go_text(value))
        start = self.room(NUMBER_SIZE)
        if value < 1e6:
            out = put_number(start, <uint64_t> value)
            out[0], out[1] = c'.', c'0'
            self.used = out + 2 - self.data
            return 0
        out = put_number(start + 1, <uint64_t> value)
        digits = out - start - 1
        start[0], start[1] = start[1], c'.'
        while (out - 1)[0] == c'0':
            out -= 1
        if (out - 1)[0] == c'.':
            out -= 1
        out[0], out[1], out[2] = c'e', c'+', c'0'
        if digits > 10:
            out += 2
        else:
            out += 3
        self.used = put_number(out, digits - 1) - self.data
        return 0

    cdef bytes taken(self):
        """All that has been put, which is forgotten here."""
        cdef size_t used = self.used
        self.used = 0
        return PyBytes_FromStringAndSize(self.data, <Py_ssize_t> used)


def go_text(double value):
    """A float of any kind as Go writes it."""
    text = repr(value)
    whole, dot, fraction = text.partition(".")
    if value < 1e6 or not dot or len(whole) == 1:       # without an exponent, or with one already
        return NAMES.get(text, text).encode()
    digits = (whole + fraction).rstrip("0")
    return f"{digits[0]}{'.' if len(digits) > 1 else ''}{digits[1:]}e+{len(whole) - 1:02}".encode()


cdef class Line:
    """Of a sample, with places for the values of its labels, which stand in the order of their names."""

    cdef tuple before               # what stands before each value, and before the number
    cdef tuple order                # which value is there

    def __init__(self, str name, labels, str le=""):
        """le: the value of a further label of that name."""
        places = {label: place for place, label in enumerate(labels)}
        before, order, text = [], [], name
        open_with = "{"
        for label in sorted([*places, "le"] if le else places):
            text += f'{open_with}{label}="'
            if label in places:
                before.append(text.encode())
                order.append(places[label])
                text = '"'
            else:
                text += f'{le}"'
            open_with = ","
        before.append((text + ("} " if open_with == "," else " ")).encode())
        self.before, self.order = tuple(before), tuple(order)

    cdef int write(self, Lines out, tuple values, value) except -1:
        cdef Py_ssize_t i
        for i in range(len(self.order)):
            out.put(<bytes> self.before[i])
            out.put_value(values[<Py_ssize_t> self.order[i]])
        out.put(<bytes> self.before[len(self.order)])
        out.put_float(value)
        return out.put(b"\n")


cdef class Family:
    """A counter (its name ends in _total) or a gauge."""

    cdef readonly bytes head
    cdef Line line
    cdef Lines lines
    cdef Py_ssize_t count           # of labels

    def __init__(self, str name, str text, *labels):
        """text: a sentence without line breaks."""
        self.head = _head(name, text, "counter" if name.endswith("_total") else "gauge")
        self.line = Line(name, labels)
        self.lines = Lines()
        self.count = len(labels)

    def sample(self, values, value):
        """The line of one sample: values of the labels, and the number."""
        self.line.write(self.lines, self._checked(tuple(values)), value)
        return self.lines.taken()

    def samples(self, values, counts):
        """Samples that differ in the last label only: its values, and the numbers."""
        cdef tuple first = tuple(values)
        for last, count in counts:
            self.line.write(self.lines, self._checked((*first, last)), count)
        return self.lines.taken()

    def pieces(self, rows):
        """All of it. Rows are values and a number each, or None where nothing is to be said."""
        yield self.head
        for row in rows:
            yield b"" if row is None else self.sample(*row)

    cdef tuple _checked(self, tuple values):
        if len(values) != self.count:
            raise ValueError(f"{self.count} labels and {len(values)} values")
        return values


cdef class HistogramFamily:
    """A histogram of the shared block."""

    cdef readonly bytes head
    cdef list buckets
    cdef Line count, sum
    cdef Lines lines
    cdef Py_ssize_t labels

    def __init__(self, str name, str text, *labels):
        self.head = _head(name, text, "histogram")
        self.buckets = [Line(name + "_bucket", labels, le) for le in LE]
        self.count = Line(name + "_count", labels)
        self.sum = Line(name + "_sum", labels)
        self.lines = Lines()
        self.labels = len(labels)

    def samples(self, values, record):
        """All lines of one. record: its sum in seconds, and the counts of the block's buckets."""
        cdef tuple where = tuple(values)
        cdef list counts
        cdef uint64_t rising = 0
        cdef Py_ssize_t i, every = SHOWN_EVERY, line = 0
        if len(where) != self.labels:
            raise ValueError(f"{self.labels} labels and {len(where)} values")
        total, counts = record
        for i in range(len(counts)):
            rising += <uint64_t> counts[i]
            if i % every == 0 and line + 1 < len(self.buckets):
                (<Line> self.buckets[line]).write(self.lines, where, rising)
                line += 1
        (<Line> self.buckets[line]).write(self.lines, where, rising)
        self.count.write(self.lines, where, rising)
        self.sum.write(self.lines, where, total)
        return self.lines.taken()


def _head(str name, str text, str kind):
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n".encode()
