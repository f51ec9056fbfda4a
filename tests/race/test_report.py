"""A run in words and as a picture."""

import xml.etree.ElementTree as ET

from kev.race.schedule import Schedule
from kev.race.stories.picture import as_svg
from kev.race.stories.story import Story
from kev.race.stories.words import in_words
from tests.race.mutants.filling import EvictionAgainstStore
from tests.race.mutants.waking import CancellationStrandsWaiters, LostWakeUp
from tests.race.subjects import subject


def lost_wake_up() -> Story:
    return subject("r0/r0", LostWakeUp).tell(Schedule.of([(0, 2), (1, 2), (0, 5), (1, 1)]))


def texts(story: Story) -> list[str]:
    root = ET.fromstring(as_svg(story))
    return [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]


def test_a_failure_is_told_step_by_step() -> None:
    assert in_words(lost_wake_up()) == (
        "tests.race.mutants.waking:LostWakeUp, program r0/r0, schedule 0:2 1:2 0:5 1:1\n"
        "\n"
        "  0  vCPU 0  wants to read page 0: not mapped\n"
        "  1          finds page 0 Absent and claims it\n"
        "  2  vCPU 1  wants to read page 0: not mapped\n"
        "  3          finds page 0 Loading, by vCPU 0\n"
        "  4  vCPU 0  starts the loader of page 0\n"
        "  5          has the bytes of page 0\n"
        "  6          maps page 0\n"
        "  7          has nobody to wake\n"
        "  8          reads page 0\n"
        "  9  vCPU 1  waits for page 0\n"
        "\n"
        "LOST WAKE-UP: nobody can go on: vCPU 1 has been waiting for page 0 since step 9; "
        "vCPU 0's load of it ended in step 6 (Present), and nobody woke vCPU 1\n"
    )


def test_eviction_cancellation_and_failure_have_their_own_words() -> None:
    told = in_words(subject("r0/r0c0/e1;0=x1;1=i").tell(Schedule.of([(0, 3), (1, 3), (0, 2), (1, 9)])))
    assert "cannot get page 0: the source fails, gives page 0 up: Absent, wakes vCPU 1, is told that page 0 failed" in told
    told = in_words(subject("r0/c0", CancellationStrandsWaiters).tell(Schedule.of([(0, 2), (1, 1)])))
    assert "vCPU 1  cancels vCPU 0, abandons page 0: Absent" in told
    told = in_words(subject("w0e0p0+2", EvictionAgainstStore).tell(Schedule.of([(0, 100)])))
    assert "wants to evict page 0" in told
    assert "unmaps page 0" in told
    assert "wants to prefetch page 0" in told
    assert "finds pages 0-1 Absent and claims them" not in told
    assert told.endswith("It ends well.\n")


def test_the_picture_has_a_lane_for_every_vcpu_and_a_strip_for_every_page() -> None:
    shown = texts(subject("r0/r1/r2").tell(Schedule.of([(0, 7)])))
    assert [text for text in shown if text.startswith("vCPU ")] == ["vCPU 0", "vCPU 1", "vCPU 2"]
    assert [text for text in shown if text.startswith("page ")] == ["page 0", "page 1", "page 2"]
    assert shown.count("Present") == 3


def test_the_picture_names_the_failure_and_who_is_stranded() -> None:
    shown = texts(lost_wake_up())
    assert shown[0] == "Lost wake-up in step 10"
    assert "waits for ever" in shown
    assert "nobody woke vCPU 1" in " ".join(shown[-2:])


def test_the_picture_is_as_high_as_the_run_is_long() -> None:
    short, long = (ET.fromstring(as_svg(subject(program).tell(Schedule.of([])))) for program in ("r0", "r0r1r2"))
    assert int(long.attrib["height"]) - int(short.attrib["height"]) == 14 * 28
