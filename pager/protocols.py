"""What the pager asks of its surroundings: a table, a way to wait, and who may watch."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from enum import Enum
from typing import Protocol, TypeAlias

from kev.addressing import Gpa, Hpa
from kev.named_tuple import NamedTuple
from kev.pager.pages import PageEvent
from kev.pager.source import OpenFile


class NestedTable(Protocol):
    """What the pager does with a nested page table."""

    def map_page(self, gpa: int, hpa: int, permissions: int, /) -> None: ...

    def map_pages(self, gpa: int, hpa: int, count: int, permissions: int, /) -> None:
        """Maps pages in a row, all within 2 MiB at a multiple of 2 MiB."""

    def unmap(self, gpa: Gpa, /) -> object: ...


class AlikePages(NamedTuple):
    """Pages in a row that are filled alike: with zeros, or with the bytes of a file."""

    numbers: range
    """Their numbers within their 2 MiB."""
    file: "OpenFile | None" = None
    """None: zeros."""
    offset: int = 0
    """Where in the file the first of them is."""


class PageFiller(Protocol):
    """Makes pages Present when they are touched, without asking. The engine does: `kev.engine.base.Engine`."""

    def offer_pages(self, gpa: Gpa, hpa: Hpa, pages: Sequence[AlikePages], states: bytearray, /) -> None: ...

    def withdraw_pages(self) -> None: ...

    def pages_filled(self) -> int: ...


class Rendezvous(Protocol):
    """Where tasks wait for something that happens once. `trio.Event` is one."""

    def set(self) -> None:
        """It has happened: everyone who waits goes on."""

    async def wait(self) -> None:
        """Returns when it has happened. Registers the caller before it first suspends."""


class Point(Enum):
    """Where another task might as well run first: the scheduling points of a race test."""

    LOCK = "lock"
    """Before a page's state is looked at."""
    WAIT = "wait"
    """Before waiting for somebody else's load."""
    FILL = "fill"
    """After the claim, before the loader runs."""
    PUBLISH = "publish"
    """After the loader, before the page is mapped."""
    WAKE = "wake"
    """After the page was mapped, before those who wait for it go on."""


SchedulingPoints: TypeAlias = Callable[[Point, int], Awaitable[None] | None]
"""Is told the point, and the guest-physical address of the page it is about. None: nobody else goes first."""

ReadAhead: TypeAlias = Callable[[int], Iterable[range]]
"""Says which runs of Absent pages to load when the page at an address is touched, its own first; none: nothing but the page.

Each run is asked for when the one before it is loaded, or has at least begun to be.
"""


class LoadObserver(Protocol):
    """Is told of every load as it happens; `pages` are the addresses of the pages that are loaded together, often but one."""

    def began(self, pages: range) -> None: ...

    def waited(self, gpa: Gpa) -> None:
        """Somebody begins to wait for a load that is under way, of the page at `gpa`."""

    def ended(self, pages: range, event: PageEvent) -> None:
        """The pages are Present (PUBLISH), or Absent again (FAIL, ABANDON)."""
