"""EPT violations: a page is loaded, or a device's page is mapped, or one that nothing answers."""

from collections.abc import Callable
from typing import Final, Protocol

from kev.addressing import MIB, PAGE_SIZE, Gpa, Hpa, page_floor
from kev.dev.base import MmioDevice
from kev.dev.buses.mmio import MmioBus, UnhandledMmio
from kev.engine.base import VcpuState
from kev.exits import Access, EptViolation
from kev.page_tables.mapping import Permissions
from kev.page_tables.table import PageTable
from kev.pager.errors import NoSuchPage
from kev.pager.kernel import KernelVmPager

_LARGE_WINDOW: Final = 16 * MIB
"""A guest may look at many pages in a row that nothing answers: a window for each would cost more with every one there is."""


class WindowEngine(Protocol):
    """What this controller asks of an engine."""

    def map_window(self, gpa: Gpa, length: int, planes: int = 0) -> Hpa:
        """See `kev.engine.base.Engine.map_window`."""

    def invalidate(self, gpa: Gpa) -> None: ...


class ViolationController:
    """Loads pages and maps devices, and where there is neither memory nor a device, windows too.

    A device's page is mapped to a window, in which every access exits as a load or a store. Where the device keeps its registers in
    a page of memory that the guest reads without an exit, the window takes the page's place for the length of one store. A device
    can be in front of guest memory for a time, too.
    """

    __slots__ = (
        "_devices",
        "_engine",
        "_in_front",
        "_large_windows",
        "_mapped",
        "_pager",
        "_readable",
        "_table",
        "_windows",
        "at_nothing",
    )

    def __init__(self, pager: KernelVmPager, table: PageTable, devices: MmioBus, engine: WindowEngine) -> None:
        self._pager: Final = pager
        self._table: Final = table
        self._devices: Final = devices
        self._engine: Final = engine
        self._windows: Final[dict[int, Hpa]] = {}
        self._large_windows: Final[dict[int, Hpa]] = {}
        self._mapped: Final[set[int]] = set()  # the pages that lead to windows now
        self._readable: Final[dict[int, Hpa]] = {}
        self._in_front: Final[dict[int, Hpa]] = {}  # the windows, by page, of devices that are in front of memory
        self.at_nothing: Callable[[VcpuState, EptViolation], None] | None = None
        """Told of a violation where there is neither memory nor a device, before a window is mapped there: it may end the run."""

    def map_readable(self, gpa: Gpa, page: Hpa) -> None:
        """Maps a device's page of memory: reads and fetches do not exit from now on, writes do."""
        self._pager.map_mmio_page(gpa, page)
        self._readable[gpa] = page

    def handle(self, vcpu: VcpuState, exit: EptViolation) -> int | None:
        if self._devices.device_at(exit.gpa) is None:
            try:
                return 0 if self._pager.try_lazy_paging(exit) else None
            except NoSuchPage:
                if self.at_nothing is not None:
                    self.at_nothing(vcpu, exit)
                if not self._map_nothing(exit):
                    raise
                return 0
        page = page_floor(exit.gpa)
        if exit.access is Access.EXECUTE:
            raise UnhandledMmio(f"gpa {exit.gpa:#x}: the guest executes what is a device's page")
        if page in self._in_front:
            self._table.map_device_page(page, self._in_front[page])
            return 0
        self._map(page)
        if page in self._readable:
            self._engine.invalidate(Gpa(page))
        return 0

    def put_in_front(self, device: MmioDevice) -> None:
        """Attaches a device where guest memory is, which nobody sees from now on. DeviceConflict if there is another."""
        self._devices.attach(device)
        window = self._windows.get(device.gpa)
        if window is None:
            planes = getattr(device, "planes_address", 0)
            window = self._windows[device.gpa] = self._engine.map_window(device.gpa, device.length, planes)
        for offset in range(0, device.length, PAGE_SIZE):
            page = Gpa(device.gpa + offset)
            self._in_front[page] = Hpa(window + offset)
            self._table.map_device_page(page, window + offset)
            self._engine.invalidate(page)

    def take_from_front(self, device: MmioDevice, before_write: Callable[[Gpa], None] | None) -> None:
        """Detaches it. Of the memory that is seen again, the guest may write to what is Present: `before_write` is told so."""
        self._devices.detach(device)
        for offset in range(0, device.length, PAGE_SIZE):
            page = Gpa(device.gpa + offset)
            del self._in_front[page]
            self._table.unmap_page(page)
            frame = self._pager.gpa2hpa(page)
            if frame is not None and self._table.translate(page) is None:
                if before_write is not None:
                    before_write(page)
                self._table.map_page(page, frame)
            self._engine.invalidate(page)

    def _map_nothing(self, exit: EptViolation) -> bool:
        """Maps a page that nothing answers, unless the machine is strict, or the guest fetches an instruction there."""
        unanswered = self._devices.unanswered
        if unanswered is None or exit.access is Access.EXECUTE:
            return False
        unanswered.begin(exit.gpa)
        self._map(page_floor(exit.gpa))
        return True

    def stored(self, gpa: Gpa) -> None:
        """A store to a device's page is done: if the page is a readable one, it is again."""
        page = page_floor(gpa)
        if page in self._readable:
            self._unmap(page)
            self._engine.invalidate(Gpa(page))

    @property
    def mapped(self) -> frozenset[int]:
        """The pages that lead to windows now, by their addresses."""
        return frozenset(self._mapped)

    def load(self, mapped: frozenset[int]) -> None:
        """Lets exactly these pages lead to windows. The engine must forget what it cached."""
        for page in self._mapped - mapped:
            self._unmap(page)
        for page in mapped - self._mapped:
            self._map(page)

    def _map(self, page: int) -> None:
        self._table.map_device_page(page, self._window(page))
        self._mapped.add(page)

    def _unmap(self, page: int) -> None:
        frame = self._readable.get(page)
        if frame is None:
            self._table.unmap_page(page)
        else:
            self._table.remap_page(Gpa(page), frame, Permissions.RX)
        self._mapped.discard(page)

    def _window(self, page: int) -> Hpa:
        if self._devices.device_at(Gpa(page)) is None:
            start = page & -_LARGE_WINDOW
            return Hpa(self._window_of(self._large_windows, start, _LARGE_WINDOW) + page - start)
        return self._window_of(self._windows, page, PAGE_SIZE)

    def _window_of(self, windows: dict[int, Hpa], start: int, length: int) -> Hpa:
        window = windows.get(start)
        if window is None:
            window = windows[start] = self._engine.map_window(Gpa(start), length)
        return window
