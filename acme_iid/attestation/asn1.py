"""A strict reader for ASN.1 in BER and DER (ITU-T X.690), as a tree.

AWS serves BER with indefinite lengths, which the cryptography package does not read, and Azure serves
DER; this reads both. It is one loop without recursion, does work linear in the input, and refuses all
that no cloud sends: multi-byte tags, lengths that are not minimal, and trees that are deep or have many nodes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

MAX_BYTES = 64 * 1024
MAX_DEPTH = 24
"""The levels that values may nest; AWS's CMS reaches 8, Azure's with its certificate 10."""
MAX_NODES = 4096
"""The values that there may be; AWS's CMS has some 70, Azure's with its certificate some 130."""

INTEGER = 0x02
OCTET_STRING = 0x04
NULL = 0x05
OID = 0x06
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
SEQUENCE = 0x30
SET = 0x31
CONTEXT_0 = 0xA0

CONSTRUCTED = 0x20
CONSTRUCTED_OCTET_STRING = OCTET_STRING | CONSTRUCTED


@dataclass(slots=True)
class Node:
    """One value: its identifier octet, the bytes it stands in, and the values inside.

    :ivar tag: the identifier octet, class and constructed bit included.
    :ivar data: the whole input that the offsets count in.
    :ivar start: the position of the identifier octet.
    :ivar content: the position of the contents.
    :ivar end: the position after the value, and after the end-of-contents octets of an indefinite length.
    :ivar children: the values inside a constructed one, in their order.
    """

    tag: int
    data: bytes
    start: int
    content: int
    end: int
    indefinite: bool = False
    children: list[Node] = field(default_factory=list)

    @property
    def constructed(self) -> bool:
        """Whether it holds values rather than bytes."""
        return bool(self.tag & CONSTRUCTED)

    @property
    def value(self) -> bytes:
        """A primitive value's contents."""
        return self.data[self.content : self.end]

    @property
    def encoding(self) -> bytes:
        """The bytes of the value as it came, header included."""
        return self.data[self.start : self.end]


