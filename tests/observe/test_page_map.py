"""Page tables as pictures."""

from xml.etree import ElementTree

from kev.addressing import GIB, MIB, PAGE_SIZE, Gpa, Hpa
from kev.observe.page_map import MOST_BANDS, as_svg, bands
from kev.page_tables.identity import SHIFT, WholeMachine
from kev.page_tables.mapping import MappedRange, MemoryType, PageSize, Permissions

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def page(gpa: int, hpa: int) -> MappedRange:
    return MappedRange(Gpa(gpa), Hpa(hpa), PAGE_SIZE, PageSize.SIZE_4K)


def test_every_range_says_its_pages_its_type_and_where_it_leads() -> None:
    svg = as_svg("a machine <of mine>", "so many tables", WholeMachine(32 * GIB, SHIFT).ranges())
    found = texts(svg)
    assert found[:2] == ["a machine <of mine>", "so many tables"]
    rows = [found[at : at + 4] for at, text in enumerate(found) if text.startswith("0x")]
    assert rows == [
        ["0x0", "640K: 160 x 4 KiB", "RWX WB", "host: identity"],
        ["0xa0000", "384K: 96 x 4 KiB", "RWX UC", "host: identity"],
        ["0x100000", "1M: 256 x 4 KiB", "RWX WB", "host: + 64M"],
        ["0x200000", "3006M: 1,503 x 2 MiB", "RWX WB", "host: + 64M"],
        ["0xc0000000", "1G: 262,144 x 4 KiB", "RWX UC", "host: identity"],
        ["0x100000000", "28G: 14,336 x 2 MiB", "RWX WB", "host: + 64M"],
    ]
    assert "not mapped: 64M" in found


def test_it_has_colours_for_light_and_for_dark_pages() -> None:
    svg = as_svg("t", "s", WholeMachine(2 * MIB).ranges())
    light, _, dark = svg.partition("@media (prefers-color-scheme: dark)")
    for name in (".paper{", ".wb{", ".uc{", "text{"):
        assert name in light
        assert name in dark


def test_pages_that_lie_anywhere_in_the_host_are_one_band() -> None:
    (band,) = bands([page(0, 0x5000), page(0x1000, 0x9000), page(0x2000, 0x3000)])
    assert (band.start, band.end, band.where) == (0, 0x3000, "scattered")
    assert [band.where for band in bands([page(0x1000, 0x5000)])] == ["to 0x5000"]


def test_what_differs_is_a_band_of_its_own() -> None:
    ranges = [
        page(0, 0),
        page(0x1000, 0x1000)._replace(memory_type=MemoryType.UC),
        page(0x2000, 0x2000)._replace(permissions=Permissions.RX),
    ]
    assert len(bands(ranges)) == 3


def test_a_picture_has_an_end_and_says_how_much_it_leaves_out() -> None:
    found = texts(as_svg("t", "s", [page(2 * number * PAGE_SIZE, 0) for number in range(1000)]))
    assert found[-1] == f"and {1000 - MOST_BANDS} more ranges, up to 0x7cefff"


def test_a_table_that_maps_nothing_has_a_picture_too() -> None:
    assert texts(as_svg("nothing", "1 table", []))[:2] == ["nothing", "1 table"]
