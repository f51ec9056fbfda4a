"""EPT violations: a page is loaded, or a device's page is mapped."""

from typing import Final, Protocol

from kev.addressing import Gpa, Hpa, page_floor
from kev.dev.mmio import MmioBus, PageBackedDevice
from kev.exits import EptViolation
from kev.paging.mapping import Permissions
from kev.vcpu import Vcpu
from pager.kernel import KernelVmPager


class WindowEngine(Protocol):
    """What this controller asks of an engine."""

    def map_window(self, gpa: Gpa, length: int) -> Hpa:
        """A host-physical range whose loads and stores become MMIO exits for the guest-physical range at `gpa`."""

    def invalidate(self, gpa: Gpa) -> None: ...


class ViolationController:
    """The way of every first touch, so memory comes first and devices after it."""

    __slots__ = ("_devices", "_engine", "_pager", "_try_lazy_paging", "_windows")

    def __init__(self, pager: KernelVmPager, devices: MmioBus, engine: WindowEngine) -> None:
        self._pager: Final = pager
        self._try_lazy_paging: Final = pager.try_lazy_paging
        self._devices: Final = devices
        self._engine: Final = engine
        self._windows: Final[dict[int, Hpa]] = {}

    def handle(self, _vcpu: Vcpu, exit: EptViolation) -> int | None:
        device = self._devices.device_at(exit.gpa)
        if device is None:
            return 0 if self._try_lazy_paging(exit) else None
        page = page_floor(exit.gpa)
        window = self._windows.get(page)
        if window is None:
            window = self._windows[page] = self._engine.map_window(Gpa(page), 0x1000)
        if isinstance(device, PageBackedDevice):
            self._pager.map_mmio_page(Gpa(page), device.page)
        self._pager.table.map_page(page, window, Permissions.RW)
        return 0
