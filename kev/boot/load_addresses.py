"""Load addresses in a Multiboot header: they take the place of ELF's program headers."""

from typing import Final

from kev.addressing import Gpa, Gva
from kev.boot.base import BootError
from kev.boot.kernel_file import KernelFile
from kev.named_tuple import NamedTuple
from kev.pager.image import Segment

_RWX: Final = 7


class LoadAddresses(NamedTuple):
    """Guest-physical addresses, as Multiboot 0.6.96, section 3.1.3, and Multiboot2 2.0, section 3.1.5, define them."""

    header: int
    """Of the header itself."""
    load: int
    """Where what is loaded begins."""
    load_end: int
    """Where what the file has ends; 0: at the end of the file."""
    bss_end: int
    """Where the zeros end that follow; 0: there are none."""

    def segment(self, file: KernelFile, header_offset: int) -> Segment:
        """What is loaded, where the header is at `header_offset` in the file. BootError if the addresses contradict each other."""
        offset = header_offset - (self.header - self.load)
        if not 0 <= self.load <= self.header or offset < 0:
            raise BootError(
                f"{file.name}: the load address {self.load:#x} does not fit the header, which is at {self.header:#x} "
                f"and at offset {header_offset:#x} in the file"
            )
        load_end = self.load_end or self.load + file.source.size - offset
        bss_end = self.bss_end or load_end
        if not self.load < load_end <= bss_end:
            raise BootError(
                f"{file.name}: the load address {self.load:#x}, the load end {load_end:#x} and the bss end {bss_end:#x} "
                "are not in order"
            )
        return Segment(Gpa(self.load), Gva(self.load), offset, load_end - self.load, bss_end - self.load, _RWX)
