"""Races of whole guests: real code, switched at exact instructions."""

import io
import re
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import find, given
from hypothesis import strategies as st

from kev.fs.mkfs import create_image
from kev.guests.images import open_image
from kev.machine.builder import MachineOptions
from kev.machine.errors import MachineError
from kev.machine.launcher import prepare
from kev.machine.schedule import CountedScheduler, FreeScheduler, SeededScheduler
from kev.pager.source import read_bytes
from kev.race import RaceDetected, check_guest
from kev.race.errors import RaceError, TokenError
from kev.race.explore import Found, explore
from kev.race.guest.details import RaceDetails, raceable
from kev.race.guest.machine import GuestMachine
from kev.race.guest.prepared import CannotRace, Start
from kev.race.guest.source import MemorySource, ScheduledSource
from kev.race.guest.stage import Stage
from kev.race.guest.start import guest_machine
from kev.race.guest.subject import GuestSubject
from kev.race.jobs import explore_shared
from kev.race.schedule import Schedule
from kev.race.shrink import shrink
from kev.race.stories.picture import as_svg
from kev.race.stories.words import in_words
from kev.race.strategy import Exhaustive, SeededRandom, make_strategy
from kev.race.strategy.base import UNLIMITED, Redundant
from kev.race.strategy.free import UnpreemptedScheduler
from kev.race.strategy.replay import ReplayScheduler, RoughScheduler
from kev.race.subject import Identity
from kev.spec.fields import FIELDS
from kev.spec.machine_spec import DEFAULTS, MachineSpec
from kev.work.processes import local
from tests.machine.specs import SPECS, VALUES
from tests.race import small_guests as small

pytestmark = pytest.mark.slow

RACY = ("lost-update", "bad-spinlock", "boot-race")


def guest(name: str, vcpus: int = 2) -> GuestSubject:
    return GuestSubject.find(MachineSpec(name, vcpus=vcpus))


def found(subject: GuestSubject, strategy: str = "random", runs: int = 500) -> Found:
    exploration = explore(subject, make_strategy(strategy), runs)
    assert exploration.nondeterminism is None
    assert exploration.found is not None, f"not found in {exploration.runs} runs"
    return exploration.found


def image_of(name: str) -> bytes:
    with open_image(name) as (source, _):
        return read_bytes(source, 0, source.size)


@pytest.mark.parametrize("name", RACY)
def test_a_racy_guest_ends_well_when_nobody_interferes(name: str) -> None:
    assert guest(name).run(UnpreemptedScheduler()).failure is None


@pytest.mark.parametrize("strategy", ["random", "pct"])
@pytest.mark.parametrize("name", RACY)
def test_a_guest_s_own_race_is_found(name: str, strategy: str) -> None:
    assert found(guest(name), strategy).failure.oracle == "wrong exit code"


@pytest.mark.parametrize("name", ["lost-update", "boot-race"])
def test_a_race_of_one_or_two_preemptions_is_found_by_trying_them_all(name: str) -> None:
    assert found(guest(name), "exhaustive").failure.oracle == "wrong exit code"


@pytest.mark.parametrize("name", RACY)
def test_a_failure_is_replayed_bit_for_bit_ten_times_out_of_ten(name: str) -> None:
    subject = guest(name)
    schedule = found(subject).schedule
    outcomes = [subject.replay(ReplayScheduler(schedule)) for _ in range(10)]
    assert len({outcome.history for outcome in outcomes}) == 1
    assert all(outcome.failure is not None and outcome.schedule == schedule for outcome in outcomes)


def test_a_failure_is_shrunk_to_few_switches_and_vcpus() -> None:
    subject = guest("lost-update", 4)
    failure = found(subject)
    shrunk = shrink(subject, failure.schedule, failure.failure)
    assert shrunk.subject.vcpus == 2
    assert shrunk.schedule.switches <= 4
    assert shrunk.subject.replay(ReplayScheduler(shrunk.schedule)).failure == shrunk.failure


