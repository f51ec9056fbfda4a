"""The pager of one kernel, one vCPU at a time."""

import io
import struct
from pathlib import Path

import attrs
import pytest
import trio

from kev.addressing import GIB, KIB, MIB, PAGE_SIZE, TIB, Gpa, Gva, Hpa
from kev.exits import Access
from kev.fs.mkfs import create_image
from kev.host_memory import HostMemory, HostMemoryError
from kev.page_tables.ept import EptFormat
from kev.page_tables.errors import AlreadyMapped
from kev.page_tables.format import EntryFormat
from kev.page_tables.guest import GuestFault
from kev.page_tables.mapping import Permissions
from kev.page_tables.npt import NptFormat
from kev.page_tables.table import PageTable
from kev.pager.errors import NoSuchPage, PageLoadError, PagerError, ReadOnlyPage, Violation
from kev.pager.image import KernelImage, Segment
from kev.pager.kernel import KernelVmPager
from kev.pager.loaders import contents
from kev.pager.pages import PageEvent, PageState
from kev.pager.ram import RamError
from kev.pager.slow_source import SlowSource, SourceDelay
from kev.pager.source import FileSource
from tests.pager.elf import build_elf
from tests.pager.machine import DATA, FILE, TEXT, build_pager, guest_page, permissions, touch
from tests.pager.sources import BytesSource
from tests.pager.test_mbi import memory_map, tags

SHARED_PAGE = 0x102000
ZERO_PAGE = 0x105000
RAM_PAGE = 0x3000


@pytest.fixture(params=[EptFormat(), NptFormat()], ids=lambda entry_format: entry_format.name)
def pager(request: pytest.FixtureRequest) -> KernelVmPager:
    entry_format: EntryFormat = request.param
    return build_pager(entry_format=entry_format)


def test_a_touched_page_is_loaded_and_mapped_and_no_other(pager: KernelVmPager) -> None:
    assert touch(pager, 0x101234, Access.EXECUTE)
    assert guest_page(pager, 0x101000) == FILE[0x1000:0x2000]
    assert permissions(pager, 0x101000) == Permissions.RWX
    assert permissions(pager, 0x100000) is None
    assert permissions(pager, 0x102000) is None
    assert pager.statistics.loads == pager.statistics.present == 1


def test_a_page_of_two_segments_has_the_bytes_of_both(pager: KernelVmPager) -> None:
    assert touch(pager, SHARED_PAGE)
    assert guest_page(pager, SHARED_PAGE) == FILE[0x2000:0x2800] + FILE[0x4000:0x4800]


@pytest.mark.parametrize("gpa", [RAM_PAGE, ZERO_PAGE, 0x104000 - 1 + PAGE_SIZE, 4 * MIB - 1])
def test_ram_and_bss_are_zeros(pager: KernelVmPager, gpa: int) -> None:
    assert touch(pager, gpa, Access.WRITE)
    assert guest_page(pager, gpa & -PAGE_SIZE) == bytes(PAGE_SIZE)


def test_a_violation_on_a_page_that_is_present_needs_no_answer() -> None:
    source = BytesSource(FILE)
    pager = build_pager(source=source)
    assert touch(pager, 0x100000)
    guest_page(pager, 0x100000)[:4] = b"mine"
    assert touch(pager, 0x100004, Access.WRITE)
    assert bytes(guest_page(pager, 0x100000)[:4]) == b"mine"
    assert len(source.reads) == 1
    assert (pager.statistics.loads, pager.statistics.spurious) == (1, 1)


@pytest.mark.parametrize("gpa", [4 * MIB, 0xC0000000, 0xFFFFFFFFF000, 1 << 60])
async def test_an_address_without_ram_or_image_is_refused_by_name(pager: KernelVmPager, gpa: int) -> None:
    allocated = pager.memory.allocated
    message = rf"^there is no page at guest-physical address {gpa:#x}: RAM is 0x0-0x400000, the image 0x100000-0x107800$"
    with pytest.raises(NoSuchPage, match=message):
        touch(pager, gpa)
    with pytest.raises(NoSuchPage, match=message):
        await pager.load_page(Gpa(gpa))
    assert pager.pages[gpa] is PageState.ABSENT
    assert pager.memory.allocated == allocated


