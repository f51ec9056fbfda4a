"""Lines of code from debug information, of every version, and of debug information that is not as it should be."""

import importlib.util
import zlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.postmortem.source_lines import SourceLines
from tests.pager.sources import BytesSource
from tests.postmortem.dwarf import COMPRESSED, Row, compression_header, elf_with_sections, line_program

ZLIB, ZSTD = 1, 2
VERSIONS = [2, 3, 4, 5]
FILES = ["a.c", "sub/b.c", "/usr/c.S"]


def lines_of(section: bytes, flags: int = 0, bits: int = 64) -> SourceLines:
    image = elf_with_sections({".debug_line": section}, {".debug_line": flags}, bits)
    return SourceLines(BytesSource(image))


def told(lines: SourceLines, address: int) -> str | None:
    line = lines.at(address)
    return None if line is None else str(line)


def first_file(version: int) -> int:
    return 0 if version == 5 else 1


@pytest.mark.parametrize("version", VERSIONS)
def test_an_address_belongs_to_the_row_before_it_up_to_the_end_of_the_sequence(version: int) -> None:
    first = first_file(version)
    rows = [(0x1000, first, 10), (0x1008, first + 1, 3), (0x1010, first + 2, 99)]
    lines = lines_of(line_program(version, FILES, [(rows, 0x1020)]))
    found = [told(lines, address) for address in (0xFFF, 0x1000, 0x1007, 0x1008, 0x101F, 0x1020)]
    assert found == [None, "a.c:10", "a.c:10", "b.c:3", "c.S:99", None]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_where_two_objects_touch_the_second_begins(version: int, order: Sequence[int]) -> None:
    first = first_file(version)
    sequences: list[tuple[list[Row], int]] = [([(0x1000, first, 1)], 0x1010), ([(0x1010, first + 1, 2)], 0x1020)]
    programs = b"".join(line_program(version, FILES, [sequences[number]]) for number in order)
    lines = lines_of(programs)
    assert [told(lines, address) for address in (0x100F, 0x1010, 0x101F, 0x1020)] == ["a.c:1", "b.c:2", "b.c:2", None]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_file_that_is_not_listed_costs_its_name_only(version: int) -> None:
    lines = lines_of(line_program(version, FILES, [([(0x1000, 77, 5), (0x1008, first_file(version), 6)], 0x1010)]))
    assert [told(lines, address) for address in (0x1000, 0x1008)] == ["?:5", "a.c:6"]


def test_an_object_without_file_names_costs_names_only() -> None:
    lines = lines_of(line_program(4, [], [([(0x1000, 1, 5)], 0x1010)]) + line_program(4, FILES, [([(0x1010, 1, 6)], 0x1020)]))
    assert [told(lines, address) for address in (0x1000, 0x1010)] == ["?:5", "a.c:6"]


def test_line_0_is_no_line() -> None:
    lines = lines_of(line_program(4, FILES, [([(0x1000, 1, 0)], 0x1010)]))
    assert lines.at(0x1000) is None


@pytest.mark.parametrize("version", VERSIONS)
@given(data=st.data())
def test_what_was_written_is_what_is_read(version: int, data: st.DataObject) -> None:
    first = first_file(version)
    steps = data.draw(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 2), st.integers(1, 100_000)), min_size=1, max_size=20))
    address = 0x1000
    rows = []
    for step, file, line in steps:
        rows.append((address, first + file, line))
        address += step
    lines = lines_of(line_program(version, FILES, [(rows, address)]))
    names = [file.rpartition("/")[2] for file in FILES]
    assert [told(lines, at) for at, _, _ in rows] == [f"{names[file - first]}:{line}" for _, file, line in rows]
    assert lines.at(address) is None


@pytest.mark.parametrize("bits", [32, 64])
def test_sections_compressed_with_zlib_are_read(bits: int) -> None:
    program = line_program(5, FILES, [([(0x1000, 0, 10)], 0x1010)])
    section = compression_header(ZLIB, len(program), bits) + zlib.compress(program)
    lines = lines_of(section, COMPRESSED, bits)
    assert told(lines, 0x1000) == "a.c:10"
    assert lines.notes == []


def test_a_section_that_says_it_is_larger_than_it_can_be_is_not_read() -> None:
    section = compression_header(ZLIB, 1 << 40) + zlib.compress(b"")
    lines = lines_of(section, COMPRESSED)
    assert lines.at(0x1000) is None
    assert lines.notes == ["the section .debug_line is damaged: 8 bytes cannot be 1099511627776, decompressed"]


@pytest.mark.skipif(importlib.util.find_spec("zstandard") is not None, reason="zstandard is installed")
@pytest.mark.skipif(importlib.util.find_spec("compression") is not None, reason="this Python reads zstd")
def test_sections_compressed_with_zstd_are_said_once() -> None:
    section = compression_header(ZSTD, 100) + b"\x28\xb5\x2f\xfd"
    image = elf_with_sections(
        {".debug_line": section, ".debug_info": section, ".debug_abbrev": section},
        dict.fromkeys((".debug_line", ".debug_info", ".debug_abbrev"), COMPRESSED),
    )
    lines = SourceLines(BytesSource(image))
    assert lines.at(0x1000) is None
    assert lines.sections.get(".debug_info") is None
    assert len(lines.notes) == 1
    assert "compressed with zstd" in lines.notes[0]


def test_sections_compressed_with_zstd_are_read_where_that_is_installed() -> None:
    zstandard = pytest.importorskip("zstandard")
    program = line_program(5, FILES, [([(0x1000, 0, 10)], 0x1010)])
    lines = lines_of(compression_header(ZSTD, len(program)) + zstandard.compress(program), COMPRESSED)
    assert told(lines, 0x1000) == "a.c:10"


def test_an_image_without_debug_information_has_no_lines() -> None:
    lines = SourceLines(BytesSource(elf_with_sections({})))
    assert lines.at(0x1000) is None
    assert lines.notes == []


@given(section=st.binary(max_size=200))
def test_bytes_that_are_no_line_program_cost_lines_and_nothing_else(section: bytes) -> None:
    lines_of(section).at(0x1000)


@given(version=st.sampled_from(VERSIONS), at=st.integers(0, 150), byte=st.integers(0, 255))
def test_a_damaged_line_program_costs_lines_and_nothing_else(version: int, at: int, byte: int) -> None:
    program = bytearray(line_program(version, FILES, [([(0x1000, 1, 10), (0x1008, 1, 11)], 0x1010)]))
    program[at % len(program)] = byte
    lines_of(bytes(program)).at(0x1000)


@given(data=st.binary(max_size=300))
def test_a_file_that_is_no_elf_file_has_no_lines(data: bytes) -> None:
    assert SourceLines(BytesSource(data)).at(0x1000) is None
