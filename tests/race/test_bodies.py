"""What the body of a race test may be, and what is told of one that fails."""

import inspect
import os
import signal
import traceback
import unittest
from collections.abc import Callable, Iterator
from functools import partial, wraps
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kev.errors import KevError
from kev.race import RaceDetected, TraceVcpu, check, check_guest, check_host, races
from kev.race.current_test import current_test
from kev.race.errors import ProgramError, RaceError, TokenError
from kev.race.replay_variable import REPLAY, TIMES
from kev.race.store import FOLDER
from tests.race.mutants.filling import PublishBeforeFill


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))


def failure_of(test: Callable[[], None]) -> RaceDetected:
    with pytest.raises(RaceDetected) as caught:
        test()
    return caught.value


def shown_lines(error: BaseException) -> list[str]:
    """Of the lines of this file in the traceback, those that pytest shows."""
    frames = traceback.walk_tb(error.__traceback__)
    visible = [(frame, line) for frame, line in frames if "__tracebackhide__" not in frame.f_locals]
    here = [line for frame, line in visible if frame.f_code.co_filename == __file__]
    return [Path(__file__).read_text().splitlines()[line - 1].strip() for line in here]


def is_one(value: int) -> None:
    assert value == 1, "no one"


def passed_on(body: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(body)
    async def other(*arguments: Any, **keywords: Any) -> Any:
        return await body(*arguments, **keywords)

    return other


async def reads(vcpu: TraceVcpu) -> None:
    await vcpu.read(0)


def test_a_failure_shows_the_line_that_raised() -> None:
    @races(runs=20)
    @passed_on
    async def body(vcpu: TraceVcpu) -> None:
        await vcpu.read(0)
        is_one(vcpu.index + 1)  # of the body

    assert shown_lines(failure_of(body))[-2:] == ["is_one(vcpu.index + 1)  # of the body", 'assert value == 1, "no one"']


def test_a_failure_of_another_rule_shows_the_line_where_its_vcpu_was() -> None:
    @races(runs=200, pager=PublishBeforeFill)
    async def body(vcpu: TraceVcpu) -> None:
        await vcpu.fence()
        await vcpu.read(0)  # unfilled
        await vcpu.fence()

    failure = failure_of(body)
    assert "UNFILLED PAGE" in str(failure)
    assert shown_lines(failure)[-1] == "await vcpu.read(0)  # unfilled"


def test_a_failure_has_what_its_error_was_caused_by_and_the_parts_of_a_group() -> None:
    @races(runs=20)
    async def caused(vcpu: TraceVcpu) -> None:
        await vcpu.read(0)
        raise ValueError("above") from KeyError("below")

    @races(runs=20)
    async def group(vcpu: TraceVcpu) -> None:
        await vcpu.read(0)
        raise ExceptionGroup("many", [ValueError("one of them")])

    assert isinstance(failure_of(caused).__cause__, KeyError)
    assert "ValueError: one of them" in str(failure_of(group))


def test_a_message_begins_with_one_line_and_names_no_page_before_there_was_one() -> None:
    @races(runs=20)
    async def body(vcpu: TraceVcpu) -> None:
        raise ValueError("first\nsecond")

    message = str(failure_of(body))
    assert message.startswith("vCPU 0: ValueError: first\n\n")
    assert message.count("second") == 1


def test_an_error_that_cannot_be_written_is_told_all_the_same() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("nothing to say")

    @races(runs=5)
    async def body(vcpu: TraceVcpu) -> None:
        raise Mute

    assert str(failure_of(body)).startswith("vCPU 0: Mute: <exception str() failed>\n")


def test_a_body_that_another_run_has_changed_something_for_is_told_what_it_may_depend_on() -> None:
    left: list[int] = []

    @races(runs=300)
    async def body(vcpu: TraceVcpu) -> None:
        left.append(vcpu.index)
        for _ in range(len(left) % 3):
            await vcpu.read(0)

    with pytest.raises(RaceError, match=r"is not deterministic: .* `vcpu\.shared` and what fixtures are at the beginning"):
        body()


def test_a_failure_is_shrunk_to_one_that_comes_from_the_same_place() -> None:
    @races(runs=1, strategy="random", seed=3)
    async def body(vcpu: TraceVcpu) -> None:
        await vcpu.read(0)
        if vcpu.index == 1:
            assert "began" in vcpu.shared, "one switch shows this"
            vcpu.shared["over"] = True
            return
        vcpu.shared["began"] = True
        await vcpu.read(1)
        if "over" in vcpu.shared:
            raise KeyError("this takes two")

    assert str(failure_of(body)).startswith("vCPU 0 at page 1: KeyError: 'this takes two'")


def test_what_pytest_fails_with_is_no_race_but_says_how_to_see_it_again() -> None:
    @races(runs=20)
    async def body(vcpu: TraceVcpu) -> None:
        await vcpu.read(0)
        with pytest.raises(ValueError, match="never"):
            await vcpu.read(1)

    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE") as caught:
        body()
    assert "kev race replay kev1-" in "".join(caught.value.__notes__)
    assert "pytest.raises(ValueError" in shown_lines(caught.value)[-1]


@pytest.mark.parametrize("skipped", [unittest.SkipTest("not here"), pytest.skip.Exception("not here")])
def test_a_body_can_skip_its_test(skipped: BaseException) -> None:
    @races(runs=20)
    async def body(vcpu: TraceVcpu) -> None:
        await vcpu.read(0)
        raise skipped

    with pytest.raises(type(skipped)):
        body()


def test_ctrl_c_ends_a_body_that_goes_on_for_ever() -> None:
    @races(runs=20)
    async def body(vcpu: TraceVcpu) -> None:
        await vcpu.read(0)
        os.kill(os.getpid(), signal.SIGINT)
        while True:
            pass

    with pytest.raises(KeyboardInterrupt):
        body()


def test_methods_of_every_kind_are_race_tests_whichever_decorator_is_above() -> None:
    class Tests:
        @races(runs=5)
        async def method(self, vcpu: TraceVcpu) -> None:
            assert isinstance(self, Tests)

        @races(runs=5)
        @staticmethod
        async def static(vcpu: TraceVcpu) -> None:
            await vcpu.read(0)

        @races(runs=5)
        @classmethod
        async def of_class(cls, vcpu: TraceVcpu) -> None:
            assert cls is Tests

    Tests().method()
    Tests().static()
    Tests.of_class()


def test_the_decorator_needs_no_parentheses() -> None:
    @races
    async def body(vcpu: TraceVcpu, page: int = 1) -> None:
        await vcpu.read(page)

    body()
    assert list(inspect.signature(body).parameters) == ["page"]


def test_arguments_reach_a_body_by_name() -> None:
    async def body(vcpu: TraceVcpu, *, page: int, **rest: int) -> None:
        assert (page, rest) == (1, {"more": 2})

    races(runs=2)(body)(page=1, more=2)
    races(runs=2)(partial(body, page=1))(more=2)


async def anonymous(vcpu: TraceVcpu, /) -> None: ...


async def before_the_slash(first: int, /, vcpu: TraceVcpu) -> None: ...


async def several(*vcpu: TraceVcpu) -> None: ...


async def generator(vcpu: TraceVcpu) -> Any:
    yield vcpu


@pytest.mark.parametrize("body", [3, None, int, anonymous, several, generator, before_the_slash, lambda vcpu: vcpu])
def test_what_cannot_be_a_body_is_refused_by_name(body: Any) -> None:
    name = getattr(body, "__qualname__", type(body).__qualname__)
    with pytest.raises(RaceError) as caught:
        races()(body)
    assert str(caught.value).startswith(f"{name}: a race test ")


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"vcpus": "many"}, "vcpus: 'many': it must be a whole number"),
        ({"vcpus": 2.0}, "vcpus: 2.0: it must be a whole number"),
        ({"vcpus": 0}, "a program of 0 vCPUs: it has 1 to 16"),
        ({"pages": 2.5}, "pages: 2.5: it must be how many there are, or a kev.race.Page for each"),
        ({"pages": [1, 2]}, "pages: [1, 2]: it must be how many"),
        ({"pager": "mine"}, "pager: 'mine': it must make a pager"),
        ({"preemptions": -1}, "preemptions: -1: it must be 0 or more"),
        ({"runs": None}, "runs: None: it must be a number if `seconds` is None, too"),
        ({"seconds": "soon"}, "seconds: 'soon': it must be seconds"),
    ],
)
def test_a_wish_that_cannot_be_granted_is_refused_by_name(wishes: dict[str, Any], message: str) -> None:
    with pytest.raises(KevError) as caught:
        races(**wishes)(reads)()
    assert str(caught.value).startswith(message)


