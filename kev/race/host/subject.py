"""What is explored of a host of the JOS VMM: its file system and its guests, which take turns by a schedule.

vCPU 0 of a schedule is the host's file system, and guest 1, 2, ... are vCPUs 1, 2, ...: a step is an instruction of a guest, or one
step of the file system. A guest that has found the file system busy lets others go first, as JOS' sys_yield does.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final
from zlib import crc32

import attrs

from kev.errors import KevError
from kev.jos.host import FILE_SYSTEM, Host
from kev.machine.ending import EndingKind
from kev.machine.schedule import CountedScheduler, Scheduler
from kev.race.current_test import current_test
from kev.race.errors import ScheduleOver
from kev.race.guest.outcome import GuestOutcome
from kev.race.outcome import Failure, Turn
from kev.race.schedule import Schedule
from kev.race.stories.story import Kind, Moment, Story
from kev.race.strategy.base import STEPS
from kev.race.strategy.free import UnpreemptedScheduler
from kev.race.strategy.replay import ReplayScheduler
from kev.race.subject import Identity
from kev.race.trace.body import Told, within_body

_LONGEST_TURN: Final = 64
"""Instructions: messages of small guests are about so far from each other."""
_MOST_STEPS: Final = 5_000_000
"""Of a run, until it is said to have no end."""
_SHORT_SLICE: Final = 16


@attrs.frozen(slots=True)
class HostSubject:
    """A host with guests of which all must exit with code 0, and all messages must be answered."""

    make: Callable[[Host], object]
    """Makes the guests, on a host that has none yet."""
    check: Callable[[Host], object]
    """Asserts what must hold when all guests have ended."""
    name: str

    @property
    def identity(self) -> Identity:
        """The test that pytest is running, as pytest calls it."""
        return Identity("test", current_test() or self.name)

    @property
    def actors(self) -> int:
        return self.vcpus

    @property
    def vcpus(self) -> int:
        with self._host() as host:
            return 1 + len(host.guests)

    @property
    def longest_turn(self) -> int:
        return _LONGEST_TURN

    def shared_accesses(self) -> None:
        """None: what several guests share is not their memory."""
        return

    @property
    def free_steps(self) -> int:
        return max(self.run(scheduler).contested_steps for scheduler in (UnpreemptedScheduler(), CountedScheduler(_SHORT_SLICE)))

    def run(self, scheduler: Scheduler) -> GuestOutcome:
        with self._host() as host:
            return self._run(host, scheduler, fair=True)

    def replay(self, scheduler: Scheduler) -> GuestOutcome:
        with self._host() as host:
            return self._run(host, scheduler, fair=False)

    def tell(self, schedule: Schedule) -> Story:
        return self.tell_all(schedule).story

    def tell_all(self, schedule: Schedule) -> Told:
        """What happens under a schedule, and what `check` has raised, from where."""
        errors: list[Exception] = []
        with self._host() as host:
            outcome = self._run(host, ReplayScheduler(schedule), fair=False, errors=errors)
            moments, before = [], 0
            for turn in outcome.turns:
                waiting = frozenset(range(1 + len(host.guests))) - frozenset(turn.runnable)
                moments.append(Moment(before, turn.vcpu, _told(turn), Kind.ACCESS, (), waiting))
                before += turn.steps
            story = Story(f"{self.name}, schedule {schedule}", 1 + len(host.guests), 0, tuple(moments), outcome.failure)
        error = errors[0] if errors else None
        return Told(story, None if error is None else within_body(error.__traceback__), error)

    def smaller(self) -> Iterator["HostSubject"]:
        yield from ()

    def compact(self, schedule: Schedule) -> tuple["HostSubject", Schedule]:
        return self, schedule

    @contextmanager
    def _host(self) -> Iterator[Host]:
        with Host(seed=0) as host:
            self.make(host)
            yield host

    def _run(self, host: Host, scheduler: Scheduler, *, fair: bool, errors: list[Exception] | None = None) -> GuestOutcome:
        """`errors` takes what `check` raises."""
        turns: list[Turn] = []
        total = steps = 0
        failure = None
        while runnable := host.runnable:
            offered = host.offered(runnable) if fair else runnable
            try:
                decision = scheduler.next(offered, steps)
            except ScheduleOver as over:
                failure = Failure("schedule", str(over), total)
                break
            if decision.vcpu == FILE_SYSTEM:
                decision = STEPS[FILE_SYSTEM]
            steps = host.take_turn(decision, runnable).steps
            total += steps
            turns.append(Turn(decision.vcpu, steps, runnable, offered))
            if total > _MOST_STEPS:
                failure = Failure("no end", f"the guests have not ended after {total:,} steps", total)
                break
        instructions = [guest.machine.vm.instructions for guest in host.guests]
        output = b"".join(bytes(guest.output) for guest in host.guests)
        return GuestOutcome(
            failure or self._judged(host, total, errors), turns, (*instructions, crc32(output)), bytes(host.console)
        )

    def _judged(self, host: Host, steps: int, errors: list[Exception] | None) -> Failure | None:
        for guest in host.guests:
            ending = guest.ending
            if guest.in_background:
                continue
            if ending is None:
                where = guest.machine.vm.where(guest.machine.vm.vcpus[0])
                return Failure("lost message", f"guest {guest.number}, {where}: waits for a message that nobody sends", steps)
            if ending.kind is not EndingKind.EXITED or ending.exit_code:
                return Failure("guest died", f"guest {guest.number}: {ending.message or ending}", steps, f"guest {guest.number}")
        try:
            self.check(host)
        except (AssertionError, KevError) as error:
            if errors is not None:
                errors.append(error)
            return Failure("check", str(error) or type(error).__name__, steps)
        return None


def _told(turn: Turn) -> str:
    return "goes on" if turn.vcpu == FILE_SYSTEM else f"runs {turn.steps} instructions"
