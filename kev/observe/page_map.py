"""A page table as a picture: which addresses are mapped, by which size of page, with which memory type, and to where.

Addresses go down, a band for each range and for each hole; the strip at the top has all of them to scale. It is drawn for light and
for dark pages.
"""

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import pairwise
from typing import Final, NamedTuple

from kev.addressing import MIB, PAGE_SIZE
from kev.page_tables.mapping import MappedRange, MemoryType, PageSize, Permissions
from kev.spec.sizes import size_text

MOST_BANDS: Final = 80
"""Ranges and holes that are drawn; how many more there are is said."""

_WIDTH: Final = 980
_MARGIN: Final = 24
_STRIP_AT: Final = 92
_STRIP: Final = 26
_BANDS_AT: Final = 178
_BAND: Final = 34
_HOLE: Final = 20
_BAR_AT: Final = 180
_NARROWEST: Final = 26
_PER_DOUBLING: Final = 8
"""How much wider a band is for twice as many bytes."""
_TEXT_AT: Final = 490
_CHARACTER: Final = 7

_COLOURS: Final = {
    MemoryType.WB: ("wb", "#2f6fb3", "#5aa9e6"),
    MemoryType.UC: ("uc", "#c75a12", "#f0984e"),
    MemoryType.WC: ("wc", "#2b8a5f", "#59c294"),
    MemoryType.WT: ("wt", "#7a55a8", "#b794e0"),
    MemoryType.WP: ("wp", "#6b7680", "#9aa4ad"),
}
"""By memory type: the class, and its colours on light and on dark pages."""
_NAMES: Final = {
    MemoryType.WB: "WB, write-back",
    MemoryType.UC: "UC, uncacheable",
    MemoryType.WC: "WC, write combining",
    MemoryType.WT: "WT, write-through",
    MemoryType.WP: "WP, write-protected",
}
_TICKS: Final = {PageSize.SIZE_4K: 4, PageSize.SIZE_2M: 14, PageSize.SIZE_1G: 40}
"""By page size: the distance of the lines across a band."""
_STYLE: Final = """text{font:12px system-ui,'Segoe UI','DejaVu Sans',sans-serif;fill:#1d2125}
.title{font-size:17px;font-weight:600}.soft{font-size:11px;fill:#5d666f}.mono{font-family:ui-monospace,'DejaVu Sans Mono',monospace}
.paper{fill:#fff}.empty{fill:#f2f3f1;stroke:#c9cdc8;stroke-dasharray:4 3}.tick{stroke:#fff;stroke-opacity:.55}"""
_DARK: Final = (
    """text{fill:#e7e9ea}.soft{fill:#9aa4ad}.paper{fill:#14171a}.empty{fill:#1c2024;stroke:#4a525a}.tick{stroke:#14171a}"""
)


class Band(NamedTuple):
    """Consecutive addresses that look alike."""

    start: int
    end: int
    size: PageSize
    permissions: Permissions
    memory_type: MemoryType
    offsets: frozenset[int]
    """How far the host-physical addresses lie above the guest-physical ones."""

    @property
    def where(self) -> str:
        if len(self.offsets) > 1:
            return "scattered"
        (offset,) = self.offsets
        if not offset:
            return "identity"
        sign, distance = ("+", offset) if offset > 0 else ("-", -offset)
        return f"{sign} {size_text(distance)}" if distance % MIB == 0 else f"to {self.start + offset:#x}"


def bands(ranges: Iterable[MappedRange]) -> list[Band]:
    """Ranges, in order, with those merged that differ in nothing but where they lead to."""
    merged: list[Band] = []
    for mapped in ranges:
        band = Band(
            mapped.gpa, mapped.end, mapped.page_size, mapped.permissions, mapped.memory_type, frozenset({mapped.hpa - mapped.gpa})
        )
        last = merged[-1] if merged else None
        if last is not None and last[1:5] == (band.start, *band[2:5]):
            merged[-1] = last._replace(end=band.end, offsets=last.offsets | band.offsets)
        else:
            merged.append(band)
    return merged


def as_svg(title: str, summary: str, ranges: Iterable[MappedRange]) -> str:
    """The picture, as an SVG document that needs nothing else."""
    return "\n".join(_Picture(title, summary, bands(ranges)).document()) + "\n"


