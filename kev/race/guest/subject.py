"""What is explored at the level of guests: a whole guest, from its first instruction to its end."""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final, NamedTuple, Self

import attrs

from kev.machine.ending import Ending, EndingKind
from kev.machine.exit_costs import CURRENT
from kev.machine.schedule import CountedScheduler, Scheduler
from kev.postmortem.places import Places
from kev.race.errors import RaceError, TokenError
from kev.race.guest.accesses import Waits
from kev.race.guest.conflicts import collisions
from kev.race.guest.details import RaceDetails, raceable
from kev.race.guest.divisible import unordered_instructions
from kev.race.guest.fairness import PatientScheduler
from kev.race.guest.files import guest_called, read_again, read_files, read_kernel
from kev.race.guest.machine import ENDLESS, GuestMachine
from kev.race.guest.ordering import Ordering
from kev.race.guest.outcome import GuestOutcome
from kev.race.guest.prepared import LONGEST_FREE_RUN, CannotRace, Start, point_of_interest
from kev.race.guest.profile import SHORT_SLICE, shared_accesses
from kev.race.guest.recording import Accessed, Recording
from kev.race.guest.snapshot import SnapshotReference, is_snapshot_file, opened_snapshot
from kev.race.guest.standstill import first_look
from kev.race.guest.start import forget_machines, guest_machine, random_numbers_before
from kev.race.guest.story import TurnRecorder, place_of
from kev.race.guest.telling import Telling
from kev.race.memory_model import MemoryModel
from kev.race.outcome import Failure
from kev.race.schedule import Schedule
from kev.race.shared import SharedAccesses
from kev.race.stories.conflict import Conflict
from kev.race.stories.story import Story
from kev.race.strategy.base import UNLIMITED
from kev.race.strategy.replay import ReplayScheduler, RoughScheduler
from kev.race.strategy.turn_search import TurnScheduler
from kev.race.subject import Identity
from kev.spec.machine_spec import MachineSpec

_LONGEST_TURN: Final = 1_024
_LIMIT: Final = 200_000
_LIMIT_FACTOR: Final = 20
"""A run of so many instructions has no end, or of so many times those of a free run, whichever is more."""
_LONGEST_TRACED: Final = 3_000_000
"""Steps of a run without an end of which every access is looked at, to say who waits for what."""
_TRACED_STANDSTILL: Final = 100_000
_FAIR_ROUNDS: Final = 2
"""Turns of each vCPU behind a schedule whose accesses are looked at."""
_LONGEST_LOOKED_AT: Final = 100_000
"""Steps of a free run of which every access is looked at before a search: that takes up to a second."""
_LONGEST_PROFILED: Final = 100_000
"""Steps of a free run of a guest that is told with what other runs show."""
_FEWEST_VCPUS: Final = 2
_MOST_SLICES: Final = 20_000

