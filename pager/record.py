"""Writes down which pages a guest touches."""

from typing import Final

from kev.addressing import Gpa
from kev.pager.kernel import KernelVmPager
from kev.pager.pages import PageEvent
from kev.pager.policy import PagingPolicy
from kev.pager.working_set import ImageIdentity, WorkingSet


class Record(PagingPolicy):
    """Lazy paging that remembers the order of first touch."""

    name = "record"

    def __init__(self) -> None:
        self._pages: Final[dict[int, None]] = {}
        self._image: ImageIdentity | None = None

    def attach(self, pager: KernelVmPager) -> None:
        self._image = ImageIdentity.of(pager.image)
        pager.observe(self)

    @property
    def working_set(self) -> WorkingSet:
        """What was touched so far."""
        assert self._image is not None
        return WorkingSet(self._image, tuple(self._pages))

    def figures(self) -> dict[str, int]:
        return {"recorded": len(self._pages)}

    # As an observer of the pager.

    def began(self, pages: range) -> None:
        self._pages.update(dict.fromkeys(pages))

    def waited(self, gpa: Gpa) -> None:
        """A wait is for a page that was touched before."""

    def ended(self, pages: range, event: PageEvent) -> None:
        """A page that could not be loaded was touched all the same."""
