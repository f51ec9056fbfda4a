"""Recording a working set, keeping it, and telling whose it is."""

import json
import re

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.addressing import MIB, PAGE_SIZE, Gpa, Gva
from kev.pager.image import KernelImage, Segment
from kev.pager.record import Record
from kev.pager.working_set import FORMAT, ImageIdentity, WorkingSet, WorkingSetError, merged
from tests.pager.machine import TEXT, build_pager, touch
from tests.pager.sources import BytesSource

IDENTITY = ImageIdentity("kernel", 123456, "ab" * 32)


def image(source: BytesSource, *segments: Segment) -> KernelImage:
    return KernelImage.from_segments(source, segments or [TEXT], TEXT.paddr)


def test_pages_are_recorded_in_the_order_of_their_first_touch() -> None:
    pager = build_pager()
    policy = Record()
    policy.attach(pager)
    for gpa in (0x102345, 0x3000, 0x100000, 0x102000, 0x3004):
        touch(pager, gpa)
    assert policy.working_set.pages == (0x102000, 0x3000, 0x100000)
    assert policy.working_set.image == ImageIdentity.of(pager.image)
    assert policy.figures() == {"recorded": 3}


def test_recording_changes_nothing_about_what_is_loaded() -> None:
    source = BytesSource(bytes(0x8000))
    pager = build_pager(source=source)
    Record().attach(pager)
    source.reads.clear()
    touch(pager, 0x101000)
    assert source.reads == [(0x1000, PAGE_SIZE)]


@given(st.lists(st.integers(0, (1 << 36) - 1)))
def test_a_working_set_survives_its_file(numbers: list[int]) -> None:
    working_set = WorkingSet(IDENTITY, tuple(number * PAGE_SIZE for number in numbers), "set.json")
    assert WorkingSet.from_json(working_set.to_json(), "set.json") == working_set


SETS = st.lists(st.lists(st.integers(0, 30), unique=True), min_size=1, max_size=4)


@given(SETS)
def test_merged_working_sets_have_every_page_once_and_no_later_than_any_of_them(recorded: list[list[int]]) -> None:
    sets = [WorkingSet(IDENTITY, tuple(number * PAGE_SIZE for number in numbers), "set") for numbers in recorded]
    found = merged(sets)
    assert sorted(found.pages) == sorted({page for each in sets for page in each.pages})
    earliest = {page: min(each.pages.index(page) for each in sets if page in each.pages) for page in found.pages}
    assert [earliest[page] for page in found.pages] == sorted(earliest.values())
    assert merged([found]).pages == found.pages


def test_working_sets_of_different_images_are_not_merged() -> None:
    other = attrs.evolve(IDENTITY, size=7)
    with pytest.raises(WorkingSetError, match=r"^b: recorded with kernel of 7 bytes, .* but a with kernel of 123,456 bytes"):
        merged([WorkingSet(IDENTITY, (), "a"), WorkingSet(other, (), "b")])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "set.json: not a working set: "),
        ("\xff", "set.json: not a working set: "),
        ("[1]", "set.json: not a working set: it is a list of 1: it must be an object"),
        (
            '{"format": "kev working set 9", "image": {}, "pages": []}',
            'set.json: not a working set: format is "kev working set 9": it must be',
        ),
        (json.dumps({"format": FORMAT, "pages": []}), "set.json: not a working set: it has no 'image'"),
        (json.dumps({"format": FORMAT, "image": attrs.asdict(IDENTITY), "pages": 7}), "set.json: not a working set: "),
        (json.dumps({"format": FORMAT, "image": attrs.asdict(IDENTITY), "pages": ["7"]}), "set.json: not a working set: "),
        (json.dumps({"format": FORMAT, "image": attrs.asdict(IDENTITY), "pages": [1 << 36]}), "set.json: not a working set: "),
        (
            json.dumps({"format": FORMAT, "image": {"name": 1, "size": 2, "digest": "3"}, "pages": []}),
            "set.json: not a working set: ",
        ),
    ],
)
def test_a_file_that_is_no_working_set_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(WorkingSetError, match="^" + re.escape(message)):
        WorkingSet.from_json(text, "set.json")


def test_the_set_of_another_image_is_refused_with_both_names() -> None:
    recorded = ImageIdentity.of(image(BytesSource(bytes(0x2800), "old")))
    other = image(BytesSource(bytes(0x2900), "new"))
    with pytest.raises(WorkingSetError, match=r"^set\.json: stale: recorded with old of 10,240 bytes, .* this is new of 10,496 "):
        WorkingSet(recorded, (), "set.json").check_image(other)


def test_the_same_image_by_another_name_is_the_same() -> None:
    recorded = ImageIdentity.of(image(BytesSource(b"x" * 0x2800, "old")))
    WorkingSet(recorded, ()).check_image(image(BytesSource(b"x" * 0x2800, "copy")))


@pytest.mark.parametrize("field", ["paddr", "vaddr", "offset", "filesz", "memsz", "flags"])
def test_an_image_with_another_segment_is_another_image(field: str) -> None:
    segment = Segment(Gpa(MIB), Gva(MIB), 0x100, 0x2000, 0x3000, 5)
    changed = segment._replace(**{field: getattr(segment, field) + 1})
    source = BytesSource(bytes(0x8000))
    first = KernelImage.from_segments(source, [segment], MIB + 0x10)
    assert ImageIdentity.of(first) != ImageIdentity.of(KernelImage.from_segments(source, [changed], MIB + 0x10))


@pytest.mark.parametrize("offset", [0, 0x1FFF, 0xFFFFF])
def test_an_image_with_other_bytes_at_either_end_is_another_image(offset: int) -> None:
    data = bytearray(MIB)
    before = ImageIdentity.of(image(BytesSource(bytes(data))))
    data[min(offset, PAGE_SIZE - 1) if offset < MIB // 2 else offset] ^= 1
    assert ImageIdentity.of(image(BytesSource(bytes(data)))) != before


def test_telling_images_apart_reads_16_kib_of_a_large_one() -> None:
    source = BytesSource(bytes(4 * MIB))
    ImageIdentity.of(image(source))
    assert source.reads == [(0, 4096), (1396736, 4096), (2793472, 4096), (4 * MIB - 4096, 4096)]