def test_nothing_is_read_before_it_is_touched() -> None:
    elf = build_elf([TEXT._replace(offset=0x1000), DATA._replace(offset=0x5000)], TEXT.vaddr + 4)
    elf.data += bytes(0x1000 - len(elf.data)) + FILE
    source = BytesSource(bytes(elf.data))
    memory = HostMemory(64 * MIB)
    pager = KernelVmPager.from_image(source, 4096, memory, PageTable(memory, EptFormat()))
    assert pager.finalize_mem() == 0
    assert pager.entry == 0x100004
    assert all(offset + length <= 64 + 2 * 56 for offset, length in source.reads)
    assert memory.allocated == PAGE_SIZE
    assert touch(pager, pager.entry)
    assert guest_page(pager, 0x100000) == FILE[:PAGE_SIZE]


def test_a_kernel_is_launched_from_a_file_of_the_host(tmp_path: Path) -> None:
    elf = build_elf([TEXT._replace(offset=0x1000)], TEXT.vaddr)
    (tmp_path / "kernel").write_bytes(bytes(elf.data.ljust(0x1000, b"\0")) + FILE)
    memory = HostMemory(64 * MIB)
    with FileSource(tmp_path / "kernel") as source:
        pager = KernelVmPager.from_image(source, 4096, memory, PageTable(memory, NptFormat()))
        assert touch(pager, 0x102000)
        assert guest_page(pager, 0x102000) == FILE[0x2000:0x2800].ljust(PAGE_SIZE, b"\0")


def test_a_kernel_is_launched_from_a_simplefs_file() -> None:
    elf = build_elf([TEXT._replace(offset=0x1000)], TEXT.vaddr)
    kernel = io.BytesIO(bytes(elf.data.ljust(0x1000, b"\0")) + FILE)
    disk = create_image(io.BytesIO(), "disk", {"other": io.BytesIO(b"x" * 700), "kernel": kernel})
    memory = HostMemory(64 * MIB)
    pager = KernelVmPager.from_image(disk.open("kernel"), 4096, memory, PageTable(memory, NptFormat()))
    assert touch(pager, 0x101000)
    assert guest_page(pager, 0x101000) == FILE[0x1000:0x2000]