def test_the_same_seed_finds_the_same_failure_in_several_processes() -> None:
    subject = guest("boot-race")
    alone = explore(subject, SeededRandom(2), 40)
    shared = explore_shared(subject, SeededRandom(2), 40, local(2))
    assert alone.found is not None
    assert shared.found == alone.found
    assert shared.runs == alone.runs


def test_a_guest_without_a_race_survives() -> None:
    exploration = explore(guest("smp"), SeededRandom(1), 8)
    assert (exploration.runs, exploration.found, exploration.nondeterminism) == (8, None, None)


def test_pages_that_several_vcpus_want_at_once_are_waited_for() -> None:
    """A preemption inside of a load lets another vCPU come to wait for it."""
    subject = guest("boot-race")
    strategy = Exhaustive(1)
    strategy.measure(2, subject.free_steps, subject.longest_turn)
    oracles = set()
    for run in range(150):
        scheduler = strategy.scheduler(run)
        if scheduler is None:
            break
        try:
            outcome = subject.run(scheduler)
        except Redundant:
            continue
        strategy.learn(outcome)
        oracles.add(outcome.failure.oracle if outcome.failure is not None else "")
    assert oracles == {"", "wrong exit code"}


def test_a_run_is_told_by_turns_with_the_names_of_functions() -> None:
    subject = guest("lost-update")
    failure = found(subject)
    shrunk = shrink(subject, failure.schedule, failure.failure)
    story = subject.tell(shrunk.schedule)
    words = in_words(story)
    assert "lost-update on 2 vCPUs" in words
    assert "work+0x" in words
    assert "the last it prints is '4 of 8 increments counted'" in words
    assert [moment.vcpu for moment in story.moments] == [segment.vcpu for segment in shrunk.schedule.segments]
    assert "(main.c:" in words
    assert "loads 1 page" in as_svg(story)


def test_a_guest_can_be_a_test_of_pytest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    check_guest("smp", smp=2, memory="64M", runs=2)
    with pytest.raises(RaceDetected, match=r"(?s)increments counted.*lost-update on 2 vCPUs.*kev race replay kev1-"):
        check_guest("lost-update", vcpus=2)


def test_a_token_names_the_guest_and_its_machine() -> None:
    subject = GuestSubject.find(MachineSpec("lost-update", vcpus=3, memory=32 << 20, command_line="a 'b'"))
    assert GuestSubject.identified(subject.identity) == subject


def test_a_token_of_another_image_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "kernel"
    file.write_bytes(image_of("lost-update"))
    identity = GuestSubject.find(MachineSpec(str(file), vcpus=2)).identity
    file.write_bytes(image_of("bad-spinlock"))
    with pytest.raises(TokenError, match=r"its image or a module has changed since the token was made"):
        GuestSubject.identified(identity)


def test_a_run_that_takes_turns_fairly_in_the_end_and_ends_well_is_repeated(tmp_path: Path) -> None:
    """Each waits for the other again and again, and may do so for 20,000 steps in a row."""
    rounds, limit = range(1, 7), 50_000
    first = [action for number in rounds for action in (small.store(2, number), small.wait_until(3, number, pause=False))]
    other = [action for number in rounds for action in (small.wait_until(2, number, pause=False), small.store(3, number))]
    spec = small.spec(tmp_path, small.guest(first, other))
    schedules: list[Schedule] = []
    for _ in range(2):
        with guest_machine(Start(spec), limit) as machine:
            machine.run(ReplayScheduler(schedules[0]) if schedules else CountedScheduler(7_000), fair=not schedules)
            assert machine.failure is None
            assert machine.ticks > limit
            schedules.append(Schedule.of((turn.vcpu, turn.steps) for turn in machine.turns))
    assert schedules[1] == schedules[0]


