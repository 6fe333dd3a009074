# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The PROXY protocol, versions 1 and 2: who the client is, told by a proxy in front in the first bytes of a connection.

Section numbers are those of HAProxy's proxy-protocol.txt (2020/03/05). Strategy: no state; the caller keeps what it
read and calls again with more. A header is at most PROXY_MAX bytes, so that costs little, and refusals come at the
first byte that rules a header out (addresses of v1 and the block of v2 are looked at once they are complete).

Stricter than the text: DGRAM and unspecified transports of a known family are refused (streams only), a line's
UNKNOWN rest holds no lone CR or LF, and a TLV that we read stands at most once, within its length.
Nothing of a LOCAL or UNSPEC block is used, so nothing of it is looked at (2.2: "must discard the protocol block").
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcmp, memcpy, memset

from lbd.engine cimport sys as c

from collections import namedtuple
from ipaddress import IPv6Address, ip_address

cdef extern from "<arpa/inet.h>" nogil:
    int inet_pton(int, const char*, void*)

cdef enum:
    TLV_ALPN = 0x01
    TLV_AUTHORITY = 0x02
    TLV_CRC32C = 0x03
    TLV_UNIQUE_ID = 0x05
    TLV_SSL = 0x20
    CLIENT_SSL = 0x01       # bit of the first byte of TLV_SSL
    SSL_HEAD = 5            # client, verify
    STEP_DONE = 1           # beside PROXY_MORE and PROXY_BAD: this part is read, go on
    IPV4_TEXT = 15
    IPV6_TEXT = 45          # with a dotted tail, which inet_pton takes

cdef const char* SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
cdef const char* MAPPED = b"\0\0\0\0\0\0\0\0\0\0\xff\xff"
cdef uint32_t[256] CRC


cdef void _fill_crc() noexcept:
    """CRC32c (RFC 4960 appendix B), reflected, a byte at a time."""
    cdef uint32_t value
    cdef int i, _bit
    for i in range(256):
        value = <uint32_t> i
        for _bit in range(8):
            value = value >> 1 ^ (<uint32_t> 0x82f63b78 if value & 1 else 0)
        CRC[i] = value

_fill_crc()


cdef uint32_t _crc(uint32_t state, const char* p, size_t n) noexcept nogil:
    cdef size_t i
    for i in range(n):
        state = CRC[(state ^ <uint8_t> p[i]) & 0xff] ^ state >> 8
    return state


cdef bint _agrees(const char* p, size_t n, const char* text, size_t m) noexcept nogil:
    """Do p[:n] and text[:m] agree as far as both go?"""
    return memcmp(p, text, n if n < m else m) == 0


cdef inline uint16_t _uint16(const char* p) noexcept nogil:
    return <uint16_t> (<uint8_t> p[0] << 8 | <uint8_t> p[1])


# version 1

cdef int _take_address(const char* p, size_t n, size_t* at, int family, uint8_t* out) noexcept nogil:
    """An address and the space behind it."""
    cdef char[IPV6_TEXT + 1] text
    cdef size_t length = 0
    cdef size_t longest = IPV4_TEXT if family == PROXY_IPV4 else IPV6_TEXT
    cdef char x
    while True:
        if at[0] >= n:
            return PROXY_MORE
        x = p[at[0]]
        at[0] += 1
        if x == c' ':
            break
        if length == longest or not (c'0' <= x <= c'9' or x == c'.' or family == PROXY_IPV6 and (
                x == c':' or c'a' <= x <= c'f' or c'A' <= x <= c'F')):
            return PROXY_BAD
        text[length] = x
        length += 1
    text[length] = 0
    if family == PROXY_IPV6:
        return STEP_DONE if inet_pton(c.AF_INET6, text, out) == 1 else PROXY_BAD
    memcpy(out, MAPPED, 12)
    return STEP_DONE if inet_pton(c.AF_INET, text, out + 12) == 1 else PROXY_BAD