_NUMBERS: Final = re.compile(r"0x[0-9a-f]+|[0-9]+")


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
    snapshot: SnapshotReference | None = None
    """What runs go on from."""
    after: str = ""
    """A condition (`kev.machine.conditions`) that is met before runs begin."""
    model: MemoryModel = MemoryModel.SC
    """When others see what a vCPU stores."""
    marks: bool = attrs.field(default=False, eq=False)
    """The guest says where what is to be explored begins."""

    @classmethod
    def find(
        cls,
        wanted: MachineSpec,
        random_seed: int = 0,
        *,
        after: str | None = None,
        snapshot: str | None = None,
        model: MemoryModel | None = MemoryModel.SC,
    ) -> Self:
        """The guest and the machine that are described; `random_seed` is what RDRAND and RDSEED draw from, if the guest asks.

        Runs go on from the machine in the file `snapshot`, which may also be the image, and from where `after` is met: a condition
        of `kev.machine.conditions`, a symbol or a text of the output. What the guest ends with when nobody interferes is what it
        should end with. Without a `model`, it is `SPLIT` if vCPUs change what they share without LOCK, and `SC` else.

        ImageNotFound; CannotRace; SnapshotError; ConditionError; RaceError for what there is not in a race.
        """
        raceable(wanted)
        if snapshot is None and is_snapshot_file(wanted.image):
            snapshot = wanted.image
        reference = None
        if snapshot is not None:
            with opened_snapshot(snapshot, wanted) as opened:
                wanted, reference = raceable(opened.spec), opened.reference
        image = wanted.image
        guest = guest_called(image)
        resolved = wanted.resolved(None if guest is None else guest.spec)
        if resolved.vcpus is None or resolved.vcpus < _FEWEST_VCPUS:
            raise CannotRace(f"{image} on one vCPU: a race takes at least {_FEWEST_VCPUS} (`--smp {_FEWEST_VCPUS}`)")
        spec = wanted.replace(vcpus=resolved.vcpus, memory=resolved.memory, command_line=resolved.command_line)
        _forget_others(spec)
        met = "" if after is None else str(point_of_interest(after, read_kernel(spec)))
        ending, _, asks, marks = _free_run(Start(spec, random_seed=random_seed, snapshot=reference, after=met))
        exit_code = ending.exit_code
        if guest is not None and guest.exit_code not in (None, exit_code):
            raise CannotRace(f"{image} ends with exit code {exit_code}, not {guest.exit_code}, even if nobody interferes")
        subject = cls(spec, exit_code, CURRENT, random_seed if asks else 0, reference, met, model or MemoryModel.SC, marks)
        return attrs.evolve(subject, model=MemoryModel.SPLIT) if model is None and subject.divisible else subject

    @classmethod
    def identified(cls, identity: Identity) -> Self:
        """The guest a token was made of. TokenError if its image is another one now: instructions cannot be counted in that."""
        details = RaceDetails.parse(identity.target, identity.details)
        if details.snapshot is not None:
            details = details._replace(spec=_saved_spec(identity, details.snapshot))
        _forget_others(details.spec)
        files = read_files(details.spec)
        if details.checksum not in (files.checksum, files.whole_checksum):
            raise TokenError(f"guest {identity.target}: its image or a module has changed since the token was made")
        for disk, checksum in zip(files.disks, details.disks, strict=True):
            if disk.checksum != checksum:
                raise TokenError(f"guest {identity.target}: its disk {disk.name} has changed since the token was made")
        return cls(
            details.spec,
            details.exit_code,
            details.exit_costs,
            details.random_seed,
            details.snapshot,
            details.after,
            details.model,
        )

    @property
    def identity(self) -> Identity:
        files = read_files(self.spec)
        disks = tuple(disk.checksum for disk in files.disks)
        start = self.exit_costs, self.random_seed, self.snapshot, self.after, self.model
        details = RaceDetails(self.spec, self.exit_code, files.checksum, disks, *start)
        return Identity("guest", self.spec.image, str(details))

    @property
    def doubt(self) -> str:
        """What is taken for right, and may be wrong each time; empty if nothing is."""
        guest = guest_called(self.spec.image)
        if not self.exit_code or (guest is not None and guest.exit_code == self.exit_code):
            return ""
        return f"exit code {self.exit_code} is taken for right: {self.spec.image} ends with it even if nobody interferes"

    @property
    def divisible(self) -> int:
        """How many instructions change without LOCK what vCPUs share, while nothing keeps others from it.

        0 of a guest whose free run takes long to look at.
        """
        start = self._start_in_sequence
        if _free_run(start).outcome.steps > _LONGEST_LOOKED_AT:
            return 0
        return len(unordered_instructions(start, self.limit))

    @property
    def start(self) -> Start:
        """What its runs begin with."""
        return Start(self.spec, self.exit_costs, self.random_seed, self.snapshot, self.after, self.model)

    @property
    def _start_in_sequence(self) -> Start:
        """The same, in which what a vCPU stores is seen at once: with store buffers, not even a free run need end well."""
        return attrs.evolve(self.start, model=MemoryModel.SC)

    @property
    def vcpus(self) -> int:
        assert self.spec.vcpus is not None
        return self.spec.vcpus

    @property
    def actors(self) -> int:
        return self.vcpus if self.model is MemoryModel.SC else 2 * self.vcpus

    @property
    def longest_turn(self) -> int:
        return _LONGEST_TURN

    @property
    def free_steps(self) -> int:
        return _contested_steps(self)

    @property
    def limit(self) -> int:
        """After so many steps, vCPUs take turns fairly: see `kev.race.guest.fairness`."""
        return max(_LIMIT, _LIMIT_FACTOR * _free_run(self._start_in_sequence).outcome.steps)

    @property
    def _look_from(self) -> int:
        """The step from which on it is looked whether a run leads nowhere."""
        return first_look(_free_run(self._start_in_sequence).outcome.steps)

    def shared_accesses(self) -> SharedAccesses:
        return shared_accesses(self._start_in_sequence, self.limit)

    def run(self, scheduler: Scheduler) -> GuestOutcome:
        return self._run(scheduler, fair=True)

    def replay(self, scheduler: Scheduler) -> GuestOutcome:
        return self._run(scheduler, fair=False)

    def tell(self, schedule: Schedule) -> Story:
        story = self._tell(schedule, self.limit)
        if story.failure is None or schedule.steps > _LONGEST_TRACED:
            return story
        if story.failure.oracle == ENDLESS:
            story = self._tell(schedule, max(schedule.steps, _TRACED_STANDSTILL), with_waits=True)
            schedule = self._prolonged(schedule)
        return attrs.evolve(story, conflicts=self._conflicts(schedule))

    def _prolonged(self, schedule: Schedule) -> Schedule:
        """With the first of the fair turns that come behind it: what nobody had done before may collide with what others had."""
        with guest_machine(self.start, max(schedule.steps, 1)) as machine:
            machine.run(ReplayScheduler(schedule), fair=False)
            turns = machine.turns[: machine.scheduled + _FAIR_ROUNDS * self.vcpus]
            return Schedule.of((turn.vcpu, turn.steps) for turn in turns)

    @property
    def _known_to_synchronize(self) -> frozenset[int]:
        """By other runs, if those are short: a flag that nobody had to wait for is none in the run that fails."""
        if _free_run(self._start_in_sequence).outcome.steps > _LONGEST_PROFILED:
            return frozenset()
        try:
            return self.shared_accesses().synchronizing
        except RaceError:
            return frozenset()

    def _conflicts(self, schedule: Schedule) -> tuple[Conflict, ...]:
        """What collided in a run that fails."""
        known = self._known_to_synchronize
        with guest_machine(self.start, max(schedule.steps, 1), apart=True) as machine:
            recording = Recording(machine, devices=True)
            machine.run(ReplayScheduler(schedule), fair=False, look_from=UNLIMITED)
            telling = Telling(Places(machine.vm.pager.image), self.spec.image)
            ordering = Ordering(recording.events, known | recording.synchronizing.bytes, self.vcpus)
            found = collisions(schedule, recording.accesses, ordering, _RunsOf(self))
            overlooked = telling.overlooked(recording.overlooked, split=self.model is MemoryModel.SPLIT)
            return (*overlooked, *map(telling.collision, found))

    def _tell(self, schedule: Schedule, limit: int, *, with_waits: bool = False) -> Story:
        # What looks at every access stays in a machine.
        with guest_machine(self.start, limit, apart=with_waits) as machine:
            machine.witness = recorder = TurnRecorder(machine.stage)
            if with_waits:
                Waits(machine, recorder.places)
            machine.run(ReplayScheduler(schedule), fair=False, look_from=UNLIMITED)
            failure = self.judge(machine)
            return recorder.story(f"{self.spec.image} on {self.vcpus} vCPUs{self._begins}", failure)

    def smaller(self) -> Iterator["GuestSubject"]:
        # The numbers of store buffers begin behind those of vCPUs: a schedule with a vCPU less would mean others.
        if self.vcpus > _FEWEST_VCPUS and self.snapshot is None and self.model is MemoryModel.SC:
            smaller = attrs.evolve(self, spec=self.spec.replace(vcpus=self.vcpus - 1))
            if smaller._ends_by_itself:
                yield smaller

    def compact(self, schedule: Schedule) -> tuple["GuestSubject", Schedule]:
        return self, schedule

    @property
    def _ends_by_itself(self) -> bool:
        try:
            _free_run(self._start_in_sequence)
        except CannotRace:
            return False
        return True

    @property
    def _begins(self) -> str:
        """Where its runs do, for people."""
        snapshot = "" if self.snapshot is None else f", from {self.snapshot.file}"
        return f"{snapshot}, after {self.after}" if self.after else snapshot

    def _run(self, scheduler: Scheduler, *, fair: bool) -> GuestOutcome:
        with guest_machine(self.start, self.limit) as machine:
            chosen = fair and not isinstance(scheduler, TurnScheduler)
            # A replay follows its schedule to the letter.
            look_from = self._look_from if chosen else UNLIMITED
            machine.run(scheduler, fair=fair, marks=chosen and self.marks, look_from=look_from)
            return _outcome(machine, self.judge(machine))

    def judge(self, machine: GuestMachine) -> Failure | None:
        """What went wrong, if anything did."""
        ending = machine.vm.ending
        if machine.failure is not None or ending is None:
            return machine.failure
        if ending.kind is not EndingKind.EXITED:
            return Failure("guest died", ending.message, machine.ticks, _NUMBERS.sub("", ending.message))
        if ending.exit_code == self.exit_code:
            return None
        printed = machine.output.decode(errors="replace").strip().rpartition("\n")[2]
        # What is taken for right is 0 for most guests. Of another one that may be news: the run that ends well may be this one.
        expected = f"{self.exit_code} as when nobody interferes" if self.exit_code else "0"
        last = f"the last it prints is {printed!r}" if printed else "it prints nothing"
        message = f"the guest ends with exit code {ending.exit_code}, not {expected}; {last}"
        return Failure("wrong exit code", message, machine.ticks, str(ending.exit_code))


