"""Virtio over PCI: what a driver finds in the memory space of a function, and in its ports (VIRTIO 1.2, section 4.1).

The function is a transitional device, as QEMU's virtio-blk-pci is: drivers of version 1.0 and later use the interface in memory,
older ones that in I/O space (section 4.1.4.10, "Legacy Interfaces"). Interrupts are messages (MSI-X), or else that of pin A.
"""

import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from kev.addressing import PAGE_SHIFT, PAGE_SIZE, Gpa
from kev.dev.base import GuestMemory, InterruptLine
from kev.dev.buses.mmio import MmioBus
from kev.dev.buses.ports import PortBus
from kev.dev.interrupts.local_apic.message import InterruptMessage
from kev.dev.pci.function import FIRST_CAPABILITY, BaseAddress, InterruptPin, PciFunction, PciIdentity
from kev.dev.pci.memory import PciWindow
from kev.dev.pci.msix import Msix, msix_capability
from kev.dev.pci.ports import PciPorts
from kev.dev.storage.virtio.core import VirtioCore, VirtioDevice
from kev.dev.storage.virtio.queue import SplitQueue, with_half
from kev.state import PART, Fields, State, Stateless, bits, check_count, listed

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


_PORTS_ADDRESS, _VECTORS_ADDRESS, _BASE_ADDRESS = 0, 1, 4
"""The base address registers of the legacy interface, of the vectors' table, and of the structures."""
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

    CONFIGURATION_VECTOR: Final = 0x10
    DEVICE_FEATURES_SELECT: Final = 0x00
    DRIVER_FEATURES_SELECT: Final = 0x08
    DRIVER_FEATURES: Final = 0x0C
    STATUS: Final = 0x14
    QUEUE_SELECT: Final = 0x16
    QUEUE_SIZE: Final = 0x18
    QUEUE_VECTOR: Final = 0x1A
    QUEUE_ENABLE: Final = 0x1C
    QUEUE_DESCRIPTORS: Final = 0x20
    QUEUE_DRIVER: Final = 0x28
    QUEUE_DEVICE: Final = 0x30


_COMMON: Final = struct.Struct("<4I2H2B5H3Q")
_SIZES: Final = {
    Field.DEVICE_FEATURES_SELECT: 4,
    Field.DRIVER_FEATURES_SELECT: 4,
    Field.DRIVER_FEATURES: 4,
    Field.CONFIGURATION_VECTOR: 2,
    Field.STATUS: 1,
    Field.QUEUE_SELECT: 2,
    Field.QUEUE_SIZE: 2,
    Field.QUEUE_VECTOR: 2,
    Field.QUEUE_ENABLE: 2,
    **dict.fromkeys(range(Field.QUEUE_DESCRIPTORS, _COMMON.size, 4), 4),
}
"""Of the fields that can be written. A driver may write both halves of an address at once."""
_NO_VECTOR: Final = 0xFFFF
_ALL_INTERRUPTS: Final = 0xFF
_LOW_HALF: Final = 0xFFFF_FFFF


class VirtioPciPlaces(NamedTuple):
    """What firmware has assigned to a function."""

    memory: Gpa
    vectors: Gpa
    ports: int


class PciBuses(Protocol):
    """Where its memory and its ports are attached."""

    @property
    def mmio(self) -> MmioBus: ...

    @property
    def ports(self) -> PortBus: ...


def virtio_pci_function(
    name: str,
    device: VirtioDevice,
    memory: GuestMemory,
    buses: PciBuses,
    places: VirtioPciPlaces,
    interrupt: InterruptPin,
    send: Callable[[InterruptMessage], object],
) -> PciFunction:
    """A function for `device`, whose memory and ports are at `places` until the guest moves them. `send` delivers interrupts."""
    vectors = len(device.queue_sizes) + 1
    capabilities = (msix_capability(vectors, _VECTORS_ADDRESS), *map(_capability, sorted(_PLACES)))
    function = PciFunction(name, _IDENTITIES[device.device_id], capabilities, interrupt)
    msix = Msix(vectors, function, FIRST_CAPABILITY, send)
    registers = VirtioPci(name, device, memory, function.set_interrupt, lambda: function.is_bus_master, msix)
    function.map(BaseAddress(_BASE_ADDRESS, places.memory, PciWindow(name, buses.mmio, registers)))
    function.map(BaseAddress(_VECTORS_ADDRESS, places.vectors, PciWindow(f"{name}, vectors", buses.mmio, msix)))
    legacy = PciPorts(f"{name}, legacy interface", buses.ports, LegacyPorts(registers))
    function.map(BaseAddress(_PORTS_ADDRESS, places.ports, legacy, is_ports=True))
    return function


