"""Where the runs of a guest begin: from a snapshot, and from where a condition is met."""

import re
from pathlib import Path
from random import Random

import pytest

import kev
from kev.machine.conditions import ConditionError
from kev.machine.schedule import SeededScheduler
from kev.machine.snapshot_at import SnapshotAt
from kev.race import RaceDetected, check_guest
from kev.race.errors import RaceError, TokenError
from kev.race.explore import explore
from kev.race.guest.prepared import CannotRace
from kev.race.guest.start import forget_machines
from kev.race.guest.subject import GuestSubject
from kev.race.jobs import explore_shared
from kev.race.shrink import shrink
from kev.race.stories.words import in_words
from kev.race.strategy import Exhaustive, SeededRandom, make_strategy
from kev.race.strategy.replay import ReplayScheduler
from kev.race.targets import find_subject
from kev.race.token import Token
from kev.snapshot.errors import SnapshotError
from kev.spec.machine_spec import MachineSpec
from kev.work.processes import local
from tests.race import small_guests as small

pytestmark = pytest.mark.slow

LOST_UPDATE = MachineSpec("lost-update", vcpus=2)


def saved(file: Path, image: str = "lost-update", condition: str = "symbol:work", seed: int | None = 7, vcpus: int = 2) -> Path:
    """A snapshot of a guest."""
    kev.launch(image, vcpus=vcpus, seed=seed, snapshot_at=SnapshotAt(condition, file))
    return file


def subjects(folder: Path) -> dict[str, GuestSubject]:
    snapshot = str(saved(folder / "work.snap"))
    return {
        "after": GuestSubject.find(LOST_UPDATE, after="work"),
        "snapshot": GuestSubject.find(MachineSpec(snapshot)),
        "both": GuestSubject.find(LOST_UPDATE, snapshot=snapshot, after="counted"),
    }


@pytest.mark.parametrize("name", ["launch", "after", "snapshot"])
def test_a_run_that_goes_back_is_the_one_that_begins_anew(name: str, tmp_path: Path) -> None:
    subject = GuestSubject.find(LOST_UPDATE) if name == "launch" else subjects(tmp_path)[name]
    for seed in range(12):
        longest = Random(seed).choice([1, 7, 100, 1_000])
        gone_back = subject.run(SeededScheduler(seed, longest))
        again = subject.replay(ReplayScheduler(gone_back.schedule))
        forget_machines()
        anew = subject.replay(ReplayScheduler(gone_back.schedule))
        assert gone_back.history == again.history == anew.history
        assert gone_back.failure == again.failure == anew.failure


@pytest.mark.parametrize("after", [None, "instructions:100"])
def test_pages_that_a_run_loads_are_loaded_by_the_schedule_again_in_the_next(after: str | None) -> None:
    subject = GuestSubject.find(MachineSpec("boot-race", vcpus=2), after=after)
    strategy = SeededRandom(1)
    strategy.measure(2, subject.free_steps, subject.longest_turn)
    outcomes = [subject.run(strategy.scheduler(run)) for run in range(20)]
    forget_machines()
    assert [subject.replay(ReplayScheduler(outcome.schedule)).history for outcome in outcomes] == [
        outcome.history for outcome in outcomes
    ]


def test_a_token_says_where_runs_begin(tmp_path: Path) -> None:
    for subject in subjects(tmp_path).values():
        schedule = subject.run(SeededScheduler(1, 10)).schedule
        token = Token.parse(str(Token(subject.identity, schedule)))
        assert find_subject(token) == subject


@pytest.mark.parametrize("strategy", ["random", "pct", "exhaustive"])
@pytest.mark.parametrize("name", ["after", "snapshot"])
def test_every_strategy_finds_the_race_and_what_it_finds_is_shrunk_and_told(name: str, strategy: str, tmp_path: Path) -> None:
    subject = subjects(tmp_path)[name]
    exploration = explore(subject, make_strategy(strategy), 200)
    assert exploration.nondeterminism is None
    assert exploration.found is not None
    shrunk = shrink(subject, exploration.found.schedule, exploration.found.failure)
    assert shrunk.schedule.switches <= 4
    words = in_words(shrunk.subject.tell(shrunk.schedule))
    assert re.search(r"lost-update on 2 vCPUs, (after symbol:work|from \S+work\.snap)\n", words)
    assert "increments counted'\n" in words


def test_exhaustive_exploration_comes_to_an_end_after_the_last_of_the_guest_s_work() -> None:
    subject = GuestSubject.find(LOST_UPDATE, after="output:counted")
    exploration = explore(subject, Exhaustive(1), 500)
    assert (exploration.complete, exploration.found) == (True, None)


def test_a_failure_is_shrunk_to_fewer_vcpus_which_come_to_the_same_point() -> None:
    subject = GuestSubject.find(MachineSpec("lost-update", vcpus=3), after="work")
    exploration = explore(subject, SeededRandom(1), 200)
    assert exploration.found is not None
    assert shrink(subject, exploration.found.schedule, exploration.found.failure).subject.vcpus == 2


def test_several_processes_find_what_one_does(tmp_path: Path) -> None:
    subject = subjects(tmp_path)["snapshot"]
    alone = explore(subject, SeededRandom(2), 60, keep_going=True)
    shared = explore_shared(subject, SeededRandom(2), 60, local(2), keep_going=True)
    assert shared.schedules == alone.schedules
    assert shared.found == alone.found
    assert shared.kinds.keys() == alone.kinds.keys()


