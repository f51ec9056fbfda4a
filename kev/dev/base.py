"""What a device is, seen from the machine.

A device declares which ports, MSRs or guest-physical pages are its own and answers accesses to them, synchronously. It is handed
what it needs at construction: guest memory, a clock and timers, an interrupt line, a place to write output.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

from kev.addressing import Gpa
from kev.errors import KevError
from kev.exits import GuestException

InterruptLine: TypeAlias = Callable[[bool], None]
"""Sets the level of a device's interrupt request: True asserts it."""


@runtime_checkable
class PortDevice(Protocol):
    @property
    def ports(self) -> Sequence[range]:
        """The port ranges this device answers."""

    def read_port(self, port: int, size: int) -> int:
        """IN: `size` bytes (1, 2, 4), little-endian."""

    def write_port(self, port: int, size: int, value: int) -> None: ...


@runtime_checkable
class MsrDevice(Protocol):
    @property
    def msrs(self) -> Sequence[range]:
        """The MSR ranges this device answers."""

    def read_msr(self, vcpu: int, index: int) -> int | GuestException:
        """The 64-bit value, or the exception (#GP) that the access raises."""

    def write_msr(self, vcpu: int, index: int, value: int) -> GuestException | None: ...


@runtime_checkable
class MmioDevice(Protocol):
    @property
    def gpa(self) -> Gpa:
        """The first byte of the device's pages."""

    @property
    def length(self) -> int:
        """The size of its pages in bytes, a multiple of 4 KiB."""

    def load(self, vcpu: int, offset: int, size: int) -> int:
        """A read of 1, 2, 4 or 8 bytes by vCPU number `vcpu`, `offset` bytes from `gpa`."""

    def store(self, vcpu: int, offset: int, size: int, value: int) -> None:
        """A write. If it touches guest memory, it does so before it changes the device: see `PageAbsent`."""


class PageAbsent(Exception):
    """A device touched a guest page whose loader has to be awaited.

    The machine loads the page and repeats the access: raised before the device changed any of its own state.
    """

    def __init__(self, gpa: Gpa) -> None:
        super().__init__(f"page {gpa:#x} is not loaded yet")
        self.gpa = gpa


class DeviceError(KevError):
    """The guest drives a device in a way that ends the run: says which device, register and value."""


class GuestMemory(Protocol):
    """Guest-physical memory as devices see it. Absent pages are loaded first."""

    def read(self, gpa: Gpa, length: int) -> bytes:
        """The bytes [gpa, gpa + length). PageAbsent, or DeviceError where there is no RAM."""

    def write(self, gpa: Gpa, data: bytes) -> None:
        """All of `data` or, with PageAbsent, none of it."""
