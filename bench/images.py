"""Kernel images of any size, made for measuring: nearly all of their bytes are holes of a sparse file."""

import struct
from pathlib import Path
from typing import Final

from kev.addressing import PAGE_SIZE, Gpa

_HLT: Final = b"\xf4"
_KERNEL_BASE: Final = 0xFFFF_FF00_0000_0000
_ENTRY: Final = 0x10_0000

_EHDR: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR: Final = struct.Struct("<IIQQQQQQ")
_ET_EXEC: Final = 2
_EM_X86_64: Final = 62
_PT_LOAD: Final = 1
_READ_WRITE_EXECUTE: Final = 7


def write_sparse_kernel(file: Path, size: int, gpa: Gpa) -> None:
    """An ELF64 kernel that halts at once, with a segment of `size` bytes at `gpa` besides the page that it halts in."""
    segments = ((_ENTRY, PAGE_SIZE, PAGE_SIZE), (gpa, 2 * PAGE_SIZE, size))
    header = _EHDR.pack(
        b"\x7fELF\x02\x01\x01",
        _ET_EXEC,
        _EM_X86_64,
        1,
        _KERNEL_BASE + _ENTRY,
        _EHDR.size,
        0,
        0,
        _EHDR.size,
        _PHDR.size,
        len(segments),
        0,
        0,
        0,
    )
    with file.open("wb") as output:
        output.write(header)
        for paddr, offset, length in segments:
            vaddr = _KERNEL_BASE + paddr
            output.write(_PHDR.pack(_PT_LOAD, _READ_WRITE_EXECUTE, offset, vaddr, paddr, length, length, PAGE_SIZE))
        output.seek(PAGE_SIZE)
        output.write(_HLT)
        output.truncate(2 * PAGE_SIZE + size)
