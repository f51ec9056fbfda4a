"""Which frame stands behind which page."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.addressing import MIB, PAGE_SIZE
from kev.host_memory import HostMemory, HostMemoryError
from kev.pager.frames import FrameMap

GPAS = st.integers(0, (1 << 48) - 1)


@given(st.lists(GPAS, max_size=12))
def test_frames_are_disjoint_stable_and_contiguous_within_a_slab(gpas: list[int]) -> None:
    frames = FrameMap(HostMemory(64 * MIB))
    assigned = {gpa: frames.assign(gpa) for gpa in gpas}
    assert all(frames.assign(gpa) == hpa and frames.find(gpa) == hpa for gpa, hpa in assigned.items())
    for gpa, hpa in assigned.items():
        assert hpa % (2 * MIB) == gpa % (2 * MIB)
        assert all((other >> 21 == gpa >> 21) == (assigned[other] >> 21 == hpa >> 21) for other in assigned)


def test_a_page_that_was_not_asked_for_has_no_frame() -> None:
    frames = FrameMap(HostMemory(8 * MIB))
    frames.assign(0x200000)
    assert frames.find(0x1FF000) is None
    assert frames.find(0x3FF000) == frames.assign(0x200000) + 0x1FF000


def test_a_frame_is_zeros() -> None:
    memory = HostMemory(8 * MIB)
    assert bytes(memory.page(FrameMap(memory).assign(0x7000))) == bytes(PAGE_SIZE)


def test_memory_that_is_used_up_is_refused_by_name() -> None:
    frames = FrameMap(HostMemory(4 * MIB))
    frames.assign(0)
    with pytest.raises(HostMemoryError, match="host memory is full"):
        frames.assign(0x200000)
