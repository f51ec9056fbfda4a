"""What is explored at the level of guests: a whole guest, from its first instruction to its end."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final, Self

import attrs

from kev.addressing import MIB
from kev.engine.amdv.pool import HostPool
from kev.guests.disk import drives_of
from kev.machine.builder import MachineOptions
from kev.machine.ending import Ending, EndingKind
from kev.machine.launcher import prepare
from kev.machine.schedule import CountedScheduler, Scheduler
from kev.race.errors import RaceError, TokenError
from kev.race.guest.configuration import NO_WISHES, Configuration, MachineWishes
from kev.race.guest.files import guest_called, read_files
from kev.race.guest.lines import SourceLines
from kev.race.guest.machine import GuestMachine
from kev.race.guest.outcome import GuestOutcome
from kev.race.guest.source import ScheduledSource
from kev.race.guest.story import TurnRecorder
from kev.race.outcome import Failure
from kev.race.schedule import Schedule
from kev.race.stories.story import Story
from kev.race.strategy.free import UnpreemptedScheduler
from kev.race.strategy.replay import RoughScheduler
from kev.race.subject import Identity

_LONGEST_TURN: Final = 1_024
_LIMIT: Final = 200_000
_LIMIT_FACTOR: Final = 20
"""A run of so many instructions has no end, or of so many times those of a free run, whichever is more."""
_FREE_LIMIT: Final = 3_000_000_000
_FEWEST_VCPUS: Final = 2
_SHORT_SLICE: Final = 16
"""Instructions after which vCPUs alternate, to see how many have another vCPU beside them."""
_MOST_SLICES: Final = 20_000

_HOSTS: Final = HostPool()


class CannotRace(RaceError):
    """A guest has but one vCPU, or does not come to its end even if nobody interferes."""


@attrs.frozen(slots=True)
class GuestSubject:
    """A guest that ends by itself, with an exit code that says whether all went well."""

    configuration: Configuration
    exit_code: int
    """What it ends with if all goes well."""

    @classmethod
    def find(cls, image: str, wishes: MachineWishes = NO_WISHES) -> Self:
        """The guest called `image`.

        What it ends with when nobody interferes is what it should end with. ImageNotFound; CannotRace.
        """
        guest = guest_called(image)
        if (wishes.vcpus or guest.smp) < _FEWEST_VCPUS:
            raise CannotRace(f"{image} on one vCPU: a race takes at least {_FEWEST_VCPUS} (`--smp {_FEWEST_VCPUS}`)")
        configuration = Configuration(
            image,
            wishes.vcpus or guest.smp,
            wishes.memory or guest.memory_mib * MIB,
            wishes.boot,
            guest.command_line if wishes.command_line is None else wishes.command_line,
            wishes.modules,
        )
        exit_code = _free_run(configuration)[0].exit_code
        if guest.exit_code not in (None, exit_code):
            raise CannotRace(f"{image} ends with exit code {exit_code}, not {guest.exit_code}, even if nobody interferes")
        return cls(configuration, exit_code)

    @classmethod
    def identified(cls, identity: Identity) -> Self:
        """The guest a token was made of. TokenError if its image is another one now: instructions cannot be counted in that."""
        configuration, exit_code, checksum = Configuration.parse(identity.target, identity.details)
        if read_files(configuration).checksum != checksum:
            raise TokenError(f"guest {identity.target}: its image or a module has changed since the token was made")
        return cls(configuration, exit_code)

    @property
    def identity(self) -> Identity:
        checksum = read_files(self.configuration).checksum
        return Identity("guest", self.configuration.image, self.configuration.details(self.exit_code, checksum))

    @property
    def vcpus(self) -> int:
        return self.configuration.vcpus

    @property
    def longest_turn(self) -> int:
        return _LONGEST_TURN

    @property
    def free_steps(self) -> int:
        return _contested_steps(self)

    def run(self, scheduler: Scheduler) -> GuestOutcome:
        return self._run(scheduler, fair=True)

    def replay(self, scheduler: Scheduler) -> GuestOutcome:
        return self._run(scheduler, fair=False)

    def tell(self, schedule: Schedule) -> Story:
        output = bytearray()
        image = read_files(self.configuration).image
        with guest_machine(self.configuration, output, self._limit) as machine:
            machine.witness = recorder = TurnRecorder(machine.vm, SourceLines(bytes(image.data)))
            machine.run(RoughScheduler(schedule), fair=False)
            failure = self._judge(machine, output)
            return recorder.story(f"{self.configuration.image} on {self.vcpus} vCPUs", failure)

    def smaller(self) -> Iterator["GuestSubject"]:
        if self.vcpus > _FEWEST_VCPUS:
            yield attrs.evolve(self, configuration=attrs.evolve(self.configuration, vcpus=self.vcpus - 1))

    def compact(self, schedule: Schedule) -> tuple["GuestSubject", Schedule]:
        return self, schedule

    @property
    def _limit(self) -> int:
        return max(_LIMIT, _LIMIT_FACTOR * _free_run(self.configuration)[1].steps)

    def _run(self, scheduler: Scheduler, *, fair: bool) -> GuestOutcome:
        output = bytearray()
        with guest_machine(self.configuration, output, self._limit) as machine:
            machine.run(scheduler, fair=fair)
            return _outcome(machine, self._judge(machine, output), output)

    def _judge(self, machine: GuestMachine, output: bytearray) -> Failure | None:
        """What went wrong, if anything did."""
        ending = machine.vm.ending
        if machine.failure is not None or ending is None:
            return machine.failure
        if ending.kind is not EndingKind.EXITED:
            return Failure("guest died", ending.message, machine.ticks)
        if ending.exit_code == self.exit_code:
            return None
        printed = output.decode(errors="replace").strip().rpartition("\n")[2]
        message = f"the guest ends with exit code {ending.exit_code}, not {self.exit_code}; the last it prints is {printed!r}"
        return Failure("wrong exit code", message, machine.ticks)


@contextmanager
def guest_machine(configuration: Configuration, output: bytearray, limit: int) -> Iterator[GuestMachine]:
    """A machine for one run of at most `limit` instructions, which adds what the guest prints to `output`."""
    files = read_files(configuration)
    options = MachineOptions(vcpus=configuration.vcpus, virtual_time=True, drives=drives_of(files.guest), boot_time=0)
    vm = prepare(
        ScheduledSource(files.image),
        memory=configuration.memory,
        options=options,
        boot=files.boot,
        protocol=configuration.boot or files.guest.boot or None,
        abi=files.guest.abi or None,
        output=output.extend,
        hosts=_HOSTS,
    ).vm
    machine = GuestMachine(vm, files.image, limit)
    try:
        yield machine
    finally:
        machine.close()


def _outcome(machine: GuestMachine, failure: Failure | None, output: bytearray) -> GuestOutcome:
    instructions = [vcpu.state.instructions for vcpu in machine.vm.vcpus]
    return GuestOutcome(failure, machine.turns, instructions, bytes(output))


@cache
def _free_run(configuration: Configuration) -> tuple[Ending, GuestOutcome]:
    """Each vCPU in turn, for as long as it can go on. CannotRace if the guest does not come to an end."""
    output = bytearray()
    with guest_machine(configuration, output, _FREE_LIMIT) as machine:
        machine.run(UnpreemptedScheduler(), fair=True)
        ending, failure = machine.vm.ending, machine.failure
        if failure is None and ending is not None and ending.kind is EndingKind.EXITED:
            return ending, _outcome(machine, None, output)
    message = failure.message if failure is not None else ending.message if ending is not None else ""
    raise CannotRace(f"{configuration.image} does not end by itself even if nobody interferes: {message}")


@cache
def _contested_steps(subject: GuestSubject) -> int:
    """In a free run, or in one in which vCPUs alternate quickly, whichever has more."""
    free = _free_run(subject.configuration)[1]
    slices = max(_SHORT_SLICE, free.steps // _MOST_SLICES)
    return max(free.contested_steps, subject.run(CountedScheduler(slices)).contested_steps)