def test_a_kernel_that_was_built_anew_is_explored_as_it_is_now(tmp_path: Path) -> None:
    before = small.subject(tmp_path, small.guest([small.increment(0)] * 2, [small.increment(0)] * 2))
    lost = found(before)
    whole = small.guest([small.locked_increment(0)] * 2, [small.locked_increment(0)] * 2)
    now = small.subject(tmp_path, whole)
    assert explore(now, make_strategy("random"), 200).found is None
    assert now.replay(RoughScheduler(lost.schedule)).failure is None


def test_a_token_does_not_depend_on_debug_information(tmp_path: Path) -> None:
    file = tmp_path / "kernel"
    data = bytearray(image_of("lost-update"))
    file.write_bytes(data)
    subject = GuestSubject.find(MachineSpec(str(file), vcpus=2))
    identity = subject.identity
    name = data.index(b"main.c")
    data[name : name + 6] = b"niam.c"
    file.write_bytes(data)
    assert GuestSubject.identified(identity) == subject
    assert subject.identity == identity


def test_a_token_from_when_exits_took_no_time_replays_with_that() -> None:
    details = RaceDetails.parse("lost-update", f"smp=2 memory=268435456 exit=0 crc={crc32(image_of('lost-update')):08x}")
    subject = GuestSubject.identified(Identity("guest", "lost-update", str(details)))
    assert (details.exit_costs, subject.exit_costs) == (0, 0)
    assert subject.identity != GuestSubject.find(MachineSpec("lost-update", vcpus=2)).identity


def test_a_guest_says_where_what_is_explored_begins(tmp_path: Path) -> None:
    image = small.guest([small.increment(0), small.mark, small.increment(1)], [small.increment(0), small.increment(1)])
    subject = small.subject(tmp_path, image)
    endings = set()
    for seed in range(100):
        outcome = subject.run(SeededScheduler(seed, 8))
        endings.add(outcome.failure.kind if outcome.failure is not None else str(subject.exit_code))
    assert endings == {str(2 | 2 << 2), str(2 | 1 << 2)}  # the first increment is never lost


def test_random_numbers_follow_from_the_seed_of_the_exploration(tmp_path: Path) -> None:
    image = small.guest([small.random(0)], [])
    codes = {GuestSubject.find(small.subject(tmp_path, image).spec, seed).exit_code for seed in range(12)}
    assert codes == {0, 1, 2, 3}


def test_a_token_of_another_disk_is_refused_by_its_name(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1024))
    subject = GuestSubject.find(MachineSpec("lost-update", disks=[(disk, "ide")]))
    identity = subject.identity
    assert GuestSubject.identified(identity) == subject
    disk.write_bytes(b"other" + bytes(1019))
    with pytest.raises(TokenError, match=rf"^guest lost-update: its disk {disk} has changed since the token was made$"):
        GuestSubject.identified(identity)


RACED = {
    "image",
    "memory",
    "vcpus",
    "boot",
    "abi",
    "syscall",
    "command_line",
    "modules",
    "disks",
    "lenient_msr",
    "strict_ports",
    "strict_memory",
}
"""The fields that say something about a raced machine."""


@given(SPECS, st.integers(0, 255), st.integers(0, (1 << 32) - 1))
def test_a_token_s_details_are_read_as_they_are_written(spec: MachineSpec, exit_code: int, checksum: int) -> None:
    of_machine = MachineSpec(**{name: value for name, value in spec.given().items() if name in RACED})
    raced = of_machine.over(MachineSpec(vcpus=2, memory="1M", command_line="")).replace(
        lenient_msr=spec.lenient_msr or None,
        strict_ports=spec.strict_ports or None,
        strict_memory=spec.strict_memory or None,
        syscall=None if spec.syscall == DEFAULTS.syscall else spec.syscall,
    )
    details = RaceDetails(raced, exit_code, checksum, tuple(range(len(raced.disks))), random_seed=checksum)
    assert RaceDetails.parse(raced.image, str(details)) == details


