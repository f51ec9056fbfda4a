"""What is explored at the level of guests: a whole guest, from its first instruction to its end."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Final, NamedTuple, Self

import attrs

from kev.boot.base import BootOptions
from kev.engine.factory import engine_named
from kev.machine.builder import MachineOptions
from kev.machine.ending import Ending, EndingKind
from kev.machine.exit_costs import CURRENT
from kev.machine.launcher import prepare
from kev.machine.schedule import CountedScheduler, Scheduler
from kev.race.errors import RaceError, TokenError
from kev.race.guest.accesses import Waits
from kev.race.guest.details import RaceDetails, raceable
from kev.race.guest.files import guest_called, read_files
from kev.race.guest.machine import ENDLESS, PATIENCE, GuestMachine
from kev.race.guest.outcome import GuestOutcome
from kev.race.guest.source import ScheduledSource
from kev.race.guest.story import TurnRecorder
from kev.race.outcome import Failure
from kev.race.schedule import Schedule
from kev.race.stories.story import Story
from kev.race.strategy.free import UnpreemptedScheduler
from kev.race.strategy.replay import ReplayScheduler
from kev.race.strategy.turn_search import TurnScheduler
from kev.race.subject import Identity
from kev.spec.machine_spec import MachineSpec

_LONGEST_TURN: Final = 1_024
_LIMIT: Final = 200_000
_LIMIT_FACTOR: Final = 20
"""A run of so many instructions has no end, or of so many times those of a free run, whichever is more."""
_FREE_LIMIT: Final = 3_000_000_000
_LONGEST_TRACED: Final = 3_000_000
"""Steps of a run without an end of which every access is looked at, to say who waits for what."""
_TRACED_STANDSTILL: Final = 100_000
_FEWEST_VCPUS: Final = 2
_SHORT_SLICE: Final = 16
"""Instructions after which vCPUs alternate, to see how many have another vCPU beside them."""
_MOST_SLICES: Final = 20_000

_NUMBERS: Final = re.compile(r"0x[0-9a-f]+|[0-9]+")
_ENGINES: Final = engine_named(keeps_hosts=True)


class CannotRace(RaceError):
    """A guest has but one vCPU, or does not come to its end even if nobody interferes."""


@attrs.frozen(slots=True)
class GuestSubject:
    """A guest that ends by itself, with an exit code that says whether all went well."""

    spec: MachineSpec
    """With its vCPUs, memory and command line."""
    exit_code: int
    """What it ends with if all goes well."""
    exit_costs: int = CURRENT
    """Which of `kev.machine.exit_costs.EXIT_COSTS` says what exits take."""
    random_seed: int = 0
    """What RDRAND and RDSEED draw from."""
    marks: bool = attrs.field(default=False, eq=False)
    """The guest says where what is to be explored begins."""

    @classmethod
    def find(cls, wanted: MachineSpec, random_seed: int = 0) -> Self:
        """The guest and the machine that are described; `random_seed` is what RDRAND and RDSEED draw from, if the guest asks.

        What it ends with when nobody interferes is what it should end with. ImageNotFound; CannotRace; RaceError for what there is
        not in a race.
        """
        image = raceable(wanted).image
        guest = guest_called(image)
        resolved = wanted.resolved(None if guest is None else guest.spec)
        if resolved.vcpus is None or resolved.vcpus < _FEWEST_VCPUS:
            raise CannotRace(f"{image} on one vCPU: a race takes at least {_FEWEST_VCPUS} (`--smp {_FEWEST_VCPUS}`)")
        spec = wanted.replace(vcpus=resolved.vcpus, memory=resolved.memory, command_line=resolved.command_line)
        ending, _, asks, marks = _free_run(spec, CURRENT, random_seed)
        exit_code = ending.exit_code
        if guest is not None and guest.exit_code not in (None, exit_code):
            raise CannotRace(f"{image} ends with exit code {exit_code}, not {guest.exit_code}, even if nobody interferes")
        return cls(spec, exit_code, random_seed=random_seed if asks else 0, marks=marks)

    @classmethod
    def identified(cls, identity: Identity) -> Self:
        """The guest a token was made of. TokenError if its image is another one now: instructions cannot be counted in that."""
        details = RaceDetails.parse(identity.target, identity.details)
        files = read_files(details.spec)
        if details.checksum not in (files.checksum, files.whole_checksum):
            raise TokenError(f"guest {identity.target}: its image or a module has changed since the token was made")
        for disk, checksum in zip(files.disks, details.disks, strict=True):
            if disk.checksum != checksum:
                raise TokenError(f"guest {identity.target}: its disk {disk.name} has changed since the token was made")
        return cls(details.spec, details.exit_code, details.exit_costs, details.random_seed)

    @property
    def identity(self) -> Identity:
        files = read_files(self.spec)
        disks = tuple(disk.checksum for disk in files.disks)
        details = RaceDetails(self.spec, self.exit_code, files.checksum, disks, self.exit_costs, self.random_seed)
        return Identity("guest", self.spec.image, str(details))

    @property
    def vcpus(self) -> int:
        assert self.spec.vcpus is not None
        return self.spec.vcpus

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
        story = self._tell(schedule, self._limit)
        endless = story.failure is not None and story.failure.oracle == ENDLESS
        if not endless or schedule.steps > _LONGEST_TRACED:
            return story
        return self._tell(schedule, max(schedule.steps, _TRACED_STANDSTILL), with_waits=True)

    def _tell(self, schedule: Schedule, limit: int, *, with_waits: bool = False) -> Story:
        output = bytearray()
        with self._machine(output, limit) as machine:
            machine.witness = recorder = TurnRecorder(machine.vm)
            machine.vm.place_of = recorder.place_of
            if with_waits:
                Waits(machine, recorder.places)
            machine.run(ReplayScheduler(schedule), fair=False)
            failure = self._judge(machine, output)
            return recorder.story(f"{self.spec.image} on {self.vcpus} vCPUs", failure)

    def smaller(self) -> Iterator["GuestSubject"]:
        if self.vcpus > _FEWEST_VCPUS:
            yield attrs.evolve(self, spec=self.spec.replace(vcpus=self.vcpus - 1))

    def compact(self, schedule: Schedule) -> tuple["GuestSubject", Schedule]:
        return self, schedule

    @property
    def _limit(self) -> int:
        return max(_LIMIT, _LIMIT_FACTOR * _free_run(self.spec, self.exit_costs, self.random_seed)[1].steps)

    def _machine(self, output: bytearray, limit: int) -> AbstractContextManager[GuestMachine]:
        return guest_machine(self.spec, output, limit, exit_costs=self.exit_costs, random_seed=self.random_seed)

    def _run(self, scheduler: Scheduler, *, fair: bool) -> GuestOutcome:
        output = bytearray()
        with self._machine(output, self._limit) as machine:
            machine.run(scheduler, fair=fair, marks=fair and self.marks and not isinstance(scheduler, TurnScheduler))
            return _outcome(machine, self._judge(machine, output), output)

    def _judge(self, machine: GuestMachine, output: bytearray) -> Failure | None:
        """What went wrong, if anything did."""
        ending = machine.vm.ending
        if machine.failure is not None or ending is None:
            return machine.failure
        if ending.kind is not EndingKind.EXITED:
            return Failure("guest died", ending.message, machine.ticks, _NUMBERS.sub("", ending.message))
        if ending.exit_code == self.exit_code:
            return None
        printed = output.decode(errors="replace").strip().rpartition("\n")[2]
        message = f"the guest ends with exit code {ending.exit_code}, not {self.exit_code}; the last it prints is {printed!r}"
        return Failure("wrong exit code", message, machine.ticks, str(ending.exit_code))


@contextmanager
def guest_machine(
    spec: MachineSpec,
    output: bytearray,
    limit: int,
    *,
    exit_costs: int = CURRENT,
    random_seed: int = 0,
    patience: int = PATIENCE,
) -> Iterator[GuestMachine]:
    """A machine for one run, whose vCPUs take turns fairly after `limit` steps. It adds what the guest prints to `output`."""
    files = read_files(spec)
    resolved = spec.resolved(None if files.guest is None else files.guest.spec)
    assert resolved.vcpus is not None
    assert resolved.memory is not None
    options = MachineOptions(
        vcpus=resolved.vcpus,
        virtual_time=True,
        exit_costs=exit_costs,
        random_seed=random_seed,
        lenient_msr=bool(spec.lenient_msr),
        strict_ports=bool(spec.strict_ports),
        strict_memory=bool(spec.strict_memory),
        drives=files.drives(),
        boot_time=0,
    )
    vm = prepare(
        ScheduledSource(files.image),
        memory=resolved.memory,
        options=options,
        boot=BootOptions(resolved.command_line or "", files.modules),
        protocol=resolved.boot,
        abi=resolved.abi,
        output=output.extend,
        engines=_ENGINES,
    ).vm
    machine = GuestMachine(vm, files.image, limit, patience)
    try:
        yield machine
    finally:
        machine.close()


def _outcome(machine: GuestMachine, failure: Failure | None, output: bytearray) -> GuestOutcome:
    instructions = [vcpu.state.instructions for vcpu in machine.vm.vcpus]
    return GuestOutcome(failure, machine.schedule, instructions, bytes(output), machine.begins)


class _FreeRun(NamedTuple):
    ending: Ending
    outcome: GuestOutcome
    asks: bool
    """It asks for random numbers."""
    marks: bool
    """It says where what is to be explored begins."""


@cache
def _free_run(spec: MachineSpec, exit_costs: int, random_seed: int) -> "_FreeRun":
    """Each vCPU in turn, for as long as it can go on. CannotRace if the guest does not come to an end."""
    output = bytearray()
    with guest_machine(spec, output, _FREE_LIMIT, exit_costs=exit_costs, random_seed=random_seed) as machine:
        machine.run(UnpreemptedScheduler(), fair=True)
        ending, failure = machine.vm.ending, machine.failure
        if failure is None and ending is not None and ending.kind is EndingKind.EXITED:
            asks = any(vcpu.state.random_numbers for vcpu in machine.vm.vcpus)
            return _FreeRun(ending, _outcome(machine, None, output), asks, bool(machine.begins))
    message = failure.message if failure is not None else ending.message if ending is not None else ""
    raise CannotRace(f"{spec.image} does not end by itself even if nobody interferes: {message}")


@cache
def _contested_steps(subject: GuestSubject) -> int:
    """In a free run, or in one in which vCPUs alternate quickly, whichever has more."""
    free = _free_run(subject.spec, subject.exit_costs, subject.random_seed)[1]
    slices = max(_SHORT_SLICE, free.steps // _MOST_SLICES)
    return max(free.contested_steps, subject.run(CountedScheduler(slices)).contested_steps)
