"""Several observers of one pager."""

import attrs

from kev.addressing import Gpa
from pager.pages import PageEvent
from pager.protocols import LoadObserver


@attrs.frozen(slots=True)
class Observers:
    """Two observers, of which either may be two."""

    first: LoadObserver
    second: LoadObserver

    def began(self, pages: range) -> None:
        self.first.began(pages)
        self.second.began(pages)

    def waited(self, gpa: Gpa) -> None:
        self.first.waited(gpa)
        self.second.waited(gpa)

    def ended(self, pages: range, event: PageEvent) -> None:
        self.first.ended(pages, event)
        self.second.ended(pages, event)