cdef int _take_port(const char* p, size_t n, size_t* at, char end, uint16_t* port) noexcept nogil:
    """A decimal number of at most 65535 without leading zeros, and the byte that ends it."""
    cdef size_t start = at[0]
    cdef uint32_t value = 0
    cdef char x
    while True:
        if at[0] >= n:
            return PROXY_MORE
        x = p[at[0]]
        at[0] += 1
        if x == end:
            break
        if not c'0' <= x <= c'9' or (value == 0 and at[0] - start > 1):
            return PROXY_BAD
        value = value * 10 + <uint32_t> (x - c'0')
        if value > 65535:
            return PROXY_BAD
    port[0] = <uint16_t> value
    return STEP_DONE if at[0] - start > 1 else PROXY_BAD


cdef int _take_newline(const char* p, size_t n, size_t* at) noexcept nogil:
    """The LF behind a CR."""
    if at[0] >= n:
        return PROXY_MORE
    at[0] += 1
    return STEP_DONE if p[at[0] - 1] == c'\n' else PROXY_BAD


cdef int _take_rest(const char* p, size_t n, size_t* at) noexcept nogil:
    """What follows UNKNOWN: nothing, or a space and anything but a CR or LF; then the CR."""
    if at[0] < n and p[at[0]] != c' ' and p[at[0]] != c'\r':
        return PROXY_BAD
    while at[0] < n:
        at[0] += 1
        if p[at[0] - 1] == c'\r':
            return STEP_DONE
        if p[at[0] - 1] == c'\n':
            return PROXY_BAD
    return PROXY_MORE


cdef int _parse_line(const char* p, size_t n, ProxyInfo* info) noexcept nogil:
    """2.1, without the bound on its length."""
    cdef size_t at = 11                 # behind "PROXY TCP4 "
    cdef int status
    if _agrees(p, n, b"PROXY UNKNOWN", 13):
        if n <= 13:
            return PROXY_MORE
        at = 13
        status = _take_rest(p, n, &at)
    else:
        if _agrees(p, n, b"PROXY TCP4 ", 11):
            info.family = PROXY_IPV4
        elif _agrees(p, n, b"PROXY TCP6 ", 11):
            info.family = PROXY_IPV6
        else:
            return PROXY_BAD
        status = _take_address(p, n, &at, info.family, info.source)
        if status > 0:
            status = _take_address(p, n, &at, info.family, info.destination)
        if status > 0:
            status = _take_port(p, n, &at, c' ', &info.source_port)
        if status > 0:
            status = _take_port(p, n, &at, c'\r', &info.destination_port)
    if status > 0:
        status = _take_newline(p, n, &at)
    return <int> at if status > 0 else status


cdef int _parse_v1(const char* p, size_t n, ProxyInfo* info) noexcept nogil:
    cdef int status = _parse_line(p, n if n < PROXY_V1_MAX else PROXY_V1_MAX, info)
    return PROXY_BAD if status == PROXY_MORE and n >= PROXY_V1_MAX else status


# version 2

cdef bint _is_checksum(const char* p, size_t n, size_t at) noexcept nogil:
    """2.2.3: is p[at:at + 4] the CRC32c of p[:n] with zeros in that place?"""
    cdef uint32_t crc = _crc(<uint32_t> 0xffffffff, p, at)
    crc = _crc(crc, b"\0\0\0\0", 4)
    crc = ~_crc(crc, p + at + 4, n - at - 4)
    return crc == (<uint32_t> _uint16(p + at) << 16 | _uint16(p + at + 2))


cdef bint _is_tlvs(const char* p, size_t n) noexcept nogil:
    """Does p[:n] consist of whole TLVs?"""
    cdef size_t at = 0
    while at < n:
        if n - at < 3 or n - at - 3 < _uint16(p + at + 1):
            return False
        at += 3 + <size_t> _uint16(p + at + 1)
    return True


cdef bint _take_value(size_t at, size_t length, size_t longest, uint16_t* offset, uint16_t* offset_len) noexcept nogil:
    """Note where a value stands; False when there was one before (then offset is not 0), or it is too long."""
    if offset[0] or length > longest:
        return False
    offset[0] = <uint16_t> at
    offset_len[0] = <uint16_t> length
    return True


