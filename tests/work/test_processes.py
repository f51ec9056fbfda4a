"""Work that processes do."""

import os
import signal
from pathlib import Path

import pytest

from kev.work.base import WorkerDied
from kev.work.here import Here
from kev.work.processes import Processes
from kev.work.results import as_ended, in_order
from kev.work.stopping import Stopped, check, stopped_when


def double(number: int) -> int:
    return 2 * number


def die_once(mark: str) -> int:
    """Whoever does it first dies of it."""
    file = Path(mark)
    if not file.exists():
        file.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def die(_: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def fail(number: int) -> int:
    raise ValueError(f"{number} is too much")


@pytest.mark.parametrize("place", [Here(), Processes(2)], ids=["here", "processes"])
def test_results_come_in_order(place: Here | Processes) -> None:
    assert list(in_order(double, range(7), place)) == [0, 2, 4, 6, 8, 10, 12]
    assert dict(as_ended(double, range(7), place)) == {number: 2 * number for number in range(7)}


def test_a_process_that_dies_costs_another_try(tmp_path: Path) -> None:
    (pid,) = in_order(die_once, [str(tmp_path / "mark")], Processes(2))
    assert pid != os.getpid()


def test_work_that_ends_every_process_is_named() -> None:
    with pytest.raises(WorkerDied, match=r"^piece 0 of the work has ended 3 processes, the last by SIGKILL$"):
        list(in_order(die, [0], Processes(1)))


def test_an_error_is_the_one_that_was_raised() -> None:
    with pytest.raises(ValueError, match=r"^3 is too much$"):
        list(in_order(fail, [3], Processes(1)))


def test_work_is_stopped_by_whoever_wanted_it() -> None:
    with stopped_when(lambda: False):
        check()
        with stopped_when(lambda: True):
            with pytest.raises(Stopped):
                check()
            with pytest.raises(Stopped):
                list(in_order(double, [1], Here()))
        check()
