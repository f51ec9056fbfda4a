"""Pages that a snapshot has, as what pages are filled from: they lie in front of the image's."""

from collections.abc import Awaitable, Iterator
from typing import Final, Protocol

from kev.addressing import PAGE_SHIFT, PAGE_SIZE
from kev.pager.backing import Backing
from kev.pager.frames import SLAB_SHIFT
from kev.pager.image import Segment


class Beneath(Protocol):
    """What pages would be filled from if there were no snapshot."""

    def fill(self, page: int, frame: memoryview, /) -> bool | Awaitable[bool]:
        """Fills the pages from `page` on, which follow each other, as far as `frame` reaches."""

    def origin(self, page: int, /) -> str:
        """Where the bytes of `page` come from, in words."""


class SavedMemory(Protocol):
    """The pages of a snapshot, and of those that it is a difference to. Chunks are 2 MiB of guest-physical memory, by number."""

    @property
    def id(self) -> bytes:
        """16 bytes that no other snapshot has."""

    @property
    def waits(self) -> bool:
        """Reading it may have to be awaited."""

    def chunks(self) -> list[int]:
        """The chunks that pages were saved of, ascending."""

    def holds(self, chunk: int, /) -> bool:
        """Whether there are any of this chunk."""

    async def present(self, chunk: int, /) -> int:
        """A bitmap of the pages of a chunk that were Present when they were saved."""

    def fill(self, page: int, frame: memoryview, beneath: Beneath, /) -> bool | Awaitable[bool]:
        """Fills the pages of one chunk from `page` on, as far as `frame` reaches, with what they were.

        What was not saved comes from `beneath`. KevError if a page cannot be read, or is not what it was.
        """


class SavedRange(Backing):
    """Pages of one chunk. They are filled at once, wherever each of them comes from."""

    __slots__ = ("beneath", "saved")

    contiguous = True

    def __init__(self, start: int, end: int, segments: tuple[Segment, ...], saved: SavedMemory, beneath: Beneath) -> None:
        super().__init__(start, end, segments)
        self.saved: Final = saved
        self.beneath: Final = beneath

    def fill(self, page: int, frame: memoryview) -> bool | Awaitable[bool]:
        return self.saved.fill(page, frame, self.beneath)

    def _contents(self) -> object:
        return self.saved.id


def runs_of(chunk: int, bitmap: int) -> Iterator[range]:
    """The addresses of a chunk's pages in a bitmap, those that follow each other together."""
    base = chunk << SLAB_SHIFT
    while bitmap:
        start = (bitmap & -bitmap).bit_length() - 1
        length = (~(bitmap >> start) & (bitmap >> start) + 1).bit_length() - 1
        yield range(base + (start << PAGE_SHIFT), base + (start + length << PAGE_SHIFT), PAGE_SIZE)
        bitmap &= -1 << start + length
