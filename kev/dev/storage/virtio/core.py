"""What a virtio device is behind any transport: status, features, queues and interrupts (VIRTIO 1.2, chapters 2 and 3)."""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from kev import log
from kev.dev.base import DeviceError, GuestMemory, InterruptLine
from kev.dev.storage.virtio.queue import DescriptorChain, SplitQueue
from kev.state import FLAG, PART, Fields, State, bits, check_count, listed

FEATURE_VERSION_1: Final = 1 << 32


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


def _sends_no_messages(_queue: int | None) -> bool:
    return False


class VirtioDevice(Protocol):
    """What is behind the transport."""

    @property
    def name(self) -> str:
        """What kind of device it is, in errors."""

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


class VirtioCore:
    """The state of one device that a driver negotiates with through the registers of a transport.

    A driver that breaks the rules of its queues puts the device into the state in which it needs a reset, and hears of it.
    """

    __slots__ = (
        "_interrupt",
        "_memory",
        "_place",
        "_signal",
        "device",
        "device_features_select",
        "driver_features",
        "driver_features_select",
        "features",
        "interrupt_status",
        "is_legacy",
        "queue_select",
        "queues",
        "status",
    )

    _FIELDS: Final = Fields(
        {
            "status": bits(8),
            "device_features_select": bits(32),
            "driver_features_select": bits(32),
            "driver_features": bits(64),
            "queue_select": bits(32),
            "interrupt_status": bits(2),
            "is_legacy": FLAG,
        },
        queues=listed(PART),
    )

    def __init__(
        self,
        place: str,
        device: VirtioDevice,
        memory: GuestMemory,
        interrupt: InterruptLine,
        signal: Callable[[int | None], bool] = _sends_no_messages,
    ) -> None:
        """`place` is where the device is, for the log.

        `signal` sends the message for a queue's used buffers, or with None for a change of the configuration. False if there are no
        messages: then `interrupt` does it.
        """
        self.device: Final = device
        self.queues: Final = tuple(SplitQueue(memory, size) for size in device.queue_sizes)
        self._place: Final = place
        self._memory: Final = memory
        self._interrupt: Final = interrupt
        self._signal: Final = signal
        self.features: Final = device.features | FEATURE_VERSION_1
        """All that are on offer."""
        self.reset()

    def reset(self) -> None:
        """What switching the power on does, and the driver can do too."""
        self.status = 0
        self.device_features_select = 0
        self.driver_features_select = 0
        self.driver_features = 0
        self.queue_select = 0
        self.interrupt_status = 0
        self.is_legacy = False
        """The driver is one of before version 1.0, and uses the interface of then."""
        for queue in self.queues:
            queue.reset()
        self._interrupt(False)

    def save(self) -> State:
        return self._FIELDS.save(self, queues=[queue.save() for queue in self.queues])

    def load(self, called: str, state: State) -> None:
        queues = self._FIELDS.load(self, called, state)["queues"]
        check_count(called, "queues", queues, len(self.queues))
        for index, (queue, saved) in enumerate(zip(self.queues, queues, strict=True)):
            queue.load(f"{called}, queue {index}", saved)
        self._interrupt(bool(self.interrupt_status))

    # Negotiation

    @property
    def selected_device_features(self) -> int:
        """The 32 features on offer that the driver has selected."""
        return _half(self.features, self.device_features_select)

    @property
    def selected_driver_features(self) -> int:
        return _half(self.driver_features, self.driver_features_select)

    def accept_features(self, half: int) -> None:
        """The driver takes these of the 32 features that it has selected."""
        select = self.driver_features_select
        if select < 2 and not self.status & Status.FEATURES_OK:
            kept = self.driver_features & ~(_ALL_ONES << 32 * select)
            self.driver_features = kept | half << 32 * select

    def write_status(self, value: int) -> None:
        """The driver says how far it has come; 0 resets the device."""
        if value == 0:
            self.reset()
            return
        status = value & _WRITABLE_STATUS | self.status & Status.NEEDS_RESET
        if not self._features_agreed():
            status &= ~(Status.FEATURES_OK | Status.DRIVER_OK)
        self.status = status

    def _features_agreed(self) -> bool:
        """The driver takes nothing that was not offered, and is a legacy driver by the legacy interface only."""
        is_modern = bool(self.driver_features & FEATURE_VERSION_1)
        return not self.driver_features & ~self.features and is_modern is not self.is_legacy

    @property
    def selected_queue(self) -> SplitQueue | None:
        return self.queues[self.queue_select] if self.queue_select < len(self.queues) else None

    def start_queue(self, queue: SplitQueue) -> None:
        """The driver has set a queue up."""
        if not queue.ready:
            try:
                queue.start()
            except DeviceError as error:
                self._need_reset(error)

    # Service

    def notify(self, index: int) -> None:
        """The driver has made requests available in queue number `index`."""
        live = self.status & (Status.DRIVER_OK | Status.NEEDS_RESET) == Status.DRIVER_OK
        if live and index < len(self.queues) and self.queues[index].ready:
            try:
                self._serve(index)
            except DeviceError as error:
                self._need_reset(error)

    def _serve(self, index: int) -> None:
        """Serves what is available. PageAbsent may end it between two requests: what was served stays served.

        Requests can write to the rings and so make new ones, without end: more than the queue can hold wait for a notification.
        """
        queue = self.queues[index]
        for _ in range(queue.size):
            chain = queue.next_chain()
            if chain is None:
                return
            written = self.device.serve(chain, self._memory)
            if queue.complete(chain, written) and not self._signal(index) and not self.interrupt_status & INTERRUPT_USED_BUFFER:
                self._set_interrupt_status(self.interrupt_status | INTERRUPT_USED_BUFFER)

    def acknowledge_interrupts(self, reasons: int) -> None:
        """The driver has heard of these reasons for an interrupt."""
        self._set_interrupt_status(self.interrupt_status & ~reasons)

    def _need_reset(self, error: DeviceError) -> None:
        log.warning("virtio device needs a reset", place=self._place, reason=str(error))
        self.status |= Status.NEEDS_RESET
        if self.status & Status.DRIVER_OK and not self._signal(None):
            self._set_interrupt_status(self.interrupt_status | INTERRUPT_CONFIGURATION_CHANGE)

    def _set_interrupt_status(self, status: int) -> None:
        self.interrupt_status = status
        self._interrupt(bool(status))


def _half(value: int, select: int) -> int:
    """Bits 0-31 or 32-63 of a 64-bit value, as a select register says; there are no others."""
    return value >> 32 * select & _ALL_ONES if select < 2 else 0
