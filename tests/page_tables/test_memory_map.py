"""Memory maps as text, in kev's own form and as Linux logs them."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.page_tables.memory_map import MemoryMapError, Region, parse_memory_map, read_memory_map
from tests.fs.errors import refused

LOG = """\
[    0.000000] Linux version 6.1.0
[    0.000000] BIOS-provided physical RAM map:
[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
[    0.000000] BIOS-e820: [mem 0x000000000009fc00-0x000000000009ffff] reserved
kern  :info  : [    0.000000] BIOS-e820: [mem 0x0000000000100000-0x00000000bffdffff] usable
BIOS-e820: [mem 0x00000000bffe0000-0x00000000bfffffff] ACPI data
[    0.000000] BIOS-e820: [mem 0x0000000240000000-0x000000043fffffff] persistent (type 12)
[    0.000000] e820: update [mem 0x00000000-0x00000fff] usable ==> reserved
"""


def test_of_a_log_of_linux_the_lines_of_the_firmware_are_read() -> None:
    assert parse_memory_map(LOG, "dmesg") == (
        Region(0, 0x9FC00, "usable"),
        Region(0x9FC00, 0xA0000, "reserved"),
        Region(0x100000, 0xBFFE0000, "usable"),
        Region(0xBFFE0000, 0xC0000000, "ACPI data"),
        Region(0x240000000, 0x440000000, "persistent (type 12)"),
    )


def test_the_plain_form_has_comments_and_needs_no_order(tmp_path: Path) -> None:
    file = tmp_path / "map"
    file.write_text("# a small machine\n0x100000-0x1ffffff usable  # 31 MiB\n\n  0x0-0x9ffff usable\n0xf0000-0xfffff reserved\n")
    assert read_memory_map(file) == (
        Region(0, 0xA0000),
        Region(0xF0000, 0x100000, "reserved"),
        Region(0x100000, 0x2000000),
    )


def test_only_ram_and_the_firmwares_tables_are_memory() -> None:
    types = ("usable", "ACPI data", "ACPI NVS", "reserved", "unusable", "soft reserved", "type 20")
    regions = parse_memory_map("\n".join(f"{at:#x}000-{at:#x}fff {type}" for at, type in enumerate(types, 1)), "map")
    assert [region.is_memory for region in regions] == [True, True, True, False, False, False, False]
    assert [region.is_ram for region in regions] == [True] + [False] * 6


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "map: has no region: a line is START-END TYPE, such as 0x100000-0xbffdffff usable"),
        ("0x0-0xfff usable\n0x1000 usable", "map, line 2: '0x1000 usable' is not START-END TYPE"),
        ("1000-1fff usable", "map, line 1: '1000' is no address: it must be hexadecimal, with 0x"),
        ("0x0-0xfffg usable", "map, line 1: '0xfffg' is no address: it must be hexadecimal, with 0x"),
        ("0x2000-0x1fff usable", "map, line 1: ends at 0x1fff, in front of its start 0x2000"),
        ("0x0-0x10000000000000 usable", "map, line 1: 0x10000000000000 is no physical address: the last is 0xfffffffffffff"),
        (
            "0x0-0xfff ram",
            "map, line 1: type 'ram' is not known: there are usable, ACPI data, ACPI NVS, reserved, unusable, soft reserved, "
            "persistent (type N), type N",
        ),
        ("[" * 200_000, "map, line 1: has 200,000 characters: there may be 1,024"),
        ("BIOS-e820: [mem 0x" + "-" * 200_000, "map, line 1: has 200,018 characters: there may be 1,024"),
        ("0x1000-0x2fff usable\n0x0-0x1000 reserved", "map, line 2: overlaps line 1: both have 0x1000"),
        (
            "BIOS-e820: [mem 0x0-0xfff] usable\n\nBIOS-e820: 0x1000-0x1fff usable",
            "map, line 3: 'BIOS-e820: 0x1000-0x1fff usable' is not BIOS-e820: [mem START-END] TYPE",
        ),
        (
            "\n".join(f"{number:#x}000-{number:#x}fff usable" for number in range(1025)),
            "map, line 1025: is region 1,025: there may be 1,024",
        ),
    ],
)
def test_a_line_that_says_nothing_is_refused_by_its_number_value_and_limit(text: str, problem: str) -> None:
    with refused(MemoryMapError, problem):
        parse_memory_map(text, "map")


@given(st.lists(st.integers(0, (1 << 52) - 1), unique=True, min_size=2, max_size=20), st.booleans())
def test_what_is_printed_is_read_again(edges: list[int], logged: bool) -> None:
    edges.sort()
    regions = [Region(low, high) for low, high in zip(edges[::2], edges[1::2], strict=False)]
    form = "BIOS-e820: [mem {}-{}] {}" if logged else "{}-{} {}"
    text = "\n".join(form.format(hex(region.start), hex(region.end - 1), region.type) for region in reversed(regions))
    assert list(parse_memory_map(text, "map")) == regions
    assert list(parse_memory_map("\n".join(map(str, regions)), "map")) == regions


@given(st.text(max_size=200))
def test_any_text_is_a_map_or_refused(text: str) -> None:
    with suppress(MemoryMapError):
        assert parse_memory_map(text, "map")
