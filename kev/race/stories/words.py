"""A run in words."""

from collections.abc import Iterator, Sequence
from typing import Final

from kev.race.stories.conflict import Conflict
from kev.race.stories.story import Moment, Story

_LONGEST_LOOP: Final = 16
"""Lines of a story that are looked for behind each other."""
_MOST_TIMES: Final = 4
"""How often they are written: what comes oftener is written once, and counted."""


def in_words(story: Story) -> str:
    """The run as a list of who did what, with a paragraph for each turn of a vCPU."""
    return "\n".join(_lines(story)) + "\n"


def _lines(story: Story) -> Iterator[str]:
    yield story.title
    yield ""
    digits = len(str(story.moments[-1].number)) if story.moments else 1
    last = None
    for moment, again in _folded(story.moments):
        who = f"vCPU {moment.vcpu}" if moment.vcpu != last else " " * len(f"vCPU {moment.vcpu}")
        begins = f"from {moment.begins} " if moment.begins else ""
        last = moment.vcpu
        yield f"  {moment.number:>{digits}}  {who}  {begins}{moment.text}"
        if again:
            period, times = again
            what = "the same" if period == 1 else f"these {period} lines"
            yield " " * (digits + 4) + f"{what} {times:,} times more"
            last = None
    yield ""
    if story.failure is None:
        yield "It ends well."
    else:
        yield f"{story.failure.oracle.upper()}: {story.failure.message}"
    for conflict in story.conflicts:
        yield ""
        yield from conflict_in_words(conflict, digits)


def _folded(moments: Sequence[Moment]) -> Iterator[tuple[Moment, tuple[int, int] | None]]:
    """Each moment, without those that only repeat what came before; behind the last of what is repeated, of how many moments that
    consists, and how often it comes again.
    """
    said = [(moment.vcpu, moment.text, moment.begins) for moment in moments]
    index = 0
    while index < len(said):
        for period in range(1, _LONGEST_LOOP + 1):
            loop = said[index : index + period]
            times = 1
            while said[index + times * period : index + (times + 1) * period] == loop:
                times += 1
            if times > _MOST_TIMES:
                yield from ((moment, None) for moment in moments[index : index + period - 1])
                yield moments[index + period - 1], (period, times - 1)
                index += times * period
                break
        else:
            yield moments[index], None
            index += 1


def conflict_in_words(conflict: Conflict, digits: int = 1) -> Iterator[str]:
    """The accesses below each other, each with the text of its line. `digits`: of the largest number of a step."""
    yield f"{conflict.variable}:"
    longest = max(len(access.text) for access in conflict.accesses)
    for access in conflict.accesses:
        yield f"  {access.step:>{digits}}  vCPU {access.vcpu}  {access.text:<{longest}}  {access.place}".rstrip()
        if access.source is not None:
            yield " " * (digits + 12 + longest) + f"  {access.source}"
    if conflict.claim:
        yield f"  {conflict.claim}"
