"""Ports that guests write for their side effect on a real PC only."""

from collections.abc import Sequence
from typing import Final

DELAY_PORTS: Final = (range(0x80, 0x81), range(0x84, 0x85), range(0xED, 0xEE))
"""The power-on self test's code port and two that nothing decodes: an access takes a microsecond on an ISA bus."""


class IgnoredPorts:
    """Takes every write and reads as all ones."""

    __slots__ = ("ports",)

    def __init__(self, ports: Sequence[range] = DELAY_PORTS) -> None:
        self.ports: Final = ports

    def read_port(self, port: int, size: int) -> int:
        return (1 << 8 * size) - 1

    def write_port(self, port: int, size: int, value: int) -> None:
        pass