@attrs.frozen(slots=True)
class _RunsOf:
    """A `kev.race.guest.conflicts.Runs`."""

    _subject: GuestSubject

    def fails(self, schedule: Schedule) -> bool:
        return self._subject.replay(RoughScheduler(schedule)).failure is not None

    def accesses(self, schedule: Schedule) -> Sequence[Accessed]:
        with guest_machine(self._subject.start, self._subject.limit, apart=True) as machine:
            recording = Recording(machine, devices=True)
            machine.run(RoughScheduler(schedule), fair=False)
            return recording.accesses


def _saved_spec(identity: Identity, wanted: SnapshotReference) -> MachineSpec:
    """What the machine in a token's snapshot was made as. TokenError if the file is another snapshot now."""
    with opened_snapshot(wanted.file, MachineSpec()) as opened:
        if opened.reference != wanted:
            raise TokenError(f"guest {identity.target}: {wanted.file} is another snapshot than when the token was made")
        return raceable(opened.spec)


def _outcome(machine: GuestMachine, failure: Failure | None) -> GuestOutcome:
    instructions = [vcpu.state.instructions for vcpu in machine.vm.vcpus]
    return GuestOutcome(failure, machine.schedule, instructions, bytes(machine.output), machine.begins)


class _FreeRun(NamedTuple):
    ending: Ending
    outcome: GuestOutcome
    asks: bool
    """It asks for random numbers."""
    marks: bool
    """It says where what is to be explored begins."""