cdef bint _take_tlvs(const char* p, size_t at, size_t n, ProxyInfo* info) noexcept nogil:
    """The TLVs in p[at:n], of which p[:n] is the whole header."""
    cdef size_t length
    cdef size_t checksum = 0
    cdef size_t ssl = 0
    cdef uint8_t kind
    cdef bint good = True
    if not _is_tlvs(p + at, n - at):
        return False
    while good and at < n:
        kind = <uint8_t> p[at]
        length = _uint16(p + at + 1)
        at += 3
        if kind == TLV_ALPN:
            good = _take_value(at, length, PROXY_ALPN_MAX, &info.alpn, &info.alpn_len)
        elif kind == TLV_AUTHORITY:
            good = _take_value(at, length, PROXY_AUTHORITY_MAX, &info.authority, &info.authority_len)
        elif kind == TLV_UNIQUE_ID:
            good = _take_value(at, length, PROXY_UNIQUE_ID_MAX, &info.unique_id, &info.unique_id_len)
        elif kind == TLV_CRC32C:
            good = checksum == 0 and length == 4 and _is_checksum(p, n, at)
            checksum = at
        elif kind == TLV_SSL:
            good = ssl == 0 and length >= SSL_HEAD and _is_tlvs(p + at + SSL_HEAD, length - SSL_HEAD)
            ssl = at
        at += length                    # NOOP, and types that we do not know, are skipped
    if good and ssl:
        info.tls = (p[ssl] & CLIENT_SSL) != 0
    return good


cdef bint _take_block(const char* p, size_t n, ProxyInfo* info) noexcept nogil:
    """Addresses and TLVs of a whole header p[:n] with the command PROXY."""
    cdef const char* at = p + PROXY_V2_HEAD
    if info.family == PROXY_IPV4:
        memcpy(info.source, MAPPED, 12)
        memcpy(info.source + 12, at, 4)
        memcpy(info.destination, MAPPED, 12)
        memcpy(info.destination + 12, at + 4, 4)
        at += 8
    elif info.family == PROXY_IPV6:
        memcpy(info.source, at, 16)
        memcpy(info.destination, at + 16, 16)
        at += 32
    if info.family == PROXY_UNIX:
        at += 216
    else:
        info.source_port = _uint16(at)
        info.destination_port = _uint16(at + 2)
        at += 4
    return _take_tlvs(p, at - p, n, info)


cdef int _parse_v2(const char* p, size_t n, ProxyInfo* info) noexcept nogil:
    """2.2"""
    cdef size_t least = 0               # bytes of the address block
    cdef size_t length
    if not _agrees(p, n, SIGNATURE, 12):
        return PROXY_BAD
    if n > 12 and p[12] != 0x20 and p[12] != 0x21:
        return PROXY_BAD
    if n > 13 and p[12] == 0x21:
        if p[13] == 0x11:
            info.family = PROXY_IPV4
            least = 12
        elif p[13] == 0x21:
            info.family = PROXY_IPV6
            least = 36
        elif p[13] == 0x31:
            info.family = PROXY_UNIX
            least = 216
        elif p[13] != 0x00 and p[13] != 0x01:
            return PROXY_BAD
    if n > 14 and <uint8_t> p[14] > PROXY_V2_MAX >> 8:
        return PROXY_BAD
    if n < PROXY_V2_HEAD:
        return PROXY_MORE
    length = _uint16(p + 14)
    if length > PROXY_V2_MAX or length < least:
        return PROXY_BAD
    length += PROXY_V2_HEAD
    if n < length:
        return PROXY_MORE
    if info.family != PROXY_NONE and not _take_block(p, length, info):
        return PROXY_BAD
    return <int> length


cdef int parse_proxy(const char* p, size_t n, ProxyInfo* info) noexcept nogil:
    """The header at the start of p[:n] into info: its length in bytes, PROXY_MORE or PROXY_BAD. Reads no byte behind it."""
    memset(info, 0, sizeof(ProxyInfo))
    if n == 0:
        return PROXY_MORE
    return _parse_v2(p, n, info) if p[0] == c'\r' else _parse_v1(p, n, info)


# writing

cdef bint _is_ipv4(const uint8_t* source, const uint8_t* destination) noexcept nogil:
    """Both of them? Otherwise both are written as IPv6: a header has one family."""
    return memcmp(source, MAPPED, 12) == 0 and memcmp(destination, MAPPED, 12) == 0