def test_what_is_refused_hides_the_frames_of_kev() -> None:
    with pytest.raises(KevError) as caught:
        races(strategy="luck")(reads)()
    assert [frame.f_code.co_name for frame, _ in traceback.walk_tb(caught.value.__traceback__)][1:] == ["test"]
    with pytest.raises(KevError) as caught:
        check_guest("nothing.elf", vcpus=2)
    assert [frame.f_code.co_name for frame, _ in traceback.walk_tb(caught.value.__traceback__)][1:] == ["called"]


@pytest.mark.parametrize(("name", "meant"), [("run", "runs"), ("jbos", "jobs"), ("vpcus", "vcpus"), ("from_snap", "from_snapshot")])
def test_a_misspelt_keyword_is_told_from_those_of_the_race_and_of_the_machine(name: str, meant: str) -> None:
    with pytest.raises(KevError) as caught:
        check_guest("smp", **{name: 2})  # type: ignore[arg-type]
    assert str(caught.value) == f"{name}: check_guest has no such keyword; is it {meant!r}?"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda vcpu: vcpu.read(4), "vCPU 0 wants page 4: the pages are 0 to 3"),
        (lambda vcpu: vcpu.write(-1), "vCPU 0 wants page -1: the pages are 0 to 3"),
        (lambda vcpu: vcpu.fetch("x"), "vCPU 0 wants page 'x': the pages are 0 to 3"),
        (lambda vcpu: vcpu.locked_write(None), "vCPU 0 wants page None: the pages are 0 to 3"),
        (lambda vcpu: vcpu.evict(99), "vCPU 0 wants page 99: the pages are 0 to 3"),
        (lambda vcpu: vcpu.prefetch(3, 2), "vCPU 0 wants 2 pages from 3 on: the pages are 0 to 3"),
        (lambda vcpu: vcpu.prefetch(0, 0), "vCPU 0 wants 0 pages from 0 on: the pages are 0 to 3"),
        (lambda vcpu: vcpu.cancel(2), "vCPU 0 cannot cancel vCPU 2: the vCPUs are 0 to 1"),
    ],
)
def test_pages_and_vcpus_that_there_are_not_are_no_races(call: Callable[[Any], Any], message: str) -> None:
    @races(runs=5)
    async def body(vcpu: TraceVcpu) -> None:
        await call(vcpu)

    with pytest.raises(ProgramError) as caught:
        body()
    assert str(caught.value) == message
    assert "await call(vcpu)" in shown_lines(caught.value)


