"""Machines that were forked from one: what they are while they do not run, and what they run on when they do."""

import weakref
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from kev.machine.errors import MachineError
from kev.machine.moment import Moment, load_moment, moment_of
from kev.machine.schedule import RunScheduler
from kev.machine.vm import Vm
from kev.pager.borrowed_memory import BorrowedMemory, Contents
from kev.pager.write_tracker import MemoryPoint
from kev.state import State

_IDLE_LIMIT: Final = 4


class Built(NamedTuple):
    """A machine that was built as the first of the family was, and has not run."""

    vm: Vm
    close: Callable[[], None]
    """Gives back what it was built with."""


class Rest(NamedTuple):
    """All of a machine that does not run: no emulated CPU, and of its memory what it has written since it was forked."""

    contents: Contents
    moment: Moment
    scheduler: State


class Body:
    """What one machine of the family after the other runs on."""

    __slots__ = ("built", "memory", "vm")

    def __init__(self, built: Built, lender: Vm) -> None:
        self.built: Final = built
        self.vm: Final = built.vm
        self.memory: Final[BorrowedMemory] = built.vm.borrow_memory(lender.memory_points)
        self.vm.clock.stop()
        self.vm.expects_input = True

    def load(self, rest: Rest) -> None:
        """Makes it the machine of `rest`. Its clock stands still."""
        self.memory.load(rest.contents)
        load_moment(self.vm, rest.moment)

    def rest(self, scheduler: RunScheduler) -> Rest:
        """What it is now, between two steps."""
        return Rest(self.memory.contents(), moment_of(self.vm), scheduler.save())

    def close(self) -> None:
        self.vm.engine.close()
        self.vm.pager.close()
        self.built.close()


class Holder(Protocol):
    """A machine that has a body without running."""

    @property
    def is_busy(self) -> bool:
        """It cannot give its body back now."""

    def give_body_back(self) -> None: ...


class Family:
    """A machine that was launched, and all that were forked from it or from its forks. It belongs to one thread.

    The first machine's memory is what all of them share. It is kept for as long as one of them needs it.
    """

    def __init__(self, first: Vm, build: Callable[[], Built]) -> None:
        self._first: Final = first
        self._build: Final = build
        self._idle: Final[list[Body]] = []
        self._users: Final[dict[MemoryPoint, int]] = {}
        """How many forks and bodies need each point."""
        self._forks = 0
        self._forgotten: Final[deque[MemoryPoint]] = deque()
        """The points of forks that went without being closed."""
        self._holders: Final[list[Holder]] = []
        self._close_first: Callable[[], None] | None = None
        self._is_closed = False

    # Forks.

    def point(self, scheduler: RunScheduler) -> Rest:
        """What the first machine is now, between two steps. It goes on."""
        memory = self._first.memory_points
        moment = moment_of(self._first)
        point = memory.take()
        self._users[point] = 0
        return Rest(Contents(point, {}, point.states, point.statistics), moment, scheduler.save())

    def add(self, fork: object, rest: Rest) -> "weakref.finalize[[MemoryPoint], object]":
        """A machine that begins as `rest`. Who closes it, and detaches what is returned, calls `remove`; or else its end does."""
        self._drop_forgotten()
        self._forks += 1
        self._users[rest.contents.point] += 1
        # It may end in any thread.
        return weakref.finalize(fork, self._forgotten.append, rest.contents.point)

    def remove(self, point: MemoryPoint) -> None:
        """A fork that began at `point` is closed."""
        self._forks -= 1
        self._drop(point)
        if not self._forks and self._close_first is not None:
            self.close()
            self._close_first()
            self._close_first = None

    def _drop_forgotten(self) -> None:
        while self._forgotten:
            self.remove(self._forgotten.popleft())

    def _drop(self, point: MemoryPoint) -> None:
        self._users[point] -= 1
        if not self._users[point]:
            del self._users[point]
            self._first.memory_points.release(point)

    # Bodies.

    def take_body(self, rest: Rest) -> Body:
        """One that is the machine of `rest` from now on. KevError if it would have to be built, and cannot be."""
        self._drop_forgotten()
        body = self._free_body(rest.contents.point)
        before = body.memory.point
        self._users[rest.contents.point] += 1
        body.load(rest)
        if before is not None:
            self._drop(before)
        return body

    def give_back(self, body: Body) -> None:
        """Nobody runs on it any more."""
        body.vm.forget_observers()
        if self._is_closed or len(self._idle) >= _IDLE_LIMIT or body.vm.engine.is_spoiled:
            self._close_body(body)
        else:
            self._idle.append(body)

    def lend(self, holder: Holder) -> None:
        """`holder` has a body without running: it gives that back when another needs one."""
        self._holders.append(holder)

    def must_keep(self, holder: Holder) -> None:
        """It does not give its body back by itself, from now on."""
        if holder in self._holders:
            self._holders.remove(holder)

    def _free_body(self, point: MemoryPoint) -> Body:
        if self._is_closed:
            raise MachineError(f"{self._first.pager.image.source.name}: the machine is closed, and so are its forks")
        if not self._idle:
            for holder in self._holders:
                if not holder.is_busy:
                    holder.give_body_back()
                    break
        for index, body in enumerate(self._idle):
            if body.memory.point is point:
                return self._idle.pop(index)
        return self._idle.pop() if self._idle else Body(self._build(), self._first)

    # Its end.

    def close_first(self, close: Callable[[], None]) -> None:
        """Calls `close`, which gives back the first machine's memory, as soon as no fork needs that."""
        self._drop_forgotten()
        if self._forks:
            self._close_first = close
        else:
            self.close()
            close()

    def close(self) -> None:
        """Nobody runs any more."""
        self._is_closed = True
        for holder in list(self._holders):
            holder.give_body_back()
        while self._idle:
            self._close_body(self._idle.pop())

    def _close_body(self, body: Body) -> None:
        point = body.memory.point
        body.close()
        if point is not None:
            self._drop(point)
