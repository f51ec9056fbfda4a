"""Runs vCPUs as coroutines by hand: who goes next is a list of numbers, and everything else follows from it."""

from collections.abc import Callable, Coroutine, Generator, Sequence
from types import coroutine
from typing import Any

import attrs

from kev.pager.protocols import Point

MOST_STEPS = 2000


class Cancelled(BaseException):
    """What a vCPU gets that is cancelled."""


class Stranded(AssertionError):
    """vCPUs wait that nobody will ever wake."""


class Livelock(AssertionError):
    """vCPUs go on and on, and come to no end."""


@coroutine
def pause() -> Generator[None, None, None]:
    """Lets somebody else go first."""
    yield None


@attrs.define(eq=False)
class Latch:
    """A rendezvous whose waiters the stepper can see."""

    reached: bool = False

    def set(self) -> None:
        self.reached = True

    async def wait(self) -> None:
        await _block(self)


@coroutine
def _block(latch: Latch) -> Generator[Latch | None, None, None]:
    while not latch.reached:
        yield latch


@attrs.define(eq=False)
class Vcpu:
    """A coroutine and how it ended."""

    program: Coroutine[Any, Any, object]
    blocked: Latch | None = None
    ended: bool = False
    error: BaseException | None = None

    @property
    def runnable(self) -> bool:
        return not self.ended and (self.blocked is None or self.blocked.reached)

    def step(self) -> None:
        self._resume(lambda: self.program.send(None))

    def cancel(self) -> None:
        self._resume(lambda: self.program.throw(Cancelled()))

    def _resume(self, resume: Callable[[], Latch | None]) -> None:
        try:
            self.blocked = resume()
        except StopIteration:
            self.ended = True
        except BaseException as error:
            self.ended = True
            self.error = error


async def point(_point: Point, _gpa: int) -> None:
    await pause()


def run(vcpus: Sequence[Vcpu], choices: Sequence[int], cancel: Sequence[int] = ()) -> None:
    """Steps vCPUs until all have ended; `choices` say who is next, in turn once they are used up.

    vCPU number n is cancelled instead of making its step number `cancel[n]`. Stranded if none can go on, Livelock if none ends.
    """
    steps = [0] * len(vcpus)
    turn = 0
    while turn < MOST_STEPS:
        numbers = [number for number, vcpu in enumerate(vcpus) if vcpu.runnable or _is_due(vcpu, number, steps, cancel)]
        if not numbers:
            break
        number = numbers[(choices[turn] if turn < len(choices) else turn) % len(numbers)]
        turn += 1
        steps[number] += 1
        if number < len(cancel) and steps[number] == cancel[number]:
            vcpus[number].cancel()
        else:
            vcpus[number].step()
    unfinished = [number for number, vcpu in enumerate(vcpus) if not vcpu.ended]
    for number in unfinished:
        vcpus[number].program.close()
    if unfinished:
        raise (Stranded if turn < MOST_STEPS else Livelock)(f"vCPUs {unfinished} after {turn} steps")


def _is_due(vcpu: Vcpu, number: int, steps: Sequence[int], cancel: Sequence[int]) -> bool:
    """A vCPU that waits can still be cancelled."""
    return not vcpu.ended and number < len(cancel) and steps[number] + 1 == cancel[number]
