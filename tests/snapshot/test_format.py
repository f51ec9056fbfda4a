"""Snapshots as files: what is written is read, and what is damaged is noticed."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kev.addressing import PAGE_SIZE
from kev.pager.kernel import trio_rendezvous
from kev.pager.source import is_snapshot
from kev.pager.survey import SurveyedPage
from kev.snapshot.errors import SnapshotError
from kev.snapshot.layout import CHUNK_PAGES, VERSION, sealed
from kev.snapshot.reader import SnapshotFile
from kev.snapshot.writer import SnapshotWriter
from kev.state import SNAPSHOT_MAGIC, Plain
from tests.pager.sources import BytesSource
from tests.snapshot.files import MACHINE, PAGES, PLAIN, STATE, Image, contents_of, opened, read_page, surveyed, write

IMAGE = Image()
SMALL = {1: "zero", 2: "a", 3: "image", 5: "b", 600: "b"}
"""Pages of two chunks, of every kind."""
NO_FIXTURE_RESET = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def file_of(path: Path) -> SnapshotFile:
    return SnapshotFile(BytesSource(path.read_bytes(), str(path)), trio_rendezvous)


def everything(path: Path) -> tuple[Any, ...]:
    """All that can be read of a snapshot of `SMALL`."""
    file = file_of(path)
    pages = [read_page(opened(path), number, IMAGE) for number in (1, 2, 3, 4, 5, 600)]
    return file.header, file.machine(), file.state(), pages


@NO_FIXTURE_RESET
@given(PAGES, st.booleans())
def test_every_page_is_read_as_it_was_written(folder: Path, pages: dict[int, str | bytes], compress: bool) -> None:
    path = folder / "snapshot"
    write(path, surveyed(pages, IMAGE), compress=compress)
    memory = opened(path)
    assert memory.chunks() == sorted({number // CHUNK_PAGES for number in pages})
    for number in {*pages, *(number + 1 for number in pages)}:
        assert read_page(memory, number, IMAGE) == contents_of(number, pages.get(number, "image"), IMAGE)


@NO_FIXTURE_RESET
@given(PAGES, st.integers(0, CHUNK_PAGES - 1), st.integers(1, CHUNK_PAGES), st.booleans())
def test_pages_in_a_row_are_filled_at_once(
    folder: Path, pages: dict[int, str | bytes], start: int, count: int, compress: bool
) -> None:
    path = folder / "snapshot"
    write(path, surveyed(pages, IMAGE), compress=compress)
    count = min(count, CHUNK_PAGES - start)
    contents = read_page(opened(path), start, IMAGE, count)
    assert contents == b"".join(contents_of(number, pages.get(number, "image"), IMAGE) for number in range(start, start + count))


@NO_FIXTURE_RESET
@given(PAGES, PAGES, PAGES, st.booleans())
def test_what_a_difference_has_not_stored_comes_from_its_parents_and_then_from_the_image(
    folder: Path, first: dict[int, str | bytes], second: dict[int, str | bytes], third: dict[int, str | bytes], compress: bool
) -> None:
    paths = [folder / name for name in "123"]
    whole: dict[int, str | bytes] = {}
    for path, pages in zip(paths, (first, second, third), strict=True):
        changed = {number: kind for number, kind in pages.items() if kind != "image"}
        unchanged = {number: whole.get(number, "image") for number in pages.keys() - changed.keys()}
        survey = surveyed(changed, IMAGE) | {
            number: SurveyedPage(number % CHUNK_PAGES, contents_of(number, kind, IMAGE), True) for number, kind in unchanged.items()
        }
        whole |= changed
        write(path, survey, compress=compress)
    memory = opened(*reversed(paths))
    for number in {*whole, *first, *second, *third}:
        assert read_page(memory, number, IMAGE) == contents_of(number, whole.get(number, "image"), IMAGE)


@settings(NO_FIXTURE_RESET, max_examples=20)
@given(PLAIN, PLAIN)
def test_descriptions_and_states_are_read_as_they_were_written(folder: Path, machine: Plain, state: Plain) -> None:
    path = folder / "snapshot"
    write(path, {}, machine={"is": machine}, state={"is": state})
    file = file_of(path)
    assert (file.machine(), file.state()) == ({"is": machine}, {"is": state})


def test_the_same_is_written_as_the_same_bytes_under_the_same_id(folder: Path) -> None:
    first, second, third = (folder / name for name in "123")
    assert write(first, surveyed(SMALL, IMAGE)) == write(second, surveyed(SMALL, IMAGE))
    assert first.read_bytes() == second.read_bytes()
    assert write(third, surveyed({**SMALL, 2: "b"}, IMAGE)) != write(first, surveyed(SMALL, IMAGE))


def test_zero_pages_and_pages_of_the_image_take_no_room(folder: Path) -> None:
    path = folder / "snapshot"
    write(path, surveyed(dict.fromkeys(range(256), "zero") | dict.fromkeys(range(256, 512), "image"), IMAGE))
    header = file_of(path).header
    assert (header.present, header.stored, header.zero) == (512, 0, 256)
    assert path.stat().st_size == 5 * PAGE_SIZE  # header, machine, state, index, one entry


@pytest.mark.parametrize("compress", [False, True])
def test_every_damaged_byte_is_noticed_in_one_line(folder: Path, compress: bool) -> None:
    path, damaged = folder / "snapshot", folder / "damaged"
    write(path, surveyed(SMALL, IMAGE), compress=compress)
    whole, contents = everything(path), bytearray(path.read_bytes())
    for offset in [*range(0, len(contents), 23), *range(256), *range(PAGE_SIZE - 16, PAGE_SIZE + 512)]:
        contents[offset] ^= 1 << offset % 8
        damaged.write_bytes(contents)
        contents[offset] ^= 1 << offset % 8
        with pytest.raises(SnapshotError) as refusal:
            everything(damaged)
        assert str(damaged) in str(refusal.value)
        assert "\n" not in str(refusal.value)
    assert everything(path) == whole


@NO_FIXTURE_RESET
@given(st.data())
def test_any_damaged_byte_is_noticed(folder: Path, data: st.DataObject) -> None:
    path, damaged = folder / "snapshot", folder / "damaged"
    if not path.exists():
        write(path, surveyed(SMALL, IMAGE))
    contents = bytearray(path.read_bytes())
    contents[data.draw(st.integers(0, len(contents) - 1))] ^= data.draw(st.integers(1, 255))
    damaged.write_bytes(contents)
    with pytest.raises(SnapshotError, match="damaged"):
        everything(damaged)


@NO_FIXTURE_RESET
@given(st.data())
def test_a_file_that_is_cut_short_or_too_long_is_refused(folder: Path, data: st.DataObject) -> None:
    path, other = folder / "snapshot", folder / "other"
    if not path.exists():
        write(path, surveyed(SMALL, IMAGE))
    contents = path.read_bytes()
    other.write_bytes(contents[: data.draw(st.integers(0, len(contents) - 1))])
    with pytest.raises(SnapshotError, match=r"is cut short|is no snapshot"):
        file_of(other)
    other.write_bytes(contents + bytes(data.draw(st.integers(1, 5000))))
    with pytest.raises(SnapshotError, match="too many"):
        file_of(other)


def test_foreign_files_are_no_snapshots() -> None:
    for contents in (b"", b"\x7fELF" + bytes(5000), SNAPSHOT_MAGIC[:-1], b"\x89PNG\r\n\x1a\n" + bytes(5000)):
        assert not is_snapshot(BytesSource(contents))
        with pytest.raises(SnapshotError, match="is no snapshot"):
            SnapshotFile(BytesSource(contents), trio_rendezvous)
    assert is_snapshot(BytesSource(SNAPSHOT_MAGIC))


def test_a_newer_format_is_refused_by_its_number(folder: Path) -> None:
    path = folder / "snapshot"
    write(path, surveyed(SMALL, IMAGE))
    contents = path.read_bytes()
    for offset, value, named in ((8, VERSION + 1, f"version {VERSION + 1} with flags 0x0"), (12, 8, "flags 0x8")):
        newer = contents[:offset] + value.to_bytes(4, "little") + contents[offset + 4 : PAGE_SIZE - 4]
        path.write_bytes(sealed(newer) + contents[PAGE_SIZE:])
        with pytest.raises(SnapshotError, match=f"{named}: this kev reads version {VERSION}"):
            file_of(path)


def test_an_image_that_has_changed_is_noticed_where_it_is_read(folder: Path) -> None:
    path = folder / "snapshot"
    write(path, surveyed(SMALL, IMAGE))
    with pytest.raises(SnapshotError, match="page 0x3000, from offset 0x3000 of the image, is not what it was"):
        read_page(opened(path), 3, Image(changed=frozenset({3})))


# Writing.


def test_a_snapshot_that_is_given_up_leaves_the_old_one_and_nothing_else(folder: Path) -> None:
    path = folder / "snapshot"
    write(path, surveyed(SMALL, IMAGE))
    old = path.read_bytes()
    with SnapshotWriter(path, MACHINE, STATE, [0]) as writer:
        writer.add(0, list(surveyed({1: "b"}, IMAGE).values()))
        writer.finish()
    assert path.read_bytes() == old
    assert os.listdir(folder) == ["snapshot"]


def test_a_folder_that_is_not_there_and_what_is_no_file_are_refused(folder: Path) -> None:
    for path, problem in ((folder / "no" / "snapshot", "No such file"), (folder, "is no regular file")):
        with pytest.raises(SnapshotError, match=problem):
            SnapshotWriter(path, MACHINE, STATE, [])


_TOO_LARGE = """
import resource, signal, sys
from pathlib import Path
from kev.errors import KevError
from tests.snapshot.files import Image, surveyed, write
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write(Path(sys.argv[1]), surveyed(dict.fromkeys(range(400), "a"), Image()))
except KevError as error:
    print(error)
"""


def test_a_file_that_finds_no_room_is_one_line_and_leaves_nothing_behind(folder: Path) -> None:
    output = run_python(_TOO_LARGE, str(folder / "snapshot"))
    assert output == f"{folder}/snapshot: cannot be written: File too large\n"
    assert os.listdir(folder) == []


def run_python(program: str, *arguments: str) -> str:
    return subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True).stdout
