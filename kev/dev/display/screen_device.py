"""Registers of a VGA that say how the screen is shown."""

from typing import Final, Self

from kev.dev.base import PlainDevice
from kev.dev.surroundings import Screen, Surroundings
from kev.state import State


class ScreenDevice(PlainDevice):
    """A base for them. `reset` gives them what they begin with, and is called at first."""

    __slots__ = ("_screen",)

    def __init__(self, screen: Screen) -> None:
        self._screen: Final = screen
        self.reset()

    @classmethod
    def built_for(cls, machine: Surroundings) -> Self:
        return cls(machine.screen)

    def load(self, state: State) -> None:
        super().load(state)
        self._look()

    def _look(self) -> None:
        """Tells the screen what follows from the registers."""
        raise NotImplementedError