def _capability(structure: int) -> bytes:
    more = _NOTIFICATION_CAPABILITY.pack(_NOTIFICATION_DISTANCE) if structure == Structure.NOTIFICATION else b""
    size = _CAPABILITY.size + len(more)
    return _CAPABILITY.pack(_VENDOR_SPECIFIC, size, structure, _BASE_ADDRESS, _PLACES[structure], PAGE_SIZE) + more


class VirtioPci:
    """The four structures of one device."""

    length: Final = MEMORY_SIZE

    __slots__ = ("_configuration_vector", "_may_access_memory", "_msix", "_queue_vectors", "core")

    def __init__(
        self,
        name: str,
        device: VirtioDevice,
        memory: GuestMemory,
        interrupt: InterruptLine,
        may_access_memory: Callable[[], bool],
        msix: Msix,
    ) -> None:
        """While it may not access memory, notifications are lost."""
        self._forget_vectors(len(device.queue_sizes))
        self._msix: Final = msix
        self.core: Final = VirtioCore(name, device, memory, interrupt, self._signal)
        self._may_access_memory: Final = may_access_memory

    _FIELDS: Final = Fields({"_configuration_vector": bits(16), "_queue_vectors": listed(bits(16))}, core=PART)

    def reset(self) -> None:
        self._forget_vectors(len(self.core.queues))
        self.core.reset()

    def save(self) -> State:
        return self._FIELDS.save(self, core=self.core.save())

    def load(self, called: str, state: State) -> None:
        core = self._FIELDS.load(self, called, state)["core"]
        check_count(called, "queue_vectors", self._queue_vectors, len(self.core.queues))
        self.core.load(called, core)

    def _forget_vectors(self, queues: int) -> None:
        self._configuration_vector = _NO_VECTOR
        self._queue_vectors = [_NO_VECTOR] * queues

    @property
    def uses_messages(self) -> bool:
        """The driver has enabled MSI-X."""
        return self._msix.enabled

    def _signal(self, queue: int | None) -> bool:
        if not self._msix.enabled:
            return False
        self._msix.signal(self._configuration_vector if queue is None else self._queue_vectors[queue])
        return True

    # What both interfaces have

    def write_status(self, value: int) -> None:
        if value == 0:
            self._forget_vectors(len(self.core.queues))
        self.core.write_status(value)

    def notify(self, queue: int) -> None:
        if self._may_access_memory():
            self.core.notify(queue)

    def take_interrupt_status(self) -> int:
        """To read it is to acknowledge it (section 4.1.4.5)."""
        status = self.core.interrupt_status
        self.core.acknowledge_interrupts(_ALL_INTERRUPTS)
        return status

    @property
    def configuration_vector(self) -> int:
        return self._configuration_vector

    @configuration_vector.setter
    def configuration_vector(self, vector: int) -> None:
        self._configuration_vector = self._checked(vector)

    @property
    def queue_vector(self) -> int:
        """That of the selected queue."""
        select = self.core.queue_select
        return self._queue_vectors[select] if select < len(self._queue_vectors) else _NO_VECTOR

    @queue_vector.setter
    def queue_vector(self, vector: int) -> None:
        if self.core.queue_select < len(self._queue_vectors):
            self._queue_vectors[self.core.queue_select] = self._checked(vector)

    def _checked(self, vector: int) -> int:
        """A driver learns that it cannot have a vector by reading what it has written."""
        return vector if vector < self._msix.vectors else _NO_VECTOR

    # Reads

    def read(self, offset: int, size: int) -> int:
        start = offset % PAGE_SIZE
        place = offset - start
        if place == _PLACES[Structure.COMMON]:
            found = self._common_configuration()
        elif place == _PLACES[Structure.DEVICE]:
            found = self.core.device.configuration
        elif offset == _PLACES[Structure.INTERRUPT_STATUS]:
            return self.take_interrupt_status()
        else:
            return 0
        return int.from_bytes(found[start : start + size], "little")

    def _common_configuration(self) -> bytes:
        core, queue = self.core, self.core.selected_queue
        selected = (0,) * 7 if queue is None else _describe(queue, self.queue_vector, core.queue_select)
        return _COMMON.pack(
            core.device_features_select,
            core.selected_device_features,
            core.driver_features_select,
            core.selected_driver_features,
            self._configuration_vector,
            len(core.queues),
            core.status,
            0,  # The configuration does not change.
            core.queue_select,
            *selected,
        )

    # Writes

    def write(self, offset: int, size: int, value: int) -> None:
        place = offset - offset % PAGE_SIZE
        if place == _PLACES[Structure.NOTIFICATION]:
            self.notify(value & 0xFFFF)
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
        core = self.core
        match field:
            case Field.DEVICE_FEATURES_SELECT:
                core.device_features_select = value
            case Field.DRIVER_FEATURES_SELECT:
                core.driver_features_select = value
            case Field.DRIVER_FEATURES:
                core.accept_features(value)
            case Field.STATUS:
                self.write_status(value)
            case Field.CONFIGURATION_VECTOR:
                self.configuration_vector = value
            case Field.QUEUE_VECTOR:
                self.queue_vector = value
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
                self.core.start_queue(queue)
        elif field & ~4 == Field.QUEUE_DESCRIPTORS:
            queue.descriptors = with_half(queue.descriptors, field, value)
        elif field & ~4 == Field.QUEUE_DRIVER:
            queue.available = with_half(queue.available, field, value)
        else:
            queue.used = with_half(queue.used, field, value)


