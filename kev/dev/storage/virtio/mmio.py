"""Virtio over MMIO: the registers through which a driver finds, negotiates with and notifies a device (VIRTIO 1.2, section 4.2)."""

from typing import Final

from kev.addressing import PAGE_SIZE, Gpa
from kev.dev.base import GuestMemory, InterruptLine
from kev.dev.storage.virtio.core import VirtioCore, VirtioDevice
from kev.dev.storage.virtio.queue import SplitQueue, with_half
from kev.state import State

MAGIC: Final = 0x7472_6976
VERSION: Final = 2
VENDOR: Final = int.from_bytes(b"kev ", "little")


class VirtioMmioRegister:
    """Offsets; every register has 32 bits (table 4.1)."""

    MAGIC: Final = 0x000
    VERSION: Final = 0x004
    DEVICE_ID: Final = 0x008
    VENDOR_ID: Final = 0x00C
    DEVICE_FEATURES: Final = 0x010
    DEVICE_FEATURES_SELECT: Final = 0x014
    DRIVER_FEATURES: Final = 0x020
    DRIVER_FEATURES_SELECT: Final = 0x024
    QUEUE_SELECT: Final = 0x030
    QUEUE_SIZE_MAX: Final = 0x034
    QUEUE_SIZE: Final = 0x038
    QUEUE_READY: Final = 0x044
    QUEUE_NOTIFY: Final = 0x050
    INTERRUPT_STATUS: Final = 0x060
    INTERRUPT_ACKNOWLEDGE: Final = 0x064
    STATUS: Final = 0x070
    QUEUE_DESCRIPTORS: Final = 0x080
    QUEUE_DRIVER: Final = 0x090
    QUEUE_DEVICE: Final = 0x0A0
    SHARED_MEMORY: Final = range(0x0B0, 0x0C0, 4)
    """Length and base of the selected shared memory region: all ones where there is none."""
    CONFIGURATION_GENERATION: Final = 0x0FC
    CONFIGURATION: Final = 0x100


_ALL_ONES: Final = 0xFFFF_FFFF


class VirtioMmio:
    """The registers of one device, in a page of their own."""

    length: Final = PAGE_SIZE

    __slots__ = ("_core", "gpa", "name")

    def __init__(self, gpa: Gpa, device: VirtioDevice, memory: GuestMemory, interrupt: InterruptLine) -> None:
        self.name: Final = f"{device.name} at gpa {gpa:#x}"
        self.gpa: Final = gpa
        self._core: Final = VirtioCore(self.name, device, memory, interrupt)

    def reset(self) -> None:
        self._core.reset()

    def save(self) -> State:
        return self._core.save()

    def load(self, state: State) -> None:
        self._core.load(self.name, state)

    # Reads

    def read_mmio(self, vcpu: int, offset: int, size: int) -> int:
        if offset >= VirtioMmioRegister.CONFIGURATION:
            start = offset - VirtioMmioRegister.CONFIGURATION
            return int.from_bytes(self._core.device.configuration[start : start + size], "little")
        # Drivers must not access the other registers in any other way.
        return self._read(offset) if size == 4 else 0

    def _read(self, register: int) -> int:
        core, queue = self._core, self._core.selected_queue
        match register:
            case VirtioMmioRegister.MAGIC:
                return MAGIC
            case VirtioMmioRegister.VERSION:
                return VERSION
            case VirtioMmioRegister.DEVICE_ID:
                return core.device.device_id
            case VirtioMmioRegister.VENDOR_ID:
                return VENDOR
            case VirtioMmioRegister.DEVICE_FEATURES:
                return core.selected_device_features
            case VirtioMmioRegister.QUEUE_SIZE_MAX:
                return queue.largest if queue else 0
            case VirtioMmioRegister.QUEUE_READY:
                return int(queue.ready) if queue else 0
            case VirtioMmioRegister.INTERRUPT_STATUS:
                return core.interrupt_status
            case VirtioMmioRegister.STATUS:
                return core.status
            case _:
                return _ALL_ONES if register in VirtioMmioRegister.SHARED_MEMORY else 0

    # Writes

    def write_mmio(self, vcpu: int, offset: int, size: int, value: int) -> None:
        if size != 4:
            return
        core = self._core
        match offset:
            case VirtioMmioRegister.DEVICE_FEATURES_SELECT:
                core.device_features_select = value
            case VirtioMmioRegister.DRIVER_FEATURES:
                core.accept_features(value)
            case VirtioMmioRegister.DRIVER_FEATURES_SELECT:
                core.driver_features_select = value
            case VirtioMmioRegister.QUEUE_SELECT:
                core.queue_select = value
            case VirtioMmioRegister.QUEUE_NOTIFY:
                core.notify(value)
            case VirtioMmioRegister.INTERRUPT_ACKNOWLEDGE:
                core.acknowledge_interrupts(value)
            case VirtioMmioRegister.STATUS:
                core.write_status(value)
            case _:
                queue = core.selected_queue
                if queue is not None:
                    self._configure_queue(queue, offset, value)

    def _configure_queue(self, queue: SplitQueue, register: int, value: int) -> None:
        if register == VirtioMmioRegister.QUEUE_READY:
            if value & 1:
                self._core.start_queue(queue)
            else:
                queue.reset()
        elif queue.ready:
            return  # A queue in use does not move.
        elif register == VirtioMmioRegister.QUEUE_SIZE:
            queue.size = value
        elif register & ~4 == VirtioMmioRegister.QUEUE_DESCRIPTORS:
            queue.descriptors = with_half(queue.descriptors, register, value)
        elif register & ~4 == VirtioMmioRegister.QUEUE_DRIVER:
            queue.available = with_half(queue.available, register, value)
        elif register & ~4 == VirtioMmioRegister.QUEUE_DEVICE:
            queue.used = with_half(queue.used, register, value)
