"""A run as a picture: time goes down, every vCPU has a lane, every page a strip that shows its state."""

import re
from collections.abc import Iterator, Sequence
from html import escape
from itertools import accumulate, pairwise
from textwrap import wrap
from typing import Final

from kev.race.stories.story import Kind, Moment, Story
from kev.race.stories.words import conflict_in_words

_ROW: Final = 28
_LINE: Final = 15
"""What each further line of a row's text adds."""
_NARROWEST_LANE: Final = 290
_WIDEST_LANE: Final = 460
_CHARACTER: Final = 7
_BESIDE_TEXT: Final = 34
"""Of a lane's width."""
_STRIP: Final = 66
_LEFT: Final = 56
_MARGIN: Final = 24
_HEAD: Final = 118

_DEEPEST: Final = 6
"""Characters that a line of the conclusion may be indented by: in words it stands below a column."""
_GAP: Final = re.compile(" {2,}")
_MOST: Final = 200
"""Moments that the picture shows: the last ones."""

_FILL: Final = {
    Kind.ACCESS: "#dbeafe",
    Kind.LOAD: "#fde9c4",
    Kind.WAIT: "#e5e7eb",
    Kind.WAKE: "#ccf2ea",
    Kind.EVICT: "#e9dcfb",
    Kind.CANCEL: "#fbd9e5",
    Kind.OTHER: "#ffffff",
}
_EDGE: Final = {
    Kind.ACCESS: "#3b82f6",
    Kind.LOAD: "#e08a00",
    Kind.WAIT: "#8b93a1",
    Kind.WAKE: "#0d9f86",
    Kind.EVICT: "#8b5cf6",
    Kind.CANCEL: "#d6336c",
    Kind.OTHER: "#b6bcc6",
}
_LEGEND: Final = {
    Kind.ACCESS: "access",
    Kind.LOAD: "load",
    Kind.WAIT: "wait",
    Kind.WAKE: "wake",
    Kind.EVICT: "evict",
    Kind.CANCEL: "failed or cancelled",
}
_BAD: Final = "#b3123b"
_STRANDING: Final = ("deadlock", "lost wake-up")
"""Failures in which somebody waits for ever."""
_STATES: Final = {"Absent": "#ffffff", "Loading": "#f6b13d", "Present": "#4fae6a"}
_STYLE: Final = """text{font:12px system-ui,'Segoe UI','DejaVu Sans',sans-serif;fill:#1f2733}
.title{font-size:17px;font-weight:600}.small{font-size:11px;fill:#5b6573}.lane{font-size:13px;font-weight:600}
.bad{fill:#b3123b;font-weight:600}.on{fill:#fff}"""


def as_svg(story: Story) -> str:
    """The picture, as an SVG document that needs nothing else."""
    return "\n".join(_Picture(story).document()) + "\n"


