"""The host's physical memory: pages with reference counts, some of which a guest's machine holds.

A machine has frames of its own for its guest's memory. So a page that is mapped into a guest lives there: its *home* is a place in
the guest's memory, and whoever reads or writes the page does so there. Guest and host then see the same bytes at any time. A page
that two guests share is at home in both, and is carried to the one that runs next (`PhysicalMemory.bring`); guests take turns, so
that none can tell the difference. When the last guest lets go of a page, its contents move into the host's own frame.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

from kev.addressing import MIB, PAGE_SIZE, Gpa, Hpa
from kev.dev.base import GuestMemory
from kev.envs.errors import JosError, JosFailure
from kev.host_memory import HostMemory, HostMemoryError

DEFAULT_SIZE: Final = 64 * MIB
"""Of the host's physical memory, in bytes."""


class GuestRam(GuestMemory, Protocol):
    """The memory that a running guest sees."""

    def permit_writes(self, gpa: Gpa, permitted: bool) -> None:
        """Whether the guest may write to the page that holds `gpa`: at first it may."""


class Home(NamedTuple):
    """Where a page lies in a guest's memory."""

    guest: int
    """The id of the guest's environment."""
    memory: GuestMemory
    gpa: Gpa


class _Page:
    """What is known of a page (JOS, struct PageInfo)."""

    __slots__ = ("homes", "references")

    def __init__(self) -> None:
        self.references = 0
        self.homes: list[Home] = []
        """The last one has the contents."""


class PhysicalMemory:
    """Pages, and the tables that map them."""

    __slots__ = ("_pages", "memory")

    def __init__(self, size: int = DEFAULT_SIZE) -> None:
        """Of `size` bytes, a multiple of 4 KiB; only what is touched costs anything."""
        self.memory: Final = HostMemory(size)
        self._pages: Final[dict[Hpa, _Page]] = {}

    def __len__(self) -> int:
        """How many pages there are that were allocated and not freed, tables aside."""
        return len(self._pages)

    def __iter__(self) -> Iterator[Hpa]:
        """Their addresses."""
        return iter(self._pages)

    def allocate(self) -> Hpa:
        """A page of zeros without references: JOS' page_alloc. JosFailure (E_NO_MEM) if there is none left."""
        try:
            page = self.memory.allocate()
        except HostMemoryError as error:
            raise JosFailure(JosError.NO_MEM, str(error)) from error
        self._pages[page] = _Page()
        return page

    def references(self, page: Hpa) -> int:
        """How many mappings there are of a page; 0 if it is free."""
        found = self._pages.get(page)
        return 0 if found is None else found.references

    def retain(self, page: Hpa) -> None:
        """There is one more mapping of the page."""
        self._pages[page].references += 1

    def release(self, page: Hpa) -> None:
        """There is one less: with the last, the page is free. JOS' page_decref."""
        found = self._pages[page]
        found.references -= 1
        if found.references <= 0:
            self.free(page)

    def free(self, page: Hpa) -> None:
        """A page without references goes back: JOS' page_free."""
        del self._pages[page]
        self.memory.free(page)

    def read(self, page: Hpa, offset: int = 0, length: int = PAGE_SIZE) -> bytes:
        """Bytes of a page, wherever it is at home. PageAbsent if its guest's page has to be awaited."""
        homes = self._pages[page].homes
        if homes:
            return homes[-1].memory.read(Gpa(homes[-1].gpa + offset), length)
        return bytes(self.memory.view[page + offset : page + offset + length])

    def write(self, page: Hpa, offset: int, data: bytes) -> None:
        """Likewise."""
        homes = self._pages[page].homes
        if homes:
            homes[-1].memory.write(Gpa(homes[-1].gpa + offset), data)
        else:
            self.memory.view[page + offset : page + offset + len(data)] = data

    def clear(self) -> None:
        """Takes back every page, and the tables with them."""
        self._pages.clear()
        self.memory.clear()

    # Pages in guests.

    def homes(self, page: Hpa) -> list[Home]:
        """The places in guests' memory that are this page; the last one has its contents."""
        return self._pages[page].homes

    def adopt(self, page: Hpa, home: Home) -> None:
        """What lies at `home` is the page's contents from now on."""
        self._pages[page].homes.append(home)

    def enter(self, page: Hpa, home: Home) -> None:
        """The page is seen at `home` from now on. PageAbsent before anything has changed."""
        home.memory.write(home.gpa, self.read(page))
        self._pages[page].homes.append(home)

    def leave(self, page: Hpa, home: Home) -> None:
        """The page is not seen at `home` any more; what it holds is kept."""
        homes = self._pages[page].homes
        data = homes[-1].memory.read(homes[-1].gpa, PAGE_SIZE)
        homes.remove(home)
        self.write(page, 0, data)

    def bring(self, guest: int) -> None:
        """The guest with this id runs next: the pages that it shares with other guests hold there what they hold elsewhere."""
        for page in self._pages.values():
            homes = page.homes
            if len(homes) < 2 or homes[-1].guest == guest:
                continue
            here = next((home for home in homes if home.guest == guest), None)
            if here is not None:
                here.memory.write(here.gpa, homes[-1].memory.read(homes[-1].gpa, PAGE_SIZE))
                homes.remove(here)
                homes.append(here)
