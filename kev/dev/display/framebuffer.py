"""A linear framebuffer: memory that a kernel draws into, one pixel behind the other.

It is guest memory like RAM, whose pages are loaded, as zeros, when they are touched.
"""

from collections.abc import Iterator
from typing import Final

from kev.addressing import MIB, PAGE_SIZE, Gpa, page_ceil, page_floor, page_offset
from kev.named_tuple import NamedTuple
from kev.pager.kernel import KernelVmPager
from kev.pager.ram import FRAMEBUFFER

_SMALLEST: Final = 160
"""Pixels in a row or column that make sense; a text mode's columns are fewer."""
_CHANNELS: Final = {
    15: ((10, 5), (5, 5), (0, 5)),
    16: ((11, 5), (5, 6), (0, 5)),
    24: ((16, 8), (8, 8), (0, 8)),
    32: ((16, 8), (8, 8), (0, 8)),
}
"""By bits per pixel, the lowest bit and the number of bits of red, green and blue."""
_DEFAULT_DEPTH: Final = 32
INDEXED: Final = 8
"""Bits of a pixel that is the number of a colour."""
DEPTHS: Final = frozenset((INDEXED, *_CHANNELS))
"""All that a display can show."""
_WANTED: Final = (16, 24, 32)
"""Those that a kernel's header may ask for."""


class VideoMode(NamedTuple):
    """What a framebuffer shows."""

    width: int = 1024
    height: int = 768
    depth: int = _DEFAULT_DEPTH
    """Bits per pixel: 15, 16, 24 or 32, or 8 for numbers of colours."""

    @classmethod
    def wanted(cls, width: int, height: int, depth: int) -> "VideoMode":
        """What is nearest to a wish of a kernel, in which 0 means that it has none."""
        if depth not in _WANTED:
            depth = _DEFAULT_DEPTH
        mode = cls(width, height, depth)
        fits = min(width, height) >= _SMALLEST and mode.size <= len(FRAMEBUFFER)
        return mode if fits else cls(depth=depth)

    @property
    def pitch(self) -> int:
        """Bytes from one row to the next."""
        return self.width * self.pixel_size

    @property
    def pixel_size(self) -> int:
        """In bytes."""
        return (self.depth + 7) // 8

    @property
    def size(self) -> int:
        """In bytes."""
        return self.pitch * self.height

    @property
    def channels(self) -> tuple[tuple[int, int], ...]:
        """The lowest bit and the number of bits of red, green and blue in a pixel; none if it is the number of a colour."""
        return _CHANNELS.get(self.depth, ())


assert VideoMode().size <= len(FRAMEBUFFER) == 16 * MIB


class Framebuffer:
    """The pixels. Nothing is loaded to look at them: what the guest never touched is black."""

    __slots__ = ("_pager", "_pitch", "_start", "mode")

    def __init__(self, pager: KernelVmPager, mode: VideoMode, pitch: int | None = None, start: int = 0) -> None:
        """`pitch`: bytes from one row to the next, by default those of a row; `start`: of the first pixel, in the memory."""
        self._pager: Final = pager
        self._pitch: Final = mode.pitch if pitch is None else pitch
        self._start: Final = FRAMEBUFFER.start + start
        self.mode: Final = mode

    def contents(self) -> bytes:
        """The pixels as they are in memory, without what is between rows."""
        first, row, pitch = page_offset(self._start), self.mode.pitch, self._pitch
        memory = b"".join(map(self._page, self._pages))
        if row == pitch:
            return memory[first : first + self.mode.size]
        return b"".join(memory[start : start + row] for start in range(first, first + pitch * self.mode.height, pitch))

    def pixels(self) -> bytes:
        """Red, green and blue of every pixel, a byte each, row by row. The mode has none that are numbers of colours."""
        mode, step = self.mode, self.mode.pixel_size
        memory = self.contents()
        if step == 2:
            return _expand(memory, mode)
        picture = bytearray(3 * mode.width * mode.height)
        for channel, (low, _) in enumerate(mode.channels):
            picture[channel::3] = memory[low // 8 :: step]
        return bytes(picture)

    @property
    def is_drawn_on(self) -> bool:
        """The guest has touched it."""
        return any(self.touched_pages)

    @property
    def touched_pages(self) -> Iterator[Gpa]:
        """Those that are in memory."""
        return (Gpa(page) for page in self._pages if self._pager.gpa2hpa(Gpa(page)) is not None)

    @property
    def _end(self) -> int:
        return self._start + self._pitch * (self.mode.height - 1) + self.mode.pitch

    @property
    def _pages(self) -> range:
        return range(page_floor(self._start), page_ceil(self._end), PAGE_SIZE)

    def _page(self, gpa: int) -> bytes:
        hpa = self._pager.gpa2hpa(Gpa(gpa))
        return bytes(PAGE_SIZE) if hpa is None else bytes(self._pager.memory.page(hpa))


def _expand(memory: bytes, mode: VideoMode) -> bytes:
    """Pixels of 16 bits as 3 bytes, the brightest of which is 255."""
    words = memoryview(memory).cast("H")
    picture = bytearray(3 * len(words))
    for channel, (low, width) in enumerate(mode.channels):
        most = (1 << width) - 1
        shades = bytes(round(255 * level / most) for level in range(most + 1))
        picture[channel::3] = bytes(shades[word >> low & most] for word in words)
    return bytes(picture)


def install_framebuffer(pager: KernelVmPager) -> None:
    """Registers its pages, before the guest runs."""
    pager.loaders.add_ram(Gpa(FRAMEBUFFER.start), Gpa(FRAMEBUFFER.stop))
