import pytest

from kev.addressing import GIB, MIB, Gpa, Hpa
from kev.host_memory import HostMemory
from kev.page_tables.errors import NotExpressible
from kev.page_tables.mapping import MemoryType, PageSize, Permissions
from kev.page_tables.npt import NptFormat
from kev.page_tables.table import PageTable

NO_EXECUTE = 1 << 63


@pytest.mark.parametrize(
    ("address", "permissions", "size", "memory_type", "entry"),
    [
        (0x1000, Permissions.RWX, PageSize.SIZE_4K, MemoryType.WB, 0x1007),
        (0x1000, Permissions.RX, PageSize.SIZE_4K, MemoryType.WB, 0x1005),
        (0x1000, Permissions.RW, PageSize.SIZE_4K, MemoryType.WB, 0x1007 | NO_EXECUTE),
        (0x1000, Permissions.READ, PageSize.SIZE_4K, MemoryType.WB, 0x1005 | NO_EXECUTE),
        (0xA0000, Permissions.RWX, PageSize.SIZE_4K, MemoryType.UC, 0xA001F),
        (0x1000, Permissions.RWX, PageSize.SIZE_4K, MemoryType.WT, 0x100F),
        (2 * MIB, Permissions.RWX, PageSize.SIZE_2M, MemoryType.WB, 0x200087),
        (GIB, Permissions.RW, PageSize.SIZE_1G, MemoryType.WB, 0x40000087 | NO_EXECUTE),
    ],
)
def test_entries_are_encoded_as_the_manual_says(
    memory: HostMemory, address: int, permissions: Permissions, size: PageSize, memory_type: MemoryType, entry: int
) -> None:
    table = PageTable(memory, NptFormat())
    table.map(Gpa(address), Hpa(address), permissions, size, memory_type)
    (found,) = table.leaves()
    assert found.entry == entry
    mapping = table.walk(address)
    assert mapping is not None
    assert (mapping.permissions, mapping.memory_type) == (permissions, memory_type)


def test_an_entry_that_points_to_a_table_is_a_user_entry(memory: HostMemory) -> None:
    table = PageTable(memory, NptFormat())
    table.map_page(0, 0x1000, Permissions.READ)
    assert memory.words[table.root >> 3] & (NO_EXECUTE | 0xFFF) == 7


@pytest.mark.parametrize("bits", [0, 2, 4, 6])
def test_a_page_that_cannot_be_read_is_refused_by_name_and_changes_nothing(memory: HostMemory, bits: int) -> None:
    table = PageTable(memory, NptFormat())
    permissions = Permissions(bits)
    with pytest.raises(NotExpressible, match=f"NPT permissions {permissions}: a page must be readable"):
        table.map(Gpa(0x1000), Hpa(0x1000), permissions)
    with pytest.raises(NotExpressible, match=f"NPT permissions {permissions}: a page must be readable"):
        table.map_page(0x1000, 0x1000, permissions)
    assert table.tables == 1


@pytest.mark.parametrize("memory_type", [MemoryType.WC, MemoryType.WP])
def test_a_memory_type_outside_the_default_page_attribute_table_is_refused_by_name(
    memory: HostMemory, memory_type: MemoryType
) -> None:
    table = PageTable(memory, NptFormat())
    with pytest.raises(NotExpressible, match=f"NPT memory type {memory_type.name}: only UC, WT and WB can be encoded"):
        table.map(Gpa(0x1000), Hpa(0x1000), memory_type=memory_type)
