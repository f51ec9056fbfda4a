"""Reads core files, those that kev wrote and others."""

import struct
from collections.abc import Mapping
from typing import Any, Final

import attrs

from kev.errors import one_line
from kev.pager.source import SynchronousSource, read_bytes
from kev.postmortem.core import ET_CORE, PN_XNUM, PT_LOAD, PT_NOTE, CoreError
from kev.postmortem.core_layout import PHYSICAL_WINDOW
from kev.postmortem.core_notes import KEV, NT_PRSTATUS, notes_in
from kev.user_json import parse_user_json, record

_IDENT_SIZE: Final = 16
_HEADERS: Final = {1: struct.Struct("<2HI3II6H"), 2: struct.Struct("<2HI3QI6H")}
_SEGMENTS: Final = {1: struct.Struct("<8I"), 2: struct.Struct("<2I6Q")}
_SECTION_INFO: Final = {1: (40, 28), 2: (64, 44)}
"""The size of a section header, and where sh_info is in it."""
_LARGEST_NOTES: Final = 64 << 20
_MOST_SHOWN: Final = 40
_MOST_LINES: Final = 200
"""Of kev's note."""
_SHOWN_REGISTERS: Final = ("rip", "rsp", "rflags", "cr0", "cr2", "cr3", "cr4", "efer")


@attrs.frozen(slots=True)
class CoreSegment:
    """Memory in a core file."""

    linear: int
    gpa: int
    offset: int
    size: int

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"virtual_address": self.linear, "physical_address": self.gpa, "file_offset": self.offset, "size": self.size}


@attrs.frozen(slots=True, kw_only=True)
class CoreFile:
    """What a core file says."""

    name: str
    size: int
    bits: int
    """The ELF class."""
    threads: int
    """How many have registers."""
    segments: tuple[CoreSegment, ...]
    own: Mapping[str, Any] | None
    """kev's own note; None in a core file that something else wrote."""

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "core": self.name,
            "size": self.size,
            "bits": self.bits,
            "threads": self.threads,
            "segments": [segment.as_dict() for segment in self.segments],
            "kev": self.own,
        }

    def as_text(self) -> str:
        """For people: how the run ended, where the vCPUs are, and which memory there is."""
        lines = [f"{self.name}: a core file of {self.size:,} bytes, {self.bits}-bit, {self.threads} vCPUs"]
        if self.own is not None:
            lines += _own_lines(self.own)
        guest = [segment for segment in self.segments if segment.linear < PHYSICAL_WINDOW or segment.linear >> 47 == 0x1FFFF]
        lines.append(f"memory: {len(guest):,} ranges of virtual addresses")
        lines += [
            f"  {segment.linear:#018x}-{segment.linear + segment.size:#018x} at physical {segment.gpa:#x}"
            for segment in guest[:_MOST_SHOWN]
        ]
        if len(guest) > _MOST_SHOWN:
            lines.append(f"  ... {len(guest) - _MOST_SHOWN:,} more")
        return "\n".join(lines)


def is_core(source: SynchronousSource) -> bool:
    """Whether the first bytes are those of an ELF core file."""
    length = _IDENT_SIZE + 2
    if source.size < length:
        return False
    head = read_bytes(source, 0, length)
    return head[:4] == b"\x7fELF" and head[5] == 1 and head[_IDENT_SIZE] == ET_CORE and not head[_IDENT_SIZE + 1]


def read_core(source: SynchronousSource) -> CoreFile:
    """Reads the headers and notes of a core file. CoreError if they are damaged, SourceError if it cannot be read."""
    if not is_core(source):
        raise CoreError(f"{source.name}: is no ELF core file")
    return _Reader(source).read()


class _Reader:
    def __init__(self, source: SynchronousSource) -> None:
        self._source: Final = source

    def read(self) -> CoreFile:
        elf_class = self._bytes(0, _IDENT_SIZE, "e_ident")[4]
        if elf_class not in _HEADERS:
            raise CoreError(f"{self._source.name}: EI_CLASS is {elf_class}, neither ELFCLASS32 (1) nor ELFCLASS64 (2)")
        header = _HEADERS[elf_class]
        fields = header.unpack(self._bytes(_IDENT_SIZE, header.size, "the ELF header"))
        table, sections, entry_size, count = fields[4], fields[5], fields[8], fields[9]
        if count == PN_XNUM and sections:
            size, at = _SECTION_INFO[elf_class]
            count = int.from_bytes(self._bytes(sections, size, "section header 0")[at : at + 4], "little")
        layout = _SEGMENTS[elf_class]
        if count and entry_size != layout.size:
            raise CoreError(f"{self._source.name}: e_phentsize is {entry_size}, not {layout.size}")
        headers = list(layout.iter_unpack(self._bytes(table, count * layout.size, "the program header table")))
        return self._described(elf_class, [_ordered(elf_class, fields) for fields in headers])

    def _described(self, elf_class: int, headers: list[tuple[int, int, int, int, int]]) -> CoreFile:
        segments = tuple(CoreSegment(linear, gpa, at, size) for kind, at, linear, gpa, size in headers if kind == PT_LOAD)
        threads = 0
        own: Mapping[str, Any] | None = None
        for kind, at, _, _, size in headers:
            if kind != PT_NOTE:
                continue
            if size > _LARGEST_NOTES:
                raise CoreError(f"{self._source.name}: its notes have {size:#x} bytes; {_LARGEST_NOTES:#x} are read")
            for owner, number, contents in notes_in(self._bytes(at, size, "the notes")):
                threads += owner == "CORE" and number == NT_PRSTATUS
                own = self._own(contents) if owner == KEV else own
        source = self._source
        return CoreFile(name=source.name, size=source.size, bits=32 * elf_class, threads=threads, segments=segments, own=own)

    def _own(self, contents: bytes) -> Mapping[str, Any]:
        own: Mapping[str, Any] = parse_user_json(contents, f"{self._source.name}: kev's note", CoreError, "an object", record({}))
        return own

    def _bytes(self, offset: int, length: int, what: str) -> bytes:
        if offset + length > self._source.size:
            raise CoreError(f"{self._source.name}: {what} ends at offset {offset + length:#x}, the file at {self._source.size:#x}")
        return read_bytes(self._source, offset, length)


def _ordered(elf_class: int, fields: tuple[int, ...]) -> tuple[int, int, int, int, int]:
    """p_type, p_offset, p_vaddr, p_paddr and p_filesz."""
    if elf_class == 1:
        kind, offset, linear, gpa, size = fields[:5]
    else:
        kind, _, offset, linear, gpa, size = fields[:6]
    return kind, offset, linear, gpa, size


def _own_lines(own: Mapping[str, Any]) -> list[str]:
    """Of kev's note, of which nothing is taken for granted."""
    lines = []
    image = own.get("image")
    if isinstance(image, dict):
        lines.append(f"image: {image.get('name')}, {image.get('size')} bytes; written by kev {own.get('version')}")
    lines.append(f"ending: {own.get('ending')}")
    vcpus = own.get("vcpus")
    for vcpu in vcpus if isinstance(vcpus, list) else []:
        if not isinstance(vcpu, dict):
            continue
        place = f" in {vcpu['place']}" if vcpu.get("place") else ""
        lines.append(f"vCPU {vcpu.get('vcpu')}: {vcpu.get('activity')}{place}")
        values = [(name, vcpu.get(name)) for name in _SHOWN_REGISTERS]
        lines.append("  " + "  ".join(f"{name} {value:#x}" for name, value in values if isinstance(value, int)))
    return [one_line(line) for line in lines[:_MOST_LINES]]