cdef size_t _put_decimal(char* out, uint32_t value) noexcept nogil:
    cdef uint32_t scale = 1
    cdef size_t n = 0
    while value // scale >= 10:
        scale *= 10
    while scale:
        out[n] = <char> (c'0' + value // scale % 10)
        scale //= 10
        n += 1
    return n


cdef size_t _put_ipv4(char* out, const uint8_t* address) noexcept nogil:
    cdef size_t n = 0
    cdef int i
    for i in range(12, 16):
        n += _put_decimal(out + n, address[i])
        out[n] = c'.'
        n += 1
    return n - 1


cdef int _zero_run(const uint8_t* address, int i) noexcept nogil:
    """Groups of zeros from group i on."""
    cdef int start = i
    while i < 8 and not address[2 * i] and not address[2 * i + 1]:
        i += 1
    return i - start


cdef size_t _put_ipv6(char* out, const uint8_t* address) noexcept nogil:
    """RFC 5952 4, hexadecimal throughout: 2.1 knows no dotted tail, which inet_ntop would write for mapped addresses."""
    cdef const char* digits = b"0123456789abcdef"
    cdef int longest = 1                # a single group of zeros is not shortened
    cdef int gap = -1
    cdef size_t n = 0
    cdef int i, shift, group
    for i in range(8):
        if _zero_run(address, i) > longest:
            longest = _zero_run(address, i)
            gap = i
    i = 0
    while i < 8:
        if i == gap:
            out[n] = out[n + 1] = c':'
            n += 2
            i += longest
            continue
        if n and out[n - 1] != c':':
            out[n] = c':'
            n += 1
        group = address[2 * i] << 8 | address[2 * i + 1]
        for shift in range(12, -1, -4):
            if shift == 0 or group >> shift:
                out[n] = digits[group >> shift & 15]
                n += 1
        i += 1
    return n


cdef size_t write_proxy_v1(char* out, const uint8_t* source, uint16_t sport,
                           const uint8_t* destination, uint16_t dport) noexcept nogil:
    """A header of version 1 to out, room for PROXY_V1_MAX bytes; its length.

    Addresses are 16 bytes (IPv4 mapped), ports in host order; either address NULL: UNKNOWN.
    """
    cdef size_t n = 11
    cdef bint ipv4
    if source == NULL or destination == NULL:
        memcpy(out, b"PROXY UNKNOWN\r\n", 15)
        return 15
    ipv4 = _is_ipv4(source, destination)
    memcpy(out, b"PROXY TCP4 " if ipv4 else b"PROXY TCP6 ", 11)
    n += _put_ipv4(out + n, source) if ipv4 else _put_ipv6(out + n, source)
    out[n] = c' '
    n += 1
    n += _put_ipv4(out + n, destination) if ipv4 else _put_ipv6(out + n, destination)
    out[n] = c' '
    n += 1
    n += _put_decimal(out + n, sport)
    out[n] = c' '
    n += 1
    n += _put_decimal(out + n, dport)
    memcpy(out + n, b"\r\n", 2)
    return n + 2


cdef size_t _put_uint16(char* out, size_t value) noexcept nogil:
    out[0] = <char> (value >> 8)
    out[1] = <char> (value & 0xff)
    return 2


cdef size_t _put_places(char* out, const uint8_t* source, uint16_t sport,
                        const uint8_t* destination, uint16_t dport) noexcept nogil:
    """The address block of version 2."""
    cdef size_t skip = 12 if _is_ipv4(source, destination) else 0
    cdef size_t size = 16 - skip
    memcpy(out, source + skip, size)
    memcpy(out + size, destination + skip, size)
    _put_uint16(out + 2 * size, sport)
    _put_uint16(out + 2 * size + 2, dport)
    return 2 * size + 4


cdef size_t _put_tlv(char* out, uint8_t kind, const char* value, size_t length, size_t longest) noexcept nogil:
    """Nothing for a value that is empty, or longer than such a value can be."""
    if length == 0 or length > longest:
        return 0
    out[0] = <char> kind
    _put_uint16(out + 1, length)
    memcpy(out + 3, value, length)
    return 3 + length


cdef size_t write_proxy_v2(char* out, const uint8_t* source, uint16_t sport, const uint8_t* destination, uint16_t dport,
                           const char* alpn, size_t alpn_len, const char* authority, size_t authority_len,
                           const char* unique_id, size_t unique_id_len, bint tls) noexcept nogil:
    """A header of version 2 to out, room for PROXY_V2_ROOM bytes; its length.

    Addresses as in write_proxy_v1; either NULL: LOCAL, without TLVs (2.2: its length should be zero). A value longer
    than its PROXY_*_MAX is left out, since no receiver could take it for what it says to be.
    """
    cdef size_t n = PROXY_V2_HEAD
    memcpy(out, SIGNATURE, 12)
    memcpy(out + 12, b"\x20\0\0\0", 4)
    if source == NULL or destination == NULL:
        return n
    out[12] = 0x21
    out[13] = 0x11 if _is_ipv4(source, destination) else 0x21
    n += _put_places(out + n, source, sport, destination, dport)
    n += _put_tlv(out + n, TLV_ALPN, alpn, alpn_len, PROXY_ALPN_MAX)
    n += _put_tlv(out + n, TLV_AUTHORITY, authority, authority_len, PROXY_AUTHORITY_MAX)
    n += _put_tlv(out + n, TLV_UNIQUE_ID, unique_id, unique_id_len, PROXY_UNIQUE_ID_MAX)
    if tls:                             # verify is not 0: no certificate of the client was verified
        n += _put_tlv(out + n, TLV_SSL, b"\x01\0\0\0\x01", SSL_HEAD, SSL_HEAD)
    _put_uint16(out + 14, n - PROXY_V2_HEAD)
    return n


# for Python: tests and explain

ProxyHeader = namedtuple("ProxyHeader", (
    "version family source destination alpn authority unique_id tls consumed"))


cdef object _end_point(int family, const uint8_t* address, uint16_t port):
    if family != PROXY_IPV4 and family != PROXY_IPV6:
        return None
    whole = IPv6Address(address[:16])
    return str(whole.ipv4_mapped if family == PROXY_IPV4 else whole), port


def inspect_proxy(bytes data not None):
    """The PROXY header at the start of data as a ProxyHeader, None when it is incomplete; ValueError.

    Source and destination are (text of the address, port), or None when the header has no IP addresses.
    """
    cdef ProxyInfo info
    cdef int status = parse_proxy(<const char*> data, len(data), &info)
    if status == PROXY_MORE:
        return None
    if status < 0:
        raise ValueError("not a PROXY header, or a malformed one")
    return ProxyHeader(
        1 if data[0] == c'P' else 2, info.family, _end_point(info.family, info.source, info.source_port),
        _end_point(info.family, info.destination, info.destination_port),
        data[info.alpn:info.alpn + info.alpn_len], data[info.authority:info.authority + info.authority_len],
        data[info.unique_id:info.unique_id + info.unique_id_len], bool(info.tls), status)


def _packed(place):
    """("192.0.2.1", 80) -> 16 bytes, port"""
    address = ip_address(place[0])
    return (address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed), place[1]


def make_proxy(int version, source=None, destination=None, *, bytes alpn not None=b"",
               bytes authority not None=b"", bytes unique_id not None=b"", bint tls=False):
    """The header of that version (1 or 2) as bytes; source and destination are (text of the address, port), both or none.

    ValueError for a version, address or value that a header can not have; OverflowError for such a port.
    """
    cdef char[PROXY_V2_ROOM] out
    cdef bytes there, here
    cdef uint16_t sport = 0
    cdef uint16_t dport = 0
    cdef const uint8_t* from_address = NULL
    cdef const uint8_t* to_address = NULL
    if version not in (1, 2):
        raise ValueError(f"PROXY protocol version {version}; there are 1 and 2")
    if (source is None) != (destination is None):
        raise ValueError("a PROXY header has both addresses, or none")
    if (version == 1 or source is None) and (alpn or authority or unique_id or tls):
        raise ValueError("only PROXY headers of version 2 with addresses carry TLVs")
    for value, longest in ((alpn, PROXY_ALPN_MAX), (authority, PROXY_AUTHORITY_MAX), (unique_id, PROXY_UNIQUE_ID_MAX)):
        if len(value) > longest:
            raise ValueError(f"a value of {len(value)} bytes in a PROXY header; at most {longest} are allowed")
    if source is not None:
        there, sport = _packed(source)
        here, dport = _packed(destination)
        from_address = there
        to_address = here
    if version == 1:
        return out[:write_proxy_v1(out, from_address, sport, to_address, dport)]
    return out[:write_proxy_v2(out, from_address, sport, to_address, dport, alpn, len(alpn), authority, len(authority),
                               unique_id, len(unique_id), tls)]
