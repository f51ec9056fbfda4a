"""ACPI Machine Language, as far as describing a device takes (ACPI Specification 6.5, chapter 20; section 6.4 for resources)."""

import struct
from typing import Final

_NAME: Final = b"\x08"
_BUFFER: Final = b"\x11"
_PACKAGE: Final = b"\x12"
_SCOPE: Final = b"\x10"
_DEVICE: Final = b"\x5b\x82"
_BYTE: Final = b"\x0a"
_STRING: Final = b"\x0d"

_SHORT_PACKAGE: Final = 0x3F
"""The greatest package length of one byte."""
_LONG_PACKAGE: Final = 0xFFF
"""The greatest of two."""
_LARGEST_BUFFER: Final = 0xFF

_MEMORY_32_FIXED: Final = struct.Struct("<BHBII")
_READ_WRITE: Final = 1
_EXTENDED_INTERRUPT: Final = struct.Struct("<BHBBI")
_CONSUMER: Final = 1 << 0
"""Level-triggered, active-high and exclusive are zeros."""
_END_TAG: Final = b"\x79\x00"
"""With a checksum of 0, which says that there is none."""

ZERO: Final = b"\x00"


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
