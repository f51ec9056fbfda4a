"""An image of which it is not known yet how it boots."""

import struct
from functools import cached_property
from typing import Final

from kev.addressing import KIB, Gpa, Gva
from kev.pager.errors import ImageError
from kev.pager.image import KernelImage
from kev.pager.source import SynchronousSource, read_bytes

SECTOR_SIZE: Final = 512
BOOT_SIGNATURE: Final = b"\x55\xaa"

_HEAD: Final = 32 * KIB
"""Headers of boot protocols lie in here."""
_ELF_MAGIC: Final = b"\x7fELF"
_ELF_CLASS_64: Final = b"\2"
_E_TYPE: Final = 16
_E_MACHINE: Final = 18


class KernelFile:
    """The bytes of an image; each part is read when it is first asked for."""

    def __init__(self, source: SynchronousSource) -> None:
        self.source: Final = source

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.source.name

    @cached_property
    def head(self) -> bytes:
        """The first 32 KiB, or the whole of a smaller file."""
        return self.read(0, min(_HEAD, self.source.size), "its beginning")

    @cached_property
    def is_elf(self) -> bool:
        return self.source.size >= len(_ELF_MAGIC) and self.read(0, len(_ELF_MAGIC), "e_ident") == _ELF_MAGIC

    @cached_property
    def is_elf64(self) -> bool:
        return self.is_elf and self.bytes_at(len(_ELF_MAGIC), 1) == _ELF_CLASS_64

    @property
    def kind(self) -> int:
        """An ELF file's e_type; 0 if the file ends before."""
        return int.from_bytes(self.bytes_at(_E_TYPE, 2), "little")

    @property
    def machine(self) -> int:
        """An ELF file's e_machine; 0 if the file ends before."""
        return int.from_bytes(self.bytes_at(_E_MACHINE, 2), "little")

    @property
    def boot_signature(self) -> bytes:
        """The last two bytes of the first sector."""
        return self.head[SECTOR_SIZE - len(BOOT_SIGNATURE) : SECTOR_SIZE]

    @property
    def is_boot_disk(self) -> bool:
        """It begins with a boot sector: a header of a boot protocol belongs to a kernel on it, and not to the file."""
        return not self.is_elf and self.boot_signature == BOOT_SIGNATURE

    @cached_property
    def elf(self) -> KernelImage:
        """The image as its ELF headers describe it. ImageError if they are damaged, or if it has none."""
        return KernelImage.from_elf(self.source)

    def bytes_at(self, offset: int, length: int) -> bytes:
        """What is there; nothing if the file ends before."""
        return self.read(offset, length, "it") if offset + length <= self.source.size else b""

    def read(self, offset: int, length: int, what: str) -> bytes:
        """ImageError, with `what`, if the file ends before."""
        if offset + length > self.source.size:
            raise ImageError(f"{self.name}: {what} ends at offset {offset + length:#x}, the file at {self.source.size:#x}")
        return read_bytes(self.source, offset, length)

    def loaded_at(self, image: KernelImage, gpa: int, length: int) -> bytes:
        """What `image`, which is this file's, has at a guest-physical address: up to `length` bytes, what the file has of them."""
        for segment in image.segments:
            if segment.paddr <= gpa < segment.file_end:
                offset = segment.offset + gpa - segment.paddr
                return self.read(offset, min(length, segment.file_end - gpa), "the code at its entry")
        return b""

    def find_header(self, magic: int, words: int, *, alignment: int, limit: int) -> int | None:
        """The offset of the first header that begins with `magic`, whose first `words` 32-bit words add up to 0.

        It lies at a multiple of `alignment` bytes, within the first `limit`, 32 KiB at most.
        """
        head = self.head[:limit]
        pattern = magic.to_bytes(4, "little")
        layout = struct.Struct(f"<{words}I")
        offset = head.find(pattern)
        while 0 <= offset <= len(head) - layout.size:
            if offset % alignment == 0 and not sum(layout.unpack_from(head, offset)) & 0xFFFF_FFFF:
                return offset
            offset = head.find(pattern, offset + 1)
        return None


def with_physical_entry(image: KernelImage, entry: int, what: str) -> KernelImage:
    """`image` entered at the guest-physical address `entry` instead. ImageError, with `what`, if nothing is loaded there."""
    if not any(segment.paddr <= entry < segment.end for segment in image.segments):
        raise ImageError(f"{image.source.name}: {what} {entry:#x} lies in no segment")
    return KernelImage(image.source, image.segments, Gpa(entry), Gva(entry), image.bits)
