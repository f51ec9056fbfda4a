"""The disks of a machine, each behind the device that the guest has a driver for."""

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Final

from kev.addressing import PAGE_SIZE, Gpa
from kev.boot.base import VirtioTransport
from kev.dev.block_device import BlockBackend
from kev.dev.devices import Devices
from kev.dev.interrupts.irq import InterruptControllers
from kev.dev.pci.bus import DEVICES
from kev.dev.storage.drive import Drive, DriveKind
from kev.dev.surroundings import SecondaryDrive, Surroundings
from kev.errors import KevError

if TYPE_CHECKING:
    from kev.dev.pci.function import PciFunction

_VIRTIO_BLOCK: Final = 0xD000_0000
_VIRTIO_BLOCK_IRQS: Final = (10, 5, 6, 7, 3)
"""ISA interrupts, so that kernels without ACPI know them, and nobody else's: Linux would lose edges of a shared one."""
VIRTIO_BLOCKS: Final = tuple(
    VirtioTransport(range(start, start + PAGE_SIZE), irq)
    for start, irq in zip(count(_VIRTIO_BLOCK, PAGE_SIZE), _VIRTIO_BLOCK_IRQS, strict=False)
)
"""Where the disks behind virtio over MMIO are, in order."""
FIRST_PCI_DISK: Final = 4
"""The number of the PCI device that the first disk is; the others follow."""
_PCI_MEMORY: Final = Gpa(0xFE00_0000)
"""Where the memory of the first disk is; that of the others follows."""
_PCI_VECTORS: Final = Gpa(0xFE10_0000)
_PCI_PORTS: Final = 0xC100
_PORTS_EACH: Final = 0x40
_BUS_MASTER_PORTS: Final = 0xC000
_PIIX3: Final = 1
"""The number of the PCI device that the ISA bridge and the IDE controller are."""
_POWER_MANAGEMENT: Final = 3
"""The number of its function in that device, as on QEMU's PC."""
PCI_IRQ: Final = 11


class DriveError(KevError):
    """More disks than there can be."""


_MOST: Final[Mapping[DriveKind, int]] = {
    DriveKind.SVIRTB: 1,
    DriveKind.VIRTIO: len(VIRTIO_BLOCKS),
    DriveKind.VIRTIO_PCI: DEVICES - FIRST_PCI_DISK,
    DriveKind.IDE: 2,
    DriveKind.IDE_MASTER: 1,
    DriveKind.IDE_SECONDARY: 2,
    DriveKind.CDROM: 2,
    DriveKind.IPC: 1,
}
"""How many disks there can be behind a device of each kind."""
_SECONDARY_DRIVES: Final = 2


class Disks:
    """All of them, by kind."""

    def __init__(self, drives: Sequence[Drive], boot_disk: BlockBackend | None, *, boots_from_cd: bool = False) -> None:
        """`boot_disk` is the IDE channel's first disk, or the first CD-ROM. DriveError if there are more than there can be."""
        self._behind: Final = {kind: [drive.backend for drive in drives if drive.kind is kind] for kind in DriveKind}
        self._all: Final = [boot_disk, *(disk for kind in DriveKind for disk in self._behind[kind])]
        self._cds: Final = [*filter(None, (boot_disk if boots_from_cd else None,)), *self._behind[DriveKind.CDROM]]
        self._boot_disk: Final = None if boots_from_cd else boot_disk
        self.numbered: Final = [
            *filter(None, (boot_disk,)),
            *(drive.backend for drive in drives if drive.kind not in (DriveKind.IPC, DriveKind.CDROM)),
        ]
        """All disks in the order in which a BIOS counts them: that which was booted from first, the others as they were given."""
        for kind, disks in self._behind.items():
            most = _MOST[kind] - (kind is DriveKind.IDE and self._first_ide is not None)
            if len(disks) > most:
                raise DriveError(f"{len(disks)} disks behind {kind.value}: there can be {most}")
        if len(self._cds) + len(self._behind[DriveKind.IDE_SECONDARY]) > _SECONDARY_DRIVES:
            raise DriveError(
                f"{len(self._cds)} CD-ROMs and {len(self._behind[DriveKind.IDE_SECONDARY])} disks at the secondary IDE channel: "
                f"there can be {_SECONDARY_DRIVES} together"
            )
        if self._boot_disk is not None and self._behind[DriveKind.IDE_MASTER]:
            raise DriveError(f"a disk behind {DriveKind.IDE_MASTER.value}: the guest was booted from the one that is there")

    @property
    def _first_ide(self) -> BlockBackend | None:
        return next(iter(self._behind[DriveKind.IDE_MASTER]), self._boot_disk)

    @property
    def in_place(self) -> Sequence[str]:
        """The names of those that are written to where they come from."""
        disks = filter(None, self._all)
        return [getattr(disk, "name", "without a name") for disk in disks if disk.writable and not hasattr(disk, "save")]

    @property
    def ipc(self) -> BlockBackend | None:
        """The one that the host serves to the guest by messages."""
        return next(iter(self._behind[DriveKind.IPC]), None)

    @property
    def ide(self) -> Sequence[BlockBackend | None]:
        """Those of the primary IDE channel, from the first on."""
        disks = self._behind[DriveKind.IDE]
        return disks if len(disks) == 2 else (self._first_ide, *disks)

    @property
    def secondary_ide(self) -> Sequence[SecondaryDrive]:
        """Those of the secondary IDE channel, from the first on."""
        disks = self._behind[DriveKind.IDE_SECONDARY]
        return [*(SecondaryDrive(cd, is_cd=True) for cd in self._cds), *map(SecondaryDrive, disks)]

    def attach(
        self,
        devices: Devices,
        machine: Surroundings,
        controllers: InterruptControllers,
        map_readable: Callable[[Gpa], memoryview],
        *,
        chipset: bool = False,
    ) -> None:
        """Attaches what the disks are behind. IDE channels are there without disks, too, and behind PCI only with one, or if
        a whole `chipset` is wanted.

        `map_readable` gives a device a page of memory, which the guest reads at the address without an exit.
        """
        if any(self._all):
            from kev.dev.storage.written_sectors import DiskContents, is_kept_in_memory

            if any(map(is_kept_in_memory, self._all)):
                devices.attach(DiskContents(self._all))
        _attach_svirtb(devices, machine, self._behind[DriveKind.SVIRTB], map_readable)
        _attach_virtio(devices, machine, self._behind[DriveKind.VIRTIO])
        has_ide = chipset or any(self.ide) or bool(self._cds or self._behind[DriveKind.IDE_SECONDARY])
        if has_ide or self._behind[DriveKind.VIRTIO_PCI]:
            _attach_bridge(devices, controllers)
        if has_ide:
            _attach_ide(devices, machine)
        if chipset:
            _attach_power_management(devices)
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
    for disk, place in zip(disks, VIRTIO_BLOCKS, strict=False):
        from kev.dev.storage.virtio.block import VirtioBlock
        from kev.dev.storage.virtio.mmio import VirtioMmio

        line = machine.line(place.interrupt)
        devices.attach(VirtioMmio(Gpa(place.registers.start), VirtioBlock(disk), machine.memory, line))


