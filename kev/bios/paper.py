"""What the text on the screen has come to on the console, which no memory of the guest holds."""

from typing import Final

from kev.dev.base import PlainDevice
from kev.dev.display.screen import BYTES_PER_ROW, MOST_ROWS, VgaScreen
from kev.state import TEXT, Fields, integers, octets

_CELLS: Final = MOST_ROWS * BYTES_PER_ROW
_MOST: Final = 1 << 62


class Paper(PlainDevice):
    """A device without addresses, so that machines that go on from here print what this one would."""

    FIELDS = Fields({"row": integers(-_MOST, _MOST), "line": TEXT, "printed": octets(_CELLS)})

    __slots__ = ("_name", "_screen", "line", "row")

    def __init__(self, name: str, screen: VgaScreen) -> None:
        self._name: Final = name
        self._screen: Final = screen
        self.reset()

    @property
    def name(self) -> str:
        return self._name

    @property
    def printed(self) -> bytearray:
        """The cells that have been written, which are printed, too."""
        return self._screen.printed

    @printed.setter
    def printed(self, cells: bytearray) -> None:
        self._screen.printed = cells

    def reset(self) -> None:
        self.row = 0
        """Of the screen: the one that is printed, counted from 0."""
        self.line = ""
        """What has been printed of it."""
        self.printed = bytearray(_CELLS)