def _forget_others(spec: MachineSpec) -> None:
    """What is known of a guest goes if its files are other ones by now, such as a kernel that was built anew."""
    if read_again(spec):
        forget_machines()
        for known in (_free_run, _contested_steps, shared_accesses, unordered_instructions):
            known.cache_clear()


@cache
def _free_run(start: Start) -> "_FreeRun":
    """Each vCPU in turn, for as long as it can go on. CannotRace if the guest does not come to an end."""
    with guest_machine(start, LONGEST_FREE_RUN) as machine:
        image = machine.vm.pager.image
        machine.vm.place_of = lambda vcpu: place_of(Places(image), vcpu).text
        machine.run(PatientScheduler(machine.vm), fair=True)
        ending, failure = machine.vm.ending, machine.failure
        if failure is None and ending is not None and ending.kind is EndingKind.EXITED:
            asked = [vcpu.state.random_numbers for vcpu in machine.vm.vcpus]
            before = [0] * len(asked) if start.snapshot is None else random_numbers_before(start)
            return _FreeRun(ending, _outcome(machine, None), asked != before, bool(machine.begins))
    message = failure.message if failure is not None else ending.message if ending is not None else ""
    raise CannotRace(f"{start.spec.image} does not end by itself even if nobody interferes: {message}")


@cache
def _contested_steps(subject: GuestSubject) -> int:
    """In a free run, or in one in which vCPUs alternate quickly, whichever has more; a run without an end says nothing."""
    free = _free_run(attrs.evolve(subject.start, model=MemoryModel.SC)).outcome
    slices = max(SHORT_SLICE, free.steps // _MOST_SLICES)
    alternating = subject.run(CountedScheduler(slices))
    if alternating.failure is not None and alternating.failure.oracle == ENDLESS:
        return free.contested_steps
    return max(free.contested_steps, alternating.contested_steps)
