from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from kev.boot.memory_map import lower_memory_kib, memory_map, upper_memory_kib
from kev.pager.ram import ram_regions

MIB = 1 << 20
GIB = 1 << 30
AVAILABLE, RESERVED = 1, 2


def regions(ram: int) -> list[tuple[int, int, int]]:
    return [(region.base, region.end, region.type) for region in memory_map(ram_regions(ram >> 10, 0))]  # type: ignore[arg-type]


def test_a_small_machine_has_the_regions_that_seabios_reports() -> None:
    assert regions(64 * MIB) == [
        (0, 0x9FC00, AVAILABLE),
        (0x9FC00, 0xA0000, RESERVED),
        (0xF0000, MIB, RESERVED),
        (MIB, 64 * MIB, AVAILABLE),
        (0xFFFC0000, 4 * GIB, RESERVED),
    ]


def test_a_large_machine_has_memory_on_both_sides_of_the_devices() -> None:
    assert regions(4 * GIB)[3:] == [
        (MIB, 0xBFFDA000, AVAILABLE),
        (0xFFFC0000, 4 * GIB, RESERVED),
        (4 * GIB, 5 * GIB + 0x26000, AVAILABLE),
    ]


def test_a_tiny_machine_has_only_base_memory() -> None:
    assert regions(256 << 10)[:2] == [(0, 256 << 10, AVAILABLE), (0x9FC00, 0xA0000, RESERVED)]


@given(st.integers(1, 1 << 30))
def test_regions_are_in_order_and_what_is_available_is_ram(ram_kib: int) -> None:
    ram: Sequence[range] = ram_regions(max(ram_kib, 4), 0)  # type: ignore[arg-type]
    end = 0
    for region in memory_map(ram):
        assert region.base >= end
        assert region.length > 0
        end = region.end
        if region.type == AVAILABLE:
            assert any(part.start <= region.base and region.end <= part.stop for part in ram)


def test_memory_sizes_are_in_kib_up_to_the_first_hole() -> None:
    ram = ram_regions(4 * GIB >> 10, 0)  # type: ignore[arg-type]
    assert lower_memory_kib(ram) == 639
    assert upper_memory_kib(ram) == (0xBFFDA000 - MIB) >> 10


def test_memory_sizes_of_a_machine_below_1_mib() -> None:
    ram = ram_regions(512, 0)  # type: ignore[arg-type]
    assert lower_memory_kib(ram) == 512
    assert upper_memory_kib(ram) == 0
