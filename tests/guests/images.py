"""The guests' images, as the root file system holds them."""

import io

from elftools.elf.elffile import ELFFile
from elftools.elf.segments import Segment

from kev.fs.disk import Disk
from kev.fs.simplefs import SimpleFs
from kev.guests.catalogue import root_file_system


def read_file(name: str) -> bytes:
    with open(root_file_system(), "rb") as file:
        return SimpleFs(Disk(file, file.name)).open(name).read()


def elf_file(name: str) -> ELFFile:
    return ELFFile(io.BytesIO(read_file(name)))


def load_segments(elf: ELFFile) -> list[Segment]:
    """The PT_LOADs, in the order of their addresses."""
    return sorted(elf.iter_segments("PT_LOAD"), key=lambda segment: int(segment["p_paddr"]))
