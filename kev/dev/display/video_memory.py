"""The memory of a VGA where a guest has not chained its planes.

What it does at 0xa0000 is then no load or store of memory but one of these planes, an exit each. Where the planes are chained, what
lies there is guest memory, and of it the first 64 KiB of the planes: they follow when one becomes the other.
"""

from collections.abc import Callable
from typing import Final

from kev.addressing import Gpa
from kev.dev.base import GuestMemory, MmioDevice, PlainDevice
from kev.dev.display.glyphs import HEIGHT, glyph
from kev.dev.display.planes import SIZE, Planes
from kev.dev.display.screen import GRAPHICS_MEMORY, VgaScreen
from kev.pager.ram import FRAMEBUFFER
from kev.state import FLAG, Fields, State, bits, octets

_FONT_PLANE: Final = 2
FONT_CELL: Final = 32
"""Bytes of a character in a font."""
_CHARACTERS: Final = 256


class VideoMemory(PlainDevice):
    """A device whose pages are in front of guest memory as long as the guest wants them."""

    name: Final = "video memory"
    gpa: Final = Gpa(GRAPHICS_MEMORY.start)
    length: Final = len(GRAPHICS_MEMORY)

    FIELDS = Fields({"_is_in_front": FLAG, "_is_newest": FLAG, "_latches": bits(32), "_contents": octets(SIZE)})

    __slots__ = ("_is_in_front", "_is_newest", "_memory", "_place", "_screen", "planes")

    def __init__(self, screen: VgaScreen, memory: GuestMemory, place: Callable[[MmioDevice, bool], None]) -> None:
        """`place` puts a device in front of guest memory, or takes it away."""
        self._screen: Final = screen
        self._memory: Final = memory
        self._place: Final = place
        self.planes: Final = Planes()
        self._is_in_front = False
        self.clear()
        screen.video_memory = self

    def clear(self) -> None:
        """As a BIOS leaves it that sets a text mode: its font is there, and nothing else."""
        self.planes.contents[:] = bytes(SIZE)
        self.planes.latches = 0
        self.load_font(b"".join(bytes(glyph(code)) for code in range(_CHARACTERS)), HEIGHT)
        self._is_newest = False
        """The planes hold what guest memory does not."""
        self._follow()

    def load_font(self, rows: bytes, height: int, first: int = 0, block: int = 0) -> None:
        """Characters from number `first` on, of so many rows, a byte each; `block` is one of eight fonts."""
        start = _FONT_START[block & 7] + first * FONT_CELL
        for index in range(len(rows) // height):
            place = 4 * (start + index * FONT_CELL) + _FONT_PLANE
            self.planes.contents[place : place + 4 * height : 4] = rows[index * height : (index + 1) * height]

    def font(self, block: int) -> bytes:
        """256 characters, of 32 rows each."""
        start = 4 * _FONT_START[block & 7] + _FONT_PLANE
        return bytes(self.planes.contents[start : start + 4 * _CHARACTERS * FONT_CELL : 4])

    def arrange(self) -> None:
        """The registers have changed. PageAbsent."""
        screen, planes = self._screen, self.planes
        wanted = screen.reaches_planes or screen.bank is not None
        if screen.reaches_planes:
            self._take_over()
        if wanted is not self._is_in_front:
            self._place(self, wanted)
            self._is_in_front = wanted
        if screen.is_at_a0000 and screen.is_chained and self._is_newest:
            self._memory.write(self.gpa, bytes(planes.contents[: self.length]))
            self._is_newest = False
        self._follow()

    def _follow(self) -> None:
        self.planes.show(self._screen.bank is None)
        self.planes.follow(self._screen.sequencer, self._screen.graphics_controller)

    def _take_over(self) -> None:
        if self._is_newest:
            return
        contents = self._memory.read(self.gpa, self.length)
        if any(contents):
            self.planes.contents[: self.length] = contents
        self._is_newest = True

    @property
    def planes_address(self) -> int:
        """See `kev.engine.base.Engine.map_window`."""
        return self.planes.address

    def read_mmio(self, vcpu: int, offset: int, size: int) -> int:
        if self._screen.bank is not None:
            return int.from_bytes(self._memory.read(self._in_bank(offset), size), "little")
        read = self.planes.read
        return read(offset) if size == 1 else sum(read(offset + place) << 8 * place for place in range(size))

    def write_mmio(self, vcpu: int, offset: int, size: int, value: int) -> None:
        if self._screen.bank is not None:
            self._memory.write(self._in_bank(offset), value.to_bytes(size, "little"))
            return
        write = self.planes.write
        for place in range(offset, offset + size):
            write(place, value & 0xFF)
            value >>= 8

    def _in_bank(self, offset: int) -> Gpa:
        return Gpa(FRAMEBUFFER.start + (self._screen.bank or 0) + offset)

    # What is saved

    def reset(self) -> None:
        if self._is_in_front:
            self._place(self, False)
            self._is_in_front = False
        self.clear()

    def load(self, state: State) -> None:
        self.reset()
        super().load(state)
        if self._is_in_front:
            self._place(self, True)
        self._follow()

    @property
    def _latches(self) -> int:
        return self.planes.latches

    @_latches.setter
    def _latches(self, value: int) -> None:
        self.planes.latches = value

    @property
    def _contents(self) -> memoryview:
        return self.planes.contents

    @_contents.setter
    def _contents(self, contents: bytearray) -> None:
        self.planes.contents[:] = contents


_FONT_START: Final = tuple((block & 3) * 0x4000 + (block >> 2) * 0x2000 for block in range(8))
"""Offsets of the fonts in their plane, by the number that the sequencer's character map select has."""
