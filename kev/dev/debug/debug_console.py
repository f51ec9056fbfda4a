"""The debug console of Bochs and QEMU ("isa-debugcon"): whatever is written to port 0xe9 is printed."""

from collections.abc import Callable
from typing import Final, Self

from kev.dev.base import PlainDevice
from kev.dev.surroundings import Surroundings

_PORT: Final = 0xE9


class DebugConsole(PlainDevice):
    """Reads give the port's own number, by which kernels find out that it is there."""

    name: Final = "debug console"
    ports: Final = (range(_PORT, _PORT + 1),)

    __slots__ = ("_transmit",)

    def __init__(self, transmit: Callable[[int], None]) -> None:
        """`transmit` is called with every byte that the guest writes."""
        self._transmit = transmit

    @classmethod
    def built_for(cls, machine: Surroundings) -> Self:
        return cls(machine.console.put_debug)

    def read_port(self, port: int, size: int) -> int:
        return _PORT

    def write_port(self, port: int, size: int, value: int) -> None:
        self._transmit(value)
