"""A ROM with firmware of its own, such as SeaBIOS or U-Boot: it starts as a processor does when it is switched on."""

from typing import Final, Self

from kev.addressing import GIB, KIB, MIB, PAGE_SIZE, Gpa, Gva
from kev.boot.base import BootError, BootOptions, BootProtocol
from kev.boot.entry import reset_vector
from kev.boot.kernel_file import KernelFile
from kev.engine.base import EntryState
from kev.pager.image import KernelImage, Segment
from kev.pager.kernel import KernelVmPager

SMALLEST: Final = 64 * KIB
"""The reset vector is a real-mode address in the last 64 KiB."""
LARGEST: Final = 8 * MIB
_BELOW_4_GIB: Final = 4 * GIB
_BELOW_1_MIB: Final = MIB
_SHADOW: Final = 128 * KIB
"""How much of a ROM's end is mapped below 1 MiB, too."""
_RWX: Final = 7


class Firmware(BootProtocol):
    """The file ends at 4 GiB, and its last 128 KiB are at the end of the first MiB, too. Execution begins at f000:fff0, 16 bytes
    below 4 GiB.

    There are no tables and no BIOS but what the firmware makes, of `kev.boot.firmware_files` if it can. What it writes to its ROM
    is there from then on, in memory.
    """

    name = "firmware"
    passes_modules = False
    passes_command_line = False
    has_bios = False
    expects_chipset = True
    lies_in_ram = False
    mode = 16

    @classmethod
    def detect(cls, file: KernelFile) -> None:
        """Nothing in a ROM says what it is."""

    @classmethod
    def open(cls, file: KernelFile) -> Self:
        """BootError if a ROM cannot have the file's size."""
        size = file.source.size
        if not SMALLEST <= size <= LARGEST or size % PAGE_SIZE:
            raise BootError(
                f"{file.name}: {size:,} bytes are no firmware: a ROM has whole pages of {PAGE_SIZE:,} bytes, "
                f"{SMALLEST // KIB} KiB to {LARGEST // MIB} MiB"
            )
        low = min(size, _SHADOW)
        segments = [_segment(_BELOW_4_GIB, size, 0), _segment(_BELOW_1_MIB, low, size - low)]
        return cls(KernelImage.from_segments(file.source, segments, _BELOW_4_GIB - 16))

    def prepare(self, pager: KernelVmPager, options: BootOptions) -> EntryState:
        self.refuse(options)
        return reset_vector()


def _segment(end: int, size: int, offset: int) -> Segment:
    return Segment(Gpa(end - size), Gva(end - size), offset, size, size, _RWX, rom=True)
