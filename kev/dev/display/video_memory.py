"""The memory of a VGA where a guest has not chained its planes.

What it does at 0xa0000 is then no load or store of memory but one of these planes, an exit each. Where the planes are chained, what
lies there is guest memory, and of it the first 64 KiB of the planes: they follow when one becomes the other.
"""

from collections.abc import Callable
from enum import Enum
from typing import Final

from kev.addressing import Gpa
from kev.dev.base import GuestMemory, MmioDevice, PlainDevice
from kev.dev.display.glyphs import HEIGHT, glyph
from kev.dev.display.planes import SIZE, Planes
from kev.dev.display.screen import GRAPHICS_MEMORY, TEXT_MEMORY, VgaScreen
from kev.pager.ram import FRAMEBUFFER
from kev.state import FLAG, Fields, State, bits, octets, one_of, optional

_FONT_PLANE: Final = 2
FONT_CELL: Final = 32
"""Bytes of a character in a font."""
_CHARACTERS: Final = 256


class Place(Enum):
    """Where the planes are in front of memory."""

    GRAPHICS = GRAPHICS_MEMORY
    TEXT = TEXT_MEMORY


class _Front:
    """The pages of a device that is in front of guest memory."""

    name: Final = "video memory"

    __slots__ = ("_read", "_write", "gpa", "length", "planes_address")

    def __init__(
        self, addresses: range, planes_address: int, read: Callable[[int, int], int], write: Callable[[int, int, int], None]
    ) -> None:
        self.gpa: Final = Gpa(addresses.start)
        self.length: Final = len(addresses)
        self.planes_address: Final = planes_address
        """See `kev.engine.base.Engine.map_window`."""
        self._read: Final = read
        self._write: Final = write

    def read_mmio(self, vcpu: int, offset: int, size: int) -> int:
        return self._read(offset, size)

    def write_mmio(self, vcpu: int, offset: int, size: int, value: int) -> None:
        self._write(offset, size, value)


class VideoMemory(PlainDevice):
    """What is in front of guest memory as long as the guest wants it there: where pictures are, or where text is."""

    name: Final = "video memory"

    FIELDS = Fields({"_place": optional(one_of(Place)), "_is_newest": FLAG, "_latches": bits(32), "_contents": octets(SIZE)})

    __slots__ = ("_fronts", "_is_newest", "_memory", "_place", "_put", "_screen", "planes")

    def __init__(self, screen: VgaScreen, memory: GuestMemory, put: Callable[[MmioDevice, bool], None]) -> None:
        """`put` puts a device in front of guest memory, or takes it away."""
        self._screen: Final = screen
        self._memory: Final = memory
        self._put: Final = put
        self.planes: Final = Planes()
        self._fronts: Final = {place: _Front(place.value, self.planes.address, self._read, self._write) for place in Place}
        self._place: Place | None = None
        """None: nowhere."""
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
        is_text = screen.reaches_planes_as_text and screen.bank is None
        wanted = Place.GRAPHICS if screen.reaches_planes or screen.bank is not None else Place.TEXT if is_text else None
        if screen.reaches_planes or is_text:
            self._take_over()
        self._move_to(wanted)
        if screen.is_at_a0000 and screen.is_chained and self._is_newest:
            self._memory.write(Gpa(GRAPHICS_MEMORY.start), bytes(planes.contents[: len(GRAPHICS_MEMORY)]))
            self._is_newest = False
        self._follow()

    def _move_to(self, place: Place | None) -> None:
        if place is self._place:
            return
        if self._place is not None:
            self._put(self._fronts[self._place], False)
        self._place = place
        if place is not None:
            self._put(self._fronts[place], True)

    def _follow(self) -> None:
        self.planes.show(self._screen.bank is None)
        self.planes.follow(self._screen.sequencer, self._screen.graphics_controller)

    def _take_over(self) -> None:
        if self._is_newest:
            return
        contents = self._memory.read(Gpa(GRAPHICS_MEMORY.start), len(GRAPHICS_MEMORY))
        if any(contents):
            self.planes.contents[: len(contents)] = contents
        self._is_newest = True

    def _read(self, offset: int, size: int) -> int:
        if self._screen.bank is not None:
            return int.from_bytes(self._memory.read(self._in_bank(offset), size), "little")
        read = self.planes.read
        return read(offset) if size == 1 else sum(read(offset + place) << 8 * place for place in range(size))

    def _write(self, offset: int, size: int, value: int) -> None:
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
        self._move_to(None)
        self.clear()

    def load(self, state: State) -> None:
        self.reset()
        super().load(state)
        place, self._place = self._place, None
        self._move_to(place)
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
