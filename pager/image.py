"""A kernel image: which bytes of a file belong at which guest-physical address, and where execution starts."""

import struct
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final, Self

from kev.addressing import Gpa, Gva
from kev.named_tuple import NamedTuple
from kev.pager.errors import ImageError
from kev.pager.source import SynchronousSource, read_image

if TYPE_CHECKING:
    from kev.pager.symbols import SymbolTable

PHYSICAL_ADDRESS_LIMIT: Final = 1 << 48
"""The first guest-physical address that a four-level nested page table cannot map."""

MOST_SEGMENTS: Final = 1024
"""Loadable segments of an image. Kernels have a handful."""

_IDENT: Final = struct.Struct("<4sBBB9x")
_ELFMAG: Final = b"\x7fELF"
_ELFDATA2LSB: Final = 1
_EV_CURRENT: Final = 1
_ET_EXEC: Final = 2
_ET_DYN: Final = 3
_EM_386: Final = 3
_EM_X86_64: Final = 62
_MACHINES: Final = {_EM_386: "EM_386", _EM_X86_64: "EM_X86_64"}
_OTHER_MACHINES: Final = {
    2: "EM_SPARC",
    8: "EM_MIPS",
    20: "EM_PPC",
    21: "EM_PPC64",
    22: "EM_S390",
    40: "EM_ARM",
    43: "EM_SPARCV9",
    50: "EM_IA_64",
    183: "EM_AARCH64",
    243: "EM_RISCV",
    258: "EM_LOONGARCH",
}
"""What kernels that are found by mistake are made for (System V ABI, e_machine)."""
_PT_LOAD: Final = 1
_PN_XNUM: Final = 0xFFFF


class Segment(NamedTuple):
    """One loadable segment (ELF: a program header of type PT_LOAD). All addresses and sizes in bytes, none aligned to pages."""

    paddr: Gpa
    """Where it lies in guest-physical memory."""
    vaddr: Gva
    """Where the kernel maps it."""
    offset: int
    """Where its bytes begin in the file."""
    filesz: int
    """How many bytes the file has of it."""
    memsz: int
    """How large it is in memory; what the file does not have is zeros."""
    flags: int = 0
    """ELF's p_flags: 1 execute, 2 write, 4 read."""
    rom: bool = False
    """It is a ROM's, and lies where there need be no RAM."""

    @property
    def file_end(self) -> Gpa:
        """The guest-physical address behind its last byte from the file."""
        return Gpa(self.paddr + self.filesz)

    @property
    def end(self) -> Gpa:
        """The guest-physical address behind its last byte."""
        return Gpa(self.paddr + self.memsz)


class _Layout(NamedTuple):
    """The file header and program header of one ELF class, little-endian (System V ABI, "Object Files")."""

    bits: int
    header: struct.Struct
    """What follows e_ident: e_type, e_machine, e_version, e_entry, e_phoff, e_phentsize, e_phnum."""
    program_header: struct.Struct
    fields: tuple[str, ...]
    """The names of the program header's fields, in its order."""
    machines: tuple[int, ...]


_ELF32: Final = _Layout(
    32,
    struct.Struct("<HHIII4x4x2xHH6x"),
    struct.Struct("<8I"),
    ("p_type", "p_offset", "p_vaddr", "p_paddr", "p_filesz", "p_memsz", "p_flags", "p_align"),
    (_EM_386, _EM_X86_64),
)
_ELF64: Final = _Layout(
    64,
    struct.Struct("<HHIQQ8x4x2xHH6x"),
    struct.Struct("<2I6Q"),
    ("p_type", "p_flags", "p_offset", "p_vaddr", "p_paddr", "p_filesz", "p_memsz", "p_align"),
    (_EM_X86_64,),
)
_LAYOUTS: Final = {1: _ELF32, 2: _ELF64}


