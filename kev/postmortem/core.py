"""Core files of guests: ELF files of type ET_CORE, which gdb and crash read beside the kernel's own file.

System V ABI, "ELF Header", "Program Header" and, for more than 65,534 segments, the extended numbering of section header 0.
"""

import json
import os
import struct
from collections.abc import Awaitable, Coroutine, Sequence
from typing import IO, Final

import attrs

from kev import x86
from kev.addressing import GIB, PAGE_SIZE, Gpa, page_ceil
from kev.errors import KevError
from kev.pager.backing import Backing
from kev.pager.kernel import KernelVmPager
from kev.postmortem.address_space import Mapping
from kev.postmortem.core_layout import physical_runs, placed
from kev.postmortem.core_notes import KEV, NT_KEV, note, register_notes
from kev.postmortem.registers import VcpuRegisters
from kev.user_files import real_path
from kev.version import __version__

ET_CORE: Final = 4
EM_386: Final = 3
EM_X86_64: Final = 62
PT_LOAD: Final = 1
PT_NOTE: Final = 4
PN_XNUM: Final = 0xFFFF
"""What e_phnum is if the number of segments is in sh_info of section header 0."""

_IDENT: Final = b"\x7fELF%c\1\1" + bytes(9)
_HEADER_64: Final = struct.Struct("<16s2HI3QI6H")
_HEADER_32: Final = struct.Struct("<16s2HI3II6H")
_SEGMENT_64: Final = struct.Struct("<2I6Q")
_SEGMENT_32: Final = struct.Struct("<8I")
_SECTION_64: Final = struct.Struct("<2I4Q2I2Q")
_SECTION_32: Final = struct.Struct("<10I")
_RWX: Final = 7
_ZEROS: Final = bytes(PAGE_SIZE)
_BUFFER: Final = 1 << 20
_WIDEST_32: Final = 4 * GIB


class CoreError(KevError):
    """A core file cannot be written or read. Names the file and why."""


@attrs.frozen(slots=True, kw_only=True)
class CoreVcpu:
    """A vCPU as a core file has it."""

    registers: VcpuRegisters
    activity: str
    """What it was doing, in words."""
    started: bool = True
    """It has run: else its registers mean nothing, and are left out."""
    place: str = ""
    """Where it is, in words."""


@attrs.frozen(slots=True)
class _Segment:
    kind: int
    offset: int
    linear: int
    gpa: int
    length: int


def write_core(
    file: str | os.PathLike[str],
    pager: KernelVmPager,
    vcpus: Sequence[CoreVcpu],
    *,
    ending: str,
    culprit: int | None = None,
) -> None:
    """Writes the guest's loaded memory and its vCPUs' registers to `file`, sparsely. The guest does not change.

    Pages of the image that were never touched are written too, from the image, unless that takes waiting. `ending` says how the run
    ended; `culprit` is the vCPU that a debugger shows first. The file is there as a whole or not at all. CoreError if it cannot be
    written.
    """
    path = real_path(file)
    if os.path.exists(path) and not os.path.isfile(path):
        raise CoreError(f"{os.fspath(file)}: is no regular file, which a core file has to be")
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{os.getpid()}")
    try:
        with open(temporary, "xb", buffering=_BUFFER) as opened:
            _Writer(opened, pager, vcpus, culprit).write(ending)
        os.replace(temporary, path)
    except OSError as error:
        raise CoreError(f"{os.fspath(file)}: cannot be written: {error.strerror}") from error
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


