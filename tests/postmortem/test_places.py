"""Places in an image whose symbols are virtual, physical, or both."""

import pytest

from kev.addressing import MIB, Gpa, Gva
from kev.pager.image import KernelImage, Segment
from kev.postmortem.places import Place, Places
from kev.postmortem.source_lines import InlinedCall, SourceLine
from tests.pager.elf import ElfSymbol, add_symbols, build_elf
from tests.pager.sources import BytesSource

HIGH = 0xFFFF_FF00_0000_0000
CODE = bytes(0x1000)


def places(base: int, symbols: int, bits: int = 64) -> Places:
    """Those of an image at 1 MiB that is linked `base` higher, and whose symbols are `symbols` higher."""
    segment = Segment(Gpa(MIB), Gva(base + MIB), 0x100, len(CODE), len(CODE), 5)
    elf = build_elf([segment], base + MIB, bytes(0x100 - 120) + CODE, bits)
    add_symbols(elf, [ElfSymbol("main", symbols + MIB + 0x10, 0x20), ElfSymbol("later", symbols + MIB + 0x40)])
    return Places(KernelImage.from_elf(BytesSource(bytes(elf.data))))


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("base", [0, HIGH])
def test_a_place_is_a_symbol_and_an_offset(bits: int, base: int) -> None:
    base &= (1 << bits) - 1
    found = places(base & 0xC000_0000 if bits == 32 else base, base & 0xC000_0000 if bits == 32 else base, bits)
    base = base & 0xC000_0000 if bits == 32 else base
    assert str(found.at(base + MIB + 0x10)) == "main"
    assert str(found.at(base + MIB + 0x12)) == "main+0x2"


def test_before_it_has_page_tables_a_kernel_runs_at_its_physical_addresses() -> None:
    assert str(places(HIGH, HIGH).at(MIB + 0x12)) == "main+0x2"


def test_symbols_may_be_physical_though_segments_are_not() -> None:
    found = places(HIGH, 0)
    assert str(found.at(MIB + 0x12)) == "main+0x2"
    assert str(found.at(HIGH + MIB + 0x12, MIB + 0x12)) == "main+0x2"


def test_where_the_guest_maps_the_image_elsewhere_the_physical_address_says_what_it_is() -> None:
    assert str(places(HIGH, HIGH).at(0x4000_0012, MIB + 0x12)) == "main+0x2"


def test_a_program_at_an_address_that_a_kernel_has_too_is_not_the_kernel() -> None:
    assert str(places(0, 0).at(MIB + 0x12, 0x70_0012)) == hex(MIB + 0x12)


def test_a_kernel_that_has_moved_itself_is_still_the_kernel() -> None:
    assert str(places(HIGH, HIGH).at(HIGH + MIB + 0x12, 0x70_0012)) == "main+0x2"


def test_what_is_in_no_segment_has_no_place() -> None:
    found = places(HIGH, HIGH).at(0x10)
    assert found.text == ""
    assert str(found) == "0x10"


def test_the_place_of_a_call_that_is_the_last_of_its_function_is_in_that_function() -> None:
    assert str(places(0, 0).before(MIB + 0x30)) == "main+0x20"


def test_an_address_behind_a_symbol_of_known_size_is_not_its() -> None:
    assert places(0, 0).at(MIB + 0x30).function is None


def test_inlined_functions_come_first() -> None:
    place = Place(
        address=0x1000,
        function="main",
        offset=0x12,
        line=SourceLine("main.c", 34),
        inlined=(InlinedCall("xchg", SourceLine("atomic.h", 3)), InlinedCall("lock", None)),
    )
    assert str(place) == "xchg (atomic.h:3) inlined in lock inlined in main+0x12 (main.c:34)"


def test_an_image_whose_symbols_are_damaged_has_places_without_names() -> None:
    segment = Segment(Gpa(MIB), Gva(MIB), 0x100, 16, 16, 5)
    elf = add_symbols(build_elf([segment], MIB, bytes(0x100), 64), [ElfSymbol("main", MIB)], offset=1 << 40)
    found = Places(KernelImage.from_elf(BytesSource(bytes(elf.data))))
    assert found.at(MIB).text == ""
    assert found.at(MIB + 1).text == ""
    assert len(found.notes) == 1
