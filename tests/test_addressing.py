import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.addressing import GIB, PAGE_SIZE, is_page_aligned, page_ceil, page_count, page_floor, page_offset

ADDRESSES = st.integers(0, (1 << 64) - PAGE_SIZE)


@given(ADDRESSES)
def test_a_page_starts_at_the_last_boundary_before_its_bytes(address: int) -> None:
    assert page_floor(address) == address // 4096 * 4096
    assert page_floor(address) + page_offset(address) == address
    assert 0 <= page_offset(address) < 4096


@given(ADDRESSES)
def test_rounding_up_gives_the_first_boundary_that_is_not_below(address: int) -> None:
    rounded = page_ceil(address)
    assert is_page_aligned(rounded)
    assert address <= rounded < address + 4096


@pytest.mark.parametrize(
    ("start", "end", "count"),
    [(0, 0, 0), (5, 5, 0), (9, 3, 0), (0, 1, 1), (0, 4096, 1), (0, 4097, 2), (4095, 4097, 2), (4096, 8192, 1), (1, GIB, 262144)],
)
def test_a_range_touches_every_page_that_holds_one_of_its_bytes(start: int, end: int, count: int) -> None:
    assert page_count(start, end) == count
