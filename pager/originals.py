"""Whether a guest has changed a page since it was loaded."""

from collections.abc import Callable
from typing import Final

from kev.addressing import PAGE_SIZE
from kev.errors import KevError
from kev.pager.backing import Backing


class Originals:
    """What pages were when they were loaded: noted where running the loader again would be too much to find out."""

    __slots__ = ("_fingerprint", "_fingerprints")

    def __init__(self) -> None:
        self._fingerprint: Callable[[memoryview], object] = _fingerprint
        self._fingerprints: Final[dict[int, object]] = {}

    def keep_contents(self) -> None:
        """From now on, all of a page is noted: in a sixth of the time, and 4 KiB each. To be called before anything is noted."""
        self._fingerprint = memoryview.tobytes

    def remember(self, page: int, frame: memoryview) -> None:
        """Notes that `page` was loaded with the contents of `frame`."""
        fingerprint = self._fingerprint  # a local: CPython 3.11 is slow to call what an instance holds by name
        self._fingerprints[page] = fingerprint(frame)

    def clear(self) -> None:
        """Forgets all that was noted."""
        self._fingerprints.clear()

    def is_as_noted(self, page: int, frame: memoryview) -> bool | None:
        """Whether `frame` is what was noted of `page`; None if nothing was."""
        fingerprint = self._fingerprints.get(page)
        return None if fingerprint is None else fingerprint == self._fingerprint(frame)

    def has_changed(self, page: int, frame: memoryview, backing: Backing) -> bool:
        """Whether `frame` differs from what `backing` made of `page`. What was noted of the page is forgotten."""
        fingerprint = self._fingerprints.pop(page, None)
        if fingerprint is not None:
            return fingerprint != self._fingerprint(frame)
        original = memoryview(bytearray(PAGE_SIZE))
        try:
            return backing.fill(page, original) is not True or original != frame
        except KevError:
            # The source cannot be read any more: better to keep what there is.
            return True


def _fingerprint(frame: memoryview) -> int:
    """64 bits, keyed by the process: pages that differ have different ones, but for a chance that is none."""
    return hash(frame.toreadonly())
