"""ACPI Machine Language, as far as describing a device takes (ACPI Specification 6.5, chapter 20; section 6.4 for resources)."""

import struct
from typing import Final

_NAME: Final = b"\x08"
_BUFFER: Final = b"\x11"
_PACKAGE: Final = b"\x12"
_SCOPE: Final = b"\x10"
_DEVICE: Final = b"\x5b\x82"
_BYTE: Final = b"\x0a"
_WORD: Final = b"\x0b"
_DOUBLE_WORD: Final = b"\x0c"
_STRING: Final = b"\x0d"

_SHORT_PACKAGE: Final = 0x3F
"""The greatest package length of one byte."""
_LONG_PACKAGE: Final = 0xFFF
"""The greatest of two."""
_LARGEST_BUFFER: Final = 0xFF

_PORTS: Final = struct.Struct("<BBHHBB")
_IRQ: Final = struct.Struct("<BH")
_WORD_SPACE: Final = struct.Struct("<BHBBB5H")
_DOUBLE_WORD_SPACE: Final = struct.Struct("<BHBBB5I")
_PORT_SPACE: Final = 1, 3
_BUS_NUMBERS: Final = 2, 0
_MEMORY_SPACE: Final = 0, 1
"""Resource type, and type-specific flags: the entire range of ports; memory that is read and written, not cacheable."""
_FIXED_RANGE: Final = 0x0C
"""Neither end of it can be moved."""
_MEMORY_32_FIXED: Final = struct.Struct("<BHBII")
_READ_WRITE: Final = 1
_EXTENDED_INTERRUPT: Final = struct.Struct("<BHBBI")
_CONSUMER: Final = 1 << 0
"""Level-triggered, active-high and exclusive are zeros."""
_END_TAG: Final = b"\x79\x00"
"""With a checksum of 0, which says that there is none."""

ZERO: Final = b"\x00"


def integer(value: int) -> bytes:
    """Of 32 bits at most."""
    if value == 0:
        return ZERO
    if value <= 0xFF:
        return _BYTE + struct.pack("<B", value)
    return _WORD + struct.pack("<H", value) if value <= 0xFFFF else _DOUBLE_WORD + struct.pack("<I", value)


def eisa_id(text: str) -> bytes:
    """A hardware id of three letters and four hexadecimal digits, as a number (section 19.3.4, "EISAID")."""
    letters = (ord(letter) - ord("@") for letter in text[:3])
    number = 0
    for letter in letters:
        number = number << 5 | letter
    return _DOUBLE_WORD + (number << 16 | int(text[3:], 16)).to_bytes(4, "big")


def string(text: str) -> bytes:
    return _STRING + text.encode("ascii") + b"\0"


def name(path: bytes, value: bytes) -> bytes:
    """Name (path, value). Every segment of `path` has four characters."""
    return _NAME + path + value


def package(*elements: bytes) -> bytes:
    return _PACKAGE + _with_length(bytes([len(elements)]) + b"".join(elements))


def scope(path: bytes, *objects: bytes) -> bytes:
    return _SCOPE + _with_length(path + b"".join(objects))


def device(path: bytes, *objects: bytes) -> bytes:
    return _DEVICE + _with_length(path + b"".join(objects))


def resources(*descriptors: bytes) -> bytes:
    """ResourceTemplate: a buffer of descriptors."""
    data = b"".join(descriptors) + _END_TAG
    assert len(data) <= _LARGEST_BUFFER
    return _BUFFER + _with_length(_BYTE + bytes([len(data)]) + data)


def memory_32_fixed(addresses: range) -> bytes:
    """Memory32Fixed (ReadWrite): guest-physical addresses below 4 GiB."""
    return _MEMORY_32_FIXED.pack(0x86, _MEMORY_32_FIXED.size - 3, _READ_WRITE, addresses.start, len(addresses))


def ports(first: int, count: int) -> bytes:
    """IO (Decode16): ports that cannot be moved."""
    return _PORTS.pack(0x47, 1, first, first, 1, count)


def irq(number: int) -> bytes:
    """IRQNoFlags: an ISA interrupt, edge-triggered."""
    return _IRQ.pack(0x22, 1 << number)


def bus_numbers(numbers: range) -> bytes:
    """WordBusNumber (ResourceProducer): the buses behind a bridge."""
    return _word_space(_BUS_NUMBERS, numbers)


def port_space(numbers: range) -> bytes:
    """WordIO (ResourceProducer): ports that a bridge forwards."""
    return _word_space(_PORT_SPACE, numbers)


def memory_space(addresses: range) -> bytes:
    """DWordMemory (ResourceProducer, NonCacheable, ReadWrite): guest-physical addresses that a bridge forwards."""
    fields = 0, addresses.start, addresses.stop - 1, 0, len(addresses)
    return _DOUBLE_WORD_SPACE.pack(0x87, _DOUBLE_WORD_SPACE.size - 3, _MEMORY_SPACE[0], _FIXED_RANGE, _MEMORY_SPACE[1], *fields)


def _word_space(kind: tuple[int, int], numbers: range) -> bytes:
    fields = 0, numbers.start, numbers.stop - 1, 0, len(numbers)
    return _WORD_SPACE.pack(0x88, _WORD_SPACE.size - 3, kind[0], _FIXED_RANGE, kind[1], *fields)


def interrupt(number: int) -> bytes:
    """Interrupt (ResourceConsumer, Level, ActiveHigh, Exclusive): a global system interrupt."""
    return _EXTENDED_INTERRUPT.pack(0x89, _EXTENDED_INTERRUPT.size - 3, _CONSUMER, 1, number)


def _with_length(contents: bytes) -> bytes:
    """A package length (section 20.2.4), which counts itself, and what it is the length of."""
    length = len(contents) + 1
    if length <= _SHORT_PACKAGE:
        return bytes([length]) + contents
    length += 1
    assert length <= _LONG_PACKAGE
    return bytes([1 << 6 | length & 0xF, length >> 4]) + contents
