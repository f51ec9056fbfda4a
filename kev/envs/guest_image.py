"""How user-level code of the host fills a guest before it starts (JOS VMM, user/vmm.c)."""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

from kev.addressing import PAGE_SIZE, page_offset
from kev.envs.ept import EPTE_FULL
from kev.envs.errors import JosError, JosFailure
from kev.envs.ipc import PTE_P, PTE_U, PTE_W
from kev.envs.spaces import HostSpace
from kev.envs.system_calls import GUEST_BOOT, SystemCalls

UTEMP: Final = 0x40_0000
"""Where the temporary page is mapped that everything goes through."""
_SECTOR: Final = 512
_MAGIC: Final = b"\x7fELF"
_PT_LOAD: Final = 1
_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM_HEADER: Final = struct.Struct("<IIQQQQQQ")


class ReadableFile(Protocol):
    """A file that a guest is made of, such as one of `kev.envs.files`."""

    @property
    def name(self) -> str: ...

    def read(self, offset: int, length: int) -> bytes:
        """Fewer bytes at the file's end."""


class LoadSegment(NamedTuple):
    """A PT_LOAD (ELF-64 object file format, "Program header table")."""

    offset: int
    p_pa: int
    filesz: int
    memsz: int


def map_in_guest(
    calls: SystemCalls, guest: int, gpa: int, memsz: int, file: ReadableFile, filesz: int, offset: int, *, zeros: bool = True
) -> None:
    """Maps `filesz` bytes of a file from `offset` on, and zeros up to `memsz`, from `gpa` on, which is rounded down to a page.

    Page by page, all of it RWX: a temporary page is allocated, filled, mapped into the guest and unmapped here. Without `zeros`,
    only `filesz` bytes are mapped, as in one edition: what is behind them appears when the guest touches it. JosFailure as
    `ept_map`.
    """
    before = page_offset(gpa)
    gpa, memsz, filesz, offset = gpa - before, memsz + before, filesz + before, offset - before
    for done in range(0, memsz if zeros else filesz, PAGE_SIZE):
        calls.page_alloc(UTEMP, PTE_P | PTE_U | PTE_W)
        try:
            if done < filesz:
                _fill(calls, file, offset + done, min(PAGE_SIZE, filesz - done))
            calls.ept_map(0, UTEMP, guest, gpa + done, EPTE_FULL)
        finally:
            calls.page_unmap(UTEMP)


def copy_guest_kern_gpa(calls: SystemCalls, guest: int, file: ReadableFile, *, zeros: bool = True) -> None:
    """Maps every PT_LOAD of a 64-bit ELF kernel at its physical address.

    JosFailure: E_NOT_EXEC if the file is no such kernel; as `map_in_guest`.
    """
    for segment in load_segments(file):
        map_in_guest(calls, guest, segment.p_pa, segment.memsz, file, segment.filesz, segment.offset, zeros=zeros)


def copy_boot_sector(calls: SystemCalls, guest: int, file: ReadableFile) -> None:
    """Maps a boot sector where the guest begins. JosFailure as `map_in_guest`."""
    map_in_guest(calls, guest, GUEST_BOOT, _SECTOR, file, _SECTOR, 0)


def load_segments(file: ReadableFile) -> Iterator[LoadSegment]:
    """JosFailure (E_NOT_EXEC) if the file has no ELF-64 header, or its program headers are not all in the file."""
    header = file.read(0, _SECTOR)
    if len(header) < _SECTOR or header[:4] != _MAGIC:
        raise JosFailure(JosError.NOT_EXEC, f"{file.name}: no ELF file: it begins with {header[:4]!r}")
    fields = _HEADER.unpack_from(header)
    table, entry_size, count = fields[5], fields[9], fields[10]
    for index in range(count):
        data = file.read(table + index * entry_size, _PROGRAM_HEADER.size)
        if len(data) < _PROGRAM_HEADER.size:
            raise JosFailure(JosError.NOT_EXEC, f"{file.name}: program header {index} of {count} is not in the file")
        kind, _, offset, _, physical, filesz, memsz, _ = _PROGRAM_HEADER.unpack(data)
        if kind == _PT_LOAD:
            yield LoadSegment(offset, physical, filesz, memsz)


def _fill(calls: SystemCalls, file: ReadableFile, offset: int, length: int) -> None:
    """The temporary page holds this part of the file. What is before the file's beginning, in a page rounded down, is zeros."""
    space = calls.current.space
    assert isinstance(space, HostSpace)
    mapped = space.find(UTEMP)
    assert mapped is not None
    missing = max(0, -offset)
    calls.host.memory.write(mapped.page, missing, file.read(offset + missing, max(0, length - missing)))