def parse(data: bytes) -> Node:
    """The one value that ``data`` holds.

    :param data: BER or DER.
    :raises ValueError: with a sentence, if it is neither, holds more than one value or passes a limit.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"it is {len(data)} bytes long; {MAX_BYTES} is the limit")
    root = _header(data, 0, len(data))
    open_nodes = [root] if root.constructed else []
    position, count = (root.content if root.constructed else root.end), 1
    while open_nodes:
        parent = open_nodes[-1]
        if parent.indefinite:
            if data.startswith(b"\0\0", position, parent.end):
                position += 2
                parent.end = position
                open_nodes.pop()
                continue
        elif position == parent.end:
            open_nodes.pop()
            continue
        # An indefinite value may go as far as the nearest definite one round it: its `end` says so until it closes.
        node = _header(data, position, parent.end)
        count += 1
        if count > MAX_NODES:
            raise ValueError(f"it holds more than {MAX_NODES} values")
        parent.children.append(node)
        if node.constructed:
            open_nodes.append(node)
            if len(open_nodes) > MAX_DEPTH:
                raise ValueError(f"it nests more than {MAX_DEPTH} levels deep")
            position = node.content
        else:
            position = node.end
    if root.end != len(data):
        raise ValueError(f"{len(data) - root.end} bytes follow its end")
    return root


def _header(data: bytes, start: int, limit: int) -> Node:
    """Read identifier and length octets (X.690 section 8.1) of a value that has to end by ``limit``."""
    if limit - start < 2:
        raise ValueError("it ends within a value")
    tag, length = data[start], data[start + 1]
    if tag & 0x1F == 0x1F:
        raise ValueError("it uses a tag of several bytes")
    if tag == 0:
        raise ValueError("end-of-contents octets stand where a value belongs")
    if tag in (SEQUENCE & ~CONSTRUCTED, SET & ~CONSTRUCTED):
        raise ValueError("a SEQUENCE or SET is encoded as a primitive value")
    content = start + 2
    if length == 0x80:
        if not tag & CONSTRUCTED:
            raise ValueError("a primitive value has an indefinite length")
        return Node(tag, data, start, content, limit, indefinite=True)
    if length > 0x80:
        size = length & 0x7F
        length = _long_length(data[content : min(content + size, limit)], size)
        content += size
    if length > limit - content:
        raise ValueError("a value is longer than what it stands in")
    return Node(tag, data, start, content, content + length)


def _long_length(encoded: bytes, size: int) -> int:
    """Read a length of ``size`` octets, which has to need them all.

    BER allows longer forms; no cloud uses them, and one spelling of each length is easier to trust.
    """
    if size > 4 or len(encoded) != size:
        raise ValueError("a length does not fit")
    length = int.from_bytes(encoded)
    if length < 0x80 or length >> (8 * (size - 1)) == 0:
        raise ValueError("a length is not written in its shortest form")
    return length


def children(node: Node, tag: int, what: str) -> list[Node]:
    """The values inside ``node``, which must carry ``tag``.

    :raises ValueError: naming the expected value by ``what``.
    """
    expect(node, tag, what)
    return node.children


def expect(node: Node, tag: int, what: str) -> Node:
    """``node``, which must carry ``tag``.

    :raises ValueError: naming the expected value by ``what``.
    """
    if node.tag != tag:
        raise ValueError(f"{what} has the tag 0x{node.tag:02x} instead of 0x{tag:02x}")
    return node


def integer(node: Node, what: str) -> int:
    """An INTEGER in its shortest form (X.690 section 8.3)."""
    value = expect(node, INTEGER, what).value
    if not value or (len(value) > 1 and value[0] in (0, 0xFF) and value[0] >> 7 == value[1] >> 7):
        raise ValueError(f"{what} is not an INTEGER in its shortest form")
    return int.from_bytes(value, signed=True)


def oid(node: Node, what: str) -> str:
    """An OBJECT IDENTIFIER in dotted form (X.690 section 8.19)."""
    return _dotted(expect(node, OID, what).value, what)


@lru_cache(maxsize=256)
def _dotted(value: bytes, what: str) -> str:
    if not value or value[-1] & 0x80 or len(value) > 64:
        raise ValueError(f"{what} is not an OBJECT IDENTIFIER")
    arcs, arc = [], 0
    for octet in value:
        if arc == 0 and octet == 0x80:
            raise ValueError(f"{what} is not an OBJECT IDENTIFIER in its shortest form")
        arc = (arc << 7) | (octet & 0x7F)
        if not octet & 0x80:
            arcs.append(arc)
            arc = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))


def octets(node: Node, what: str) -> bytes:
    """An OCTET STRING, in one piece or constructed of pieces (X.690 section 8.7), which are primitive here."""
    if node.tag == CONSTRUCTED_OCTET_STRING:
        return b"".join(expect(piece, OCTET_STRING, what).value for piece in node.children)
    return expect(node, OCTET_STRING, what).value


def der(node: Node, tag: int | None = None) -> bytes:
    """``node`` re-encoded in DER (X.690 sections 10 and 11.6), under another ``tag`` if one is given.

    Recursive, and no deeper than the tree may be.

    :raises ValueError: if a string stands in pieces, which DER does not have.
    """
    tag = node.tag if tag is None else tag
    if not node.constructed:
        return tlv(tag, node.value)
    if node.tag < 0x40 and node.tag not in (SEQUENCE, SET):
        raise ValueError("a string is encoded in pieces where DER is demanded")
    parts = [
        # A primitive value whose length is in its shortest form, as all are that were read, is in DER.
        child.encoding if not child.tag & CONSTRUCTED else der(child)
        for child in node.children
    ]
    return tlv(tag, b"".join(sorted(parts) if tag == SET else parts))


def tlv(tag: int, contents: bytes) -> bytes:
    """A value with a definite length in its shortest form."""
    length = len(contents)
    if length < 0x80:
        return bytes((tag, length)) + contents
    size = (length.bit_length() + 7) // 8
    return bytes((tag, 0x80 | size)) + length.to_bytes(size) + contents
