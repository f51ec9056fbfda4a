"""Total store order: what a vCPU stores is seen by others when the schedule says so."""

import json
import struct
from pathlib import Path

import attrs
import pytest
from click.testing import CliRunner

from kev.cli.main import kev
from kev.race.errors import RaceError, TokenError
from kev.race.explore import explore
from kev.race.guest.details import RaceDetails
from kev.race.guest.subject import GuestSubject
from kev.race.memory_model import MemoryModel, memory_model_called
from kev.race.shrink import shrink
from kev.race.strategy import make_strategy
from kev.race.strategy.replay import ReplayScheduler
from kev.race.token import Token
from tests.race import small_guests as small

FLAGS = (2, 3)
SEEN = (0, 1)
NEITHER = 6
"""The variable that says that neither processor has seen the other's flag."""


def fence(_bits: int) -> bytes:
    """MFENCE."""
    return b"\x0f\xae\xf0"


def exchange(variable: int) -> small.Action:
    """Stores 1 by XCHG."""

    def build(bits: int) -> bytes:
        address = struct.pack("<H", 0xA000 + variable) if bits == 16 else struct.pack("<I", 0xA000 + variable)
        return b"\xb0\x01\x86" + bytes((6 if bits == 16 else 5,)) + address

    return build


def note_neither(_bits: int) -> bytes:
    """For the first processor, when both are through: the variable is 1 if both have seen 0."""
    first, second, neither = (struct.pack("<I", 0xA000 + variable) for variable in (*SEEN, NEITHER))
    return b"\xa0" + first + b"\x0a\x05" + second + b"\x0f\x94\xc0\xa2" + neither


def dekker(between: list[small.Action], store: small.Action | None = None) -> bytes:
    """Each sets its flag, and looks at the other's. The exit code is 1 if neither has seen the other: impossible in sequence."""
    first, second = FLAGS
    return small.guest(
        [
            store or small.store(first, 1),
            *between,
            small.copy(second, SEEN[0]),
            small.wait_until(small.DONE, 1),
            note_neither,
        ],
        [small.store(second, 1) if store is None else exchange(second), *between, small.copy(first, SEEN[1])],
        show=(NEITHER,),
    )


def count_under_peterson_s_lock(mine: int, other: int, turn_of_other: int) -> list[small.Action]:
    """Without a fence; the turn is variable 4."""

    def wait(bits: int) -> bytes:
        wants, turn = (small.compare(variable, value)(bits) for variable, value in ((other, 1), (4, turn_of_other)))
        loop = wants + b"\x75" + bytes((len(turn) + 6,)) + turn + b"\x75\x04\xf3\x90"
        return loop + b"\xeb" + struct.pack("b", -(len(loop) + 2))

    return [small.store(mine, 1), small.store(4, turn_of_other), wait, small.increment(0), small.store(mine, 0)]


def subject(folder: Path, image: bytes, model: MemoryModel = MemoryModel.TSO) -> GuestSubject:
    return GuestSubject.find(small.subject(folder, image).spec, model=model)


@pytest.mark.parametrize("strategy", ["random", "pct", "pos", "surw", "places", "portfolio", "exhaustive"])
def test_dekker_s_algorithm_breaks_without_a_fence(strategy: str, tmp_path: Path) -> None:
    exploration = explore(subject(tmp_path, dekker([])), make_strategy(strategy), 300)
    assert exploration.nondeterminism is None
    assert exploration.found is not None
    assert exploration.found.failure.kind == "1"


HOLDS = {
    "a fence": dekker([fence]),
    "an instruction that serializes": dekker([small.forget_page(5)]),
    "a locked instruction": dekker([small.locked_increment(5)]),
    "XCHG": dekker([], exchange(FLAGS[0])),
}


@pytest.mark.parametrize("name", HOLDS)
def test_dekker_s_algorithm_holds_with(name: str, tmp_path: Path) -> None:
    guest = subject(tmp_path, HOLDS[name])
    exhaustive = explore(guest, make_strategy("exhaustive", preemptions=1), 5_000)
    assert (exhaustive.complete, exhaustive.found) == (True, None)
    assert explore(guest, make_strategy("random"), 100).found is None


