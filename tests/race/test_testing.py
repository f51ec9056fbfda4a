"""Race tests written for pytest."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kev.errors import KevError
from kev.race import Page, RaceDetected, TraceVcpu, check_guest, races
from kev.race.errors import RaceError
from kev.race.replay_variable import REPLAY

FAILING = """\
import kev.race
from tests.race.mutants.filling import NoFlush

@kev.race.races(vcpus=2, strategy="pct", runs=2_000, seed=1, pager=NoFlush)
async def test_a_page_can_go_at_any_time(vcpu):
    await vcpu.read(0)
    await vcpu.evict(0)
"""


@races(vcpus=3, strategy="random", runs=100, seed=4)
async def test_a_store_survives_eviction(vcpu: TraceVcpu) -> None:
    await vcpu.write(0)
    await vcpu.evict(0)
    assert vcpu.index in (0, 1, 2)


@pytest.fixture
def page() -> int:
    return 2


@races(strategy="exhaustive", preemptions=1, runs=500, pages=[Page(), Page(failures=1), Page(needs=0)])
async def test_fixtures_are_passed_on(vcpu: TraceVcpu, page: int) -> None:
    assert (await vcpu.read(page))[0] == page + 1


@pytest.mark.parametrize("count", [1, 2])
@races(runs=50)
async def test_tests_can_have_parameters(count: int, vcpu: TraceVcpu) -> None:
    await vcpu.prefetch(0, count)
    await vcpu.fetch(count - 1)


def test_what_a_body_asserts_is_an_oracle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    @races(vcpus=2, runs=200)
    async def count(vcpu: TraceVcpu) -> None:
        before = vcpu.shared.get("counter", 0)
        await vcpu.read(0)
        vcpu.shared["counter"] = before + 1
        await vcpu.read(0)
        assert vcpu.shared["counter"] == 2 or vcpu.shared.setdefault("first", vcpu.index) == vcpu.index

    with pytest.raises(RaceDetected, match="AssertionError"):
        count()


def test_a_body_that_is_no_coroutine_function_is_refused() -> None:
    with pytest.raises(RaceError, match="a race test is a coroutine function with a parameter `vcpu`"):

        @races()  # type: ignore[arg-type]
        def body(vcpu: TraceVcpu) -> None: ...

    with pytest.raises(RaceError, match="a race test is a coroutine function with a parameter `vcpu`"):

        @races()
        async def other() -> None: ...


def test_a_body_can_await_nothing_but_its_vcpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import trio

    monkeypatch.chdir(tmp_path)

    @races(runs=1)
    async def sleeper(vcpu: TraceVcpu) -> None:
        await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.SUCCEEDED)

    with pytest.raises(RaceError, match="in a race test only the vCPU and the pager can be awaited"):
        sleeper()


def test_more_than_a_race_test_can_have_is_refused() -> None:
    with pytest.raises(RaceError, match="17 vCPUs: it has 1 to 16"):
        races(vcpus=17)
    with pytest.raises(RaceError, match="63 pages: it has 1 to 62"):
        races(pages=63)


def test_an_unknown_strategy_is_refused_by_name() -> None:
    @races(strategy="luck")
    async def body(vcpu: TraceVcpu) -> None: ...

    with pytest.raises(RaceError, match=r"there is no strategy 'luck': there are free, random, pct, pos, .*exhaustive"):
        body()


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"runs": "x"}, "runs: 'x': it must be 1 to "),
        ({"runs": -3}, "runs: -3: it must be 1 to "),
        ({"runs": 1.5}, "runs: 1.5: it must be 1 to "),
        ({"seconds": float("nan")}, "seconds: nan: it must be seconds"),
        ({"jobs": 0}, "jobs: 0: it must be 1 to "),
        ({"depth": "x"}, "depth: 'x': it must be 1 to "),
        ({"seed": None}, "seed: None: it must be a whole number"),
        ({"strategy": "rndom"}, "there is no strategy 'rndom': is it 'random'? there are free, "),
        ({"after": 3}, "after: 3: it must be a text"),
        ({"from_snapshot": 3}, "from_snapshot: 3: it must be the name of a file"),
    ],
)
def test_a_wish_of_a_guests_race_test_that_cannot_be_granted_is_refused_by_name(wishes: dict[str, Any], message: str) -> None:
    with pytest.raises(KevError) as caught:
        check_guest("smp", **{"smp": 2, "runs": 1, **wishes})
    assert str(caught.value).startswith(message)


@pytest.mark.slow
def test_a_failure_prints_the_one_command_that_replays_it(tmp_path: Path) -> None:
    file = tmp_path / "test_pager.py"
    file.write_text(FAILING)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "KEV_RACE_STATE": str(tmp_path / "state")}
    environment.pop(REPLAY, None)
    kev = [sys.executable, "-m", "kev"]

    failed = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file.name],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert failed.returncode == 1
    assert "unfilled page" in failed.stdout.lower()
    command = next(line.split("kev race replay ")[1] for line in failed.stdout.splitlines() if "kev race replay " in line)
    refused = subprocess.run(
        [*kev, "race", "replay", command.split()[0]], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert "which is run only if you name it by --test" in refused.stderr
    below = tmp_path / "below" / "it"
    below.mkdir(parents=True)
    replayed = subprocess.run(
        [*kev, "race", "replay", *command.split()], cwd=below, env=environment, capture_output=True, text=True, check=False
    )
    assert replayed.returncode == 1
    assert "UNFILLED PAGE: vCPU" in replayed.stdout
    assert list((tmp_path / "state").glob("*.json"))
    file.unlink()
    gone = subprocess.run(
        [*kev, "race", "replay", *command.split()], cwd=below, env=environment, capture_output=True, text=True, check=False
    )
    assert gone.returncode == 2
    assert gone.stderr.endswith("and there is no test_pager.py here, or in a folder above\n")
