"""The ports with which test kernels end the run and give a verdict: QEMU's "isa-debug-exit", by default at 0x501, often at 0xf4."""

from collections.abc import Callable
from typing import Final, Self

from kev.dev.base import PlainDevice
from kev.dev.surroundings import Surroundings

_PORTS: Final = (range(0xF4, 0xF5), range(0x501, 0x503))


def exit_code(value: int) -> int:
    """The exit code of the run for a `value` written to the port.

    0 stands for success and stays 0, so that a passed test is a successful command. Everything else is what QEMU's process ends
    with, value * 2 + 1 in 8 bits, which is never 0.
    """
    return (value * 2 + 1) & 0xFF if value else 0


class DebugExit(PlainDevice):
    """Any write ends the run; reads are 0."""

    name: Final = "debug exit"
    ports: Final = _PORTS
    wide_ports: Final = ports

    __slots__ = ("_report",)

    def __init__(self, report: Callable[[int], None]) -> None:
        """`report` is called with the value as the guest wrote it: see `exit_code`."""
        self._report = report

    @classmethod
    def built_for(cls, machine: Surroundings) -> Self:
        return cls(lambda value: machine.end(exit_code(value)))

    def read_port(self, port: int, size: int) -> int:
        return 0

    def write_port(self, port: int, size: int, value: int) -> None:
        self._report(value)
