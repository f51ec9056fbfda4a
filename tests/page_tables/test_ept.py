import pytest

from kev.addressing import GIB, MIB, Gpa, Hpa
from kev.host_memory import HostMemory
from kev.page_tables.ept import EptFormat
from kev.page_tables.errors import Misconfigured, NotExpressible
from kev.page_tables.mapping import MemoryType, PageSize, Permissions
from kev.page_tables.table import PageTable
from tests.page_tables.entries import entry_location


def leaf(table: PageTable) -> int:
    """The entry of the only page in a table."""
    (found,) = table.leaves()
    return found.entry


@pytest.mark.parametrize(
    ("address", "permissions", "size", "memory_type", "entry"),
    [
        (0x1000, Permissions.RWX, PageSize.SIZE_4K, MemoryType.WB, 0x1037),
        (0xA0000, Permissions.RWX, PageSize.SIZE_4K, MemoryType.UC, 0xA0007),
        (0x5000, Permissions.READ, PageSize.SIZE_4K, MemoryType.WC, 0x5009),
        (0x5000, Permissions.RW, PageSize.SIZE_4K, MemoryType.WT, 0x5023),
        (0x5000, Permissions.RX, PageSize.SIZE_4K, MemoryType.WP, 0x502D),
        (2 * MIB, Permissions.RWX, PageSize.SIZE_2M, MemoryType.WB, 0x2000B7),
        (GIB, Permissions.RWX, PageSize.SIZE_1G, MemoryType.WB, 0x400000B7),
    ],
)
def test_entries_are_encoded_as_the_manual_says(
    memory: HostMemory, address: int, permissions: Permissions, size: PageSize, memory_type: MemoryType, entry: int
) -> None:
    table = PageTable(memory, EptFormat())
    table.map(Gpa(address), Hpa(address), permissions, size, memory_type)
    assert leaf(table) == entry


def test_an_entry_that_points_to_a_table_permits_everything_and_has_no_memory_type(memory: HostMemory) -> None:
    table = PageTable(memory, EptFormat())
    table.map_page(0, 0x1000, Permissions.READ)
    assert memory.words[table.root >> 3] & 0xFFF == 7


@pytest.mark.parametrize("permissions", [Permissions.READ, Permissions.RW, Permissions.RX, Permissions.RWX])
def test_every_readable_combination_is_mapped(memory: HostMemory, permissions: Permissions) -> None:
    table = PageTable(memory, EptFormat())
    table.map(Gpa(0x1000), Hpa(0x1000), permissions)
    table.map_page(0x2000, 0x2000, permissions)
    assert [mapping.permissions for mapping in table] == [permissions, permissions]


@pytest.mark.parametrize(
    ("permissions", "reason"),
    [
        (Permissions(0), "EPT permissions ---: at least one of R, W and X is needed"),
        (Permissions.WRITE, "EPT permissions -W-: a writable page must be readable"),
        (Permissions.WRITE | Permissions.EXECUTE, "EPT permissions -WX: a writable page must be readable"),
        (Permissions.EXECUTE, "EPT permissions --X: this CPU has no execute-only pages"),
    ],
)
def test_a_misconfiguration_is_refused_by_name_and_changes_nothing(
    memory: HostMemory, permissions: Permissions, reason: str
) -> None:
    table = PageTable(memory, EptFormat())
    with pytest.raises(NotExpressible, match=reason):
        table.map(Gpa(0x1000), Hpa(0x1000), permissions)
    with pytest.raises(NotExpressible, match=reason):
        table.map_page(0x1000, 0x1000, permissions)
    assert table.tables == 1


def test_execute_only_needs_a_cpu_that_has_it(memory: HostMemory) -> None:
    table = PageTable(memory, EptFormat(execute_only=True))
    table.map(Gpa(0x1000), Hpa(0x1000), Permissions.EXECUTE)
    assert leaf(table) == 0x1034
    with pytest.raises(NotExpressible, match="a writable page must be readable"):
        table.protect(Gpa(0x1000), Permissions.WRITE)


def test_a_reserved_memory_type_is_reported_and_not_guessed(memory: HostMemory) -> None:
    table = PageTable(memory, EptFormat())
    table.map_page(0, 0x1000)
    memory.words[entry_location(table, 0, 1) >> 3] = 0x1017
    with pytest.raises(Misconfigured, match="EPT entry 0x1017: memory type 2 is reserved"):
        table.walk(0)
