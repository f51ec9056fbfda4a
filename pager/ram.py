"""Where a guest's RAM lies."""

from typing import Final

from kev.addressing import GIB, KIB, MIB, PAGE_SIZE, Gpa
from kev.errors import KevError
from kev.pager.image import PHYSICAL_ADDRESS_LIMIT

MMIO_HOLE: Final = range(0xBFFDA000, 4 * GIB)
"""Where devices are, and RAM is not."""
FRAMEBUFFER: Final = range(0xFD00_0000, 0xFE00_0000)
"""Where a display's memory is: as QEMU's."""


class RamError(KevError):
    """The guest cannot have so little, or so much, RAM."""


def ram_regions(ram_kib: int, image_end: Gpa) -> tuple[range, ...]:
    """The guest-physical addresses of `ram_kib` KiB of RAM, in whole pages: from 0 on, around the MMIO hole.

    The image lies in RAM: RamError if it ends behind RAM's end. Also if there is no page, or more than can be addressed.
    """
    size = ram_kib * KIB // PAGE_SIZE * PAGE_SIZE
    if size <= 0:
        raise RamError(f"RAM of {ram_kib} KiB: the least is one page of {PAGE_SIZE // KIB} KiB")
    below = range(min(size, MMIO_HOLE.start))
    above = range(MMIO_HOLE.stop, MMIO_HOLE.stop + size - len(below))
    regions = (below, above) if above else (below,)
    end = regions[-1].stop
    if end > PHYSICAL_ADDRESS_LIMIT:
        raise RamError(f"RAM of {ram_kib} KiB ends at {end:#x}, behind the last guest-physical address {PHYSICAL_ADDRESS_LIMIT:#x}")
    if image_end > end:
        enough = f": {-(-image_end // MIB)} MiB are enough for it" if image_end <= MMIO_HOLE.start else ""
        raise RamError(f"RAM of {ram_kib} KiB ends at {end:#x}: the kernel ends at {image_end:#x} and does not fit{enough}")
    return regions