class _Picture:
    def __init__(self, story: Story) -> None:
        self.story: Final = story
        self.moments: Final = story.moments[-_MOST:]
        longest = max((len(moment.text) for moment in self.moments), default=0)
        self.lane: Final = min(max(longest * _CHARACTER + _BESIDE_TEXT, _NARROWEST_LANE), _WIDEST_LANE)
        self.pages_at: Final = _LEFT + story.vcpus * self.lane + _MARGIN
        self.width: Final = self.pages_at + story.pages * _STRIP + _MARGIN
        self.stranded: Final = _stranded(story)
        self.lines: Final = [wrap(moment.text, self._room(row)) or [""] for row, moment in enumerate(self.moments)]
        """The text of each row."""
        heights = [_ROW + _LINE * (len(lines) - 1) for lines in self.lines]
        self.tops: Final = list(accumulate(heights, initial=_HEAD))
        """Where each row begins, and the one behind the last."""
        self.bottom: Final = self.tops[-1] + bool(self.stranded) * _ROW
        self.verdict: Final = _verdict(story, self.width)

    def document(self) -> Iterator[str]:
        height = self.bottom + 40 + 18 * len(self.verdict)
        yield f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{height}" viewBox="0 0 {self.width} {height}">'
        yield f"<style>{_STYLE}</style>"
        yield f'<rect width="{self.width}" height="{height}" fill="#fff"/>'
        yield from self._heading()
        yield from self._lanes()
        yield from self._waits()
        yield from self._switches()
        for row, moment in enumerate(self.moments):
            yield from self._moment(row, moment)
        for vcpu in self.stranded:
            yield from self._box(vcpu, len(self.moments), ["waits for ever"], Kind.WAIT, failed=True)
        yield from self._states()
        yield from self._conclusion()
        yield "</svg>"

    def _heading(self) -> Iterator[str]:
        failure = self.story.failure
        title = "A run that ends well" if failure is None else f"{failure.oracle.capitalize()} in step {failure.step}"
        yield _text(_MARGIN, 32, title, "title")
        yield _text(_MARGIN, 54, self.story.title, "small")
        x = _MARGIN
        kinds = {moment.kind for moment in self.moments}
        for kind, name in _LEGEND.items():
            if kind in kinds:
                yield _box(x, 66, 12, 12, _FILL[kind], _EDGE[kind])
                yield _text(x + 17, 76, name, "small")
                x += 34 + _CHARACTER * len(name)

    def _lanes(self) -> Iterator[str]:
        yield _text(_MARGIN, _HEAD - 12, "step", "small")
        for vcpu in range(self.story.vcpus):
            x = self._lane(vcpu)
            width, height = self.lane - 14, self.bottom - _HEAD + 12
            yield f'<rect x="{x}" y="{_HEAD - 6}" width="{width}" height="{height}" rx="6" fill="#f6f7f9"/>'
            yield _text(x + 4, _HEAD - 12, f"vCPU {vcpu}", "lane")
        for page in range(self.story.pages):
            yield _text(self._strip(page), _HEAD - 12, f"page {page}", "lane")

    def _waits(self) -> Iterator[str]:
        """A hatched band in the lane of who cannot go on."""
        yield '<defs><pattern id="h" width="7" height="7" patternTransform="rotate(45)" patternUnits="userSpaceOnUse">'
        yield '<rect width="3" height="7" fill="#c9ced6"/></pattern></defs>'
        for row, moment in enumerate(self.moments):
            top, height = self.tops[row], self.tops[row + 1] - self.tops[row]
            for vcpu in moment.waiting:
                if vcpu != moment.vcpu:
                    yield f'<rect x="{self._lane(vcpu) + 8}" y="{top}" width="18" height="{height}" fill="url(#h)"/>'

    def _switches(self) -> Iterator[str]:
        """A line from the last moment of a turn to the first of the next."""
        for row, (moment, following) in enumerate(pairwise(self.moments)):
            if moment.vcpu != following.vcpu:
                start, end = self._lane(moment.vcpu) + self.lane // 2, self._lane(following.vcpu) + self.lane // 2
                y = self.tops[row + 1]
                curve = f"M{start} {y - 3}C{start} {y + 9} {end} {y - 9} {end} {y + 3}"
                yield f'<path d="{curve}" fill="none" stroke="#5b6573" stroke-width="1.6"/>'

    def _moment(self, row: int, moment: Moment) -> Iterator[str]:
        yield _text(_LEFT - 12, self.tops[row] + 18, str(moment.number), "small", end=True)
        begins = f"from {moment.begins} " if moment.begins else ""
        yield f"<g><title>step {moment.number}: vCPU {moment.vcpu} {escape(begins + moment.text)}</title>"
        yield from self._box(moment.vcpu, row, self.lines[row], moment.kind, failed=self._failed(row))
        yield "</g>"

    def _failed(self, row: int) -> bool:
        """The failure is what happens there."""
        return self.story.failure is not None and not self.stranded and row == len(self.moments) - 1

    def _box(self, vcpu: int, row: int, lines: Sequence[str], kind: Kind, *, failed: bool) -> Iterator[str]:
        x, y, height = self._lane(vcpu), self.tops[row], _ROW + _LINE * (len(lines) - 1)
        yield _box(x + 2, y + 3, self.lane - 18, height - 6, _FILL[kind], _BAD if failed else _EDGE[kind], 2.5 if failed else 1)
        for number, line in enumerate(lines):
            yield _text(x + 9, y + 18 + _LINE * number, line, "bad" if failed else "")

    def _states(self) -> Iterator[str]:
        """One block for as long as a page's state stays what it is."""
        for page in range(self.story.pages):
            began = 0
            for row, moment in enumerate(self.moments):
                last = row == len(self.moments) - 1
                if last or self.moments[row + 1].states[page] != moment.states[page]:
                    yield from self._state(page, moment.states[page], began, row)
                    began = row + 1

    def _state(self, page: int, state: str, first: int, last: int) -> Iterator[str]:
        x, y, height = self._strip(page), self.tops[first] + 2, self.tops[last + 1] - self.tops[first] - 4
        edge = "#d5d9df" if state == "Absent" else _STATES[state]
        yield _box(x, y, _STRIP - 10, height, _STATES[state], edge)
        yield _text(x + 6, y + 16, state, "small" if state == "Absent" else "on")

    def _conclusion(self) -> Iterator[str]:
        style = "" if self.story.failure is None else "bad"
        for index, line in enumerate(self.verdict):
            indent = _CHARACTER * (len(line) - len(line.lstrip()))
            yield _text(_MARGIN + indent, self.bottom + 32 + 18 * index, line.lstrip(), style)

    def _room(self, row: int) -> int:
        """How many characters a line of its text may have; what is bold is wider."""
        room = (self.lane - _BESIDE_TEXT) // _CHARACTER
        return room * 9 // 10 if self._failed(row) else room

    def _lane(self, vcpu: int) -> int:
        return _LEFT + vcpu * self.lane

    def _strip(self, page: int) -> int:
        return self.pages_at + page * _STRIP


def _stranded(story: Story) -> list[int]:
    """Those who still wait when nobody can go on any more."""
    stuck = story.failure is not None and bool(story.moments) and story.failure.oracle in _STRANDING
    return sorted(story.moments[-1].waiting) if stuck else []


def _verdict(story: Story, width: int) -> list[str]:
    room = max((width - 2 * _MARGIN) // _CHARACTER, 40)
    verdict = ["It ends well."] if story.failure is None else wrap(story.failure.message, room)
    for conflict in story.conflicts:
        verdict.append("")
        for told in conflict_in_words(conflict):
            verdict += wrap(_with_gaps(told), room, subsequent_indent="    ")
    return verdict


def _with_gaps(line: str) -> str:
    """Columns have gaps between them that are not made one space, as spaces are in a picture; nothing is indented far."""
    text = line.lstrip()
    return " " * min(len(line) - len(text), _DEEPEST) + _GAP.sub("\u00a0\u00a0 ", text)


def _box(x: int, y: int, width: int, height: int, fill: str, edge: str, thickness: float = 1) -> str:
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="4" fill="{fill}" stroke="{edge}" stroke-width="{thickness}"/>'
    )


def _text(x: int, y: int, text: str, style: str, *, end: bool = False) -> str:
    anchor = ' text-anchor="end"' if end else ""
    named = f' class="{style}"' if style else ""
    return f'<text x="{x}" y="{y}"{named}{anchor}>{escape(text)}</text>'
