"""The guest `bugs`: what is wrong with each of its programs is found, and nothing is found in their corrected twins."""

import re

import pytest

from bench import bugs
from kev.errors import KevError
from kev.machine.api import launch
from kev.race.errors import RaceError
from kev.race.explore import Exploration, explore
from kev.race.strategy import make_strategy
from tests.race.subjects import subject as trace_subject

pytestmark = pytest.mark.slow

RUNS = 400
RUNS_OF_TWIN = 40
SOON_FOUND = (
    "lost-update",
    "double-fetch",
    "torn-pair",
    "shared-port",
    "two-step-spinlock",
    "sequence-lock",
    "double-checked-initialization",
    "boot-order",
    "early-buffer",
    "shared-slot",
    "aba",
    "grace-period",
    "interrupted-update",
    "lost-request",
    "missing-shootdown",
)
"""Some of each kind: `python -m bench bugs` tries all."""


def explored(name: str, strategy: str, runs: int, *, corrected: bool = False) -> Exploration:
    exploration = explore(bugs.subject(name, corrected=corrected), make_strategy(strategy, seed=1), runs)
    assert exploration.nondeterminism is None
    return exploration


@pytest.mark.parametrize("name", SOON_FOUND)
def test_the_portfolio_finds_the_bug(name: str) -> None:
    assert explored(name, "portfolio", RUNS).found is not None


@pytest.mark.parametrize("name", SOON_FOUND)
def test_the_corrected_twin_survives(name: str) -> None:
    exploration = explored(name, "portfolio", RUNS_OF_TWIN, corrected=True)
    assert (exploration.runs, exploration.found) == (RUNS_OF_TWIN, None)


@pytest.mark.parametrize("strategy", ["pos", "surw"])
@pytest.mark.parametrize("name", ["two-step-spinlock", "sequence-lock"])
def test_switching_where_something_is_shared_finds_what_chance_hardly_ever_does(name: str, strategy: str) -> None:
    assert explored(name, strategy, RUNS).found is not None


@pytest.mark.parametrize("strategy", ["pos", "surw"])
def test_a_run_of_a_seed_is_the_same_again(strategy: str) -> None:
    runs = [explored("sequence-lock", strategy, RUNS).found for _ in range(2)]
    assert runs[0] == runs[1]


def test_a_program_ends_well_if_nobody_interferes_and_so_does_its_twin() -> None:
    names = bugs.names()
    assert len(names) == len(set(names)) >= 25
    for name in names[::6]:
        assert bugs.subject(name).exit_code == bugs.subject(name, corrected=True).exit_code == 0


def test_who_waits_with_interrupts_off_is_told_which_one_is_pending() -> None:
    exploration = explored("call-with-lock", "portfolio", RUNS)
    assert exploration.found is not None
    told = bugs.subject("call-with-lock").tell(exploration.found.schedule).failure
    assert told is not None
    assert re.search(r"vCPU 0 at .+, with interrupts off while interrupt 0x42 is pending, waits for lock\.locked ", told.message)


@pytest.mark.parametrize("strategy", ["pos", "surw", "places"])
def test_ports_are_among_what_is_shared(strategy: str) -> None:
    assert explored("shared-port", strategy, 40).found is not None


def test_an_unknown_name_is_refused() -> None:
    report = launch("bugs", command_line="nonsuch")
    assert report.exit_code == 2
    assert b"there is no such bug" in report.output


@pytest.mark.parametrize("strategy", ["pos", "surw"])
def test_strategies_for_guests_refuse_programs_for_the_pager(strategy: str) -> None:
    with pytest.raises(RaceError, match=f"strategy '{strategy}': is for guests") as refused:
        explore(trace_subject("r0/r0"), make_strategy(strategy), 1)
    assert isinstance(refused.value, KevError)
