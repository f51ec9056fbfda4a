"""The JOS VMM's functions on a guest's EPT."""

from collections.abc import Callable

import pytest

from kev.addressing import MIB, PAGE_SIZE, Hpa
from kev.envs.ept import (
    EPTE_FULL,
    EPTE_READ,
    EPTE_WRITE,
    KERNEL_BASE,
    Edition,
    ept_entry,
    ept_lookup_gpa,
    ept_map_hva2gpa,
    ept_page_insert,
    ept_page_remove,
)
from kev.envs.errors import JosError
from kev.envs.memory import PhysicalMemory
from kev.page_tables.ept import EptFormat
from kev.page_tables.format import ADDRESS_MASK, LEVELS, level_shift
from kev.page_tables.table import PageTable
from tests.envs.lab import failure

GPA = 0x10_0000


def tables(size: int = MIB) -> tuple[PhysicalMemory, PageTable]:
    memory = PhysicalMemory(size)
    return memory, PageTable(memory.memory, EptFormat())


def test_a_look_up_without_a_root_is_invalid() -> None:
    assert failure(lambda: ept_lookup_gpa(None, 0, True)) == (JosError.INVAL, "there is no EPT: its root is NULL (-3, E_INVAL)")


def test_a_look_up_that_makes_no_tables_says_that_there_is_no_entry() -> None:
    _, root = tables()
    code, what = failure(lambda: ept_lookup_gpa(root, GPA, False))
    assert (code, code.value) == (JosError.NO_ENT, -21)
    assert what == "gpa 0x100000: a table on the way to its entry is missing (-21, E_NO_ENT)"
    assert root.tables == 1


def test_a_look_up_finds_an_empty_entry_where_the_tables_are() -> None:
    memory, root = tables()
    index = ept_lookup_gpa(root, GPA, True)
    assert ept_lookup_gpa(root, GPA, False) == index
    assert memory.memory.words[index] == 0
    assert ept_lookup_gpa(root, GPA + PAGE_SIZE, False) == index + 1


def test_a_look_up_without_memory_for_a_table_says_so() -> None:
    _, root = tables(3 * PAGE_SIZE)
    code, what = failure(lambda: ept_lookup_gpa(root, GPA, True))
    assert (code, code.value) == (JosError.NO_MEM, -4)
    assert what.startswith("no memory for a table of the EPT: host memory is full")


@pytest.mark.parametrize("gpa", [1 << 48, GPA + 1])
def test_an_address_that_no_entry_is_for_is_invalid(gpa: int) -> None:
    _, root = tables()
    assert failure(lambda: ept_lookup_gpa(root, gpa, True))[0] is JosError.INVAL


def test_tables_on_the_way_permit_everything() -> None:
    memory, root = tables()
    leaf = ept_lookup_gpa(root, GPA, True)
    table: int = root.root
    for level in range(LEVELS, 1, -1):
        entry = memory.memory.words[(table >> 3) + (GPA >> level_shift(level) & 511)]
        assert entry & ~ADDRESS_MASK == EPTE_FULL
        table = entry & ADDRESS_MASK
    assert leaf == (table >> 3) + (GPA >> 12 & 511)


def test_uts_mapping_of_a_host_address_is_write_back_and_ignores_the_guests_type() -> None:
    memory, root = tables()
    page = memory.allocate()
    ept_map_hva2gpa(memory, root, KERNEL_BASE + page, GPA, EPTE_READ, False)
    assert ept_entry(root, GPA) == page | 1 | 0x30 | 0x40
    ept_map_hva2gpa(memory, root, KERNEL_BASE + page, GPA, EPTE_FULL, True)
    assert ept_entry(root, GPA) == page | 0x77
    assert memory.references(page) == 0


def test_uts_mapping_of_a_host_address_keeps_what_is_mapped_unless_told() -> None:
    memory, root = tables()
    first, second = memory.allocate(), memory.allocate()
    ept_map_hva2gpa(memory, root, KERNEL_BASE + first, GPA, EPTE_FULL, False)
    code, what = failure(lambda: ept_map_hva2gpa(memory, root, KERNEL_BASE + second, GPA, EPTE_FULL, False))
    assert (code, what) == (JosError.INVAL, "gpa 0x100000 is mapped already (-3, E_INVAL)")
    assert ept_entry(root, GPA) & ADDRESS_MASK == first
    ept_map_hva2gpa(memory, root, KERNEL_BASE + second, GPA, EPTE_FULL, True)
    assert ept_entry(root, GPA) & ADDRESS_MASK == second


