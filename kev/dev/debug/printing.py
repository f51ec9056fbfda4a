"""What devices have in common whose ports print characters."""

from collections.abc import Callable
from typing import Self

from kev.dev.base import PlainDevice
from kev.dev.surroundings import Surroundings


class PrintingDevice(PlainDevice):
    """Prints beside the serial line: see `kev.dev.surroundings.Surroundings.console`."""

    __slots__ = ("_transmit",)

    def __init__(self, transmit: Callable[[int], None]) -> None:
        """`transmit` is called with every byte that the guest writes."""
        self._transmit = transmit

    @classmethod
    def built_for(cls, machine: Surroundings) -> Self:
        return cls(machine.console.put_debug)
