"""What a machine is to the devices that are built for it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

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


class Picture(NamedTuple):
    """What a framebuffer shows."""

    width: int
    """Pixels."""
    height: int
    depth: int
    """Bits per pixel."""
    pitch: int
    """Bytes from one row to the next."""
    start: int = 0
    """Of the first pixel, from the beginning of the memory."""


class Display(Protocol):
    """What is shown instead of what the VGA shows."""

    def show(self, wanted: Picture | None) -> None:
        """A framebuffer, all of which is in the memory; None for the VGA."""

    def show_bank(self, start: int | None) -> None:
        """64 KiB of the framebuffer's memory, from `start` on, are at 0xa0000; None: they are not."""

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
