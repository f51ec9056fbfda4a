"""Virtio over PCI: what a driver finds in the memory space of a function (VIRTIO 1.1, section 4.1).

The function has the ids of a transitional device, as QEMU's virtio-blk-pci has. Of the two interfaces of such a device, this is the
one of version 1.0 and later, in memory; there is no legacy interface in I/O space. There are no MSI-X vectors: a driver polls, or
takes the interrupt of pin A.
"""

import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from kev.addressing import PAGE_SIZE, Gpa
from kev.dev.base import GuestMemory, InterruptLine
from kev.dev.buses.mmio import MmioBus
from kev.dev.pci.function import BaseAddress, InterruptPin, PciFunction, PciIdentity
from kev.dev.pci.memory import PciWindow
from kev.dev.storage.virtio.core import VirtioCore, VirtioDevice
from kev.dev.storage.virtio.queue import SplitQueue, with_half
from kev.state import State

VENDOR: Final = 0x1AF4
MEMORY_SIZE: Final = 4 * PAGE_SIZE
_BLOCK: Final = 2
_MASS_STORAGE: Final = 0x01_0000
_IDENTITIES: Final[Mapping[int, PciIdentity]] = MappingProxyType(
    {_BLOCK: PciIdentity(VENDOR, 0x1001, _MASS_STORAGE, subsystem_vendor=VENDOR, subsystem=_BLOCK)}
)
"""By the kind of device (section 4.1.2.1)."""


class Structure:
    """What a capability points to (section 4.1.4)."""

    COMMON: Final = 1
    NOTIFICATION: Final = 2
    INTERRUPT_STATUS: Final = 3
    DEVICE: Final = 4


_BASE_ADDRESS: Final = 4
"""Which of the base address registers is used; the legacy interface would have the first."""
_PLACES: Final = {
    Structure.COMMON: 0 * PAGE_SIZE,
    Structure.INTERRUPT_STATUS: 1 * PAGE_SIZE,
    Structure.DEVICE: 2 * PAGE_SIZE,
    Structure.NOTIFICATION: 3 * PAGE_SIZE,
}
"""Where each structure lies; each has a page."""
_NOTIFICATION_DISTANCE: Final = 4
"""Bytes from where the driver notifies one queue to where it notifies the next one."""
_VENDOR_SPECIFIC: Final = 9
_CAPABILITY: Final = struct.Struct("<BxBBB3xII")
_NOTIFICATION_CAPABILITY: Final = struct.Struct("<I")


class Field:
    """Offsets in the common configuration (section 4.1.4.3)."""

    DEVICE_FEATURES_SELECT: Final = 0x00
    DRIVER_FEATURES_SELECT: Final = 0x08
    DRIVER_FEATURES: Final = 0x0C
    STATUS: Final = 0x14
    QUEUE_SELECT: Final = 0x16
    QUEUE_SIZE: Final = 0x18
    QUEUE_ENABLE: Final = 0x1C
    QUEUE_DESCRIPTORS: Final = 0x20
    QUEUE_DRIVER: Final = 0x28
    QUEUE_DEVICE: Final = 0x30


_COMMON: Final = struct.Struct("<4I2H2B5H3Q")
_SIZES: Final = {
    Field.DEVICE_FEATURES_SELECT: 4,
    Field.DRIVER_FEATURES_SELECT: 4,
    Field.DRIVER_FEATURES: 4,
    Field.STATUS: 1,
    Field.QUEUE_SELECT: 2,
    Field.QUEUE_SIZE: 2,
    Field.QUEUE_ENABLE: 2,
    **dict.fromkeys(range(Field.QUEUE_DESCRIPTORS, _COMMON.size, 4), 4),
}
"""Of the fields that can be written. A driver may write both halves of an address at once."""
_NO_VECTOR: Final = 0xFFFF
_ALL_INTERRUPTS: Final = 0xFF
_LOW_HALF: Final = 0xFFFF_FFFF


def virtio_pci_function(
    name: str, device: VirtioDevice, memory: GuestMemory, bus: MmioBus, address: Gpa, interrupt: InterruptPin
) -> PciFunction:
    """A function for `device`, whose memory is on `bus`, at `address` until the guest moves it."""
    function = PciFunction(name, _IDENTITIES[device.device_id], tuple(map(_capability, sorted(_PLACES))), interrupt)
    registers = VirtioPci(name, device, memory, function.set_interrupt, lambda: function.is_bus_master)
    function.map(BaseAddress(_BASE_ADDRESS, address, PciWindow(name, bus, registers)))
    return function