def _attach_bridge(devices: Devices, controllers: InterruptControllers) -> None:
    """The host bridge that a guest expects on a PCI bus."""
    from kev.dev.pci.host_bridge import host_bridge

    controllers.pic.set_level_triggered(PCI_IRQ)
    _attach_function(devices, host_bridge(), 0)


def _attach_ide(devices: Devices, machine: Surroundings) -> None:
    from kev.dev.pci.function import Command, ConfigurationRegister, PciFunction, PciIdentity
    from kev.dev.storage.ide import IdeChannel, SecondaryIdeChannel
    from kev.dev.storage.ide_dma import ide_function

    channels = [devices.build(kind.name) for kind in (IdeChannel, SecondaryIdeChannel)]
    identity = PciIdentity(0x8086, 0x7000, 0x06_0100, has_several_functions=True)
    bridge = PciFunction(f"ISA bridge at PCI 00:{_PIIX3:02x}.0", identity)
    bridge.fix_register(ConfigurationRegister.COMMAND, Command.PORTS | Command.MEMORY | Command.BUS_MASTER)
    _attach_function(devices, bridge, _PIIX3)
    ide = [channel for channel in channels if isinstance(channel, IdeChannel)]
    function, masters = ide_function(f"IDE at PCI 00:{_PIIX3:02x}.1", ide, machine.memory, devices.buses.ports, _BUS_MASTER_PORTS)
    for channel, master in zip(ide, masters, strict=True):
        channel.dma = master
    _attach_function(devices, function, _PIIX3, number=1)


def _attach_power_management(devices: Devices) -> None:
    """Where a firmware finds ACPI's timer."""
    from kev.boot.acpi import PM1A_EVENT
    from kev.dev.pci.power_management import power_management

    name = f"power management at PCI 00:{_PIIX3:02x}.{_POWER_MANAGEMENT}"
    _attach_function(devices, power_management(name, PM1A_EVENT), _PIIX3, number=_POWER_MANAGEMENT)


def _attach_virtio_pci(
    devices: Devices, machine: Surroundings, disks: Sequence[BlockBackend], controllers: InterruptControllers
) -> None:
    """All of them interrupt with one IRQ, unless by messages."""
    if not disks:
        return
    from kev.dev.pci.function import InterruptPin
    from kev.dev.storage.virtio.block import VirtioBlock
    from kev.dev.storage.virtio.pci import MEMORY_SIZE, VirtioPciPlaces, virtio_pci_function

    for index, disk in enumerate(disks):
        number = FIRST_PCI_DISK + index
        function = virtio_pci_function(
            f"virtio-blk at PCI 00:{number:02x}.0",
            VirtioBlock(disk),
            machine.memory,
            devices.buses,
            VirtioPciPlaces(
                memory=Gpa(_PCI_MEMORY + MEMORY_SIZE * index),
                vectors=Gpa(_PCI_VECTORS + PAGE_SIZE * index),
                ports=_PCI_PORTS + _PORTS_EACH * index,
            ),
            InterruptPin(PCI_IRQ, machine.line(PCI_IRQ)),
            controllers.local_apics.deliver,
        )
        _attach_function(devices, function, number)


def _attach_function(devices: Devices, function: "PciFunction", device: int, number: int = 0) -> None:
    devices.buses.pci.attach(device, function, number)
    devices.attach(function)
