import pytest

from kev.addressing import MIB, PAGE_SIZE, Gpa, Hpa
from kev.exits import Access, EptViolation
from kev.host_memory import HostMemory
from kev.page_tables.ept import EptFormat
from kev.page_tables.guest import GuestFault
from kev.page_tables.mapping import Permissions
from kev.page_tables.nested import NestedViolation, TableInDevice, gpa2hpa, gva2hpa
from kev.page_tables.table import PageTable
from tests.page_tables.guest_memory import LARGE, PE, PRESENT, RW, Registers, long_mode, protected_mode

PAGE = 4 * MIB
TABLES = (0x1000, 0x2000, 0x3000)


def load(table: PageTable, gpa: int, permissions: Permissions = Permissions.RWX) -> Hpa:
    """Backs one guest page by a frame of its own."""
    frame = table.memory.allocate()
    table.map_page(gpa, frame, permissions)
    return frame


def store(table: PageTable, gpa: int, value: int) -> None:
    table.memory.words[gpa2hpa(table, gpa) >> 3] = value


@pytest.fixture
def guest(table: PageTable) -> PageTable:
    """A guest whose 2 MiB page at guest-virtual 0 is guest-physical 4 MiB; its tables are loaded, the page is not."""
    for gpa in TABLES:
        load(table, gpa)
    for location, entry in zip(TABLES, (0x2000 | RW, 0x3000 | RW, PAGE | LARGE | RW), strict=True):
        store(table, location, entry)
    return table


def violation(table: PageTable, registers: Registers, gva: int, access: Access | None = None) -> EptViolation:
    with pytest.raises(NestedViolation) as caught:
        gva2hpa(table, registers, gva, access)
    return caught.value.violation


def test_all_512_pages_of_a_2_mib_guest_page_resolve_to_their_own_frames(guest: PageTable) -> None:
    gpas = range(PAGE, PAGE + 2 * MIB, PAGE_SIZE)
    frames = {gpa: load(guest, gpa) for gpa in reversed(gpas)}
    for gpa in gpas:
        assert gva2hpa(guest, long_mode(), gpa - PAGE + 0x123) == frames[gpa] + 0x123


def test_a_missing_page_is_a_violation_with_the_access_that_met_it(guest: PageTable) -> None:
    assert violation(guest, long_mode(), 0x5678, Access.WRITE) == EptViolation(Gpa(PAGE + 0x5678), Access.WRITE)
    assert violation(guest, long_mode(), 0x5678) == EptViolation(Gpa(PAGE + 0x5678), Access.READ)


def test_a_missing_page_table_is_a_violation_by_a_read_and_loading_it_helps(table: PageTable) -> None:
    met = []
    for gpa, entry in ((0x1000, 0x2000 | RW), (0x2000, 0x3000 | RW), (0x3000, PAGE | LARGE | RW), (PAGE, 0)):
        met.append(violation(table, long_mode(), 0, Access.WRITE))
        load(table, gpa)
        store(table, gpa, entry)
    assert met == [
        EptViolation(Gpa(0x1000), Access.READ),
        EptViolation(Gpa(0x2000), Access.READ),
        EptViolation(Gpa(0x3000), Access.READ),
        EptViolation(Gpa(PAGE), Access.WRITE),
    ]
    assert gva2hpa(table, long_mode(), 0, Access.WRITE) == gpa2hpa(table, PAGE)


def test_a_page_that_does_not_permit_the_access_is_a_violation_of_a_present_page(guest: PageTable) -> None:
    frame = load(guest, PAGE, Permissions.RX)
    assert gva2hpa(guest, long_mode(), 0x10, Access.EXECUTE) == frame + 0x10
    assert violation(guest, long_mode(), 0x10, Access.WRITE) == EptViolation(Gpa(PAGE + 0x10), Access.WRITE, present=True)


def test_a_page_table_that_cannot_be_read_is_a_violation_of_a_present_page(memory: HostMemory) -> None:
    table = PageTable(memory, EptFormat(execute_only=True))
    load(table, 0x1000, Permissions.EXECUTE)
    assert violation(table, long_mode(), 0) == EptViolation(Gpa(0x1000), Access.READ, present=True)


def test_the_guests_own_fault_comes_before_the_missing_page(guest: PageTable) -> None:
    with pytest.raises(GuestFault):
        gva2hpa(guest, long_mode(), 2 * MIB)
    store(guest, 0x3000, PAGE | LARGE | PRESENT)
    with pytest.raises(GuestFault):
        gva2hpa(guest, long_mode(cr0=1 << 16), 0, Access.WRITE)


def test_entries_of_4_bytes_are_read_from_either_half_of_a_word(table: PageTable) -> None:
    load(table, 0x1000)
    frame = load(table, 0x400000)
    store(table, 0x1000, (0x400000 | LARGE | RW) << 32)
    assert gva2hpa(table, protected_mode(), 0x400123) == frame + 0x123
    with pytest.raises(GuestFault):
        gva2hpa(table, protected_mode(), 0x123)


def test_without_guest_paging_only_the_nested_table_counts(table: PageTable) -> None:
    frame = load(table, 0x7000)
    assert gva2hpa(table, Registers(cr0=PE), 0x7ABC) == frame + 0xABC


def test_a_guest_table_in_a_device_is_refused_by_name(table: PageTable) -> None:
    table.map(Gpa(0x1000), Hpa(table.memory.size))
    with pytest.raises(TableInDevice, match="page-table entry at guest-physical 0x1000 lies in a device"):
        gva2hpa(table, long_mode(), 0)