def test_a_terabyte_of_ram_and_an_image_of_gigabytes_cost_nothing_until_touched() -> None:
    source = BytesSource(b"")
    huge = TEXT._replace(filesz=0, memsz=2 * GIB)
    pager = build_pager([huge, huge._replace(paddr=Gpa(8 * GIB), memsz=4 * GIB)], TIB // KIB, source=source)
    assert pager.image_pages == 6 * GIB // PAGE_SIZE
    assert pager.ram_pages == TIB // PAGE_SIZE
    assert pager.memory.allocated == PAGE_SIZE
    assert touch(pager, TIB - 1)
    assert touch(pager, 0x100000)
    slabs, tables = 2, 1 + 2 * 3
    assert pager.memory.allocated == slabs * 2 * MIB + tables * PAGE_SIZE


def test_ram_smaller_than_the_kernel_is_refused_by_name() -> None:
    with pytest.raises(
        RamError, match=r"^RAM of 1052 KiB ends at 0x107000: the kernel ends at 0x107800 and does not fit: 2 MiB are enough for it$"
    ):
        build_pager(ram_kib=1052)
    assert build_pager(ram_kib=1056).ram_pages == 264


@pytest.mark.parametrize(
    ("loader_answers", "error"), [(False, PageLoadError), (OSError("gone"), OSError), (KeyboardInterrupt(), KeyboardInterrupt)]
)
def test_a_failed_load_leaves_no_trace_and_the_next_touch_tries_again(
    pager: KernelVmPager, loader_answers: bool | BaseException, error: type[BaseException]
) -> None:
    attempts = 0

    def fail_once(page: memoryview) -> bool:
        nonlocal attempts
        attempts += 1
        assert page == bytes(PAGE_SIZE)
        page[:7] = b"garbage" if attempts == 1 else b"content"
        if attempts > 1:
            return True
        if isinstance(loader_answers, BaseException):
            raise loader_answers
        return loader_answers

    pager.map_page(Gpa(RAM_PAGE), fail_once)
    with pytest.raises(error) as raised:
        touch(pager, RAM_PAGE)
    assert raised.value is loader_answers or str(raised.value) == "page 0x3000 cannot be loaded: its loader failed"
    assert pager.pages[RAM_PAGE] is PageState.ABSENT
    assert permissions(pager, RAM_PAGE) is None
    assert pager.gpa2hpa(Gpa(RAM_PAGE)) is None
    assert touch(pager, RAM_PAGE)
    assert guest_page(pager, RAM_PAGE) == b"content".ljust(PAGE_SIZE, b"\0")


def test_failures_and_cancellations_are_counted(pager: KernelVmPager) -> None:
    pager.map_page(Gpa(RAM_PAGE), lambda _: False)
    with pytest.raises(PageLoadError):
        touch(pager, RAM_PAGE)
    assert (pager.statistics.loads, pager.statistics.failures, pager.statistics.cancellations) == (0, 1, 0)


def test_host_memory_that_is_full_fails_the_load_by_name() -> None:
    pager = build_pager(memory=HostMemory(2 * MIB))
    with pytest.raises(HostMemoryError, match="host memory is full"):
        touch(pager, RAM_PAGE)
    assert pager.pages[RAM_PAGE] is PageState.ABSENT


def test_a_page_that_the_table_refuses_stays_absent(pager: KernelVmPager) -> None:
    pager.table.map_page(RAM_PAGE, pager.memory.allocate(), Permissions.RX)
    with pytest.raises(AlreadyMapped):
        touch(pager, RAM_PAGE)
    assert pager.pages[RAM_PAGE] is PageState.ABSENT


def test_a_page_can_be_given_a_loader_of_its_own_until_it_is_loaded(pager: KernelVmPager) -> None:
    pager.map_page(Gpa(0x101000), contents(b"patched"))
    assert touch(pager, 0x101000)
    assert guest_page(pager, 0x101000) == b"patched".ljust(PAGE_SIZE, b"\0")
    with pytest.raises(PagerError, match=r"^page 0x101000 is present already: what fills it cannot change$"):
        pager.map_page(Gpa(0x101000), contents(b"late"))
    with pytest.raises(PagerError, match=r"^guest-physical address 0x101001 is not the beginning of a page of 4096 bytes$"):
        pager.map_page(Gpa(0x101001), contents(b"askew"))


def test_a_page_outside_ram_can_be_added(pager: KernelVmPager) -> None:
    pager.map_page(Gpa(0xFFFFF000), contents(b"firmware"))
    assert touch(pager, 0xFFFFFFF0, Access.EXECUTE)
    assert bytes(guest_page(pager, 0xFFFFF000)[:8]) == b"firmware"


def test_a_loader_may_load_other_pages(pager: KernelVmPager) -> None:
    def copy(page: memoryview) -> bool:
        assert pager.try_load_page(Gpa(0x101000))
        page[:] = guest_page(pager, 0x101000)
        return True

    pager.map_page(Gpa(RAM_PAGE), copy)
    assert touch(pager, RAM_PAGE)
    assert guest_page(pager, RAM_PAGE) == FILE[0x1000:0x2000]


@pytest.mark.parametrize("gpa", [0xCAFE0000, RAM_PAGE, 0x100000])
def test_a_device_page_is_read_without_exits_and_writes_are_not_the_pagers_business(pager: KernelVmPager, gpa: int) -> None:
    page = pager.memory.allocate()
    pager.map_mmio_page(Gpa(gpa), page)
    assert permissions(pager, gpa) == Permissions.RX
    assert pager.gpa2hpa(Gpa(gpa + 0x14)) == page + 0x14
    with pytest.raises(
        ReadOnlyPage, match=f"^write to guest-physical address {gpa + 0x10:#x}: its page is mapped read-only"
    ) as raised:
        touch(pager, gpa + 0x10, Access.WRITE)
    assert raised.value.gpa == gpa + 0x10
    assert touch(pager, gpa, Access.READ)
    assert pager.statistics.loads == 0


async def test_a_device_page_stays(pager: KernelVmPager) -> None:
    pager.map_mmio_page(Gpa(0xCAFE0000), pager.memory.allocate())
    await pager.load_page(Gpa(0xCAFE0000))
    assert not await pager.evict(Gpa(0xCAFE0000))
    assert permissions(pager, 0xCAFE0000) == Permissions.RX


def test_a_device_page_is_refused_where_a_page_is_loaded(pager: KernelVmPager) -> None:
    touch(pager, RAM_PAGE)
    with pytest.raises(PagerError, match="is present already"):
        pager.map_mmio_page(Gpa(RAM_PAGE), Hpa(0x1000))
    assert permissions(pager, RAM_PAGE) == Permissions.RWX


@pytest.mark.parametrize(
    ("ram_kib", "regions"),
    [
        (4096, [(0x1000, 4 * MIB - 0x1000, 1)]),
        (4 * GIB // KIB, [(0x1000, 0xBFFDA000 - 0x1000, 1), (4 * GIB, 4 * GIB - 0xBFFDA000, 1)]),
        (0xBFFDB000 // KIB, [(0x1000, 0xBFFDA000 - 0x1000, 1), (4 * GIB, 0x1000, 1)]),
    ],
)
def test_the_boot_information_lists_all_ram_but_its_own_page(ram_kib: int, regions: list[tuple[int, int, int]]) -> None:
    pager = build_pager(ram_kib=ram_kib)
    gpa = pager.finalize_mem()
    assert gpa == 0
    assert touch(pager, gpa)
    page = bytes(guest_page(pager, gpa))
    (total,) = struct.unpack_from("<I", page)
    [(tag, payload)] = tags(page[:total])
    assert tag == 6
    assert memory_map(payload) == regions
    assert page[total:] == bytes(PAGE_SIZE - total)


def test_an_image_that_needs_page_0_is_refused_by_name() -> None:
    pager = build_pager([Segment(Gpa(0x800), Gva(0x800), 0, 0x100, 0x100)])
    with pytest.raises(PagerError, match=r"^kernel: a segment begins in page 0x0, where the boot information goes$"):
        pager.finalize_mem()


@pytest.mark.parametrize("gpa", [0x101000, SHARED_PAGE, ZERO_PAGE, RAM_PAGE])
async def test_an_evicted_page_that_was_not_changed_is_loaded_anew(pager: KernelVmPager, gpa: int) -> None:
    loader = pager.loaders[Gpa(gpa)]
    assert touch(pager, gpa)
    before = bytes(guest_page(pager, gpa))
    assert await pager.evict(Gpa(gpa + 0x10))
    assert permissions(pager, gpa) is None
    assert pager.gpa2hpa(Gpa(gpa)) is None
    assert pager.loaders[Gpa(gpa)] == loader
    assert touch(pager, gpa)
    assert guest_page(pager, gpa) == before
    assert (pager.statistics.loads, pager.statistics.evictions, pager.statistics.present) == (2, 1, 1)


@pytest.mark.parametrize("gpa", [0x101000, SHARED_PAGE, ZERO_PAGE, RAM_PAGE])
async def test_an_evicted_page_keeps_what_the_guest_wrote(pager: KernelVmPager, gpa: int) -> None:
    assert touch(pager, gpa)
    guest_page(pager, gpa)[100:105] = b"guest"
    before = bytes(guest_page(pager, gpa))
    frame = pager.gpa2hpa(Gpa(gpa))
    assert frame is not None
    assert await pager.evict(Gpa(gpa))
    assert pager.memory.page(frame) == bytes(PAGE_SIZE)
    assert touch(pager, gpa)
    assert guest_page(pager, gpa) == before
    assert await pager.evict(Gpa(gpa))
    assert touch(pager, gpa)
    assert guest_page(pager, gpa) == before


async def test_eviction_does_not_run_a_loader_of_its_own_to_find_out(pager: KernelVmPager) -> None:
    runs = 0

    def load(page: memoryview) -> bool:
        nonlocal runs
        runs += 1
        page[:4] = b"once"
        return True

    pager.map_page(Gpa(RAM_PAGE), load)
    assert touch(pager, RAM_PAGE)
    assert await pager.evict(Gpa(RAM_PAGE))
    assert runs == 1
    assert pager.loaders[Gpa(RAM_PAGE)] is load
    assert touch(pager, RAM_PAGE)
    assert runs == 2
    guest_page(pager, RAM_PAGE)[0] = 0
    assert await pager.evict(Gpa(RAM_PAGE))
    assert touch(pager, RAM_PAGE)
    assert runs == 2
    assert bytes(guest_page(pager, RAM_PAGE)[:4]) == b"\0nce"


async def test_a_page_whose_source_is_gone_keeps_its_contents() -> None:
    source = BytesSource(FILE)
    pager = build_pager(source=source)
    assert touch(pager, 0x101000)
    source.data = b""
    assert await pager.evict(Gpa(0x101000))
    assert touch(pager, 0x101000)
    assert guest_page(pager, 0x101000) == FILE[0x1000:0x2000]


async def test_a_page_is_unmapped_before_its_contents_are_looked_at(pager: KernelVmPager) -> None:
    assert touch(pager, RAM_PAGE)
    page = guest_page(pager, RAM_PAGE)
    told = []

    def last_store(gpa: Gpa) -> None:
        told.append(gpa)
        assert permissions(pager, gpa) is None
        page[:4] = b"last"

    pager.unmapped.subscribe(last_store)
    assert await pager.evict(Gpa(RAM_PAGE))
    assert told == [RAM_PAGE]
    assert touch(pager, RAM_PAGE)
    assert bytes(guest_page(pager, RAM_PAGE)[:4]) == b"last"


async def test_only_a_present_page_can_be_evicted(pager: KernelVmPager) -> None:
    assert not await pager.evict(Gpa(RAM_PAGE))
    assert not await pager.evict(Gpa(1 << 50))


def test_guest_physical_addresses_resolve_while_their_page_is_present(pager: KernelVmPager) -> None:
    assert pager.gpa2hpa(Gpa(0x101234)) is None
    assert touch(pager, 0x101000)
    hpa = pager.gpa2hpa(Gpa(0x101234))
    assert hpa is not None
    assert pager.memory.view[hpa] == FILE[0x1234]


@attrs.frozen
class Registers:
    """The paging registers of a guest in 64-bit mode, with its PML4 at 0x10000."""

    cr0: int = 0x80000001
    cr3: int = 0x10000
    cr4: int = 0x20
    efer: int = 0x500


def write_entry(pager: KernelVmPager, gpa: int, value: int) -> None:
    assert touch(pager, gpa)
    offset = gpa & PAGE_SIZE - 1
    guest_page(pager, gpa & -PAGE_SIZE)[offset : offset + 8] = struct.pack("<Q", value)


def test_every_page_of_a_large_guest_page_resolves_to_its_own_frame(pager: KernelVmPager) -> None:
    write_entry(pager, 0x10000, 0x11003)
    write_entry(pager, 0x11000, 0x12003)
    write_entry(pager, 0x12008, 0x200083)
    for page in range(0x200000, 0x400000, PAGE_SIZE):
        assert touch(pager, page)
        assert pager.gva2hpa(Registers(), Gva(page + 0x123)) == pager.gpa2hpa(Gpa(page + 0x123))
    assert len({pager.gva2hpa(Registers(), Gva(page)) for page in range(0x200000, 0x400000, PAGE_SIZE)}) == 512


def test_a_guest_virtual_address_meets_the_guests_fault_or_a_violation(pager: KernelVmPager) -> None:
    with pytest.raises(Violation) as violation:
        pager.gva2hpa(Registers(), Gva(0x1000))
    assert violation.value.gpa == 0x10000
    write_entry(pager, 0x10000, 0)
    with pytest.raises(GuestFault) as fault:
        pager.gva2hpa(Registers(), Gva(0x1000), Access.WRITE)
    assert (fault.value.exception.vector, fault.value.exception.error_code) == (14, 2)
    with pytest.raises(Violation) as violation:
        pager.gva2hpa(Registers(cr0=1), Gva(0x101234))
    assert violation.value.gpa == 0x101234
    assert touch(pager, 0x101000)
    assert pager.gva2hpa(Registers(cr0=1), Gva(0x101234)) == pager.gpa2hpa(Gpa(0x101234))


def test_an_observer_is_told_of_every_load(pager: KernelVmPager) -> None:
    told: list[tuple[int, PageEvent | str]] = []

    class Observer:
        def began(self, pages: range) -> None:
            told.extend((page, "began") for page in pages)

        def waited(self, gpa: Gpa) -> None:
            told.append((gpa, "waited"))

        def ended(self, pages: range, event: PageEvent) -> None:
            told.extend((page, event) for page in pages)

    pager.observe(Observer())
    pager.map_page(Gpa(RAM_PAGE), lambda _: False)
    with pytest.raises(PageLoadError):
        touch(pager, RAM_PAGE + 5)
    touch(pager, 0x101234)
    touch(pager, 0x101234)
    assert told == [
        (RAM_PAGE, "began"),
        (RAM_PAGE, PageEvent.FAIL),
        (0x101000, "began"),
        (0x101000, PageEvent.PUBLISH),
    ]


async def test_a_load_that_was_begun_on_the_spot_is_finished_by_whoever_awaits_it(pager: KernelVmPager) -> None:
    runs = 0

    async def load(page: memoryview) -> bool:
        nonlocal runs
        runs += 1
        await trio.lowlevel.checkpoint()
        page[:4] = b"slow"
        return True

    pager.map_page(Gpa(RAM_PAGE), load)
    assert not touch(pager, RAM_PAGE)
    assert not touch(pager, RAM_PAGE)
    assert permissions(pager, RAM_PAGE) is None
    await pager.load_page(Gpa(RAM_PAGE))
    assert bytes(guest_page(pager, RAM_PAGE)[:4]) == b"slow"
    assert runs == 1


def test_a_load_that_nobody_awaits_is_dropped_when_the_pager_is_closed(pager: KernelVmPager) -> None:
    async def load(page: memoryview) -> bool:
        return True

    pager.map_page(Gpa(RAM_PAGE), load)
    assert not touch(pager, RAM_PAGE)
    pager.close()
    assert pager.pages[RAM_PAGE] is PageState.ABSENT


def test_whoever_drops_a_load_from_a_slow_source_is_not_warned_of_what_was_not_awaited() -> None:
    image = KernelImage.from_segments(BytesSource(FILE), (TEXT, DATA), TEXT.paddr, bits=64)
    memory = HostMemory(64 * MIB)
    source = SlowSource(BytesSource(FILE), SourceDelay(1.0))
    pager = KernelVmPager(image, 2048, memory, PageTable(memory, EptFormat()), source=source)
    assert not touch(pager, 0x101000)
    pager.close()


async def test_a_loader_that_needs_its_own_page_is_refused(pager: KernelVmPager) -> None:
    def load(page: memoryview) -> bool:
        assert not pager.try_load_page(Gpa(RAM_PAGE))
        with pytest.raises(PagerError, match=r"^page 0x3000 is needed by its own loader$"):
            pager.load_page(Gpa(RAM_PAGE)).send(None)
        return True

    pager.map_page(Gpa(RAM_PAGE), load)
    assert touch(pager, RAM_PAGE)
