"""A coroutine function of a test as what is explored: every vCPU runs it."""

import os
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from sysconfig import get_path
from types import FrameType, TracebackType
from typing import Any, Final, TypeAlias
from unittest import SkipTest

import attrs

from kev.machine.schedule import Scheduler
from kev.race.current_test import current_test
from kev.race.errors import RaceError
from kev.race.interleaving import order_of
from kev.race.outcome import Outcome, SteppedOutcome
from kev.race.schedule import Schedule
from kev.race.stories.story import Story
from kev.race.strategy.replay import RoughScheduler
from kev.race.subject import Identity
from kev.race.token import Token
from kev.race.trace.listener import Listener
from kev.race.trace.machine import PagerFactory, TraceMachine, trace_machine
from kev.race.trace.oracles import ORACLES
from kev.race.trace.program import Page
from kev.race.trace.steps import SteppedSubject
from kev.race.trace.story import Recorder
from kev.race.trace.task import Task
from kev.race.trace.vcpu import TraceVcpu

Body: TypeAlias = Callable[..., Coroutine[Any, Any, Any]]

_VERDICTS: Final = (RaceError, SkipTest)
"""What a body raises to say something of the test, and not of the run."""
_RESUMING: Final = (TraceMachine._drive.__code__, TraceMachine._resume.__code__)
_Place: TypeAlias = tuple[FrameType, int, int]
"""A frame, the instruction in it, and the line."""
_PACKAGE: Final = __name__.partition(".")[0]


@attrs.frozen(slots=True)
class Told:
    """A run of a body, with what a debugger needs."""

    story: Story
    place: TracebackType | None
    """Where in the body the vCPU was that did something wrong; None if the run ended well, or all had come to their end."""
    error: Exception | None
    """What the body raised, if that is what was wrong."""


@attrs.frozen(slots=True)
class BodySubject(SteppedSubject):
    """A coroutine function that every vCPU runs. What it does between two of the vCPU's methods nobody knows."""

    body: Body
    fixtures: Mapping[str, Any]
    """All that it is given beside its vCPU, by name."""
    vcpus: int
    pages: Sequence[Page]
    factory: PagerFactory
    tso: bool = False

    @property
    def actors(self) -> int:
        return 2 * self.vcpus if self.tso else self.vcpus

    @property
    def identity(self) -> Identity:
        """The test that pytest is running, as pytest calls it."""
        return Identity("test", current_test() or f"{self.body.__module__}.{name_of(self.body)}")

    def run(self, scheduler: Scheduler) -> Outcome:
        with trace_machine(self.pages, self.factory, opaque=True, tso=self.tso, verdicts=_VERDICTS) as machine:
            machine.listen([oracle(machine) for oracle in ORACLES])
            try:
                machine.run(self._bodies(machine), scheduler)
            except RaceError as error:
                if within_body(error.__traceback__) is None:
                    error.__traceback__ = _joined(_suspended(machine.tasks[machine.vcpu % self.vcpus]))
                raise
            except Exception:
                raise
            except BaseException as error:
                # Neither a failure nor an error of a strategy: pytest.fail, a timeout, sys.exit.
                schedule = Schedule.from_order(order_of((*machine.steps, machine.vcpu)))
                error.add_note(f"in a run under the schedule {schedule}:\n{replay_command(Token(self.identity, schedule))}")
                raise
            return SteppedOutcome(machine.failure, tuple(machine.steps))

    def tell(self, schedule: Schedule) -> Story:
        return self.tell_all(schedule).story

    def tell_all(self, schedule: Schedule) -> Told:
        """What happens under a schedule, as far as it can be followed, and where in the body it goes wrong."""
        with trace_machine(self.pages, self.factory, opaque=True, tso=self.tso, verdicts=_VERDICTS) as machine:
            recorder, places = Recorder(machine), _Places(machine)
            machine.listen([recorder, places, *(oracle(machine) for oracle in ORACLES)])
            machine.run(self._bodies(machine), RoughScheduler(schedule))
            story = recorder.story(f"{self.identity.target}, schedule {schedule}")
            return Told(story, places.traceback, places.error)

    def smaller(self) -> Iterator["BodySubject"]:
        yield from ()

    def compact(self, schedule: Schedule) -> tuple["BodySubject", Schedule]:
        return self, schedule

    def _bodies(self, machine: TraceMachine) -> list[Coroutine[Any, Any, Any]]:
        return [self.body(vcpu=TraceVcpu(machine, index), **self.fixtures) for index in range(self.vcpus)]


def name_of(body: object) -> str:
    """What messages call a body."""
    return getattr(body, "__qualname__", None) or type(body).__qualname__


def replay_command(token: Token) -> str:
    """The command that replays a token of a test."""
    import shlex

    return f"kev race replay {token} --test {shlex.quote(token.identity.target)}"


class _Places(Listener):
    """Notes where in the body the first failure is."""

    __slots__ = ("_machine", "error", "traceback")

    def __init__(self, machine: TraceMachine) -> None:
        self._machine: Final = machine
        self.error: Exception | None = None
        self.traceback: TracebackType | None = None

    def raised(self, vcpu: int, error: Exception) -> None:
        if self._machine.failure is None:
            self.error = error

    def failed(self, vcpu: int) -> None:
        if self.error is not None:
            self.traceback = within_body(self.error.__traceback__)
        else:
            waiting = [task for task in self._machine.tasks if not task.done]
            self.traceback = _joined(_running()) or (_joined(_suspended(waiting[0])) if waiting else None)


def within_body(traceback: TracebackType | None) -> TracebackType | None:
    """Of a traceback, what is not kev's own."""
    frames = []
    while traceback is not None:
        frames.append((traceback.tb_frame, traceback.tb_lasti, traceback.tb_lineno))
        traceback = traceback.tb_next
    return _joined(frames)


def _suspended(task: Task) -> Sequence[_Place]:
    """The frames of a vCPU that can go on."""
    frames = []
    coroutine: Any = task.body
    while (frame := getattr(coroutine, "cr_frame", None)) is not None:
        frames.append((frame, frame.f_lasti, frame.f_lineno))
        coroutine = coroutine.cr_await
    return frames


def _running() -> Sequence[_Place]:
    """The frames of the vCPU that runs, the outermost first; none if none does."""
    frames = []
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code not in _RESUMING:
        frames.append((frame, frame.f_lasti, frame.f_lineno))
        frame = frame.f_back
    return [] if frame is None else frames[::-1]


def _joined(frames: Sequence[_Place]) -> TracebackType | None:
    """A traceback of these without kev's own, from the first on that is of the user's, and of no library."""
    libraries = tuple(f"{get_path(kind)}{os.sep}" for kind in ("stdlib", "purelib", "platlib"))
    modules = [frame.f_globals.get("__name__", "").partition(".")[0] for frame, _, _ in frames]
    files = [frame.f_code.co_filename for frame, _, _ in frames]
    begin = next((n for n, module in enumerate(modules) if module != _PACKAGE and not files[n].startswith(libraries)), len(frames))
    traceback = None
    for (frame, instruction, line), module in reversed([*zip(frames, modules, strict=True)][begin:]):
        if module != _PACKAGE:
            traceback = TracebackType(traceback, frame, instruction, line)
    return traceback