@pytest.mark.parametrize("name", [field.name for field in FIELDS])
def test_every_field_of_a_description_is_in_a_token_or_refused(name: str) -> None:
    plain = MachineSpec("kernel", vcpus=2, memory="1M", command_line="")
    known = (None, getattr(plain, name), getattr(DEFAULTS, name))
    spec = plain.replace(**{name: find(VALUES[name], lambda value: getattr(MachineSpec(**{name: value}), name) not in known)})
    try:
        raceable(spec)
    except RaceError as error:
        assert str(error).startswith(f"{name}: ")  # noqa: PT017
    else:
        details = RaceDetails(spec, 0, 0, (0,) * len(spec.disks))
        assert RaceDetails.parse("kernel", str(details)) == details


def test_what_tokens_have_said_so_far_is_read() -> None:
    details = RaceDetails.parse("kernel", "smp=2 memory=33554432 exit=1 crc=0ac6efff boot=pvh 'append=a b' 'module=m its text'")
    spec = MachineSpec("kernel", vcpus=2, memory="32M", boot="pvh", command_line="a b", modules=[("m", "its text")])
    assert details == RaceDetails(spec, 1, 0x0AC6EFFF, exit_costs=0)


@pytest.mark.parametrize("words", ["", "smp=2", "smp=x memory=1 exit=0 crc=0", "smp=99 memory=1048576 exit=0 crc=0", "'"])
def test_details_that_describe_no_machine_are_refused(words: str) -> None:
    with pytest.raises(TokenError, match="guest kernel: a token does not describe a machine by "):
        RaceDetails.parse("kernel", words)


def test_a_disk_whose_writes_are_kept_is_refused(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(4096))
    disk = f"{tmp_path}/disk,overlay={tmp_path}/kept"
    with pytest.raises(MachineError, match="what a race test writes is not kept: add ,overlay alone"):
        GuestSubject.find(MachineSpec("block", vcpus=2, disks=[disk]))
    assert not (tmp_path / "kept").exists()


def test_runs_on_a_disk_do_not_disturb_each_other_nor_the_file(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with disk.open("w+b") as file:
        create_image(file, "disk", {"message": io.BytesIO(bytes(4096))})
    before = disk.read_bytes()
    # This guest writes to its disk, and reads it back.
    subject = GuestSubject.find(MachineSpec("block", vcpus=2, disks=[disk]))
    histories = {subject.run(UnpreemptedScheduler()).history for _ in range(3)}
    assert len(histories) == 1
    assert disk.read_bytes() == before


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"paging": "eager"}, "paging: 'eager': not in a race: pages come one by one, when the schedule lets them"),
        ({"source_latency": "1ms"}, "source_latency: '1ms': not in a race: a page takes as long as the schedule says"),
        ({"timeout": 5}, "timeout: 5.0: not in a race: a run without an end is found by its number of instructions"),
        ({"seed": 5}, "seed: 5: not in a race: the schedule is chosen by the strategy, which has a seed of its own"),
    ],
)
def test_what_makes_no_sense_in_a_race_is_refused(wishes: dict[str, Any], message: str) -> None:
    with pytest.raises(RaceError) as caught:
        GuestSubject.find(MachineSpec("lost-update", **wishes))
    assert str(caught.value).startswith(message)


def test_a_guest_that_does_not_end_by_itself_is_refused() -> None:
    with pytest.raises(CannotRace, match=r"triple does not end by itself even if nobody interferes: .* triple fault"):
        GuestSubject.find(MachineSpec("triple", vcpus=2))


def test_a_guest_that_always_comes_to_a_standstill_is_refused_soon(tmp_path: Path) -> None:
    image = small.guest([small.acquire(0), small.wait_until(1, 1)], [small.acquire(0), small.store(1, 1)])
    with pytest.raises(CannotRace, match=r"even if nobody interferes: the same state comes again and again when vCPUs take turns"):
        small.subject(tmp_path, image)


