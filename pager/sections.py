"""The sections of a kernel that are in memory when it runs, as its linker named them."""

import io

import attrs

from kev.addressing import Gva
from kev.pager.errors import ImageError
from kev.pager.source import SynchronousSource
from kev.pager.stream import SourceStream

_SHF_ALLOC = 2


@attrs.frozen(slots=True)
class Section:
    """A named part of a segment. Bytes."""

    name: str
    address: Gva
    size: int


def sections(source: SynchronousSource) -> list[Section]:
    """The sections with the flag SHF_ALLOC, in the order of their headers. ImageError if those are damaged."""
    from elftools.elf.elffile import ELFFile

    try:
        elf = ELFFile(io.BufferedReader(SourceStream(source)))
        allocated = [section for section in elf.iter_sections() if section["sh_flags"] & _SHF_ALLOC]
        return [Section(section.name, Gva(section["sh_addr"]), section["sh_size"]) for section in allocated]
    # Whatever a damaged file makes pyelftools raise: its own errors, construct's, or a plain KeyError.
    except Exception as error:
        raise ImageError(f"{source.name}: the section headers are damaged: {error}") from error