def _capability(structure: int) -> bytes:
    more = _NOTIFICATION_CAPABILITY.pack(_NOTIFICATION_DISTANCE) if structure == Structure.NOTIFICATION else b""
    size = _CAPABILITY.size + len(more)
    return _CAPABILITY.pack(_VENDOR_SPECIFIC, size, structure, _BASE_ADDRESS, _PLACES[structure], PAGE_SIZE) + more


class VirtioPci:
    """The four structures of one device."""

    length: Final = MEMORY_SIZE

    __slots__ = ("_core", "_may_access_memory")

    def __init__(
        self,
        name: str,
        device: VirtioDevice,
        memory: GuestMemory,
        interrupt: InterruptLine,
        may_access_memory: Callable[[], bool],
    ) -> None:
        """While it may not access memory, notifications are lost."""
        self._core: Final = VirtioCore(name, device, memory, interrupt)
        self._may_access_memory: Final = may_access_memory

    def reset(self) -> None:
        self._core.reset()

    def save(self) -> State:
        return self._core.save()

    def load(self, called: str, state: State) -> None:
        self._core.load(called, state)

    # Reads

    def read(self, offset: int, size: int) -> int:
        start = offset % PAGE_SIZE
        place = offset - start
        if place == _PLACES[Structure.COMMON]:
            found = self._common_configuration()
        elif place == _PLACES[Structure.DEVICE]:
            found = self._core.device.configuration
        elif offset == _PLACES[Structure.INTERRUPT_STATUS]:
            return self._take_interrupt_status()
        else:
            return 0
        return int.from_bytes(found[start : start + size], "little")

    def _common_configuration(self) -> bytes:
        core, queue = self._core, self._core.selected_queue
        selected = (0,) * 7 if queue is None else _describe(queue, core.queue_select)
        return _COMMON.pack(
            core.device_features_select,
            core.selected_device_features,
            core.driver_features_select,
            core.selected_driver_features,
            _NO_VECTOR,
            len(core.queues),
            core.status,
            0,  # The configuration does not change.
            core.queue_select,
            *selected,
        )

    def _take_interrupt_status(self) -> int:
        """To read it is to acknowledge it (section 4.1.4.5)."""
        status = self._core.interrupt_status
        self._core.acknowledge_interrupts(_ALL_INTERRUPTS)
        return status

    # Writes

    def write(self, offset: int, size: int, value: int) -> None:
        place = offset - offset % PAGE_SIZE
        if place == _PLACES[Structure.NOTIFICATION]:
            if self._may_access_memory():
                self._core.notify(value & 0xFFFF)
        elif place == _PLACES[Structure.COMMON]:
            field = offset - place
            if size == 8:
                self._write_field(field, 4, value & _LOW_HALF)
                self._write_field(field + 4, 4, value >> 32)
            else:
                self._write_field(field, size, value)

    def _write_field(self, field: int, size: int, value: int) -> None:
        # Drivers must not access a field in any other size.
        if _SIZES.get(field) != size:
            return
        core = self._core
        match field:
            case Field.DEVICE_FEATURES_SELECT:
                core.device_features_select = value
            case Field.DRIVER_FEATURES_SELECT:
                core.driver_features_select = value
            case Field.DRIVER_FEATURES:
                core.accept_features(value)
            case Field.STATUS:
                core.write_status(value)
            case Field.QUEUE_SELECT:
                core.queue_select = value
            case _:
                queue = core.selected_queue
                if queue is not None and not queue.ready:  # A queue in use does not move.
                    self._configure_queue(queue, field, value)

    def _configure_queue(self, queue: SplitQueue, field: int, value: int) -> None:
        if field == Field.QUEUE_SIZE:
            queue.size = value
        elif field == Field.QUEUE_ENABLE:
            if value == 1:
                self._core.start_queue(queue)
        elif field & ~4 == Field.QUEUE_DESCRIPTORS:
            queue.descriptors = with_half(queue.descriptors, field, value)
        elif field & ~4 == Field.QUEUE_DRIVER:
            queue.available = with_half(queue.available, field, value)
        else:
            queue.used = with_half(queue.used, field, value)


def _describe(queue: SplitQueue, index: int) -> tuple[int, ...]:
    """The fields about a queue, from its size on."""
    return queue.size, _NO_VECTOR, int(queue.ready), index, queue.descriptors, queue.available, queue.used
