"""Guest-physical memory as devices and boot protocols see it: absent pages are loaded on the way."""

from collections.abc import Callable, Iterator
from typing import Final

from kev.addressing import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, Gpa, Gva, page_floor, page_offset
from kev.dev.base import DeviceError, MmioDevice, PageAbsent
from kev.dev.buses.mmio import MmioBus
from kev.exits import Access, EptViolation
from kev.page_tables.guest import GuestFault, PagingRegisters, translate
from kev.page_tables.table import PageTable
from kev.pager.errors import NoSuchPage
from kev.pager.kernel import KernelVmPager


class PagedMemory:
    """See `kev.dev.base.GuestMemory`. The pages of `devices` are no memory to write to, though the guest may read some as such."""

    __slots__ = (
        "_device_pages",
        "_devices",
        "_end",
        "_narrowed",
        "_pager",
        "_translate",
        "_view",
        "_written",
        "before_write",
        "table",
    )

    def __init__(
        self,
        pager: KernelVmPager,
        devices: MmioBus,
        table: PageTable,
        written: Callable[[int], None],
        narrowed: Callable[[Gpa], None],
    ) -> None:
        """`table` is the nested page table.

        `written` is called behind every write, once a page, with a host-physical address in it, and `narrowed` with a page that the
        guest may not write to any more: the engine's `invalidate`.
        """
        self._pager: Final = pager
        self._devices: Final = devices
        self._device_pages: Final = devices.devices
        self.table: Final = table
        self._translate: Final = table.translate
        self._end: Final = pager.memory.size
        """Behind all memory: what is mapped to windows lies there."""
        self._view: Final = pager.memory.view
        self._written: Final = written
        self._narrowed: Final = narrowed
        self.before_write: Callable[[Gpa], None] | None = None
        """Told of every page that is about to be written, by an address in it, if somebody keeps what pages held."""

    def device_at(self, gpa: Gpa) -> MmioDevice | None:
        """The device behind the page that holds `gpa`, if there is one."""
        return self._devices.device_at(gpa)

    # Most accesses are to one page, which is mapped, and no device's: so those are quick.

    def read(self, gpa: Gpa, length: int) -> bytes:
        hpa = self._translate(gpa)
        if (
            hpa is not None
            and hpa < self._end
            and (gpa & PAGE_MASK) + length <= PAGE_SIZE
            and gpa >> PAGE_SHIFT not in self._device_pages
        ):
            return bytes(self._view[hpa : hpa + length])
        return b"".join(self._view[start:end] for start, end in self._spans(gpa, length, Access.READ))

    def write(self, gpa: Gpa, data: bytes) -> None:
        hpa, length = self._translate(gpa), len(data)
        if (
            hpa is not None
            and hpa < self._end
            and (gpa & PAGE_MASK) + length <= PAGE_SIZE
            and gpa >> PAGE_SHIFT not in self._device_pages
        ):
            if self.before_write is not None:
                self.before_write(gpa)
            self._view[hpa : hpa + length] = data
            self._written(hpa)
            return
        done = 0
        spans = list(self._spans(gpa, len(data), Access.WRITE))
        if self.before_write is not None:
            for page in range(gpa & ~PAGE_MASK, gpa + length, PAGE_SIZE):
                self.before_write(Gpa(page))
        for start, end in spans:
            self._view[start:end] = data[done : done + end - start]
            self._written(start)
            done += end - start

    def permit_writes(self, gpa: Gpa, permitted: bool) -> None:
        """Whether the guest may write to the page that holds `gpa`: at first it may. Devices always may."""
        page = Gpa(page_floor(gpa))
        if not permitted:
            self.table.forbid_writes(page)
            self._narrowed(page)
        elif self.table.allow_writes(page):
            if self.before_write is not None:
                self.before_write(page)
            else:
                self.table.permit_writes(page)

    def read_virtual(self, registers: PagingRegisters, gva: Gva, length: int) -> bytes:
        """The bytes at a guest-virtual address, permissions aside. DeviceError where the guest maps nothing."""
        return b"".join(self.read(gpa, size) for gpa, size in self._translated(registers, gva, length))

    def write_virtual(self, registers: PagingRegisters, gva: Gva, data: bytes) -> None:
        """Writes all of `data` to a guest-virtual address, permissions aside, or nothing. DeviceError where nothing is mapped."""
        done = 0
        pages = list(self._translated(registers, gva, len(data)))
        for gpa, _ in pages:
            self._locate(gpa, Access.WRITE)
        for gpa, size in pages:
            self.write(gpa, data[done : done + size])
            done += size

    def _translated(self, registers: PagingRegisters, gva: Gva, length: int) -> Iterator[tuple[Gpa, int]]:
        """The guest-physical addresses and sizes that [gva, gva + length) consists of, page by page."""
        end = gva + length
        while gva < end:
            size = min(end - gva, PAGE_SIZE - page_offset(gva))
            try:
                yield translate(self._read_entry, registers, gva), size
            except GuestFault as fault:
                raise DeviceError(f"guest-virtual address {gva:#x} is not mapped by the guest") from fault
            gva = Gva(gva + size)

    def _read_entry(self, gpa: int, size: int) -> int:
        return int.from_bytes(self.read(Gpa(gpa), size), "little")

    def _spans(self, gpa: int, length: int, access: Access) -> Iterator[tuple[int, int]]:
        """The host-physical ranges that [gpa, gpa + length) consists of, page by page."""
        end = gpa + length
        while gpa < end:
            size = min(PAGE_SIZE - page_offset(gpa), end - gpa)
            start = self._locate(gpa, access)
            yield start, start + size
            gpa += size

    def _locate(self, gpa: int, access: Access) -> int:
        if access is Access.WRITE and self._devices.device_at(Gpa(gpa)) is not None:
            raise DeviceError(f"a device is told to write to gpa {gpa:#x}, which is a device's page")
        hpa = self._pager.gpa2hpa(Gpa(gpa))
        if hpa is not None:
            return hpa
        try:
            loaded = self._pager.try_lazy_paging(EptViolation(Gpa(gpa), access))
        except NoSuchPage as error:
            raise DeviceError(f"an access goes to gpa {gpa:#x}, which is not memory") from error
        hpa = self._pager.gpa2hpa(Gpa(gpa)) if loaded else None
        if hpa is None:
            raise PageAbsent(Gpa(gpa))
        return hpa
