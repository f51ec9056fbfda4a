"""What pages are filled from: ranges of pages that are filled alike."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import ClassVar, Final, TypeAlias

from kev.errors import KevError
from kev.named_tuple import NamedTuple
from kev.pager.image import Segment
from kev.pager.source import PageSource, read_exactly

PageLoader: TypeAlias = Callable[[memoryview], bool | Awaitable[bool]]
"""Fills one 4 KiB page in place; the page is zeros when it is handed over. False, or an exception, is a failed load.

A loader that has to wait returns an awaitable, and leaves the page alone once that has finished or was cancelled.
"""


class Backing(ABC):
    """What the pages from `start` up to `end` are filled from. Equal to another if they are filled alike."""

    __slots__ = ("end", "segments", "start")

    repeatable: ClassVar[bool] = True
    """Filling a page once more gives the same bytes and has no other effect."""
    contiguous: ClassVar[bool] = False
    """Pages in a row are filled at once, if their frames lie in a row."""

    def __init__(self, start: int, end: int, segments: tuple[Segment, ...]) -> None:
        self.start: Final = start
        self.end: Final = end
        self.segments: Final = segments
        """The segments that reach into these pages, in the order they were added."""

    @abstractmethod
    def fill(self, page: int, frame: memoryview) -> bool | Awaitable[bool]:
        """What the `PageLoader` of `page` does to its frame; of several pages from `page` on where they are `contiguous`."""

    def locate(self, page: int, error: KevError) -> None:
        """Says in an error what of `page` could not be read: its segment, and where that is in the file."""
        offsets = self._offsets(page)
        if offsets and not error.context:
            segments = ", ".join(f"{segment.paddr:#x}-{segment.end:#x}" for segment in self.segments)
            places = ", ".join(f"{offset:#x}" for offset in offsets)
            error.context = f"it is for the page at gpa {page:#x} of the segment at {segments}, file offset {places}"

    def _offsets(self, page: int) -> list[int]:
        """Where in a file that is which `page` is filled from; nowhere by default."""
        return []

    def origin(self, page: int) -> str:
        """Where the bytes of `page` come from, in words."""
        return "memory that no file fills"

    @abstractmethod
    def _contents(self) -> object:
        """What distinguishes it from others of its kind for the same pages."""

    def _key(self) -> tuple[object, ...]:
        return type(self), self.start, self.end, self.segments, self._contents()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Backing) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


class Zeros(Backing):
    """RAM, or pages that only the bss of segments reaches. They are zeros as they are: touching them would be all their cost."""

    __slots__ = ()

    contiguous = True

    def fill(self, page: int, frame: memoryview) -> bool:
        return True

    def _contents(self) -> None:
        return None


class FilePages(Backing):
    """Whole pages of a file, one behind the other."""

    __slots__ = ("displacement", "source")

    contiguous = True

    def __init__(self, start: int, end: int, segments: tuple[Segment, ...], source: PageSource, displacement: int) -> None:
        super().__init__(start, end, segments)
        self.source: Final = source
        self.displacement: Final = displacement
        """What has to be added to a guest-physical address to get the offset into the file."""

    def fill(self, page: int, frame: memoryview) -> bool | Awaitable[bool]:
        return read_exactly(self.source, page + self.displacement, frame)

    def _offsets(self, page: int) -> list[int]:
        return [page + self.displacement]

    def origin(self, page: int) -> str:
        return f"offset {page + self.displacement:#x} of {self.source.name}"

    def _contents(self) -> object:
        return self.source, self.displacement


class Piece(NamedTuple):
    """Bytes of a file that go to a part of a page."""

    source: PageSource
    offset: int
    begin: int
    """Where they begin in the page."""
    end: int

    def fill(self, frame: memoryview) -> bool | Awaitable[bool]:
        return read_exactly(self.source, self.offset, frame[self.begin : self.end])


class ComposedPage(Backing):
    """One page of bytes from several places, and zeros between them."""

    __slots__ = ("pieces",)

    def __init__(self, start: int, end: int, segments: tuple[Segment, ...], pieces: tuple[Piece, ...]) -> None:
        super().__init__(start, end, segments)
        self.pieces: Final = pieces

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

    def _offsets(self, page: int) -> list[int]:
        return [piece.offset for piece in self.pieces]

    def origin(self, page: int) -> str:
        return " and ".join(f"offset {piece.offset:#x} of {piece.source.name}" for piece in self.pieces)

    def _contents(self) -> object:
        return self.pieces


class OwnPage(Backing):
    """A page with a loader of its own."""

    __slots__ = ("loader",)

    repeatable = False

    def __init__(self, start: int, end: int, segments: tuple[Segment, ...], loader: PageLoader) -> None:
        super().__init__(start, end, segments)
        self.loader: Final = loader

    def fill(self, page: int, frame: memoryview) -> bool | Awaitable[bool]:
        return self.loader(frame)

    def _contents(self) -> object:
        return self.loader
