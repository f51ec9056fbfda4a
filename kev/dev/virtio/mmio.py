"""Virtio over MMIO: the registers through which a driver finds, negotiates with and notifies a device (VIRTIO 1.2, section 4.2)."""

from collections.abc import Sequence
from typing import Final, Protocol

from kev import log
from kev.addressing import PAGE_SIZE, Gpa
from kev.dev.base import DeviceError, GuestMemory, InterruptLine
from kev.dev.virtio.queue import DescriptorChain, SplitQueue

MAGIC: Final = 0x7472_6976
VERSION: Final = 2
VENDOR: Final = int.from_bytes(b"kev ", "little")

FEATURE_VERSION_1: Final = 1 << 32


class Register:
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


class Status:
    """Bits of the device status (section 2.1)."""

    ACKNOWLEDGE: Final = 1
    DRIVER: Final = 2
    DRIVER_OK: Final = 4
    FEATURES_OK: Final = 8
    NEEDS_RESET: Final = 64
    FAILED: Final = 128


INTERRUPT_USED_BUFFER: Final = 1 << 0
INTERRUPT_CONFIGURATION_CHANGE: Final = 1 << 1

_WRITABLE_STATUS: Final = Status.ACKNOWLEDGE | Status.DRIVER | Status.DRIVER_OK | Status.FEATURES_OK | Status.FAILED
_ALL_ONES: Final = 0xFFFF_FFFF


class VirtioDevice(Protocol):
    """What is behind the transport."""

    @property
    def device_id(self) -> int:
        """The kind of device (section 5)."""

    @property
    def features(self) -> int:
        """The device's own feature bits."""

    @property
    def queue_sizes(self) -> Sequence[int]:
        """For every virtqueue, the most descriptors it can have."""

    @property
    def configuration(self) -> bytes:
        """The configuration space, which never changes."""

    def serve(self, chain: DescriptorChain, memory: GuestMemory) -> int:
        """Serves one request and returns how many bytes of it were written. DeviceError if there is no sense in it.

        May be called again for the same request after a PageAbsent.
        """