def test_in_sequence_dekker_s_algorithm_needs_no_fence(tmp_path: Path) -> None:
    exploration = explore(subject(tmp_path, dekker([]), MemoryModel.SC), make_strategy("exhaustive", preemptions=1), 5_000)
    assert (exploration.complete, exploration.found) == (True, None)


def test_an_instruction_without_lock_loses_an_update_only_where_it_is_taken_apart(tmp_path: Path) -> None:
    guest = subject(tmp_path, COUNT, MemoryModel.SC)
    whole = explore(guest, make_strategy("portfolio"), 50)
    assert whole.found is None
    assert whole.strategy.endswith(
        "; 4 of these instructions change memory without LOCK: `--memory-model split` lets others come in between"
    )
    for model in (MemoryModel.SPLIT, MemoryModel.TSO):
        apart = explore(attrs.evolve(guest, model=model), make_strategy("portfolio"), 50)
        assert apart.found is not None
        assert "without LOCK" not in apart.strategy


COUNT = small.guest([small.unlocked_increment(0)] * 2, [small.unlocked_increment(0)] * 2)
COUNT_WITH_LOCK = small.guest([small.locked_increment(0)] * 2, [small.locked_increment(0)] * 2)


@pytest.mark.parametrize("strategy", ["random", "pct", "pos", "surw", "places", "portfolio"])
def test_an_update_that_an_instruction_without_lock_loses_is_found_by_itself(strategy: str, tmp_path: Path) -> None:
    (tmp_path / "right").mkdir()
    guest = GuestSubject.find(small.spec(tmp_path, COUNT), model=None)
    exploration = explore(guest, make_strategy(strategy), 100)
    assert exploration.nondeterminism is None
    assert exploration.found is not None
    right = GuestSubject.find(small.spec(tmp_path / "right", COUNT_WITH_LOCK), model=None)
    assert (guest.model, right.model) == (MemoryModel.SPLIT, MemoryModel.SC)
    assert explore(right, make_strategy(strategy), 100).found is None


@pytest.mark.parametrize("strategy", ["random", "pct", "pos", "surw", "places"])
@pytest.mark.parametrize("model", [MemoryModel.SPLIT, MemoryModel.TSO])
def test_every_run_is_repeated_exactly_also_where_a_vcpu_is_alone(model: MemoryModel, strategy: str, tmp_path: Path) -> None:
    counts = [small.unlocked_increment(0), small.increment(1), small.unlocked_increment(0)]
    guest, runs = subject(tmp_path, small.guest(counts, counts), model), make_strategy(strategy)
    runs.prepare(guest)
    for number in range(20):
        scheduler = runs.scheduler(number)
        assert scheduler is not None
        outcome = guest.run(scheduler)
        assert guest.replay(ReplayScheduler(outcome.schedule)).history == outcome.history


def test_what_a_lock_guards_is_not_taken_apart(tmp_path: Path) -> None:
    guarded = [small.acquire(2), small.unlocked_increment(0), small.release(2)]
    assert GuestSubject.find(small.spec(tmp_path, small.guest(guarded, guarded)), model=None).model is MemoryModel.SC
    unguarded = [small.acquire(3), small.unlocked_increment(0), small.release(3)]
    assert GuestSubject.find(small.spec(tmp_path, small.guest(guarded, unguarded)), model=None).model is MemoryModel.SPLIT


def test_instructions_that_are_taken_apart_are_tried_in_every_order(tmp_path: Path) -> None:
    """Of two vCPUs that increment twice each, up to two updates are lost. The exit code is the sum's lowest two bits."""
    guest = subject(tmp_path, COUNT, MemoryModel.SPLIT)
    exploration = explore(guest, make_strategy("exhaustive", preemptions=2), 20_000, keep_going=True)
    assert exploration.complete
    assert guest.exit_code == 4 & 3
    assert {kind for _, kind in exploration.kinds} == {"2", "3"}