class KernelImage:
    """A validated kernel image. Nothing of its contents has been read."""

    def __init__(self, source: SynchronousSource, segments: tuple[Segment, ...], entry: Gpa, virtual_entry: Gva, bits: int) -> None:
        self.source: Final = source
        self.segments: Final = segments
        """In the order of their physical addresses."""
        self.entry: Final = entry
        """The guest-physical address of the first instruction."""
        self.virtual_entry: Final = virtual_entry
        """The entry as the file gives it; equal to `entry` where that is physical already."""
        self.bits: Final = bits
        """32 or 64: the ELF class, 32 where there is none."""

    @classmethod
    def from_elf(cls, source: SynchronousSource) -> Self:
        """Reads the file header and the program headers of an ELF file, and nothing else. ImageError, SourceError."""
        layout = _check_ident(read_image(source, 0, _IDENT.size, "e_ident"), source.name)
        header = read_image(source, 0, _IDENT.size + layout.header.size, "the ELF header")
        entry, table = _check_header(layout, header, source)
        loaded = ((index, fields) for index, fields in enumerate(layout.program_header.iter_unpack(table)) if fields[0] == _PT_LOAD)
        segments = ((index, _segment(layout, fields)) for index, fields in loaded)
        labelled = [(f"program header {index}", segment) for index, segment in segments if segment is not None]
        return cls._checked(source, labelled, entry, layout.bits)

    @classmethod
    def from_segments(cls, source: SynchronousSource, segments: Iterable[Segment], entry: int, bits: int = 32) -> Self:
        """An image of a format without program headers, where the boot protocol says what is loaded. ImageError.

        `entry` is virtual where a segment's virtual range holds it, else physical, as in an ELF file. Addresses have `bits` bits.
        """
        return cls._checked(source, [(f"segment {index}", segment) for index, segment in enumerate(segments)], entry, bits)

    @classmethod
    def _checked(cls, source: SynchronousSource, labelled: Sequence[tuple[str, Segment]], entry: int, bits: int) -> Self:
        if len(labelled) > MOST_SEGMENTS:
            raise ImageError(f"{source.name}: {len(labelled)} program headers have something to load: the most is {MOST_SEGMENTS}")
        for label, segment in labelled:
            _check_segment(f"{source.name}: {label}", segment, bits, source.size)
        segments = tuple(sorted((segment for _, segment in labelled), key=lambda segment: segment.paddr))
        if not segments:
            raise ImageError(f"{source.name}: no program header of type PT_LOAD with a p_memsz above 0: nothing to load")
        _check_overlaps(segments, source.name)
        return cls(source, segments, _physical_entry(segments, entry, source.name), Gva(entry), bits)

    @property
    def start(self) -> Gpa:
        """The lowest guest-physical address of any segment."""
        return self.segments[0].paddr

    @property
    def end(self) -> Gpa:
        """The guest-physical address behind the last byte of all segments."""
        return max(segment.end for segment in self.segments)

    @property
    def end_in_ram(self) -> Gpa:
        """The same of the segments that lie in RAM; 0 if none does."""
        return max((segment.end for segment in self.segments if not segment.rom), default=Gpa(0))

    @cached_property
    def symbols(self) -> "SymbolTable":
        """The symbol table, read when first asked for; empty if the image has none. ImageError if it is damaged."""
        from kev.pager.symbols import SymbolTable

        return SymbolTable.from_elf(self.source)


def _check_ident(ident: bytes, name: str) -> _Layout:
    magic, elf_class, encoding, version = _IDENT.unpack(ident)
    if magic != _ELFMAG:
        raise ImageError(f"{name}: the ELF magic is {magic.hex(' ')}, not {_ELFMAG.hex(' ')}: not an ELF file")
    if elf_class not in _LAYOUTS:
        raise ImageError(f"{name}: EI_CLASS is {elf_class}, neither ELFCLASS32 (1) nor ELFCLASS64 (2)")
    if encoding != _ELFDATA2LSB:
        raise ImageError(f"{name}: EI_DATA is {encoding}, not ELFDATA2LSB (1): x86 is little-endian")
    if version != _EV_CURRENT:
        raise ImageError(f"{name}: EI_VERSION is {version}, not EV_CURRENT (1)")
    return _LAYOUTS[elf_class]


