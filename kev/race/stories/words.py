"""A run in words."""

from collections.abc import Iterator
from itertools import groupby

from kev.race.stories.conflict import Conflict
from kev.race.stories.story import Story


def in_words(story: Story) -> str:
    """The run as a list of who did what, with a paragraph for each turn of a vCPU."""
    return "\n".join(_lines(story)) + "\n"


def _lines(story: Story) -> Iterator[str]:
    yield story.title
    yield ""
    digits = len(str(story.moments[-1].number)) if story.moments else 1
    for vcpu, turn in groupby(story.moments, key=lambda moment: moment.vcpu):
        for index, moment in enumerate(turn):
            who = f"vCPU {vcpu}" if index == 0 else " " * len(f"vCPU {vcpu}")
            begins = f"from {moment.begins} " if moment.begins else ""
            yield f"  {moment.number:>{digits}}  {who}  {begins}{moment.text}"
    yield ""
    if story.failure is None:
        yield "It ends well."
    else:
        yield f"{story.failure.oracle.upper()}: {story.failure.message}"
    for conflict in story.conflicts:
        yield ""
        yield from conflict_in_words(conflict, digits)


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
