"""Where input goes."""

from typing import Protocol

from kev.subscribers import Subscribers


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