class _Writer:
    def __init__(self, file: IO[bytes], pager: KernelVmPager, vcpus: Sequence[CoreVcpu], culprit: int | None) -> None:
        self._file: Final = file
        self._pager: Final = pager
        # A debugger begins with the thread that comes first.
        self._vcpus: Final = sorted(vcpus, key=lambda vcpu: vcpu.registers.index != culprit)
        self._unreadable = 0
        """Pages of the image that could not be read."""

    def write(self, ending: str) -> None:
        runs = physical_runs(self._pager)
        spaces = [vcpu.registers for vcpu in self._vcpus if vcpu.started]
        long_mode = any(registers.efer & x86.EFER_LMA for registers in spaces)
        size = sum(len(run) for run in runs) * PAGE_SIZE
        wide = self._pager.image.bits == 64 or long_mode or size > _WIDEST_32 // 2 or any(run.stop > _WIDEST_32 for run in runs)
        layout = placed(self._pager, spaces, runs, wide)
        header_size = _header_size(wide, len(layout) + 1)
        offsets = self._write_pages(runs, page_ceil(header_size))
        notes = b"".join(register_notes(registers, wide) for registers in spaces) + self._own_note(ending)
        at = self._file.tell()
        self._file.write(notes)
        segments = [_Segment(PT_NOTE, at, 0, 0, len(notes)), *_segments(layout, runs, offsets)]
        self._file.seek(0)
        self._file.write(_headers(wide, segments))

    def _write_pages(self, runs: Sequence[range], offset: int) -> list[int]:
        """Writes all pages from `offset` on; where each run begins. Pages of zeros become holes."""
        offsets = []
        for run in runs:
            offsets.append(offset)
            for page in run:
                contents = self._page(page)
                if contents != _ZEROS:
                    self._file.seek(offset)
                    self._file.write(contents)
                offset += PAGE_SIZE
        self._file.seek(offset)
        return offsets

    def _page(self, page: int) -> bytes:
        hpa = self._pager.gpa2hpa(Gpa(page))
        if hpa is not None:
            return bytes(self._pager.memory.view[hpa : hpa + PAGE_SIZE])
        backing = self._pager.loaders.find(page)
        contents = None if backing is None else _filled(backing, page)
        if contents is None:
            self._unreadable += 1
            return _ZEROS
        return contents

    def _own_note(self, ending: str) -> bytes:
        image = self._pager.image
        contents = {
            "format": 1,
            "version": __version__,
            "image": {"name": image.source.name, "size": image.source.size, "bits": image.bits},
            "ending": ending,
            "pages_loaded": self._pager.statistics.loads,
            "unreadable_pages": self._unreadable,
            "vcpus": [
                {"vcpu": vcpu.registers.index, "activity": vcpu.activity, "place": vcpu.place}
                | (vcpu.registers.as_dict() if vcpu.started else {})
                for vcpu in self._vcpus
            ],
        }
        return note(KEV, NT_KEV, json.dumps(contents).encode())


def _filled(backing: Backing, page: int) -> bytes | None:
    """What the page would be filled with; None if that cannot be read."""
    frame = bytearray(PAGE_SIZE)
    try:
        filled = backing.fill(page, memoryview(frame))
    except KevError:
        return None
    if isinstance(filled, Awaitable):
        if isinstance(filled, Coroutine):
            filled.close()
        return None
    return bytes(frame) if filled else None


def _segments(layout: Sequence[Mapping], runs: Sequence[range], offsets: Sequence[int]) -> list[_Segment]:
    from bisect import bisect_right

    starts = [run.start for run in runs]
    segments = []
    for linear, gpa, length in layout:
        index = bisect_right(starts, gpa) - 1
        segments.append(_Segment(PT_LOAD, offsets[index] + gpa - starts[index], linear, gpa, length))
    return segments


def _header_size(wide: bool, segments: int) -> int:
    header, segment, section = _structs(wide)
    return header.size + segments * segment.size + (section.size if segments >= PN_XNUM else 0)


def _headers(wide: bool, segments: Sequence[_Segment]) -> bytes:
    header, segment, section = _structs(wide)
    count = len(segments)
    extended = count >= PN_XNUM
    sections = header.size + count * segment.size if extended else 0
    ident = _IDENT % (2 if wide else 1)
    machine = EM_X86_64 if wide else EM_386
    numbers = (header.size, segment.size, PN_XNUM if extended else count, section.size if extended else 0, int(extended), 0)
    parts = [header.pack(ident, ET_CORE, machine, 1, 0, header.size, sections, 0, *numbers)]
    for item in segments:
        flags, align = (_RWX, PAGE_SIZE) if item.kind == PT_LOAD else (0, 4)
        sizes = item.length, item.length if item.kind == PT_LOAD else 0
        if wide:
            parts.append(segment.pack(item.kind, flags, item.offset, item.linear, item.gpa, *sizes, align))
        else:
            parts.append(segment.pack(item.kind, item.offset, item.linear, item.gpa, *sizes, flags, align))
    if extended:
        parts.append(section.pack(0, 0, 0, 0, 0, 1, 0, count, 0, 0))
    return b"".join(parts)


def _structs(wide: bool) -> tuple[struct.Struct, struct.Struct, struct.Struct]:
    """Of the file header, a program header and a section header."""
    return (_HEADER_64, _SEGMENT_64, _SECTION_64) if wide else (_HEADER_32, _SEGMENT_32, _SECTION_32)
