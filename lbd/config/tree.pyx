"""The tree of a YAML document, built from the events of PyYAML's parser.

A configuration of ten thousand routes has a hundred thousand nodes, and whoever asked for a reload waits for
them: hence Cython. See document.py for what holds of a tree.
"""

import yaml

from lbd.config.errors import ConfigError, ConfigErrors

MAX_DEPTH = 64
MAX_NODES = 500_000

cdef Py_ssize_t DEEPEST = MAX_DEPTH
cdef Py_ssize_t MOST = MAX_NODES
cdef type ALIAS = yaml.AliasEvent
cdef type DOCUMENT_START = yaml.DocumentStartEvent
cdef type MAPPING_END = yaml.MappingEndEvent
cdef type MAPPING_START = yaml.MappingStartEvent
cdef type SCALAR = yaml.ScalarEvent
cdef type SEQUENCE_END = yaml.SequenceEndEvent
cdef type SEQUENCE_START = yaml.SequenceStartEvent
cdef type STREAM_END = yaml.StreamEndEvent
cdef frozenset QUOTED = frozenset(("'", '"', "|", ">"))
cdef dict TAGS = {f"tag:yaml.org,2002:{name}": name for name in ("str", "int", "float", "bool", "null", "seq", "map")}


cdef class Node:
    """A value and where it is written. `pairs` for mappings, `items` for lists, `text` for scalars."""

    cdef public str kind  # map, list or scalar
    cdef public str file
    cdef public Py_ssize_t line
    cdef public Py_ssize_t column
    cdef public str text
    cdef public str tag  # the type of a scalar, when it is quoted or tagged
    cdef public object items
    cdef public object pairs
    cdef public Py_ssize_t size  # nodes in this tree, aliases expanded
    cdef dict index

    def __init__(self, str kind not None, str file not None, Py_ssize_t line, Py_ssize_t column, str text="",
                 str tag=None, items=(), pairs=(), Py_ssize_t size=1):
        self.kind = kind
        self.file = file
        self.line = line
        self.column = column
        self.text = text
        self.tag = tag
        self.items = items
        self.pairs = pairs
        self.size = size

    def __repr__(self):
        return f"<Node {self.kind} {self.file}:{self.line}:{self.column}>"

    def pair(self, str key not None):
        """A key and its value, the first ones if there are several; only for a tree that is complete."""
        if self.index is None:
            self.index = {name.text: (name, value) for name, value in reversed(self.pairs)}
        return self.index.get(key)

    def value_of(self, str key not None):
        """The value of a key."""
        found = self.pair(key)
        return None if found is None else found[1]


def build(str name not None, get_event):
    """The root of the one document among the events, or None; ConfigErrors for what a document may not have."""
    return _Builder(name, get_event).build()


cdef class _Builder:

    cdef str name
    cdef object next
    cdef dict anchors
    cdef Py_ssize_t size

    def __init__(self, str name, get_event):
        self.name = name
        self.next = get_event
        self.anchors = {}
        self.size = 0

    cdef Node build(self):
        cdef Node root = None
        while type(event := self.next()) is not STREAM_END:
            if type(event) is DOCUMENT_START:
                if root is not None:
                    raise self.error(event, "a second document begins here; a file holds one")
            elif type(event) in (SCALAR, ALIAS, SEQUENCE_START, MAPPING_START):
                root = self.node(event, 1)
        return root

    cdef object error(self, event, str message):
        mark = event.start_mark
        return ConfigErrors([ConfigError(self.name, mark.line + 1, mark.column + 1, "", message)])

    cdef Node node(self, event, Py_ssize_t depth):
        cdef Node node
        if depth > DEEPEST:
            raise self.error(event, f"nested more than {MAX_DEPTH} levels deep")
        kind = type(event)
        if kind is SCALAR:
            node = self.scalar(event)
        elif kind is ALIAS:
            node = self.alias(event)
            self.size += node.size - 1
        elif kind is SEQUENCE_START:
            node = self.sequence(event, depth)
        else:
            node = self.mapping(event, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        self.size += 1
        if self.size > MOST:
            raise self.error(event, f"more than {MAX_NODES} values, aliases expanded")
        return node

    cdef Node make(self, event, str kind):
        cdef Node node = Node.__new__(Node)
        mark = event.start_mark
        node.kind = kind
        node.file = self.name
        node.line = <Py_ssize_t> mark.line + 1
        node.column = <Py_ssize_t> mark.column + 1
        node.text = ""
        node.items = node.pairs = ()  # there are many: what a kind does not have is one empty tuple
        node.size = 1
        return node

    cdef Node alias(self, event):
        if event.anchor not in self.anchors:
            raise self.error(
                event, f"alias '*{event.anchor}' has no anchor '&{event.anchor}' that ends before it"
            )
        return self.anchors[event.anchor]

    cdef str tag(self, event):
        given = event.tag
        if given is None or given == "!":
            return None
        tag = TAGS.get(given)
        if tag is None:
            raise self.error(event, f"unknown tag {given!r}")
        return tag

    cdef Node scalar(self, event):
        cdef str tag = self.tag(event)
        if tag in ("seq", "map"):
            raise self.error(event, f"the tag says {tag}, but this is a single value")
        if tag is None and (event.style in QUOTED or event.tag == "!"):
            tag = "str"
        cdef Node node = self.make(event, "scalar")
        node.text = event.value
        node.tag = tag
        return node

    cdef Node collection(self, event, str kind, str usual):
        """Empty as yet; usual: the only tag that it may have."""
        cdef str tag = self.tag(event)
        if tag is not None and tag != usual:
            raise self.error(event, f"the tag says {tag}, but this is a {kind}")
        return self.make(event, kind)

    cdef Node sequence(self, event, Py_ssize_t depth):
        cdef Node node = self.collection(event, "list", "seq"), item
        cdef list items = []
        while type(inner := self.next()) is not SEQUENCE_END:
            item = self.node(inner, depth + 1)
            items.append(item)
            node.size += item.size
        node.items = items
        return node

    cdef Node mapping(self, event, Py_ssize_t depth):
        cdef Node node = self.collection(event, "map", "map"), key, value
        cdef list pairs = [], merged = []
        while type(inner := self.next()) is not MAPPING_END:
            key = self.node(inner, depth + 1)
            if key.kind != "scalar":
                raise self.error(inner, "a key must be text")
            value_event = self.next()
            value = self.node(value_event, depth + 1)
            if key.text == "<<" and key.tag is None:
                merged += self.merge_sources(value_event, value)
            else:
                pairs.append((key, value))
        if merged:
            _merge(pairs, merged)
        for _, value in pairs:
            node.size += 1 + value.size
        node.pairs = pairs
        return node

    cdef object merge_sources(self, event, Node value):
        sources = value.items if value.kind == "list" else [value]
        for source in sources:
            if source.kind != "map":
                raise self.error(event, "'<<' merges mappings; give an alias of a mapping, or a list of such")
        return sources


cdef void _merge(list pairs, list sources):
    """Settings of the sources that are not given themselves."""
    own = {key.text for key, _ in pairs}
    for source in sources:
        added = [(key, value) for key, value in source.pairs if key.text not in own]
        pairs += added
        own.update([key.text for key, _ in added])