def test_what_an_instruction_without_lock_loses_is_shrunk_told_and_replayed(tmp_path: Path) -> None:
    guest = subject(tmp_path, COUNT, MemoryModel.SPLIT)
    found = explore(guest, make_strategy("random"), 100).found
    assert found is not None
    small_one = shrink(guest, found.schedule, found.failure)
    token = Token(small_one.subject.identity, small_one.schedule)
    again = GuestSubject.identified(Token.read(str(token)).identity)
    assert again.model is MemoryModel.SPLIT
    assert again.replay(ReplayScheduler(small_one.schedule)).failure == small_one.failure
    claims = [conflict.claim for conflict in again.tell(small_one.schedule).conflicts]
    assert any(claim.endswith("and not written yet: without LOCK, others come in between") for claim in claims)


def test_only_what_reads_and_writes_at_once_is_taken_apart(tmp_path: Path) -> None:
    """Else all is in sequence, and Dekker's algorithm needs no fence."""
    exploration = explore(subject(tmp_path, dekker([]), MemoryModel.SPLIT), make_strategy("exhaustive", preemptions=2), 20_000)
    assert (exploration.complete, exploration.found) == (True, None)


@pytest.mark.parametrize(("arguments", "found"), [([], True), (["--memory-model", "sc"], False)])
def test_kev_race_says_that_it_takes_instructions_apart(arguments: list[str], found: bool, tmp_path: Path) -> None:
    spec = small.spec(tmp_path, COUNT)
    options = ["--smp", "2", "--memory", "1M", "--runs", "100", "--state", str(tmp_path / "state"), *arguments]
    result = CliRunner().invoke(kev, ["race", spec.image, *options])
    says = (
        "4 instructions change what vCPUs share without any LOCK: others come in between what each reads and writes"
        " (--memory-model split)"
    )
    assert result.exit_code == int(found), result.output
    assert (says in result.output) is found


def test_programs_for_the_pager_are_not_split() -> None:
    result = CliRunner().invoke(kev, ["race", "r0w1/r1", "--memory-model", "split"])
    assert result.exit_code == 2
    assert "--memory-model split: r0w1/r1 is not a guest: a step of a program is one access" in result.output


def test_of_locked_instructions_nothing_is_said(tmp_path: Path) -> None:
    increments = [small.locked_increment(0), small.acquire(2), small.increment(1), small.release(2)]
    guest = subject(tmp_path, small.guest(increments, increments), MemoryModel.SC)
    assert "without LOCK" not in explore(guest, make_strategy("portfolio"), 7).strategy


def test_stores_become_visible_in_their_order(tmp_path: Path) -> None:
    """Who sees the second of two stores sees the first: message passing needs no fence on x86."""
    first = [small.store(2, 1), small.store(3, 1)]
    image = small.guest(first, [small.wait_until(3, 1), small.copy(2, 0)], show=(0,))
    guest = subject(tmp_path, image)
    assert guest.exit_code == 1
    for strategy in ("random", "places", "pct"):
        assert explore(guest, make_strategy(strategy), 150).found is None


def test_a_vcpu_sees_its_own_stores(tmp_path: Path) -> None:
    image = small.guest([small.store(0, 3), small.copy(0, 1)], [small.store(0, 3), small.copy(0, 1)], show=(1,))
    guest = subject(tmp_path, image)
    assert guest.exit_code == 3
    assert explore(guest, make_strategy("random"), 100).found is None


def test_what_is_waited_for_becomes_visible(tmp_path: Path) -> None:
    image = small.guest(
        [small.store(2, 1), small.wait_until(3, 1)], [small.wait_until(2, 1), small.store(3, 1), small.wait_until(2, 1)]
    )
    exploration = explore(subject(tmp_path, image), make_strategy("random"), 100)
    assert (exploration.runs, exploration.found) == (100, None)


def wait_and_store(variable: int, scratch: int) -> small.Action:
    """Waits until a variable is 1, and stores to another one in each round, as code that is not optimized does to its stack."""

    def build(bits: int) -> bytes:
        comparison, store = small.compare(variable, 1)(bits), small.store(scratch, 1)(bits) + small.relax(bits)
        back = b"\xeb" + struct.pack("b", -(len(comparison) + 2 + len(store) + 2))
        return comparison + b"\x74" + bytes((len(store) + 2,)) + store + back

    return build


