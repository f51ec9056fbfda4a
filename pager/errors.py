"""How loading an image or a page is refused."""

from kev.addressing import Gpa, page_floor
from kev.errors import KevError


class PagerError(KevError):
    """The pager is asked for something that a page's state does not allow."""


class NoSuchPage(KevError):
    """The guest touches an address where there is neither RAM nor image."""


class PageLoadError(KevError):
    """The loader of a page says that it failed."""


class PageLimitReached(KevError):
    """A page is needed, and as many are loaded as may be. Names the limit."""


class ReadOnlyPage(KevError):
    """The guest writes to a page that is mapped for reading and executing only: its device's business."""

    def __init__(self, gpa: Gpa) -> None:
        super().__init__(f"write to guest-physical address {gpa:#x}: its page is mapped read-only, and no device answers")
        self.gpa = gpa


class Violation(Exception):
    """The hypervisor itself met a page that is not loaded. Load it and try again."""

    def __init__(self, gpa: Gpa) -> None:
        super().__init__(f"page {page_floor(gpa):#x} is not loaded")
        self.gpa = gpa


class ImageError(KevError):
    """A kernel image is damaged, or not for this machine. Names the field, its value and the limit."""