def test_awaiting_something_else_shows_where() -> None:
    class Other:
        def __await__(self) -> Iterator[None]:
            yield

    @races(runs=5)
    async def body(vcpu: TraceVcpu) -> None:
        await vcpu.read(0)
        await Other()  # type: ignore[misc]

    with pytest.raises(RaceError, match="only the vCPU and the pager") as caught:
        body()
    assert shown_lines(caught.value)[-1] == "await Other()  # type: ignore[misc]"


def test_a_program_may_be_its_text() -> None:
    check("r0w1/r0/e0", runs=5)
    with pytest.raises(ProgramError, match="an action is one of"):
        check("x", runs=5)
    with pytest.raises(KevError, match="program: 3: it must be a text"):
        check(3, runs=5)  # type: ignore[arg-type]


def test_a_host_is_made_by_functions() -> None:
    with pytest.raises(KevError, match="make: None: it must be a function of a host"):
        check_host(None, check=lambda host: None)  # type: ignore[arg-type]


def test_what_is_wrong_with_a_host_shows_the_line_that_found_it() -> None:
    def nothing_is_right(host: object) -> None:
        assert host is None, "of a host"

    with pytest.raises(RaceDetected) as caught:
        check_host(lambda host: None, check=nothing_is_right, runs=2)
    assert shown_lines(caught.value)[-1] == 'assert host is None, "of a host"'


def loses(vcpu: TraceVcpu) -> bool:
    return bool(vcpu.shared.setdefault("last", vcpu.index) == vcpu.index)


@races(runs=20)
async def lost(vcpu: TraceVcpu) -> None:
    await vcpu.read(0)
    assert loses(vcpu), "lost"


@races(runs=20)
async def with_argument(vcpu: TraceVcpu, reads: int) -> None:
    for _ in range(reads):
        await vcpu.read(0)
    assert reads < 3 or loses(vcpu), "lost"


def test_a_replay_is_told_as_the_failure_was(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = failure_of(lost)
    monkeypatch.setenv(REPLAY, str(failure.kev_race_token))
    monkeypatch.setenv(TIMES, "3")
    again = failure_of(lost)
    assert str(again).split("\n")[0] == str(failure).split("\n")[0]
    assert "made 3 times: always the same" in str(again)


def test_a_test_is_not_explored_in_place_of_another_that_was_to_be_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REPLAY, str(failure_of(lost).kev_race_token))
    monkeypatch.setenv("PYTEST_CURRENT_TEST", "tests/test_other.py::test_other (call)")
    with pytest.raises(TokenError, match=r"and this is 'tests/test_other\.py::test_other'"):
        lost()


def test_a_replay_with_hypothesis_is_of_the_arguments_that_the_schedule_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    settled = settings(database=None, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    explored = settled(given(reads=st.integers(0, 5))(with_argument))
    monkeypatch.setenv(REPLAY, str(failure_of(explored).kev_race_token))
    assert "the run of the token" in str(failure_of(explored))


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("a/test_b.py::test_c (call)", "a/test_b.py::test_c"),
        ("a/test_b.py::test_c@group (call)", "a/test_b.py::test_c"),
        ("a/test_b.py::T::test_c[x@y] (setup)", "a/test_b.py::T::test_c[x@y]"),
        ("a/test_b.py::T::test_c[x@y z]@group (call)", "a/test_b.py::T::test_c[x@y z]"),
        ("a@b/test_c.py::test_d (call)", "a@b/test_c.py::test_d"),
    ],
)
def test_a_test_is_called_the_same_in_a_group_of_xdist(monkeypatch: pytest.MonkeyPatch, told: str, name: str) -> None:
    monkeypatch.setenv("PYTEST_CURRENT_TEST", told)
    assert current_test() == name


def test_a_story_that_repeats_itself_is_short() -> None:
    @races(runs=1, strategy="free")
    async def body(vcpu: TraceVcpu) -> None:
        while True:
            await vcpu.read(0)
            await vcpu.evict(0)

    message = str(failure_of(body))
    assert "these 9 lines 554 times more" in message
    assert len(message.splitlines()) < 40
