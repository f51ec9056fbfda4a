"""Ports that guests write for their side effect on a real PC only."""

from typing import Final, Self

from kev.dev.base import PlainDevice
from kev.dev.surroundings import Surroundings


class DelayPorts(PlainDevice):
    """The power-on self test's code port and two that nothing decodes: an access takes a microsecond on an ISA bus.

    They take every write and read as all ones.
    """

    name: Final = "delay"
    ports: Final = (range(0x80, 0x81), range(0x84, 0x85), range(0xED, 0xEE))

    __slots__ = ()

    @classmethod
    def built_for(cls, machine: Surroundings) -> Self:
        return cls()

    def read_port(self, port: int, size: int) -> int:
        return (1 << 8 * size) - 1

    def write_port(self, port: int, size: int, value: int) -> None:
        pass