def test_vcpus_that_hinder_each_other_only_while_they_take_turns_evenly_have_an_end(tmp_path: Path) -> None:
    """Both take a lock, find the other one taken, and give theirs back. Whoever gets both has more to do than turns are long."""
    done = [small.increment(0)] * 200
    first = [small.acquire_both(2, 3), *done, small.release(3), small.release(2)]
    others = [small.acquire_both(3, 2), small.increment(0), small.release(2), small.release(3)]
    subject = small.subject(tmp_path, small.guest(first, others, show=()))
    exploration = explore(subject, make_strategy("random", seed=0), 20)
    assert (exploration.runs, exploration.found) == (20, None)


def test_a_guest_on_one_vcpu_is_refused() -> None:
    with pytest.raises(CannotRace, match=r"hypercalls on one vCPU: a race takes at least 2"):
        GuestSubject.find(MachineSpec("hypercalls"))


def test_a_page_that_differs_from_the_image_is_found() -> None:
    data = image_of("lost-update")
    at = data.index(b"increments counted")
    other = data[:at] + b"I" + data[at + 1 :]
    options = MachineOptions(vcpus=2, virtual_time=True, boot_time=0)
    source = ScheduledSource(MemorySource("other", other))
    vm = prepare(source, options=options).vm
    machine = GuestMachine(Stage(vm, MemorySource("image", data)), UNLIMITED)
    machine.run(UnpreemptedScheduler(), fair=True)
    machine.leave()
    vm.engine.close()
    assert machine.failure is not None
    assert machine.failure.oracle == "wrong contents"
    assert "becomes Present, but differs from the image" in machine.failure.message


def test_a_run_without_an_end_says_where_everybody_is() -> None:
    data = MemorySource("spin", image_of("spin"))
    options = MachineOptions(vcpus=1, virtual_time=True, boot_time=0)
    vm = prepare(ScheduledSource(data), options=options).vm
    machine = GuestMachine(Stage(vm, data), 100_000)
    machine.run(FreeScheduler(), fair=True)
    machine.leave()
    vm.engine.close()
    assert machine.failure is not None
    assert machine.failure.oracle == "endless run"
    assert "vCPU 0 at RIP 0x1000" in machine.failure.message


HANGS = {
    "two locks in two orders": (
        [small.acquire(2), small.acquire(3), small.release(3), small.release(2)],
        [small.acquire(3), small.acquire(2), small.release(2), small.release(3)],
        [small.acquire(2), small.acquire(3), small.release(3), small.release(2)],
        r"vCPU 0 at RIP \S+ waits for 0xa003, which is 0x1 and was last changed by vCPU 1 at step \d+ in 0x900\w; "
        r"vCPU 1 at RIP \S+ waits for 0xa002, which is 0x1 and was last changed by vCPU 0 at step \d+ in 0x80\w\w",
    ),
    "a lost wake-up": (
        [small.store(2, 1), small.wake(1)],
        [small.sleep_until(2, 1)],
        [small.wait_until(2, 1)],
        r"vCPU 0 at RIP \S+ waits for 0xa00f, which is 0x0 and was changed by no vCPU in this run; "
        r"vCPU 1 at RIP \S+ is halted with interrupts off",
    ),
}
"""What the first processor does, the second, what it would do if it were right, and what is said."""


def test_a_guest_that_does_not_end_with_0_is_told_what_is_taken_for_right(tmp_path: Path) -> None:
    early = small.guest([small.wait_until(2, 1), small.increment(0)], [small.store(2, 1), small.increment(0)], show=(0,))
    subject = small.subject(tmp_path, early)
    assert subject.exit_code == 2
    assert found(subject).failure.message == "the guest ends with exit code 1, not 2 as when nobody interferes; it prints nothing"