class _Picture:
    def __init__(self, title: str, summary: str, all_bands: Sequence[Band]) -> None:
        self.title: Final = title
        self.summary: Final = summary
        self.bands: Final = all_bands
        self.end: Final = all_bands[-1].end if all_bands else PAGE_SIZE

    def document(self) -> Iterator[str]:
        rows = list(self._rows())
        height = _BANDS_AT + sum(height for height, _ in rows) + _MARGIN
        yield f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}">'
        yield f"<style>{_STYLE}{_colours(0)}"
        yield f"@media (prefers-color-scheme: dark){{{_DARK}{_colours(1)}}}</style>"
        yield f'<rect width="{_WIDTH}" height="{height}" class="paper"/>'
        yield _text(_MARGIN, 34, self.title, "title")
        yield _text(_MARGIN, 54, self.summary, "soft")
        yield from self._strip()
        yield from self._legend()
        y = _BANDS_AT
        for row, lines in rows:
            yield f'<g transform="translate(0 {y})">'
            yield from lines
            yield "</g>"
            y += row
        yield "</svg>"

    def _strip(self) -> Iterator[str]:
        """All addresses to scale."""
        width = _WIDTH - 2 * _MARGIN
        yield _text(_MARGIN, _STRIP_AT - 8, f"all addresses to scale, up to {size_text(self.end)}", "soft")
        yield f'<rect x="{_MARGIN}" y="{_STRIP_AT}" width="{width}" height="{_STRIP}" class="empty"/>'
        for band in self.bands:
            x = _MARGIN + width * band.start / self.end
            drawn = max(width * (band.end - band.start) / self.end, 0.5)
            name = _COLOURS[band.memory_type][0]
            yield f'<rect x="{x:.2f}" y="{_STRIP_AT}" width="{drawn:.2f}" height="{_STRIP}" class="{name}"/>'

    def _legend(self) -> Iterator[str]:
        x, y = _MARGIN, _STRIP_AT + _STRIP + 22
        for memory_type in sorted({band.memory_type for band in self.bands}, reverse=True):
            name = _NAMES[memory_type]
            yield f'<rect x="{x}" y="{y - 10}" width="12" height="12" class="{_COLOURS[memory_type][0]}"/>'
            yield _text(x + 18, y, name, "soft")
            x += 40 + _CHARACTER * len(name)
        for size in sorted({band.size for band in self.bands}):
            text = f"pages of {size}"
            yield f'<rect x="{x}" y="{y - 11}" width="44" height="14" class="wp"/>'
            yield _ticks(x, y - 11, 44, 14, _TICKS[size])
            yield _text(x + 52, y, text, "soft")
            x += 74 + _CHARACTER * len(text)

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """Of every band and hole: its height, and what is drawn."""
        shown = 0
        for before, band in pairwise([None, *self.bands]):
            assert band is not None
            hole = band.start - (0 if before is None else before.end)
            if shown >= MOST_BANDS:
                break
            if hole:
                yield _HOLE, list(_hole(hole))
            yield _BAND, list(_band(band))
            shown += 1
        if shown < len(self.bands):
            yield _BAND, [_text(_MARGIN, 22, f"and {len(self.bands) - shown:,} more ranges, up to {self.end - 1:#x}", "soft")]


def _band(band: Band) -> Iterator[str]:
    length = band.end - band.start
    width = _NARROWEST + _PER_DOUBLING * max(length // PAGE_SIZE, 1).bit_length()
    yield f"<title>{band.start:#x} to {band.end - 1:#x}</title>"
    yield _text(_BAR_AT - 14, 21, f"{band.start:#x}", "mono", end=True)
    yield f'<rect x="{_BAR_AT}" y="3" width="{width}" height="{_BAND - 6}" rx="3" class="{_COLOURS[band.memory_type][0]}"/>'
    yield _ticks(_BAR_AT, 3, width, _BAND - 6, _TICKS[band.size])
    text = f"{size_text(length)}: {length // band.size:,} x {band.size}"
    yield _text(_TEXT_AT, 21, text)
    yield _text(_TEXT_AT + 210, 21, f"{band.permissions} {band.memory_type.name}", "mono")
    yield _text(_TEXT_AT + 300, 21, f"host: {band.where}")


def _hole(length: int) -> Iterator[str]:
    yield f'<rect x="{_BAR_AT}" y="5" width="{_NARROWEST}" height="{_HOLE - 10}" class="empty"/>'
    yield _text(_BAR_AT + _NARROWEST + 10, 14, f"not mapped: {size_text(length)}", "soft")


def _ticks(x: int, y: int, width: int, height: int, distance: int) -> str:
    lines = "".join(f"M{at} {y}v{height}" for at in range(x + distance, x + width, distance))
    return f'<path d="{lines}" class="tick"/>'


def _colours(theme: int) -> str:
    return "".join(f".{name}{{fill:{colours[theme]}}}" for name, *colours in _COLOURS.values())


def _text(x: int, y: int, text: str, style: str = "", *, end: bool = False) -> str:
    anchor = ' text-anchor="end"' if end else ""
    named = f' class="{style}"' if style else ""
    return f'<text x="{x}" y="{y}"{named}{anchor}>{escape(text)}</text>'