class VirtioMmio:
    """The registers of one device, in a page of their own.

    A driver that breaks the rules of its queues puts the device into the state in which it needs a reset, and hears of it.
    """

    length: Final = PAGE_SIZE

    __slots__ = (
        "_device",
        "_device_features_select",
        "_driver_features",
        "_driver_features_select",
        "_features",
        "_interrupt",
        "_interrupt_status",
        "_memory",
        "_queue_select",
        "_queues",
        "_status",
        "gpa",
    )

    def __init__(self, gpa: Gpa, device: VirtioDevice, memory: GuestMemory, interrupt: InterruptLine) -> None:
        self.gpa: Final = gpa
        self._device = device
        self._memory = memory
        self._interrupt = interrupt
        self._features: Final = device.features | FEATURE_VERSION_1
        self._queues: Final = tuple(SplitQueue(memory, size) for size in device.queue_sizes)
        self._reset()

    def _reset(self) -> None:
        self._status = 0
        self._device_features_select = 0
        self._driver_features_select = 0
        self._driver_features = 0
        self._queue_select = 0
        self._interrupt_status = 0
        for queue in self._queues:
            queue.reset()
        self._interrupt(False)

    # Reads

    def load(self, vcpu: int, offset: int, size: int) -> int:
        if offset >= Register.CONFIGURATION:
            start = offset - Register.CONFIGURATION
            return int.from_bytes(self._device.configuration[start : start + size], "little")
        # Drivers must not access the other registers in any other way.
        return self._read(offset) if size == 4 else 0

    def _read(self, register: int) -> int:
        queue = self._selected_queue()
        match register:
            case Register.MAGIC:
                return MAGIC
            case Register.VERSION:
                return VERSION
            case Register.DEVICE_ID:
                return self._device.device_id
            case Register.VENDOR_ID:
                return VENDOR
            case Register.DEVICE_FEATURES:
                return _half(self._features, self._device_features_select)
            case Register.QUEUE_SIZE_MAX:
                return queue.largest if queue else 0
            case Register.QUEUE_READY:
                return int(queue.ready) if queue else 0
            case Register.INTERRUPT_STATUS:
                return self._interrupt_status
            case Register.STATUS:
                return self._status
            case _:
                return _ALL_ONES if register in Register.SHARED_MEMORY else 0

    # Writes

    def store(self, vcpu: int, offset: int, size: int, value: int) -> None:
        if size != 4:
            return
        match offset:
            case Register.DEVICE_FEATURES_SELECT:
                self._device_features_select = value
            case Register.DRIVER_FEATURES:
                self._accept_features(value)
            case Register.DRIVER_FEATURES_SELECT:
                self._driver_features_select = value
            case Register.QUEUE_SELECT:
                self._queue_select = value
            case Register.QUEUE_NOTIFY:
                self._notify(value)
            case Register.INTERRUPT_ACKNOWLEDGE:
                self._set_interrupt_status(self._interrupt_status & ~value)
            case Register.STATUS:
                self._write_status(value)
            case _:
                queue = self._selected_queue()
                if queue is not None:
                    self._configure_queue(queue, offset, value)

    def _accept_features(self, half: int) -> None:
        select = self._driver_features_select
        if select < 2 and not self._status & Status.FEATURES_OK:
            kept = self._driver_features & ~(_ALL_ONES << 32 * select)
            self._driver_features = kept | half << 32 * select

    def _write_status(self, value: int) -> None:
        if value == 0:
            self._reset()
            return
        status = value & _WRITABLE_STATUS | self._status & Status.NEEDS_RESET
        if not self._features_agreed():
            status &= ~(Status.FEATURES_OK | Status.DRIVER_OK)
        self._status = status

    def _features_agreed(self) -> bool:
        """The driver takes nothing that was not offered, and is no legacy driver."""
        return not self._driver_features & ~self._features and bool(self._driver_features & FEATURE_VERSION_1)

    def _configure_queue(self, queue: SplitQueue, register: int, value: int) -> None:
        if register == Register.QUEUE_READY:
            self._set_queue_ready(queue, bool(value & 1))
        elif queue.ready:
            return  # A queue in use does not move.
        elif register == Register.QUEUE_SIZE:
            queue.size = value
        elif register & ~4 == Register.QUEUE_DESCRIPTORS:
            queue.descriptors = _with_half(queue.descriptors, register, value)
        elif register & ~4 == Register.QUEUE_DRIVER:
            queue.available = _with_half(queue.available, register, value)
        elif register & ~4 == Register.QUEUE_DEVICE:
            queue.used = _with_half(queue.used, register, value)

    def _set_queue_ready(self, queue: SplitQueue, ready: bool) -> None:
        if not ready:
            queue.reset()
        elif not queue.ready:
            try:
                queue.start()
            except DeviceError as error:
                self._need_reset(error)

    def _selected_queue(self) -> SplitQueue | None:
        return self._queues[self._queue_select] if self._queue_select < len(self._queues) else None

    # Service

    def _notify(self, index: int) -> None:
        live = self._status & (Status.DRIVER_OK | Status.NEEDS_RESET) == Status.DRIVER_OK
        if live and index < len(self._queues) and self._queues[index].ready:
            try:
                self._serve(self._queues[index])
            except DeviceError as error:
                self._need_reset(error)

    def _serve(self, queue: SplitQueue) -> None:
        """Serves what is available. PageAbsent may end it between two requests: what was served stays served.

        Requests can write to the rings and so make new ones, without end: more than the queue can hold wait for a notification.
        """
        for _ in range(queue.size):
            chain = queue.next_chain()
            if chain is None:
                return
            written = self._device.serve(chain, self._memory)
            if queue.complete(chain, written):
                self._set_interrupt_status(self._interrupt_status | INTERRUPT_USED_BUFFER)

    def _need_reset(self, error: DeviceError) -> None:
        log.warning("virtio device needs a reset", gpa=hex(self.gpa), reason=str(error))
        self._status |= Status.NEEDS_RESET
        if self._status & Status.DRIVER_OK:
            self._set_interrupt_status(self._interrupt_status | INTERRUPT_CONFIGURATION_CHANGE)

    def _set_interrupt_status(self, status: int) -> None:
        self._interrupt_status = status
        self._interrupt(bool(status))


def _half(value: int, select: int) -> int:
    """Bits 0-31 or 32-63 of a 64-bit value, as a select register says; there are no others."""
    return value >> 32 * select & _ALL_ONES if select < 2 else 0


def _with_half(address: Gpa, register: int, value: int) -> Gpa:
    """The address with its low half replaced, or its high half, which is the next register."""
    return Gpa(address & _ALL_ONES | value << 32) if register & 4 else Gpa(address & ~_ALL_ONES | value)
