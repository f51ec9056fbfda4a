"""A moment of a machine that it goes back to, as often as somebody likes: for runs that begin alike and end in many ways."""

from typing import Final

from kev.machine.errors import MachineError
from kev.machine.moment import load_moment, moment_of
from kev.machine.schedule import RunScheduler
from kev.machine.vm import Vm


class Checkpoint:
    """Costs microseconds to take, the pages that are written afterwards, and microseconds to go back to.

    A machine that goes back does the same again, bit for bit, if it is driven alike, and what it counts is the same: exits, loads,
    instructions. Pages that were loaded since are loaded again. Several checkpoints of a machine may be there at the same time, and
    each can be gone back to from wherever the machine is.
    """

    __slots__ = ("_moment", "_point", "_scheduler", "_scheduler_state", "_vm")

    def __init__(self, vm: Vm, scheduler: RunScheduler | None = None) -> None:
        """Of a machine between two steps, whoever drives it; `scheduler` goes back with it.

        MachineError while a page is being loaded: nobody could take back what the one who loads it has done.
        """
        self._check_that_nothing_is_loaded(vm)
        self._vm: Final = vm
        self._scheduler: Final = scheduler
        self._scheduler_state: Final = None if scheduler is None else scheduler.save()
        self._moment: Final = moment_of(vm)
        self._point: Final = vm.memory_points.take()

    def rewind(self) -> None:
        """Back to the moment. To be called between two steps. MachineError while a page is being loaded."""
        vm = self._vm
        vm.pager.close()
        self._check_that_nothing_is_loaded(vm)
        vm.memory_points.restore(self._point)
        load_moment(vm, self._moment)
        if self._scheduler is not None:
            assert self._scheduler_state is not None
            self._scheduler.load(self._scheduler_state)

    def release(self) -> None:
        """Nobody goes back to it any more."""
        self._vm.memory_points.release(self._point)

    def _check_that_nothing_is_loaded(self, vm: Vm) -> None:
        if vm.pager.is_loading:
            name = vm.pager.image.source.name
            raise MachineError(f"{name}: there is no checkpoint while a page is being loaded: let the load end first")
