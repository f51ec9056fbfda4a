"""What is told to the host's memory of a guest that fills its own in a row."""

from collections.abc import Iterable

import pytest

from kev.addressing import KIB, MIB, PAGE_SIZE, Hpa
from kev.host_memory import HostMemory
from tests.pager.machine import build_pager, touch

SLAB = 2 * MIB


class Told(HostMemory):
    """Notes what it is told."""

    def __init__(self) -> None:
        super().__init__(64 * MIB)
        self.expected: list[tuple[int, int]] = []

    def expect_touches(self, start: Hpa, length: int) -> None:
        self.expected.append((start, length))
        super().expect_touches(start, length)


def expected(pages: Iterable[int]) -> list[int]:
    """The guest-physical addresses of the 2 MiB that touches are expected in, when these pages were touched in this order."""
    memory = Told()
    pager = build_pager(ram_kib=16 * MIB // KIB, memory=memory)
    for page in pages:
        assert touch(pager, page)
    slabs = {pager.frames.find(gpa): gpa for gpa in range(0, 16 * MIB, SLAB)}
    assert all(length == SLAB for _, length in memory.expected)
    return [slabs[Hpa(start)] for start, _ in memory.expected]


def row(start: int, length: int = SLAB) -> range:
    return range(start, start + length, PAGE_SIZE)


@pytest.mark.parametrize("beside", [6 * MIB, 2 * MIB], ids=["upwards", "downwards"])
def test_touches_are_expected_beside_2_mib_that_are_in_use(beside: int) -> None:
    assert expected([*row(4 * MIB), beside]) == [beside]


@pytest.mark.parametrize(
    "pages",
    [
        [4 * MIB, 6 * MIB, 2 * MIB],
        [*row(4 * MIB, SLAB - PAGE_SIZE), 6 * MIB],
        [*row(4 * MIB), 8 * MIB],
        [6 * MIB, *row(4 * MIB), *row(6 * MIB)],
    ],
    ids=["few", "not all", "not beside", "begun already"],
)
def test_touches_are_not_expected_elsewhere(pages: list[int]) -> None:
    assert expected(pages) == []


def test_memory_that_touches_were_expected_in_reads_as_zeros_until_it_is_written_and_when_it_is_cleared() -> None:
    memory = HostMemory(16 * MIB)
    for _ in range(2):
        slab = memory.allocate(512, 512)
        memory.expect_touches(slab, SLAB)
        assert not any(memory.view[slab : slab + SLAB])
        memory.page(slab)[:] = bytes([1]) * PAGE_SIZE
        memory.page(Hpa(slab + PAGE_SIZE))[:] = bytes([2]) * PAGE_SIZE
        memory.discard(slab)
        assert bytes(memory.view[slab : slab + 2 * PAGE_SIZE]) == bytes(PAGE_SIZE) + bytes([2]) * PAGE_SIZE
        memory.clear()
