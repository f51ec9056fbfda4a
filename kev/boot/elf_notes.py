"""The notes of an ELF file (System V gABI, "Note Section")."""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from kev.addressing import KIB
from kev.boot.elf_layout import ProgramHeader, read_program_headers
from kev.boot.kernel_file import KernelFile

_PT_NOTE: Final = 4
_LONGEST: Final = 64 * KIB
"""How much is looked at of all segments of notes together, in bytes."""
_NOTE: Final = struct.Struct("<III")
_WIDE: Final = 8
_NARROW: Final = 4


class Note(NamedTuple):
    name: bytes
    """Without the zero byte that ends it."""
    type: int
    description: bytes


class Notes(NamedTuple):
    """What could be read, and what could not."""

    notes: tuple[Note, ...]
    damage: tuple[str, ...]
    """What is wrong with each damaged note, or segment of notes."""


def read_notes(file: KernelFile) -> Notes:
    """The notes of the program headers of type PT_NOTE, as far as `_LONGEST` bytes reach: a damaged one is left out.

    ImageError if the headers are damaged.
    """
    notes: list[Note] = []
    damage: list[str] = []
    left = _LONGEST
    for header in read_program_headers(file):
        if header.type == _PT_NOTE and left > 0:
            contents = _contents(file, header, left)
            left -= max(len(contents), _NOTE.size)
            for found in _read_segment(contents, header.alignment):
                if isinstance(found, Note):
                    notes.append(found)
                else:
                    damage.append(found)
    return Notes(tuple(notes), tuple(damage))


def _contents(file: KernelFile, header: ProgramHeader, most: int) -> bytes:
    """Of a segment, as much as the file has, `most` bytes at most."""
    size = min(header.file_size, most, max(file.source.size - header.offset, 0))
    return file.read(header.offset, size, "a segment of notes") if size else b""


def _read_segment(data: bytes, alignment: int) -> list[Note | str]:
    """The notes, padded as `alignment` says; but some linkers say 8 where notes are padded to 4 bytes."""
    if alignment != _WIDE:
        return list(_parse(data, _NARROW))
    wide, narrow = list(_parse(data, _WIDE)), list(_parse(data, _NARROW))
    return narrow if not all(map(_is_sound, wide)) and all(map(_is_sound, narrow)) else wide


def _is_sound(found: Note | str) -> bool:
    """Whether it is a note that has a name which is one."""
    return isinstance(found, Note) and found.name != b"" and found.name.isascii() and found.name.decode("ascii").isprintable()


def _parse(data: bytes, alignment: int) -> Iterator[Note | str]:
    """The notes, and of each damaged one what is wrong. Behind that, the next place at which a whole one can lie."""
    offset = 0
    while offset + _NOTE.size <= len(data):
        note, following = _read(data, offset, alignment)
        if note is not None:
            yield note
            offset = following
            continue
        yield f"a note reaches behind the end of its segment, to offset {following} of {len(data)}"
        offset = _next_whole(data, offset + alignment, alignment)


def _next_whole(data: bytes, offset: int, alignment: int) -> int:
    """Where a note lies that has a name which is one, and does not reach behind the end; that end if there is none."""
    while offset + _NOTE.size <= len(data):
        note, _ = _read(data, offset, alignment)
        if note is not None and _is_sound(note):
            return offset
        offset += alignment
    return len(data)


def _read(data: bytes, offset: int, alignment: int) -> tuple[Note | None, int]:
    """The note at `offset`, None if it is not whole, and where it ends. Its parts are padded from its own beginning."""
    name_size, description_size, kind = _NOTE.unpack_from(data, offset)
    name = offset + _NOTE.size
    description = offset + _padded(_NOTE.size + name_size, alignment)
    end = description + description_size
    if end > len(data):
        return None, end
    note = Note(data[name : name + name_size].rstrip(b"\0"), kind, data[description:end])
    return note, offset + _padded(end - offset, alignment)


def _padded(size: int, alignment: int) -> int:
    return size + -size % alignment
