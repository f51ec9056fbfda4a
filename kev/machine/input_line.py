"""Where input goes."""

from typing import Final, Protocol

from kev.subscribers import Subscribers

READ_SIZE: Final = 4096
"""Bytes of input that are read at once."""
LARGEST_BACKLOG: Final = 4096
"""While as many bytes wait for the guest, no more are read, but from a terminal: there the escape has to be seen."""


class InputLine(Protocol):
    """What takes input for the guest: COM1, the keyboard, or what stands in front of either."""

    @property
    def backlog(self) -> int:
        """How much the guest has not taken yet."""

    @property
    def taken(self) -> Subscribers[[]]:
        """Are told when the guest has taken some of it."""

    def receive(self, data: bytes) -> None: ...


class InputDevice(InputLine, Protocol):
    """COM1 or the keyboard."""

    @property
    def looks(self) -> int:
        """How often the guest has asked whether there is something for it."""
