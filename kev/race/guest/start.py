"""Hands out machines for one run each: one that goes back to where its runs begin, or one that is made for a single run."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from kev.machine.checkpoint import Checkpoint
from kev.race.guest.machine import GuestMachine
from kev.race.guest.prepared import PATIENCE, PreparedMachine, Start

_MOST_KEPT: Final = 2
"""Machines that wait for their next run: a guest's, and the same with a vCPU less."""


class _Rewound:
    """One machine that goes back for every run."""

    def __init__(self, start: Start) -> None:
        self.machine: Final = PreparedMachine(start)
        self._checkpoint: Final = Checkpoint(self.machine.stage.vm)
        self._used = False

    def begin(self) -> PreparedMachine:
        if self._used:
            self._checkpoint.rewind()
        self._used = True
        return self.machine


_kept: Final[OrderedDict[Start, _Rewound]] = OrderedDict()
"""Those of this process, the one that was used last behind the others."""


@contextmanager
def guest_machine(start: Start, limit: int, *, patience: int = PATIENCE, apart: bool = False) -> Iterator[GuestMachine]:
    """A machine for one run, whose vCPUs take turns fairly after `limit` steps.

    `apart`: it is changed in a way that other runs must not see. CannotRace if it does not come to where runs begin.
    """
    with _made_for_once(start) if apart else _gone_back(start) as machine:
        run = GuestMachine(machine.stage, limit, patience)
        try:
            yield run
        finally:
            run.leave()
            if run.is_broken or (start.is_launch and machine.stage.vm.engine.is_spoiled):
                _forget(start)


def random_numbers_before(start: Start) -> list[int]:
    """How many each vCPU has asked for before runs begin."""
    return [0] * (start.spec.vcpus or 1) if start.is_launch else _point(start).machine.random_numbers


def forget_machines() -> None:
    """Gives back the machines that wait for their next run, which is prepared anew."""
    while _kept:
        _forget(next(iter(_kept)))


@contextmanager
def _made_for_once(start: Start) -> Iterator[PreparedMachine]:
    machine = PreparedMachine(start)
    try:
        yield machine
    finally:
        machine.close()


@contextmanager
def _gone_back(start: Start) -> Iterator[PreparedMachine]:
    try:
        yield _point(start).begin()
    except BaseException as error:
        if not isinstance(error, Exception):
            _forget(start)  # guest code may have been interrupted anywhere
        raise


def _point(start: Start) -> _Rewound:
    point = _kept.get(start)
    if point is None:
        while len(_kept) >= _MOST_KEPT:
            _forget(next(iter(_kept)))
        point = _kept[start] = _Rewound(start)
    _kept.move_to_end(start)
    return point


def _forget(start: Start) -> None:
    point = _kept.pop(start, None)
    if point is not None:
        point.machine.close()