def _describe(queue: SplitQueue, vector: int, index: int) -> tuple[int, ...]:
    """The fields about a queue, from its size on."""
    return queue.size, vector, int(queue.ready), index, queue.descriptors, queue.available, queue.used


class LegacyField:
    """Offsets of the legacy interface; the last two are there while MSI-X is enabled, and the device's configuration follows."""

    DEVICE_FEATURES: Final = 0x00
    DRIVER_FEATURES: Final = 0x04
    QUEUE_ADDRESS: Final = 0x08
    QUEUE_SIZE: Final = 0x0C
    QUEUE_SELECT: Final = 0x0E
    QUEUE_NOTIFY: Final = 0x10
    STATUS: Final = 0x12
    INTERRUPT_STATUS: Final = 0x13
    CONFIGURATION_VECTOR: Final = 0x14
    QUEUE_VECTOR: Final = 0x16


_LEGACY_HEADER: Final = struct.Struct("<3I3HBB")
_LEGACY_VECTORS: Final = struct.Struct("<2H")
_LEGACY_SIZES: Final = {
    LegacyField.DRIVER_FEATURES: 4,
    LegacyField.QUEUE_ADDRESS: 4,
    LegacyField.QUEUE_SELECT: 2,
    LegacyField.QUEUE_NOTIFY: 2,
    LegacyField.STATUS: 1,
    LegacyField.CONFIGURATION_VECTOR: 2,
    LegacyField.QUEUE_VECTOR: 2,
}


class LegacyPorts(Stateless):
    """The interface of before version 1.0: another way to the same device, without a state of its own."""

    length: Final = 64

    __slots__ = ("_device",)

    def __init__(self, device: VirtioPci) -> None:
        self._device: Final = device

    def read(self, offset: int, size: int) -> int:
        if offset == LegacyField.INTERRUPT_STATUS and size == 1:
            return self._device.take_interrupt_status()
        return int.from_bytes(self._contents()[offset : offset + size], "little")

    def _contents(self) -> bytes:
        device, core, queue = self._device, self._device.core, self._device.core.selected_queue
        header = _LEGACY_HEADER.pack(
            core.features & _LOW_HALF,
            core.driver_features & _LOW_HALF,
            0 if queue is None or not queue.ready else queue.descriptors >> PAGE_SHIFT & _LOW_HALF,
            0 if queue is None else queue.largest,
            core.queue_select & 0xFFFF,
            0,
            core.status,
            core.interrupt_status,
        )
        vectors = _LEGACY_VECTORS.pack(device.configuration_vector, device.queue_vector) if device.uses_messages else b""
        return header + vectors + core.device.configuration

    def write(self, offset: int, size: int, value: int) -> None:
        # Drivers must not access a field in any other size.
        if _LEGACY_SIZES.get(offset) != size:
            return
        device, core = self._device, self._device.core
        match offset:
            case LegacyField.DRIVER_FEATURES:
                core.is_legacy = True
                core.driver_features = value
            case LegacyField.QUEUE_ADDRESS:
                self._place_queue(value)
            case LegacyField.QUEUE_SELECT:
                core.queue_select = value
            case LegacyField.QUEUE_NOTIFY:
                device.notify(value)
            case LegacyField.STATUS:
                core.is_legacy = True
                device.write_status(value)
            case LegacyField.CONFIGURATION_VECTOR if device.uses_messages:
                device.configuration_vector = value
            case LegacyField.QUEUE_VECTOR if device.uses_messages:
                device.queue_vector = value

    def _place_queue(self, page: int) -> None:
        """The queue's parts follow each other, the last one from the next page on (section 2.7.2, "Legacy Interfaces")."""
        core, queue = self._device.core, self._device.core.selected_queue
        if queue is None:
            return
        queue.reset()
        if page:
            core.is_legacy = True
            queue.lay_out(Gpa(page << PAGE_SHIFT))
            core.start_queue(queue)
