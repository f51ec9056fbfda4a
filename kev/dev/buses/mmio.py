"""The guest-physical pages of a machine that devices stand behind."""

from collections.abc import Callable
from typing import Any, Final, Protocol, runtime_checkable

from kev import log
from kev.addressing import PAGE_SHIFT, PAGE_SIZE, Gpa, is_page_aligned, page_floor
from kev.dev.base import MmioDevice
from kev.dev.buses.claims import Claims
from kev.errors import KevError
from kev.subscribers import Subscribers


@runtime_checkable
class PageBackedDevice(MmioDevice, Protocol):
    """A device whose registers lie in one page of host memory, which the guest maps readable and executable.

    Its reads never exit. Its writes do, and the device updates the page.
    """

    @property
    def page(self) -> memoryview:
        """The page of 4 KiB."""


class UnhandledMmio(KevError):
    """An access to a guest-physical address that no device answers, on a strict machine; or a fetch from a device's."""


_RANGES_DESCRIBED: Final = 64


class Unanswered:
    """The accesses to guest-physical addresses without memory and without a device: reads give ones, writes go nowhere."""

    __slots__ = ("accesses", "pages")

    def __init__(self) -> None:
        self.accesses = 0
        """How many there were."""
        self.pages: Final[dict[int, None]] = {}
        """The addresses of the pages, in the order in which they were first accessed."""

    def begin(self, gpa: Gpa) -> None:
        """The guest accesses a page for the first time."""
        page = page_floor(gpa)
        if page not in self.pages:
            self.pages[page] = None
            log.info("nothing answers", gpa=f"{gpa:#x}")

    def load(self, size: int) -> int:
        self.accesses += 1
        return (1 << 8 * size) - 1

    def store(self) -> None:
        self.accesses += 1

    def describe(self) -> dict[str, Any] | None:
        """The number of `accesses` and of `pages`, and the `ranges` of addresses that these are, the first 64; None if none was."""
        if not self.pages:
            return None
        ranges: list[list[int]] = []
        for page in sorted(self.pages):
            if ranges and ranges[-1][1] == page:
                ranges[-1][1] += PAGE_SIZE
            else:
                ranges.append([page, page + PAGE_SIZE])
        first = ranges[:_RANGES_DESCRIBED]
        return {"accesses": self.accesses, "pages": len(self.pages), "ranges": [f"{start:#x}-{end:#x}" for start, end in first]}


class MmioBus:
    """Finds the device behind a page in one lookup.

    An address that no device answers reads as all ones and ignores writes, as an empty bus does, unless the bus is strict.
    """

    __slots__ = ("_claims", "_unbuilt", "attached", "devices", "unanswered")

    def __init__(self, strict: bool = False) -> None:
        """`strict`: accesses that no device answers are an UnhandledMmio."""
        self._claims = Claims("gpa", unit=PAGE_SIZE)
        self.unanswered: Final = None if strict else Unanswered()
        """None if the bus is strict."""
        self.devices: Final[dict[int, MmioDevice]] = {}
        """By page number. Only `attach`, `detach` and what is built later change it."""
        self.attached: Final[Subscribers[[]]] = Subscribers()
        """Are told when there are devices where there were none."""
        self._unbuilt: Final[dict[int, Callable[[], MmioDevice]]] = {}

    def attach(self, device: MmioDevice) -> None:
        """Puts `device` behind its pages. DeviceConflict if one is taken."""
        if not is_page_aligned(device.gpa) or not is_page_aligned(device.length):
            raise ValueError(f"{device.name}: {device.length:#x} bytes at {device.gpa:#x} are not whole pages")
        pages = _pages(device)
        self._claims.claim(device.name, pages)
        self.devices.update(dict.fromkeys(pages, device))
        self.attached()

    def attach_later(self, name: str, gpa: Gpa, build: Callable[[], MmioDevice]) -> None:
        """As `attach`, for the device of one page that `build` makes when the page is first accessed."""
        page = gpa >> PAGE_SHIFT
        self._claims.claim(name, (page,))
        self._unbuilt[page] = build
        self.attached()

    def detach(self, device: MmioDevice) -> None:
        """Takes a device away that is behind its pages."""
        pages = _pages(device)
        self._claims.release(pages)
        for page in pages:
            del self.devices[page]

    def device_at(self, gpa: Gpa) -> MmioDevice | None:
        """The device behind the page that holds `gpa`, if there is one."""
        page = gpa >> PAGE_SHIFT
        device = self.devices.get(page)
        if device is None and page in self._unbuilt:
            device = self.devices[page] = self._unbuilt.pop(page)()
        return device

    def is_among(self, addresses: range) -> bool:
        """Whether there are devices at these addresses, which begin and end at page boundaries."""
        pages = range(addresses.start >> PAGE_SHIFT, addresses.stop >> PAGE_SHIFT)
        return any(page in pages for devices in (self.devices, self._unbuilt) for page in devices)

    def owners(self) -> list[tuple[str, range]]:
        """The names of the devices, each with a range of its guest-physical addresses, ascending."""
        return self._claims.ranges()

    def load(self, vcpu: int, gpa: Gpa, size: int) -> int:
        """A read of 1, 2, 4 or 8 bytes by vCPU number `vcpu`."""
        device = self.devices.get(gpa >> PAGE_SHIFT) or self.device_at(gpa)
        if device is None:
            if self.unanswered is None:
                raise UnhandledMmio(f"gpa {gpa:#x}: the guest reads {size} bytes, and no device answers")
            return self.unanswered.load(size)
        return device.read_mmio(vcpu, gpa - device.gpa, size)

    def store(self, vcpu: int, gpa: Gpa, size: int, value: int) -> None:
        """A write of 1, 2, 4 or 8 bytes by vCPU number `vcpu`."""
        device = self.devices.get(gpa >> PAGE_SHIFT) or self.device_at(gpa)
        if device is None:
            if self.unanswered is None:
                raise UnhandledMmio(f"gpa {gpa:#x}: the guest writes {value:#x} ({size} bytes), and no device answers")
            self.unanswered.store()
            return
        device.write_mmio(vcpu, gpa - device.gpa, size, value)


def _pages(device: MmioDevice) -> range:
    return range(device.gpa >> PAGE_SHIFT, (device.gpa + device.length) >> PAGE_SHIFT)
