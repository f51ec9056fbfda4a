"""Several observers of one pager."""

from kev.addressing import Gpa
from kev.pager.pages import PageEvent
from kev.pager.protocols import LoadObserver


class Observers:
    """Two observers, of which either may be two."""

    __slots__ = ("_first", "_second")

    def __init__(self, first: LoadObserver, second: LoadObserver) -> None:
        self._first = first
        self._second = second

    def began(self, pages: range) -> None:
        self._first.began(pages)
        self._second.began(pages)

    def waited(self, gpa: Gpa) -> None:
        self._first.waited(gpa)
        self._second.waited(gpa)

    def ended(self, pages: range, event: PageEvent) -> None:
        self._first.ended(pages, event)
        self._second.ended(pages, event)
