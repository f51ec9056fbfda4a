"""A run in words."""

from collections.abc import Iterator
from itertools import groupby

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
            yield f"  {moment.number:>{digits}}  {who}  {moment.text}"
    yield ""
    if story.failure is None:
        yield "It ends well."
    else:
        yield f"{story.failure.oracle.upper()}: {story.failure.message}"
