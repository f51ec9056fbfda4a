"""What a device is, seen from the machine.

A device says what it is called and which ports, MSRs or guest-physical pages are its own, and answers accesses to them,
synchronously. It is handed what it needs at construction: guest memory, a clock and timers, an interrupt line, a place to write
output. What is in it can be saved as plain data and loaded into another of its kind.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol, TypeAlias, runtime_checkable

from kev.addressing import Gpa
from kev.errors import KevError
from kev.exits import GuestException
from kev.state import Fields, State

InterruptLine: TypeAlias = Callable[[bool], None]
"""Sets the level of a device's interrupt request: True asserts it."""


class Named(Protocol):
    """What errors can be about."""

    @property
    def name(self) -> str:
        """What it is called in errors and saved states. No two devices of a machine have the same name."""


@runtime_checkable
class Device(Named, Protocol):
    """What all devices have in common."""

    def reset(self) -> None:
        """What switching the power on does: it is as when it was made. Its interrupt lines fall, its timers are taken back."""

    def save(self) -> State:
        """Plain data of everything that the guest could tell two devices of this kind apart by."""

    def load(self, state: State) -> None:
        """Makes this device, which is as when it was made, the one that was saved, timers and interrupt lines included.

        The machine's clock and timer queue, and the interrupt controllers, are loaded before. StateError if no device of this
        kind can be in that state, which leaves it in none that can be relied on.
        """


class PlainDevice:
    """A base for devices all of whose state is in the attributes that `FIELDS` names. By default it has none."""

    FIELDS: ClassVar[Fields] = Fields({})

    __slots__ = ()

    @property
    def name(self) -> str:
        """See `Device`."""
        raise NotImplementedError(f"{type(self).__name__} has no name")

    def reset(self) -> None:
        pass

    def save(self) -> State:
        return self.FIELDS.save(self)

    def load(self, state: State) -> None:
        self.FIELDS.load(self, self.name, state)


@runtime_checkable
class PortDevice(Named, Protocol):
    @property
    def ports(self) -> Sequence[range]:
        """The port ranges this device answers."""

    def read_port(self, port: int, size: int) -> int:
        """IN: `size` bytes (1, 2, 4), little-endian."""

    def write_port(self, port: int, size: int, value: int) -> None: ...


@runtime_checkable
class MsrDevice(Named, Protocol):
    @property
    def msrs(self) -> Sequence[range]:
        """The MSR ranges this device answers."""

    def read_msr(self, vcpu: int, index: int) -> int | GuestException:
        """The 64-bit value, or the exception (#GP) that the access raises."""

    def write_msr(self, vcpu: int, index: int, value: int) -> GuestException | None: ...


@runtime_checkable
class MmioDevice(Named, Protocol):
    @property
    def gpa(self) -> Gpa:
        """The first byte of the device's pages."""

    @property
    def length(self) -> int:
        """The size of its pages in bytes, a multiple of 4 KiB."""

    def read_mmio(self, vcpu: int, offset: int, size: int) -> int:
        """A read of 1, 2, 4 or 8 bytes by vCPU number `vcpu`, `offset` bytes from `gpa`."""

    def write_mmio(self, vcpu: int, offset: int, size: int, value: int) -> None:
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
