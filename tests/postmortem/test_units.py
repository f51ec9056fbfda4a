"""Compile units and inlined functions of real guests, whole and damaged."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given, settings
from hypothesis import strategies as st

from kev.pager.image import KernelImage
from kev.pager.source import FileSource
from kev.postmortem.places import Places
from kev.postmortem.source_lines import SourceLines
from tests.examples import examples
from tests.guests.images import elf_file, read_file
from tests.pager.sources import BytesSource

REPOSITORY = Path(__file__).parents[2]
GUESTS = ["crash", "crash32"]
DEBUG_SECTIONS = [".debug_info", ".debug_abbrev", ".debug_line", ".debug_str", ".debug_ranges", ".debug_aranges", ".debug_frame"]


@cache
def image(name: str) -> KernelImage:
    return KernelImage.from_elf(BytesSource(read_file(name), name))


def symbol(name: str, symbol_name: str) -> int:
    return next(symbol.address for symbol in image(name).symbols if symbol.name == symbol_name)


@pytest.mark.parametrize("name", GUESTS)
def test_a_function_begins_at_the_line_of_its_brace(name: str) -> None:
    main = SourceLines(image(name).source).place(symbol(name, "main"))
    source = (REPOSITORY / "rootfs" / "guests" / "crash" / "main.c").read_text(encoding="utf-8").splitlines()
    before = next(number for number, line in enumerate(source, 1) if line.startswith("void main("))
    assert str(main.line) == f"main.c:{before + 1}"
    assert main.function == "main"


@pytest.mark.parametrize("name", GUESTS)
def test_assembly_has_lines(name: str) -> None:
    line = SourceLines(image(name).source).at(symbol(name, "_start"))
    assert line is not None
    assert line.file.startswith("kernel")


@pytest.mark.parametrize("name", GUESTS)
def test_an_inlined_function_has_its_own_name_and_line(name: str) -> None:
    lines = SourceLines(image(name).source)
    die = next(symbol for symbol in image(name).symbols if symbol.name == "die")
    places = [lines.place(address) for address in range(die.address, die.address + die.size)]
    inlined = [place for place in places if place.inlined and place.inlined[0].name == "store"]
    assert inlined
    assert {place.function for place in inlined} == {"die"}
    assert all(place.line is not None and place.inlined[0].line is not None for place in inlined)
    assert {str(place.inlined[0].line).partition(":")[0] for place in inlined} == {"main.c"}


def test_what_is_read_stays_below_the_size_of_what_is_asked_for() -> None:
    source = BytesSource(read_file("gKeOS"), "gKeOS")
    places = Places(KernelImage.from_elf(source))
    assert sum(length for _, length in source.reads) < 0x1000
    assert places.at(places.at(0).address).function is None


@pytest.mark.parametrize("name", GUESTS)
@settings(max_examples=examples(60))
@given(
    section=st.sampled_from(DEBUG_SECTIONS), changes=st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=8)
)
def test_damaged_debug_information_costs_lines_and_nothing_else(name: str, section: str, changes: list[tuple[int, int]]) -> None:
    data = bytearray(read_file(name))
    found = _section(name, section)
    if found is None:
        return
    offset, size = found
    for at, byte in changes:
        data[offset + at % size] = byte
    places = Places(KernelImage.from_elf(BytesSource(bytes(data), name)))
    for address in (symbol(name, "main") + 9, symbol(name, "_start"), symbol(name, "die") + 0x20):
        assert places.at(address).function is not None


@settings(max_examples=examples(60))
@given(cut=st.integers(0, 1 << 16))
def test_a_truncated_image_costs_what_is_missing(cut: int) -> None:
    data = read_file("crash")
    kernel = image("crash")
    truncated = KernelImage(BytesSource(data[: cut % len(data)]), kernel.segments, kernel.entry, kernel.virtual_entry, kernel.bits)
    Places(truncated).at(symbol("crash", "main"))


def _section(name: str, section: str) -> tuple[int, int] | None:
    elf: ELFFile = elf_file(name)
    found = elf.get_section_by_name(section)
    return None if found is None else (found["sh_offset"], found["sh_size"])


def test_debug_information_of_version_5_is_read(tmp_path: Path) -> None:
    source = tmp_path / "five.c"
    source.write_text(
        "static inline int twice(volatile int *p) { return *p\n * 2; }\nint entry(volatile int *p)\n{\n\treturn twice(p);\n}\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "x86_64-freestanding-none", "-O2", "-gdwarf-5", "-nostdlib"]
    environment = os.environ | {"ZIG_GLOBAL_CACHE_DIR": str(tmp_path), "ZIG_LOCAL_CACHE_DIR": str(tmp_path)}
    kernel = tmp_path / "five"
    subprocess.run([*command, "-Wl,-e,entry", str(source), "-o", str(kernel)], check=True, env=environment)
    with FileSource(kernel) as opened:
        found = Places(KernelImage.from_elf(opened))
        entry = next(symbol for symbol in KernelImage.from_elf(opened).symbols if symbol.name == "entry")
        texts = [found.at(address).text for address in range(entry.address, entry.address + entry.size)]
    assert found.notes == []
    assert texts[0].startswith("entry (five.c:")
    assert any(text.startswith("twice (five.c:1") and "inlined in entry+" in text for text in texts)
