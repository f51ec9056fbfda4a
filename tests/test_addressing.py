from hypothesis import given
from hypothesis import strategies as st

from kev.addressing import PAGE_SIZE, is_page_aligned, page_ceil, page_floor, page_offset

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