@pytest.mark.parametrize("strategy", ["pct", "places", "pos"])
def test_who_waits_and_stores_meanwhile_lets_others_go_first(strategy: str, tmp_path: Path) -> None:
    guest = subject(tmp_path, small.guest([wait_and_store(2, 4)], [small.increment(3), small.store(2, 1)]))
    exploration = explore(guest, make_strategy(strategy), 40)
    assert exploration.found is None
    assert exploration.longest < 10_000


def test_a_failure_is_shrunk_replayed_and_told_by_the_store_that_was_not_seen(tmp_path: Path) -> None:
    guest = subject(tmp_path, dekker([]))
    found = explore(guest, make_strategy("random"), 300).found
    assert found is not None
    shrunk = shrink(guest, found.schedule, found.failure)
    assert shrunk.schedule.switches <= 4
    again = GuestSubject.identified(Token.parse(str(Token(guest.identity, shrunk.schedule))).identity)
    assert again == guest
    outcomes = [again.replay(ReplayScheduler(shrunk.schedule)) for _ in range(10)]
    assert len({outcome.history for outcome in outcomes}) == 1
    assert outcomes[0].failure == shrunk.failure
    claims = [conflict.claim for conflict in guest.tell(shrunk.schedule).conflicts]
    assert any("was still in the store buffer of vCPU " in claim for claim in claims)


def test_of_several_stores_that_were_not_seen_one_is_told_that_makes_a_difference(tmp_path: Path) -> None:
    first, second = count_under_peterson_s_lock(2, 3, 1), count_under_peterson_s_lock(3, 2, 0)
    guest = subject(tmp_path, small.guest(first, second, show=(0,)))
    assert guest.exit_code == 2
    found = explore(guest, make_strategy("random"), 1_000).found
    assert found is not None
    shrunk = shrink(guest, found.schedule, found.failure)
    told = [conflict for conflict in guest.tell(shrunk.schedule).conflicts if "store buffer" in conflict.claim]
    assert told
    for store, load in (sorted(conflict.accesses, key=lambda access: access.text) for conflict in told):
        assert store.text.split()[-1] != load.text.split()[-1]


def test_runs_go_back_to_where_they_begin_with_empty_buffers(tmp_path: Path) -> None:
    (tmp_path / "guest").write_bytes(dekker([]))
    spec = small.subject(tmp_path, dekker([])).spec
    guest = GuestSubject.find(spec, after="instructions:4", model=MemoryModel.TSO)
    found = explore(guest, make_strategy("random"), 300).found
    assert found is not None
    first = guest.replay(ReplayScheduler(found.schedule))
    explore(guest, make_strategy("random", seed=9), 20)
    assert guest.replay(ReplayScheduler(found.schedule)).history == first.history


def test_a_token_says_which_memory_model_it_is_of(tmp_path: Path) -> None:
    guest = subject(tmp_path, dekker([]))
    assert "model=tso" in guest.identity.details.split()
    assert RaceDetails.parse("guest", guest.identity.details).model is MemoryModel.TSO
    with pytest.raises(TokenError, match="'weak' is not a valid MemoryModel"):
        RaceDetails.parse("guest", guest.identity.details.replace("model=tso", "model=weak"))


def test_the_command_line_takes_a_memory_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEV_RACE_STATE", str(tmp_path / "state"))
    image = subject(tmp_path, dekker([])).spec.image
    arguments = ["race", image, "--smp", "2", "-m", "1M", "--memory-model", "tso", "--json"]
    result = CliRunner().invoke(kev, arguments, prog_name="kev")
    assert result.exit_code == 1
    story = json.loads(result.stdout)["failure"]["shrunk"]["story"]
    assert any("store buffer" in (conflict["claim"] or "") for conflict in story["conflicts"])


def test_a_memory_model_that_there_is_not_is_refused() -> None:
    with pytest.raises(RaceError, match="there is no memory model 'weak': there are sc, split, tso"):
        memory_model_called("weak")
