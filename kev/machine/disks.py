"""The disks of a machine, each behind the device that the guest has a driver for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from kev.addressing import Gpa
from kev.dev.block_device import BlockBackend
from kev.dev.devices import Devices
from kev.dev.interrupts.irq import InterruptControllers
from kev.dev.pci.bus import DEVICES
from kev.dev.storage.drive import Drive, DriveKind
from kev.dev.surroundings import Surroundings
from kev.errors import KevError

VIRTIO_BLOCK_GPA: Final = Gpa(0xD000_0000)
VIRTIO_BLOCK_IRQ: Final = 10
FIRST_PCI_DISK: Final = 4
"""The number of the PCI device that the first disk is; the others follow."""
_PCI_MEMORY: Final = Gpa(0xFE00_0000)
"""Where the memory of the first disk is; that of the others follows."""
_PCI_IRQ: Final = 11


class DriveError(KevError):
    """More disks than there can be."""


_MOST: Final[Mapping[DriveKind, int]] = {
    DriveKind.SVIRTB: 1,
    DriveKind.VIRTIO: 1,
    DriveKind.VIRTIO_PCI: DEVICES - FIRST_PCI_DISK,
    DriveKind.IDE: 2,
}
"""How many disks there can be behind a device of each kind."""


class Disks:
    """All of them, by kind."""

    def __init__(self, drives: Sequence[Drive], boot_disk: BlockBackend | None) -> None:
        """`boot_disk` is the IDE channel's first disk. DriveError if there are more of a kind than there can be."""
        self._behind: Final = {kind: [drive.backend for drive in drives if drive.kind is kind] for kind in DriveKind}
        self._boot_disk: Final = boot_disk
        self.numbered: Final = [*filter(None, (boot_disk,)), *(drive.backend for drive in drives)]
        """All disks in the order in which a BIOS counts them: that which was booted from first, the others as they were given."""
        for kind, disks in self._behind.items():
            most = _MOST[kind] - (kind is DriveKind.IDE and boot_disk is not None)
            if len(disks) > most:
                raise DriveError(f"{len(disks)} disks behind {kind.value}: there can be {most}")

    @property
    def ide(self) -> Sequence[BlockBackend | None]:
        """Those of the primary IDE channel, from the first on."""
        disks = self._behind[DriveKind.IDE]
        return disks if len(disks) == 2 else (self._boot_disk, *disks)

    @property
    def are_on_pci(self) -> bool:
        """Some are."""
        return bool(self._behind[DriveKind.VIRTIO_PCI])

    def attach(
        self,
        devices: Devices,
        machine: Surroundings,
        controllers: InterruptControllers,
        map_readable: Callable[[Gpa], memoryview],
    ) -> None:
        """Attaches what the disks are behind, but for IDE, which is there with and without disks.

        `map_readable` gives a device a page of memory, which the guest reads at the address without an exit.
        """
        disks = [self._boot_disk, *(disk for kind in DriveKind for disk in self._behind[kind])]
        if any(disks):
            from kev.dev.storage.written_sectors import DiskContents, is_kept_in_memory

            if any(map(is_kept_in_memory, disks)):
                devices.attach(DiskContents(disks))
        _attach_svirtb(devices, machine, self._behind[DriveKind.SVIRTB], map_readable)
        _attach_virtio(devices, machine, self._behind[DriveKind.VIRTIO])
        _attach_virtio_pci(devices, machine, self._behind[DriveKind.VIRTIO_PCI], controllers)


def _attach_svirtb(
    devices: Devices, machine: Surroundings, disks: Sequence[BlockBackend], map_readable: Callable[[Gpa], memoryview]
) -> None:
    """Or else KeV's printer, which has the same address."""
    if not disks:
        from kev.dev.debug.printer import Printer

        devices.attach(Printer(machine.memory, machine.console.write))
    for disk in disks:
        from kev.dev.storage.svirtb import SimpleVirtioBlock

        devices.attach(SimpleVirtioBlock(map_readable(SimpleVirtioBlock.gpa), disk, machine.memory))


def _attach_virtio(devices: Devices, machine: Surroundings, disks: Sequence[BlockBackend]) -> None:
    for disk in disks:
        from kev.dev.storage.virtio.block import VirtioBlock
        from kev.dev.storage.virtio.mmio import VirtioMmio

        line = machine.line(VIRTIO_BLOCK_IRQ)
        devices.attach(VirtioMmio(VIRTIO_BLOCK_GPA, VirtioBlock(disk), machine.memory, line))


def _attach_virtio_pci(
    devices: Devices, machine: Surroundings, disks: Sequence[BlockBackend], controllers: InterruptControllers
) -> None:
    """All of them interrupt with one IRQ."""
    if not disks:
        return
    from kev.dev.pci.function import InterruptPin
    from kev.dev.storage.virtio.block import VirtioBlock
    from kev.dev.storage.virtio.pci import MEMORY_SIZE, virtio_pci_function

    pci, mmio = devices.buses.pci, devices.buses.mmio
    controllers.pic.set_level_triggered(_PCI_IRQ)
    functions = {}
    for index, disk in enumerate(disks):
        number = FIRST_PCI_DISK + index
        functions[number] = virtio_pci_function(
            f"virtio-blk at PCI 00:{number:02x}.0",
            VirtioBlock(disk),
            machine.memory,
            mmio,
            Gpa(_PCI_MEMORY + MEMORY_SIZE * index),
            InterruptPin(_PCI_IRQ, machine.line(_PCI_IRQ)),
        )
    for number, function in functions.items():
        pci.attach(number, function)
        devices.attach(function)
