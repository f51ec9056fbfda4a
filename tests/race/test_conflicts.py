"""Which accesses of a failing run are blamed, and which pairs of a run nothing orders."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import attrs
import pytest
from click.testing import CliRunner, Result

from kev.cli.main import kev
from kev.race.guest.conflicts import collisions
from kev.race.guest.data_races import DataRaces, find_data_races, schedules
from kev.race.guest.ordering import Ordering
from kev.race.guest.recording import Accessed, Sent
from kev.race.guest.subject import GuestSubject
from kev.race.schedule import Schedule
from kev.race.shrink import shrink
from kev.race.stories.picture import as_svg
from kev.race.stories.story import Story
from kev.race.stories.words import in_words
from kev.race.strategy.free import UnpreemptedScheduler
from kev.race.strategy.replay import RoughScheduler
from kev.race.token import Token
from kev.race.trace.program import Program
from kev.race.trace.subject import TraceSubject
from kev.spec.machine_spec import MachineSpec
from tests.race import small_guests as small
from tests.race.test_guest import found


def shrunk_story(subject: GuestSubject) -> Story:
    failure = found(subject)
    shrunk = shrink(subject, failure.schedule, failure.failure)
    return shrunk.subject.tell(shrunk.schedule)


def races(subject: GuestSubject, runs: int = 6, *, locked_only: bool = False) -> DataRaces:
    return find_data_races(subject, schedules(subject, runs, 1), locked_only=locked_only)


@pytest.fixture(scope="module")
def lost_update() -> Story:
    return shrunk_story(GuestSubject.find(MachineSpec("lost-update", vcpus=2)))


def test_a_failure_names_the_variable_and_both_accesses(lost_update: Story) -> None:
    conflict = lost_update.conflicts[0]
    assert conflict.variable.startswith("counter (uint32_t) at 0x")
    assert {access.vcpu for access in conflict.accesses} == {0, 1}
    assert any(access.text.startswith("changes ") for access in conflict.accesses)
    assert all(access.place.startswith("increment (main.c:") for access in conflict.accesses)
    assert all("in work+" in access.place for access in conflict.accesses)


def test_of_a_lost_wake_up_the_message_is_named_that_came_too_late(tmp_path: Path) -> None:
    image = small.guest([small.store(0, 1), small.wake(1)], [small.sleep_until(0, 1)], show=(2,))
    story = shrunk_story(small.subject(tmp_path, image))
    assert story.failure is not None
    assert story.failure.oracle == "endless run"
    conflict = story.conflicts[0]
    assert conflict.variable == "0xa000"
    assert [(access.vcpu, access.text) for access in conflict.accesses] == [(1, "reads 0"), (0, "changes 0 to 1")]
    assert conflict.claim.endswith("the run ends well")


def test_of_a_device_that_two_use_at_once_the_port_is_named(tmp_path: Path) -> None:
    story = shrunk_story(small.subject(tmp_path, small.guest([small.read_cmos(0x0A, 0)], [small.read_cmos(0x0D, 1)])))
    assert [conflict.variable for conflict in story.conflicts] == ["port 0x70"]
    assert sorted(access.text for access in story.conflicts[0].accesses) == ["writes 10", "writes 13"]
    assert story.conflicts[0].claim.endswith("the run ends well")


def test_of_accesses_to_ports_side_by_side_each_has_its_own(tmp_path: Path) -> None:
    image = small.guest([small.read_firmware_file(0, 0)], [small.read_firmware_file(5, 1)])
    (conflict,) = shrunk_story(small.subject(tmp_path, image)).conflicts
    assert conflict.variable == "port 0x511"
    texts = [access.text for access in conflict.accesses]
    assert {"writes 0 to port 0x510", "writes 5 to port 0x510"} & set(texts)
    assert not [text for text in texts if text.startswith("writes") and not text.endswith("to port 0x510")]
    assert not [text for text in texts if text.startswith("reads") and "port" in text]


def test_a_flag_that_one_waits_for_is_not_blamed(tmp_path: Path) -> None:
    first = [small.wait_until(5, 1), small.increment(0)]
    story = shrunk_story(small.subject(tmp_path, small.guest(first, [small.store(5, 1), small.increment(0)])))
    assert [conflict.variable for conflict in story.conflicts] == ["0xa000"]


@attrs.frozen
class Runs:
    """All by one schedule."""

    fail: bool
    made: Sequence[Accessed] = ()

    def fails(self, schedule: Schedule) -> bool:
        return self.fail

    def accesses(self, schedule: Schedule) -> Sequence[Accessed]:
        return self.made


@pytest.mark.parametrize(("synchronizing", "blamed"), [(frozenset[int](), 1), (frozenset({0xA000}), 0)])
def test_what_synchronizes_is_no_hint_if_no_order_of_it_ends_well(synchronizing: frozenset[int], blamed: int) -> None:
    store = Accessed(0, 0, 0x8000, 0xA000, 1, True, 0, 1, False)
    load = Accessed(1, 1, 0x9000, 0xA000, 1, False, 1, 1, False)
    schedule = Schedule.of([(0, 1), (1, 1), (0, 1)])
    found = collisions(schedule, [store, load], Ordering([store, load], synchronizing, 2), Runs(fail=True))
    assert len(found) == blamed


@pytest.mark.parametrize(
    ("others", "proven"),
    [((1, 0), True), ((1, 0, 1), True), ((0, 1), False), ((1,), False), ((0,), False)],
    ids=["the other way round", "earlier than once more", "as before", "not made any more", "not reached"],
)
def test_two_accesses_are_said_to_change_places_only_if_they_do(others: tuple[int, ...], proven: bool) -> None:
    store = Accessed(0, 0, 0x8000, 0xA000, 1, True, 0, 1, False)
    load = Accessed(1, 1, 0x9000, 0xA000, 1, False, 1, 1, False)
    schedule = Schedule.of([(0, 1), (1, 1), (0, 1)])
    runs = Runs(fail=False, made=[(store, load)[which]._replace(step=step) for step, which in enumerate(others)])
    (found,) = collisions(schedule, [store, load], Ordering([store, load], frozenset(), 2), runs)
    assert found.needed == ((store, load) if proven else None)


def test_a_story_says_which_interrupts_a_vcpu_takes() -> None:
    subject = GuestSubject.find(MachineSpec("bugs", command_line="early-interrupt corrected"), after="work")
    story = subject.tell(subject.run(UnpreemptedScheduler()).schedule)
    assert [moment.vcpu for moment in story.moments if "takes interrupt 0x41" in moment.text] == [0]


def test_what_is_blamed_ends_well_the_other_way_round(tmp_path: Path) -> None:
    subject = small.subject(tmp_path, small.guest([small.increment(0), small.store(3, 1)], [small.increment(0), small.store(4, 1)]))
    story = shrunk_story(subject)
    assert [conflict.variable for conflict in story.conflicts] == ["0xa000"]
    first, second, third = story.conflicts[0].accesses
    assert (first.text, second.text, third.text) == ("reads 0", "changes 0 to 1", "writes 1, as it was")
    assert first.vcpu == third.vcpu != second.vcpu
    assert story.conflicts[0].claim.endswith("the run ends well")
    failing = Schedule.of((moment.vcpu, 1) for moment in story.moments)
    assert failing.switches >= 2


def test_accesses_are_told_in_words_in_the_picture_and_as_json(lost_update: Story) -> None:
    access = lost_update.conflicts[0].accesses[0]
    for told in (in_words(lost_update), as_svg(lost_update), json.dumps(lost_update.as_dict())):
        assert "counter (uint32_t) at 0x" in told
        assert access.text in told
        assert "prints " in told


def test_a_turn_is_told_from_where_it_begins(lost_update: Story) -> None:
    begun = [moment for moment in lost_update.moments if moment.begins]
    assert any(f"from {moment.begins} {moment.text}" in in_words(lost_update) for moment in begun)
    for moment in begun:
        ended = [other.text for other in lost_update.moments if other.vcpu == moment.vcpu and other.number < moment.number]
        assert not ended or f" to {moment.begins}" in ended[-1]


def test_a_run_that_ends_well_has_no_conflicts() -> None:
    subject = GuestSubject.find(MachineSpec("lost-update", vcpus=2))
    schedule = subject.run(UnpreemptedScheduler()).schedule
    assert subject.tell(schedule).conflicts == ()


def test_a_data_race_is_found_in_a_run_that_ends_well(tmp_path: Path) -> None:
    subject = small.subject(tmp_path, small.guest([small.increment(0)], [small.increment(0)]))
    report = find_data_races(subject, [UnpreemptedScheduler()])
    assert (report.runs, report.failed) == (1, 0)
    assert {race.conflict.variable for race in report.races} == {"0xa000"}


ORDERED = {
    "locked instructions": ([small.locked_increment(0)], [small.locked_increment(0)]),
    "a lock": (
        [small.acquire(2), small.increment(0), small.release(2)],
        [small.acquire(2), small.increment(0), small.release(2)],
    ),
    "a flag that is waited for": (
        [small.increment(0), small.store(2, 1)],
        [small.wait_until(2, 1), small.increment(0)],
    ),
    "a flag that is looked at, and then waited for": (
        [small.increment(0), small.store(2, 1), *[small.relax] * 4, small.wake(1)],
        [small.look_then_sleep_until(2, 1), small.increment(0)],
    ),
}


@pytest.mark.parametrize("name", ORDERED)
def test_what_is_ordered_is_no_data_race(name: str, tmp_path: Path) -> None:
    first, others = ORDERED[name]
    assert races(small.subject(tmp_path, small.guest(first, others))).races == []


RACY = {
    "a lock that one takes without LOCK": (
        [small.acquire(2), small.increment(0), small.release(2)],
        [small.increment(0), small.acquire(2), small.release(2)],
    ),
    "a flag that is set too soon": (
        [small.store(2, 1), small.increment(0)],
        [small.wait_until(2, 1), small.increment(0)],
    ),
}


@pytest.mark.parametrize("name", RACY)
def test_what_is_not_ordered_is_a_data_race(name: str, tmp_path: Path) -> None:
    first, others = RACY[name]
    report = races(small.subject(tmp_path, small.guest(first, others)))
    assert {race.conflict.variable for race in report.races} == {"0xa000"}


def test_an_interrupt_orders_what_was_done_before_it_was_sent() -> None:
    before, behind = (Accessed(step, 0, 0x1000, gpa, 1, True, 0, 1, False) for step, gpa in ((0, 0xA000), (2, 0xA001)))
    handled = [Accessed(step, 1, 0x2000, gpa, 1, False, 1, 1, False) for step, gpa in ((3, 0xA000), (4, 0xA001))]
    ordering = Ordering([before, Sent(1, 0, 1), behind, *handled], frozenset(), 2)
    assert list(ordering.unordered()) == [(behind, handled[1])]


def test_a_flag_orders_nothing_if_only_locked_instructions_do(tmp_path: Path) -> None:
    first, others = ORDERED["a flag that is waited for"]
    subject = small.subject(tmp_path, small.guest(first, others))
    assert {race.conflict.variable for race in races(subject, locked_only=True).races} == {"0xa000", "0xa002"}


def test_the_schedule_of_a_shrunk_failure_is_looked_at(tmp_path: Path) -> None:
    subject = small.subject(tmp_path, small.guest([small.increment(0)], [small.increment(0)]))
    failure = found(subject)
    shrunk = shrink(subject, failure.schedule, failure.failure)
    report = find_data_races(subject, [RoughScheduler(shrunk.schedule)])
    assert (report.runs, report.failed) == (1, 1)
    token = tmp_path / "failure.token"
    token.write_text(f"{Token(subject.identity, shrunk.schedule)}\n")
    for named in (token, token.read_text().strip()):
        result = detect(str(named), "--json")
        assert result.exit_code == 1
        assert json.loads(result.stdout)["races"][0]["variable"] == "0xa000"


def test_the_guests_library_has_no_data_races() -> None:
    result = detect("bugs", "--append", "failed-trylock corrected", "--after", "work", "--runs", "1")
    assert result.stdout == "0 data races in 1 run, of which 0 ended wrong\n"


def test_a_guest_without_data_races_is_told_so(tmp_path: Path) -> None:
    small.subject(tmp_path, small.guest([small.locked_increment(0)], [small.locked_increment(0)]))
    result = detect(str(tmp_path / "guest"), "--smp", "2", "-m", "1M", "--runs", "3")
    assert result.exit_code == 0
    assert result.stdout == "0 data races in 3 runs, of which 0 ended wrong\n"


def test_a_loop_that_is_unrolled_is_one_data_race() -> None:
    (race,) = find_data_races(GuestSubject.find(MachineSpec("lost-update", vcpus=2)), [UnpreemptedScheduler()]).races
    assert race.pairs > 1
    assert all(access.place.startswith("increment (main.c:") for access in race.conflict.accesses)


def test_without_lines_every_pair_of_instructions_is_a_data_race(tmp_path: Path) -> None:
    subject = small.subject(tmp_path, small.guest([small.increment(0)] * 2, [small.increment(0)]))
    races = find_data_races(subject, [UnpreemptedScheduler()]).races
    assert len(races) > 1
    assert {race.pairs for race in races} == {1}


def test_only_guests_have_data_races() -> None:
    result = detect(str(Token(TraceSubject(Program.parse("r0/r0")).identity, Schedule.of([(0, 1)]))))
    assert result.exit_code == 2
    assert result.stderr.endswith("the token is about a trace: accesses are looked at in guests only\n")


def detect(*arguments: str) -> Result:
    return CliRunner().invoke(kev, ["race", "detect", *arguments], prog_name="kev")


def test_the_columns_of_accesses_are_apart_in_the_picture(lost_update: Story) -> None:
    root = ET.fromstring(as_svg(lost_update))
    shown = [(element.text or "").split("\u00a0\u00a0 ") for element in root.iter("{http://www.w3.org/2000/svg}text")]
    (conflict, *_) = lost_update.conflicts
    for access in conflict.accesses:
        assert [str(access.step), f"vCPU {access.vcpu}", access.text, access.place] in shown


def test_no_text_of_the_picture_is_cut(lost_update: Story) -> None:
    root = ET.fromstring(as_svg(lost_update))
    shown = " ".join(element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text"))
    assert max(len(moment.text) for moment in lost_update.moments) > 60
    for moment in lost_update.moments:
        assert " ".join(moment.text.split()) in shown
