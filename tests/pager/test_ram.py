"""Where RAM lies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.addressing import GIB, KIB, MIB, PAGE_SIZE, TIB, Gpa
from kev.pager.ram import MMIO_HOLE, RamError, ram_regions


@given(st.integers(4, 8 * TIB // KIB))
def test_ram_has_exactly_the_wanted_pages_and_none_in_the_hole(ram_kib: int) -> None:
    regions = ram_regions(ram_kib, Gpa(0))
    assert sum(len(region) for region in regions) == ram_kib // 4 * PAGE_SIZE
    assert regions[0].start == 0
    for region in regions:
        assert region.start % PAGE_SIZE == region.stop % PAGE_SIZE == 0
        assert region.stop <= MMIO_HOLE.start or region.start >= MMIO_HOLE.stop


@pytest.mark.parametrize(
    ("ram_kib", "regions"),
    [
        (4, [(0, 0x1000)]),
        (0xBFFDA000 // KIB, [(0, 0xBFFDA000)]),
        (0xBFFDA000 // KIB + 4, [(0, 0xBFFDA000), (4 * GIB, 4 * GIB + 0x1000)]),
        (4 * GIB // KIB, [(0, 0xBFFDA000), (4 * GIB, 8 * GIB - 0xBFFDA000)]),
    ],
)
def test_ram_goes_on_behind_the_hole(ram_kib: int, regions: list[tuple[int, int]]) -> None:
    assert [(region.start, region.stop) for region in ram_regions(ram_kib, Gpa(0))] == regions


def test_ram_that_ends_with_the_kernel_is_enough_and_a_page_less_is_not() -> None:
    end = Gpa(MIB + 100)
    assert ram_regions(MIB // KIB + 4, end)
    with pytest.raises(
        RamError, match=r"^RAM of 1024 KiB ends at 0x100000: the kernel ends at 0x100064 and does not fit: 2 MiB are enough for it$"
    ):
        ram_regions(MIB // KIB, end)


@pytest.mark.parametrize("ram_kib", [-4, 0, 3])
def test_ram_of_less_than_a_page_is_refused(ram_kib: int) -> None:
    with pytest.raises(RamError, match=f"^RAM of {ram_kib} KiB: the least is one page of 4 KiB$"):
        ram_regions(ram_kib, Gpa(0))


def test_more_ram_than_can_be_addressed_is_refused() -> None:
    with pytest.raises(RamError, match=r"^RAM of 274877906944 KiB ends at 0x1000040026000, behind"):
        ram_regions((1 << 48) // KIB, Gpa(0))
