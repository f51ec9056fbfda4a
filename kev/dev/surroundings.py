"""What a machine is to the devices that are built for it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

from kev.clock import Clock, TimerQueue
from kev.dev.base import GuestMemory, InterruptLine
from kev.dev.block_device import BlockBackend
from kev.named_tuple import NamedTuple


class Screen(Protocol):
    """What the VGA shows."""

    sequencer: bytes | bytearray
    """Its registers, by their indices; those of the others likewise."""
    crt_controller: bytes | bytearray
    graphics_controller: bytes | bytearray
    attribute_controller: bytes | bytearray
    palette: bytes | bytearray
    """Red, green and blue of 256 colours, from 0 to 63."""

    def arrange(self) -> None:
        """The sequencer or the graphics controller have changed, and with them where the guest finds the memory. PageAbsent."""


PictureFormat: TypeAlias = tuple[int, int, int]
"""Width and height in pixels, and bits per pixel."""


class Display(Protocol):
    """What is shown instead of text."""

    def show(self, wanted: PictureFormat | None, first_row: int = 0) -> None:
        """A framebuffer of the nearest mode that there is, from a row of its memory on; None for text."""

    def clear_framebuffer(self) -> None:
        """What was drawn is gone."""


class Output(Protocol):
    """Where output goes."""

    def put(self, byte: int) -> None: ...

    def put_debug(self, byte: int) -> None:
        """As `put`, for a second line."""

    def write(self, data: bytes) -> None: ...


class ReplacingLine(NamedTuple):
    """An interrupt line that can be connected instead of all others to the same IRQ."""

    line: InterruptLine
    switch: Callable[[bool], None]
    """Connects it and cuts the others off, or the other way round."""


class SecondaryDrive(NamedTuple):
    """What is at the secondary IDE channel."""

    disk: BlockBackend
    is_cd: bool = False


class Surroundings(NamedTuple):
    """What devices are handed: the rest of the machine, as they see it."""

    vcpus: int
    ram: Sequence[range]
    """The guest-physical addresses of RAM."""
    clock: Clock
    timers: TimerQueue
    boot_time: int
    """In seconds since 1970."""
    memory: GuestMemory
    line: Callable[[int], InterruptLine]
    """A new line to an ISA IRQ, or from 16 on to an input of the I/O APIC."""
    replacing_line: Callable[[int], ReplacingLine]
    """A new line to an ISA IRQ, which is not connected at first."""
    console: Output
    screen: Screen
    display: Display
    end: Callable[[int], None]
    """Ends the run with an exit code."""
    reset: Callable[[], None]
    """The guest resets the machine: the run ends, or the hypervisor hears of it."""
    ide_disks: Sequence[BlockBackend | None] = ()
    """Those of the primary channel."""
    secondary_ide: Sequence[SecondaryDrive] = ()
    firmware_files: Callable[[], Mapping[str, bytes]] = dict
    """What a firmware is given by name, made when it asks."""
