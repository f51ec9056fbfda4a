"""Small kernels for command lines."""

import struct

_ENTRY = 0x20_0000
_OFFSET = 0x1000


def kernel(code: bytes, *, memory: int = 0x8000) -> bytes:
    """An ELF file of 32-bit code at 0x200000, in a segment of `memory` bytes, without a header of any boot protocol."""
    ident = b"\x7fELF\1\1\1" + bytes(9)
    header = struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, _ENTRY, 52, 0, 0, 52, 32, 1, 40, 0, 0)
    segment = struct.pack("<8I", 1, _OFFSET, _ENTRY, _ENTRY, len(code), memory, 7, 0x1000)
    return (ident + header + segment).ljust(_OFFSET, b"\0") + code


FLOOD = kernel(bytes.fromhex("b078 66baf803 b940000000 ee e2fd b00a ee b078 ebf1"))
"""Writes lines to COM1 for ever."""
