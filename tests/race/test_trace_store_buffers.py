"""Trace programs with store buffers, against a model of x86-TSO that knows nothing of pages, steps and schedules."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from kev.exits import Access
from kev.machine.schedule import Scheduler
from kev.pager.kernel import KernelVmPager
from kev.race.errors import TokenError
from kev.race.explore import explore
from kev.race.memory_model import MemoryModel
from kev.race.schedule import Schedule
from kev.race.shrink import shrink
from kev.race.stories.words import in_words
from kev.race.strategy import make_strategy
from kev.race.strategy.base import Redundant
from kev.race.strategy.replay import ReplayScheduler
from kev.race.strategy.step_search import StepSearch
from kev.race.targets import find_subject, subject_called
from kev.race.testing import RaceDetected, races
from kev.race.token import Token
from kev.race.trace.listener import Listener
from kev.race.trace.machine import trace_machine
from kev.race.trace.program import Action, Program, Verb
from kev.race.trace.subject import TraceSubject
from kev.race.trace.vcpu import TraceVcpu, bodies
from kev.spec.machine_spec import MachineSpec
from tests.race.mutants.filling import NoFlush
from tests.race.subjects import subject

AT_ONCE: Final = ";0=i;1=i;s"
"""Pages come without a step of their own: what is left is the order of the accesses."""
LITMUS: Final = {
    "store buffering": ("w0r1/w1r0", "0r1,1r0"),
    "message passing": ("w0w1/r1r0", "1r1+,1r0"),
    "2+2W": ("w0w1/w1w0", "0w0,1w1"),
    "independent reads of independent writes": ("w0/w1/r0r1/r1r0", "2r0+,2r1,3r1+,3r0"),
    "load buffering": ("r0w1/r1w0", "0r0+,1r1+"),
    "store buffering with fences": ("w0mr1/w1mr0", "0r1,1r0"),
    "store buffering by locked stores": ("l0r1/l1r0", "0r1,1r0"),
    "store buffering with a fence on one side": ("w0mr1/w1r0", "0r1,1r0"),
}
BREAKS: Final = {"store buffering", "store buffering with a fence on one side"}
SB: Final = "w0r1/w1r0;tso;!0r1,1r0"


class Result(NamedTuple):
    """What a run came to."""

    sees: frozenset[tuple[int, int, bool]]
    """vCPU, page, and whether its last read of it saw a store of another."""
    last: frozenset[tuple[int, int]]
    """Pages, and whose store to it became visible last."""


class _State(NamedTuple):
    """Of the model. In store buffers are the numbers of pages; of memory, what counts is who has stored where, and who did last."""

    done: tuple[int, ...]
    buffers: tuple[tuple[int, ...], ...]
    stored: frozenset[tuple[int, int]]
    last: tuple[tuple[int, int], ...]
    sees: tuple[tuple[tuple[int, int], bool], ...]


def _put(items: tuple[Any, ...], index: int, value: object) -> tuple[Any, ...]:
    return (*items[:index], value, *items[index + 1 :])


def _visible(state: _State, vcpu: int) -> _State:
    """The oldest store of a vCPU becomes visible."""
    page, *rest = state.buffers[vcpu]
    last = {**dict(state.last), page: vcpu}
    return state._replace(
        buffers=_put(state.buffers, vcpu, tuple(rest)),
        stored=state.stored | {(vcpu, page)},
        last=tuple(sorted(last.items())),
    )


def _performed(state: _State, vcpu: int, action: Action, tso: bool) -> _State | None:
    """The vCPU's next action; None while it has to wait for its store buffer, as fences and locked stores do."""
    after = state._replace(done=_put(state.done, vcpu, state.done[vcpu] + 1))
    if action.verb in (Verb.FENCE, Verb.LOCKED_WRITE) and state.buffers[vcpu]:
        return None
    if action.verb is Verb.READ:
        sees = any(page == action.target and other != vcpu for other, page in state.stored)
        return after._replace(sees=tuple(sorted({**dict(state.sees), (vcpu, action.target): sees}.items())))
    if action.verb is Verb.FENCE:
        return after
    after = after._replace(buffers=_put(after.buffers, vcpu, (*after.buffers[vcpu], action.target)))
    return after if tso and action.verb is Verb.WRITE else _visible(after, vcpu)


