"""The guest-physical pages of a machine that devices stand behind."""

from typing import Final, Protocol, runtime_checkable

from kev.addressing import PAGE_SHIFT, PAGE_SIZE, Gpa, is_page_aligned
from kev.dev.base import MmioDevice
from kev.dev.buses.claims import Claims
from kev.errors import KevError


@runtime_checkable
class PageBackedDevice(MmioDevice, Protocol):
    """A device whose registers lie in one page of host memory, which the guest maps readable and executable.

    Its reads never exit. Its writes do, and the device updates the page.
    """

    @property
    def page(self) -> memoryview:
        """The page of 4 KiB."""


class UnhandledMmio(KevError):
    """An access to a guest-physical address that no device answers."""


class MmioBus:
    """Finds the device behind a page in one lookup."""

    __slots__ = ("_claims", "devices")

    def __init__(self) -> None:
        self._claims = Claims("gpa", unit=PAGE_SIZE)
        self.devices: Final[dict[int, MmioDevice]] = {}
        """By page number. Only `attach` and `detach` change it."""

    def attach(self, device: MmioDevice) -> None:
        """Puts `device` behind its pages. DeviceConflict if one is taken."""
        if not is_page_aligned(device.gpa) or not is_page_aligned(device.length):
            raise ValueError(f"{device.name}: {device.length:#x} bytes at {device.gpa:#x} are not whole pages")
        pages = _pages(device)
        self._claims.claim(device.name, pages)
        self.devices.update(dict.fromkeys(pages, device))

    def detach(self, device: MmioDevice) -> None:
        """Takes a device away that is behind its pages."""
        pages = _pages(device)
        self._claims.release(pages)
        for page in pages:
            del self.devices[page]

    def device_at(self, gpa: Gpa) -> MmioDevice | None:
        """The device behind the page that holds `gpa`, if there is one."""
        return self.devices.get(gpa >> PAGE_SHIFT)

    def owners(self) -> list[tuple[str, range]]:
        """The names of the devices, each with a range of its guest-physical addresses, ascending."""
        return self._claims.ranges()

    def load(self, vcpu: int, gpa: Gpa, size: int) -> int:
        """A read of 1, 2, 4 or 8 bytes by vCPU number `vcpu`."""
        device = self.devices.get(gpa >> PAGE_SHIFT)
        if device is None:
            raise UnhandledMmio(f"gpa {gpa:#x}: the guest reads {size} bytes, and no device answers")
        return device.read_mmio(vcpu, gpa - device.gpa, size)

    def store(self, vcpu: int, gpa: Gpa, size: int, value: int) -> None:
        """A write of 1, 2, 4 or 8 bytes by vCPU number `vcpu`."""
        device = self.devices.get(gpa >> PAGE_SHIFT)
        if device is None:
            raise UnhandledMmio(f"gpa {gpa:#x}: the guest writes {value:#x} ({size} bytes), and no device answers")
        device.write_mmio(vcpu, gpa - device.gpa, size, value)


def _pages(device: MmioDevice) -> range:
    return range(device.gpa >> PAGE_SHIFT, (device.gpa + device.length) >> PAGE_SHIFT)