def test_a_last_line_without_an_end_is_told(tmp_path: Path) -> None:
    updates = [small.increment(0), small.print_byte(ord("!"))]
    subject = small.subject(tmp_path, small.guest(updates, updates[:1], show=(0,)))
    failure = found(subject)
    assert failure.failure.message == "the guest ends with exit code 1, not 2 as when nobody interferes; the last it prints is '!'"
    assert "prints '!'" in in_words(subject.tell(failure.schedule))


def test_a_guest_that_fails_each_time_survives_with_a_warning(tmp_path: Path) -> None:
    subject = small.subject(tmp_path, small.guest([small.store(0, 1)], [], show=(0,)))
    doubt = f"exit code 1 is taken for right: {subject.spec.image} ends with it even if nobody interferes"
    assert subject.doubt == doubt
    with pytest.warns(UserWarning, match=f"^{re.escape(doubt)}$"):
        check_guest(subject.spec.image, vcpus=2, memory="1M", runs=1)


def test_the_exit_code_that_a_guest_is_meant_to_have_is_not_doubted() -> None:
    assert GuestSubject.find(MachineSpec("smp", vcpus=2)).doubt == ""


@pytest.mark.parametrize("strategy", ["random", "pct", "places"])
def test_a_run_in_which_everybody_waits_is_given_up_soon(strategy: str, tmp_path: Path) -> None:
    first, second, *_ = HANGS["two locks in two orders"]
    failure = found(small.subject(tmp_path, small.guest(first, second)), strategy)
    assert failure.failure.oracle == "endless run"
    assert failure.schedule.steps < 2_000


def test_a_run_without_an_end_is_no_measure_for_the_steps_of_a_run() -> None:
    two_locks = GuestSubject.find(MachineSpec("bugs", vcpus=2, command_line="two-locks"), after="work")
    assert two_locks.free_steps < 1_000


def test_what_a_run_without_an_end_waits_for_is_named_by_member_and_type() -> None:
    subject = GuestSubject.find(MachineSpec("bugs", vcpus=2, command_line="two-locks"), after="work")
    failure = explore(subject, make_strategy("portfolio", seed=0), 100).found
    assert failure is not None
    told = subject.tell(failure.schedule).failure
    assert told is not None
    for lock in range(2):
        assert re.search(rf"waits for locks\[{lock}\]\.locked \(uint32_t in struct spinlock\) at 0x\w+, which is 0x1", told.message)


@pytest.mark.parametrize("name", HANGS)
def test_a_run_without_an_end_is_told_by_who_waits_for_what(name: str, tmp_path: Path) -> None:
    first, second, corrected, waits = HANGS[name]
    subject = small.subject(tmp_path, small.guest(first, second))
    failure = found(subject)
    assert failure.failure.oracle == "endless run"
    shrunk = shrink(subject, failure.schedule, failure.failure)
    assert shrunk.failure.is_like(failure.failure)
    assert shrunk.schedule.steps < 100
    told = subject.tell(shrunk.schedule).failure
    assert told is not None
    assert re.search(waits, told.message), told.message
    # What was shrunk is the bug, not starvation: who does it right survives the same schedule.
    (tmp_path / "twin").mkdir()
    twin = small.subject(tmp_path / "twin", small.guest(first, corrected))
    assert twin.replay(RoughScheduler(shrunk.schedule)).failure is None


def test_a_guest_that_is_only_kept_waiting_has_an_end(tmp_path: Path) -> None:
    """One processor spins for longer than any run may take, since the schedule lets no other one go on."""
    subject = small.subject(tmp_path, small.guest([small.wait_until(2, 1)], [small.store(2, 1)]))
    begin = subject.run(UnpreemptedScheduler()).schedule.segments[0].steps
    starved = Schedule.of([(0, begin + 1_000_000), (1, 1)])
    outcome = subject.replay(RoughScheduler(starved))
    assert outcome.failure is None
    assert outcome.steps > 200_000