def by_the_model(program: Program) -> set[Result]:
    """All results there are: every step of every vCPU and of every store buffer, in every state."""
    first = _State((0,) * len(program.vcpus), ((),) * len(program.vcpus), frozenset(), (), ())
    waiting, known, results = [first], {first}, set()
    while waiting:
        state = waiting.pop()
        following = [_visible(state, vcpu) for vcpu, buffer in enumerate(state.buffers) if buffer]
        for vcpu, actions in enumerate(program.vcpus):
            if state.done[vcpu] < len(actions):
                performed = _performed(state, vcpu, actions[state.done[vcpu]], program.tso)
                following += [] if performed is None else [performed]
        if not following:
            results.add(Result(frozenset((*key, sees) for key, sees in state.sees), frozenset(state.last)))
        waiting += [state for state in following if state not in known]
        known.update(following)
    return results


class _Observer(Listener):
    """Notes what is read, by what was stored: a page's first store of a vCPU changes its slot."""

    def __init__(self) -> None:
        self.sees: dict[tuple[int, int], bool] = {}
        self.last: dict[int, int] = {}

    def stored(self, vcpu: int, page: int, offset: int, value: int) -> None:
        assert (offset, value & 0xFFFF_FFFF) == (vcpu * 8, vcpu)
        self.last[page] = vcpu

    def accessed(self, vcpu: int, page: int, access: Access, contents: bytes) -> None:
        if access is Access.READ:
            others = contents[: vcpu * 8] + contents[vcpu * 8 + 8 :]
            self.sees[vcpu, page] = others != bytes([page + 1]) * len(others)


def _result(program: Program, scheduler: Scheduler) -> Result:
    observer = _Observer()
    with trace_machine(program.pages, KernelVmPager, tso=program.tso) as machine:
        machine.listen([observer])
        machine.run(bodies(program, machine), scheduler)
    assert machine.failure is None
    return Result(frozenset((*key, sees) for key, sees in observer.sees.items()), frozenset(observer.last.items()))


def by_the_search(program: Program) -> set[Result]:
    """What `--strategy exhaustive --preemptions none` comes to."""
    search, results = StepSearch(None), set()
    while (scheduler := search.scheduler()) is not None:
        try:
            results.add(_result(program, scheduler))
        except Redundant:
            continue
    return results


@pytest.mark.parametrize("tso", ["", ";tso"])
@pytest.mark.parametrize("actions", [*(actions for actions, _ in LITMUS.values()), "w0r0w1/r1r0", "w0w1r0/w0l1", "w0r0/w0r0"])
def test_the_search_comes_to_what_the_model_does(actions: str, tso: str) -> None:
    pages = AT_ONCE if "1" in actions.replace("/", "") else ";0=i;s"
    program = Program.parse(actions + pages + tso)
    assert by_the_search(program) == by_the_model(program)


@pytest.mark.parametrize("strategy", ["random", "pct", "portfolio", "exhaustive"])
@pytest.mark.parametrize("name", LITMUS)
def test_of_the_litmus_tests_store_buffering_alone_breaks(name: str, strategy: str) -> None:
    actions, outcome = LITMUS[name]
    program = f"{actions}{AT_ONCE};!{outcome}"
    runs = 150
    assert explore(subject(program), make_strategy(strategy), runs).found is None
    found = explore(subject(f"{program};tso"), make_strategy(strategy), runs).found
    assert (found is not None) == (name in BREAKS)
    if found is not None:
        assert found.failure.oracle == "forbidden outcome"


def test_a_token_carries_store_buffers_and_what_must_not_be() -> None:
    found = explore(subject(SB), make_strategy("random"), 100).found
    assert found is not None
    token = Token.parse(str(Token(subject(SB).identity, found.schedule)))
    again = find_subject(token)
    assert again.actors == 4
    assert again.replay(ReplayScheduler(token.schedule)).failure == found.failure


def test_a_token_without_store_buffers_has_no_steps_of_them() -> None:
    token = Token(subject("w0r1/w1r0").identity, Schedule.of([(0, 1), (2, 1)]))
    with pytest.raises(TokenError, match="the token's schedule wants vCPU 2, but there are 2"):
        find_subject(token)


