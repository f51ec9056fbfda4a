from hypothesis import given
from hypothesis import strategies as st

from kev.addressing import Gpa, Gva
from kev.boot.inspection import Inspection, PageCounts, count_pages, inspect
from kev.pager.image import Segment
from tests.boot.images import KEOS_BASE, add_sections, elf, multiboot1_header, multiboot2_header, source, tag2

MIB = 1 << 20
PAGE = 0x1000


def refusal(inspection: Inspection, options: str) -> str | None:
    return next((refusal.reason for refusal in inspection.refused if refusal.options == options), None)


def segment(start: int, size: int) -> Segment:
    return Segment(Gpa(start), Gva(start), 0, 0, size)


def test_a_kernel_that_can_be_launched_has_no_error() -> None:
    inspection = inspect(source(elf(bits=64, base=KEOS_BASE)))
    assert inspection.error is None
    assert inspection.protocol == "keos"
    assert inspection.image is not None
    assert (inspection.image.entry, inspection.image.virtual_entry) == (MIB, KEOS_BASE + MIB)


def test_what_the_protocol_does_not_pass_is_refused() -> None:
    assert refusal(inspect(source(elf())), "--module") == "the keos boot protocol passes no modules"
    assert refusal(inspect(source(elf())), "--append") is None
    assert refusal(inspect(source(elf(multiboot1_header()))), "--module") is None


def test_too_little_memory_is_refused() -> None:
    assert refusal(inspect(source(elf(memsz=0x2001))), "--memory below 1036K") == "the image ends at 0x102001"


def test_other_protocols_are_refused_with_the_reason() -> None:
    inspection = inspect(source(elf(multiboot1_header())))
    assert refusal(inspection, "--boot multiboot1") is None
    assert refusal(inspection, "--boot keos") is None, "any ELF image can be entered like KeOS"
    assert refusal(inspection, "--boot multiboot2") == "kernel: no Multiboot2 header (0xe85250d6) in the first 32768 bytes"


def test_a_kernel_that_requires_too_much_is_unusable_and_still_described() -> None:
    inspection = inspect(source(elf(multiboot2_header(tag2(4, 0b01)))))
    assert inspection.protocol == "multiboot2"
    assert str(inspection.error) == "kernel: its Multiboot2 header requires tag 4 (console flags), which cannot be given"
    assert inspection.image is not None
    assert inspection.pages == PageCounts(all=2, shared=0)


def test_a_kernel_with_damaged_section_headers_is_unusable() -> None:
    image = add_sections(elf(multiboot1_header()), [(3, 0, b"names")])
    inspection = inspect(source(image[:-8]))
    assert inspection.protocol == "multiboot1"
    assert str(inspection.error) == "kernel: the section header table ends at offset 0x1061, the file at 0x1059"


def test_a_file_of_no_known_format_is_unusable() -> None:
    inspection = inspect(source(b"hello"))
    assert inspection.protocol is None
    assert inspection.error is not None
    assert inspection.image is None
    assert inspection.pages == PageCounts(all=0, shared=0)


def test_a_page_that_two_segments_reach_into_is_shared() -> None:
    assert count_pages([segment(0x1000, 0x1800), segment(0x2800, 0x800)]) == PageCounts(all=2, shared=1)


@given(st.lists(st.tuples(st.integers(0, 40 * PAGE), st.integers(1, 8 * PAGE)), max_size=8))
def test_pages_are_counted_as_one_by_one(places: list[tuple[int, int]]) -> None:
    reached = [{address // PAGE for address in range(start, start + size)} for start, size in places]
    pages = set().union(*reached)
    shared = {page for page in pages if sum(page in one for one in reached) > 1}
    assert count_pages([segment(start, size) for start, size in places]) == PageCounts(all=len(pages), shared=len(shared))