def test_runs_go_on_as_before_when_one_without_an_end_was_told(tmp_path: Path) -> None:
    both = [small.acquire(2), small.acquire(3), small.release(3), small.release(2)]
    other = [small.acquire(3), small.acquire(2), small.release(2), small.release(3)]
    image = small.subject(tmp_path, small.guest([small.mark, *both], other)).spec
    subject = GuestSubject.find(image, after="hypercall")
    exploration = explore(subject, SeededRandom(1), 300)
    assert exploration.found is not None
    assert exploration.found.failure.oracle == "endless run"
    before = subject.replay(ReplayScheduler(exploration.found.schedule))
    told = subject.tell(exploration.found.schedule).failure
    assert told is not None
    assert "waits for 0xa003, which is 0x1" in told.message
    after = subject.replay(ReplayScheduler(exploration.found.schedule))
    assert (before.history, before.failure) == (after.history, after.failure)


def test_a_run_without_a_seed_can_be_gone_on_from(tmp_path: Path) -> None:
    subject = GuestSubject.find(MachineSpec(str(saved(tmp_path / "free.snap", seed=None))))
    assert explore(subject, SeededRandom(1), 50).nondeterminism is None


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("work", "symbol:work"),
        ("work+4", "symbol:work+0x4"),
        ("counted", "output:counted"),
        ("output:work", "output:work"),
        ("instructions:700", "instructions:700"),
        ("hypercall:1", "hypercall:1"),
    ],
)
def test_a_word_alone_is_a_symbol_if_there_is_one_and_else_a_text(text: str, meaning: str) -> None:
    try:
        subject = GuestSubject.find(LOST_UPDATE, after=text)
    except CannotRace as error:
        assert f" {meaning}" in str(error)  # noqa: PT017
    else:
        assert subject.after == meaning


def test_a_guest_that_stands_still_before_its_runs_begin_is_refused_and_told_where_it_is(tmp_path: Path) -> None:
    spec = small.subject(tmp_path, small.guest([small.increment(0)], [small.increment(0)])).spec
    Path(spec.image).write_bytes(small.guest([small.wait_until(5, 1)], [small.increment(0)]))
    where = r"vCPU 0 at RIP 0x80\w\w; vCPU 1 at "
    with pytest.raises(CannotRace, match=rf"does not come to output:x: the same state comes again and again: {where}"):
        GuestSubject.find(spec, after="output:x")


def test_a_condition_that_is_not_met_is_refused() -> None:
    with pytest.raises(CannotRace, match=r"^lost-update has ended before output:nonsense \(.+\)$"):
        GuestSubject.find(LOST_UPDATE, after="nonsense")
    with pytest.raises(RaceError, match=r"^after: 'key': not in a race: nobody types$"):
        GuestSubject.find(LOST_UPDATE, after="key")
    with pytest.raises(ConditionError, match=r"^condition 'symbol:': it must be one of output:TEXT, "):
        GuestSubject.find(LOST_UPDATE, after="symbol:")
    with pytest.raises(RaceError, match=r"^after: '': it must be a condition, a symbol of the image, or a text of the output$"):
        GuestSubject.find(LOST_UPDATE, after="")


def test_a_token_of_another_snapshot_is_refused(tmp_path: Path) -> None:
    file = saved(tmp_path / "one.snap")
    identity = GuestSubject.find(MachineSpec(str(file))).identity
    saved(file, seed=8)
    with pytest.raises(TokenError, match=rf"^guest lost-update: {file} is another snapshot than when the token was made$"):
        GuestSubject.identified(identity)


def test_what_a_snapshot_fixes_cannot_be_chosen(tmp_path: Path) -> None:
    file = str(saved(tmp_path / "one.snap"))
    with pytest.raises(SnapshotError, match=r"vcpus is 2 in the snapshot, and stays so: it cannot be 3"):
        GuestSubject.find(MachineSpec("lost-update", vcpus=3), snapshot=file)
    with pytest.raises(RaceError, match=r"one\.snap: is a snapshot of lost-update, not of smp$"):
        GuestSubject.find(MachineSpec("smp"), snapshot=file)
    (tmp_path / "small").write_bytes(b"no")
    with pytest.raises(RaceError, match=r"small: is no snapshot$"):
        GuestSubject.find(MachineSpec("smp"), snapshot=str(tmp_path / "small"))


def test_a_snapshot_with_one_vcpu_is_refused(tmp_path: Path) -> None:
    file = saved(tmp_path / "one.snap", "hypercalls", "hypercall", vcpus=1)
    with pytest.raises(CannotRace, match=r"hypercalls on one vCPU"):
        GuestSubject.find(MachineSpec(str(file)))


def test_disks_of_a_snapshot_are_overlays(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(64 << 10))
    for access in ("", ",overlay"):
        file = tmp_path / f"disk{access}.snap"
        disks = [f"{disk},virtio-pci{access}"]
        kev.launch("lost-update", vcpus=2, seed=1, disks=disks, snapshot_at=SnapshotAt("symbol:work", file))
    exploration = explore(GuestSubject.find(MachineSpec(str(file))), SeededRandom(1), 100)
    assert (exploration.nondeterminism, exploration.found is None) == (None, False)
    with pytest.raises(RaceError, match=rf"disk\.snap: disk {disk}: runs that begin with a snapshot need disks with ,overlay$"):
        GuestSubject.find(MachineSpec(str(tmp_path / "disk.snap")))


def test_a_test_of_pytest_says_where_runs_begin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KEV_RACE_STATE", str(tmp_path / "state"))
    snapshot = saved(tmp_path / "work.snap")
    for wishes in ({"after": "work", "vcpus": 2}, {"from_snapshot": snapshot}):
        with pytest.raises(RaceDetected, match=r"(?s)increments counted.*lost-update on 2 vCPUs, .*kev race replay kev1-"):
            check_guest("lost-update", **wishes)
    with pytest.raises(RaceDetected):
        check_guest(snapshot)