def test_a_failure_shrinks_with_its_store_buffers() -> None:
    wide = subject("r2/w0r1r2/w1r0;tso;!1r1,2r0")
    found = explore(wide, make_strategy("random"), 100).found
    assert found is not None
    shrunk = shrink(wide, found.schedule, found.failure)
    assert str(shrunk.subject.program) == SB
    assert [segment.vcpu for segment in shrunk.schedule.segments] == [0, 1, 2, 3], "the store buffers come last"
    assert shrunk.subject.run(ReplayScheduler(shrunk.schedule)).failure == shrunk.failure


def test_what_needs_no_store_buffers_loses_them() -> None:
    racy = TraceSubject(Program.parse("r0r0/e0/w1;tso"), NoFlush)
    found = explore(racy, make_strategy("random"), 300).found
    assert found is not None
    assert not shrink(racy, found.schedule, found.failure).subject.program.tso


def test_a_story_tells_when_stores_become_visible() -> None:
    told = in_words(subject("w0mr1/w1;0=i;1=i;s;tso").tell(Schedule.of([(0, 3), (1, 2), (3, 1)])))
    assert "  2          its store to page 0 becomes visible" in told
    assert "  5          its store to page 1 becomes visible" in told


def test_a_failure_names_the_stores_that_were_overlooked() -> None:
    told = in_words(subject("w0r1/w1r0;0=i;1=i;s;tso;!0r1,1r0").tell(Schedule.of([(0, 4), (1, 3)])))
    assert told.endswith("""
page 0:
  1  vCPU 0  stores
  5  vCPU 1  reads
  the store of step 1 was still in the store buffer of vCPU 0
""")


@pytest.mark.parametrize("program", ["w0/e0r0/r0w0", "w0w1/e0e1/r0r1", "w0/e0/r0;0=x1", "w0c1/w0r0/e0", "w0p0+2/w1e1"])
def test_kev_s_pager_loses_no_store_that_waits_in_a_buffer(program: str) -> None:
    for strategy in ("random", "exhaustive"):
        exploration = explore(subject(f"{program};tso"), make_strategy(strategy), 150)
        assert (exploration.found, exploration.nondeterminism) == (None, None)


def test_a_pager_that_does_not_say_what_it_unmaps_loses_stores() -> None:
    without_reads = TraceSubject(Program.parse("w0/e0;tso"), NoFlush)
    found = explore(without_reads, make_strategy("random"), 200).found
    assert found is not None
    assert explore(TraceSubject(Program.parse("w0/e0"), NoFlush), make_strategy("random"), 200).found is None


def test_the_command_line_gives_trace_programs_store_buffers() -> None:
    chosen = subject_called(MachineSpec("w0r1/w1r0;!0r1,1r0"), model=MemoryModel.TSO)
    assert chosen.identity.details == SB


@pytest.mark.parametrize("name", ["mykernel", "l4linux", "l4/kernel", "m/kernel"])
def test_names_that_begin_like_a_fence_are_no_programs(name: str) -> None:
    with pytest.raises(Exception, match="is neither a file, nor a guest"):
        subject_called(MachineSpec(name))


def _dekker(fence: bool) -> Callable[..., None]:
    @races(vcpus=2, pages=2, strategy="random", runs=200, memory_model="tso")
    async def test_one_sees_the_other(vcpu: TraceVcpu) -> None:
        mine, other = vcpu.index, 1 - vcpu.index
        await vcpu.write(mine)
        assert (await vcpu.read(mine))[mine * 8 : mine * 8 + 4] == bytes([mine, 0, 0, 0]), "it sees its own store"
        if fence:
            await vcpu.fence()
        seen = await vcpu.read(other)
        vcpu.shared[str(vcpu.index)] = seen[other * 8 : other * 8 + 8] == bytes([other + 1]) * 8
        assert list(vcpu.shared.values()) != [True, True], "both have missed the other's store"

    return test_one_sees_the_other


def test_a_race_test_has_store_buffers_and_fences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEV_RACE_STATE", str(tmp_path))
    with pytest.raises(RaceDetected, match="both have missed the other's store"):
        _dekker(fence=False)()
    _dekker(fence=True)()
