"""What pages are filled from: ranges of pages that are filled alike."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import ClassVar, TypeAlias

import attrs

from kev.pager.image import Segment
from kev.pager.source import PageSource, read_exactly

PageLoader: TypeAlias = Callable[[memoryview], bool | Awaitable[bool]]
"""Fills one 4 KiB page in place; the page is zeros when it is handed over. False, or an exception, is a failed load.

A loader that has to wait returns an awaitable, and leaves the page alone once that has finished or was cancelled.
"""


@attrs.frozen(slots=True)
class Backing(ABC):
    """What the pages from `start` up to `end` are filled from."""

    start: int
    end: int
    segments: tuple[Segment, ...]
    """The segments that reach into these pages, in the order they were added."""
    repeatable: ClassVar[bool] = True
    """Filling a page once more gives the same bytes and has no other effect."""
    contiguous: ClassVar[bool] = False
    """Pages in a row are filled at once, if their frames lie in a row."""

    @abstractmethod
    def fill(self, page: int, frame: memoryview) -> bool | Awaitable[bool]:
        """What the `PageLoader` of `page` does to its frame; of several pages from `page` on where they are `contiguous`."""


@attrs.frozen(slots=True)
class Zeros(Backing):
    """RAM, or pages that only the bss of segments reaches. They are zeros as they are: touching them would be all their cost."""

    contiguous = True

    def fill(self, page: int, frame: memoryview) -> bool:
        return True


@attrs.frozen(slots=True)
class FilePages(Backing):
    """Whole pages of a file, one behind the other."""

    contiguous = True
    source: PageSource
    displacement: int
    """What has to be added to a guest-physical address to get the offset into the file."""

    def fill(self, page: int, frame: memoryview) -> bool | Awaitable[bool]:
        return read_exactly(self.source, page + self.displacement, frame)


@attrs.frozen(slots=True)
class Piece:
    """Bytes of a file that go to a part of a page."""

    source: PageSource
    offset: int
    begin: int
    """Where they begin in the page."""
    end: int

    def fill(self, frame: memoryview) -> bool | Awaitable[bool]:
        return read_exactly(self.source, self.offset, frame[self.begin : self.end])


@attrs.frozen(slots=True)
class ComposedPage(Backing):
    """One page of bytes from several places, and zeros between them."""

    pieces: tuple[Piece, ...]

    def fill(self, page: int, frame: memoryview) -> bool | Awaitable[bool]:
        for index, piece in enumerate(self.pieces):
            filled = piece.fill(frame)
            if not isinstance(filled, bool):
                return self._await_and_fill_rest(filled, index + 1, frame)
        return True

    async def _await_and_fill_rest(self, pending: Awaitable[bool], index: int, frame: memoryview) -> bool:
        await pending
        for piece in self.pieces[index:]:
            filled = piece.fill(frame)
            if not isinstance(filled, bool):
                await filled
        return True


@attrs.frozen(slots=True)
class OwnPage(Backing):
    """A page with a loader of its own."""

    loader: PageLoader
    repeatable = False

    def fill(self, page: int, frame: memoryview) -> bool | Awaitable[bool]:
        return self.loader(frame)