@pytest.mark.parametrize("perm", [7, 0x407])
def test_uts_insertion_always_replaces_and_is_uncacheable(perm: int) -> None:
    memory, root = tables()
    first, second = memory.allocate(), memory.allocate()
    ept_page_insert(memory, root, first, GPA, perm, None)
    assert (ept_entry(root, GPA), memory.references(first)) == (first | perm | 1, 1)
    memory.retain(first)
    ept_page_insert(memory, root, second, GPA, perm, None)
    assert ept_entry(root, GPA) == second | perm | 1
    assert (memory.references(first), memory.references(second)) == (1, 1)


def test_a_page_that_replaces_itself_keeps_its_reference() -> None:
    memory, root = tables()
    page = memory.allocate()
    ept_page_insert(memory, root, page, GPA, 7, None)
    ept_page_insert(memory, root, page, GPA, EPTE_READ, None)
    assert (ept_entry(root, GPA), memory.references(page)) == (page | 1, 1)


def test_a_page_whose_last_mapping_is_replaced_or_removed_is_free() -> None:
    memory, root = tables()
    first, second = memory.allocate(), memory.allocate()
    ept_page_insert(memory, root, first, GPA, 7, None)
    ept_page_insert(memory, root, second, GPA, 7, None)
    assert list(memory) == [second]
    ept_page_remove(memory, root, GPA)
    assert (len(memory), ept_entry(root, GPA), root.tables) == (0, 0, 1)
    ept_page_remove(memory, root, GPA)


def test_the_thesis_insertion_keeps_what_is_mapped_unless_told() -> None:
    memory, root = tables()
    first, second = memory.allocate(), memory.allocate()
    ept_page_insert(memory, root, first, GPA, EPTE_FULL, False, Edition.THESIS)
    memory.retain(first)
    code, what = failure(lambda: ept_page_insert(memory, root, second, GPA, EPTE_FULL, False, Edition.THESIS))
    assert (code, what) == (JosError.INVAL, "gpa 0x100000 is mapped already (-3, E_INVAL)")
    assert (ept_entry(root, GPA), memory.references(first), memory.references(second)) == (first | 0x77, 2, 0)
    ept_page_insert(memory, root, second, GPA, EPTE_READ | EPTE_WRITE, True, Edition.THESIS)
    assert (ept_entry(root, GPA), memory.references(first), memory.references(second)) == (second | 0x73, 1, 1)


def test_the_thesis_mapping_of_a_host_address_never_overwrites() -> None:
    memory, root = tables()
    page = memory.allocate()
    ept_map_hva2gpa(memory, root, KERNEL_BASE + page, GPA, EPTE_FULL, None, Edition.THESIS)
    assert ept_entry(root, GPA) == page | 0x77
    code, _ = failure(lambda: ept_map_hva2gpa(memory, root, KERNEL_BASE + page, GPA, EPTE_FULL, None, Edition.THESIS))
    assert code is JosError.INVAL


def test_each_edition_has_the_flag_on_one_function_only() -> None:
    memory, root = tables()
    page = memory.allocate()
    hva = KERNEL_BASE + page
    wrong: list[tuple[Callable[[], object], str]] = [
        (lambda: ept_map_hva2gpa(memory, root, hva, GPA, 7, None), "ept_map_hva2gpa of the ut edition needs an overwrite flag"),
        (lambda: ept_page_insert(memory, root, page, GPA, 7, True), "ept_page_insert of the ut edition takes no overwrite flag"),
        (
            lambda: ept_map_hva2gpa(memory, root, hva, GPA, 7, True, Edition.THESIS),
            "ept_map_hva2gpa of the thesis edition takes no overwrite flag",
        ),
        (
            lambda: ept_page_insert(memory, root, page, GPA, 7, None, Edition.THESIS),
            "ept_page_insert of the thesis edition needs an overwrite flag",
        ),
    ]
    for call, what in wrong:
        assert failure(call) == (JosError.INVAL, f"{what} (-3, E_INVAL)")
    assert ept_entry(root, GPA) == 0


@pytest.mark.parametrize("hva", [0, KERNEL_BASE - PAGE_SIZE, KERNEL_BASE + 1])
def test_a_virtual_address_that_is_no_page_of_the_hosts_memory_is_invalid(hva: int) -> None:
    memory, root = tables()
    code, what = failure(lambda: ept_map_hva2gpa(memory, root, hva, GPA, 7, False))
    assert code is JosError.INVAL
    assert what.startswith(f"hva {hva:#x} is no page of the host's memory")


def test_memory_that_is_used_up_says_so() -> None:
    memory = PhysicalMemory(2 * PAGE_SIZE)
    assert memory.allocate() == Hpa(PAGE_SIZE)
    assert failure(memory.allocate)[0] is JosError.NO_MEM