def _check_header(layout: _Layout, header: bytes, source: SynchronousSource) -> tuple[int, bytes]:
    """The entry and the program header table."""
    name = source.name
    elf_type, machine, version, entry, offset, entry_size, count = layout.header.unpack_from(header, _IDENT.size)
    if elf_type not in (_ET_EXEC, _ET_DYN):
        raise ImageError(f"{name}: e_type is {elf_type}, neither ET_EXEC (2) nor ET_DYN (3): not an executable")
    if machine not in layout.machines:
        allowed = " or ".join(f"{_MACHINES[number]} ({number})" for number in layout.machines)
        known = {**_MACHINES, **_OTHER_MACHINES}.get(machine)
        found = machine if known is None else f"{known} ({machine})"
        raise ImageError(f"{name}: e_machine of this {layout.bits}-bit file is {found}, not {allowed}")
    if version != _EV_CURRENT:
        raise ImageError(f"{name}: e_version is {version}, not EV_CURRENT (1)")
    if count == _PN_XNUM:
        raise ImageError(f"{name}: e_phnum is {count} (PN_XNUM): more program headers than {_PN_XNUM - 1} are not supported")
    if count and entry_size != layout.program_header.size:
        raise ImageError(f"{name}: e_phentsize of this {layout.bits}-bit file is {entry_size}, not {layout.program_header.size}")
    return entry, read_image(source, offset, count * entry_size, "the program header table")


def _segment(layout: _Layout, values: tuple[int, ...]) -> Segment | None:
    """The segment of a program header of type PT_LOAD, None if it has nothing to load."""
    fields = dict(zip(layout.fields, values, strict=True))
    if not fields["p_memsz"]:
        return None
    return Segment(
        paddr=Gpa(fields["p_paddr"]),
        vaddr=Gva(fields["p_vaddr"]),
        offset=fields["p_offset"],
        filesz=fields["p_filesz"],
        memsz=fields["p_memsz"],
        flags=fields["p_flags"],
    )


def _check_segment(where: str, segment: Segment, bits: int, size: int) -> None:
    if segment.filesz > segment.memsz:
        raise ImageError(f"{where}: p_filesz {segment.filesz:#x} exceeds p_memsz {segment.memsz:#x}")
    if segment.filesz and segment.offset + segment.filesz > size:
        raise ImageError(
            f"{where}: p_offset {segment.offset:#x} + p_filesz {segment.filesz:#x} exceeds the file's size {size:#x}: truncated"
        )
    for field, address, limit in (
        ("p_paddr", segment.paddr, min(1 << bits, PHYSICAL_ADDRESS_LIMIT)),
        ("p_vaddr", segment.vaddr, 1 << bits),
    ):
        if address < 0 or address + segment.memsz > limit:
            raise ImageError(f"{where}: {field} {address:#x} + p_memsz {segment.memsz:#x} exceeds {limit:#x}")


def _check_overlaps(segments: Sequence[Segment], name: str) -> None:
    """ImageError if two segments want different bytes at one address. `segments` are in the order of their addresses."""
    # It is enough to compare with the one that reaches furthest so far: it has been found to agree with all before it.
    furthest = segments[0]
    for segment in segments[1:]:
        if not _agree(furthest, segment):
            raise ImageError(
                f"{name}: the segments at {furthest.paddr:#x}-{furthest.end:#x} and {segment.paddr:#x}-{segment.end:#x} "
                f"both fill {segment.paddr:#x}-{min(furthest.end, segment.end):#x}, with different contents"
            )
        if segment.end > furthest.end:
            furthest = segment


def _agree(first: Segment, second: Segment) -> bool:
    """Whether two segments, `second` not below `first`, give their common addresses the same bytes."""
    common_end = min(first.end, second.end)
    if second.paddr >= common_end:
        return True
    first_file_end, second_file_end = min(first.file_end, common_end), min(second.file_end, common_end)
    if max(first_file_end, second.paddr) != second_file_end:
        return False
    return second_file_end == second.paddr or first.offset - first.paddr == second.offset - second.paddr


def _physical_entry(segments: Iterable[Segment], entry: int, name: str) -> Gpa:
    for segment in segments:
        if segment.vaddr <= entry < segment.vaddr + segment.memsz:
            return Gpa(entry - segment.vaddr + segment.paddr)
    if any(segment.paddr <= entry < segment.end for segment in segments):
        return Gpa(entry)
    raise ImageError(f"{name}: the entry {entry:#x} lies in no segment, neither by p_vaddr nor by p_paddr")
