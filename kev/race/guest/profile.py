"""Finds out what the vCPUs of a guest share, from the accesses of a few runs."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Final

from kev.addressing import Hpa
from kev.engine.base import VcpuState
from kev.exits import Access, IoOut, MmioWrite
from kev.machine.schedule import CountedScheduler, Scheduler, SeededScheduler
from kev.machine.vcpu import Vcpu
from kev.race.errors import RaceError
from kev.race.guest.frames import GuestPhysical
from kev.race.guest.instructions import Effect, Instructions
from kev.race.guest.machine import GuestMachine
from kev.race.guest.prepared import Start
from kev.race.guest.recording import DeviceAccesses, DeviceExit, register_of
from kev.race.guest.standstill import first_look
from kev.race.guest.start import guest_machine
from kev.race.guest.synchronizing import Synchronizing
from kev.race.shared import SharedAccesses
from kev.race.strategy.free import UnpreemptedScheduler

_LONGEST: Final = 3_000_000
"""Steps of a run of which every access is looked at."""
_SHORTER: Final = 10
"""A run that has no end is left so many times earlier than others: it shows nothing new."""
_VARIABLE: Final = 8
"""Bytes."""
SHORT_SLICE: Final = 16
"""Instructions after which vCPUs alternate quickly."""
_RANDOM_RUNS: Final = 12
_RANDOM_SIZES: Final = 3
"""Of their slices, each twice as long at most as the one before."""
_MOST_PLACES: Final = 4_096
"""Instructions: where more access what is shared, those that do so most often are left out."""


class _Profile:
    """The accesses of one run."""

    def __init__(self, machine: GuestMachine) -> None:
        self._machine: Final = machine
        self._frames: Final = GuestPhysical(machine.vm)
        self._instructions: Final = Instructions(machine.vm)
        self._effect = Effect.NONE
        """Of the instruction that is being executed."""
        self._read = -1
        """What that has read last: a guest-physical address."""
        self.divisible: Final[set[int]] = set()
        """Instructions that read what they change, without LOCK."""
        self.synchronizing: Final = Synchronizing(len(machine.vm.vcpus))
        self.accesses: Final[Counter[tuple[int, int, int, bool]]] = Counter()
        """How often there was each: vCPU, instruction, variable, and whether it is changed."""
        self.interruptible: Final[Counter[int]] = Counter()
        """How often there was each instruction that lets interrupts in."""
        self.steps = 0
        """Of the run."""
        self.has_ended = False
        """Who waits for ever makes more accesses than runs have otherwise."""
        machine.vm.engine.trace_accesses(self._accessed, self._executed)
        machine.vm.observe(DeviceAccesses(self._device_accessed))

    def _device_accessed(self, vcpu: Vcpu, exit: DeviceExit, _value: int) -> None:
        """Ports that lie together are one variable: of two, one may choose what the other is about."""
        variable, writes = register_of(exit) & -_VARIABLE, isinstance(exit, IoOut | MmioWrite)
        self.accesses[vcpu.index, vcpu.state.instruction_address, variable, writes] += 1

    def _executed(self, state: VcpuState, address: int, size: int) -> None:
        if self._machine.tries:
            return
        self._effect = effect = self._instructions.effect(state, address, size)
        self._read = -1
        if effect is Effect.NONE:
            return
        self.synchronizing.executed(state.index, effect)
        if effect in (Effect.HALT, Effect.ENABLE):
            self.interruptible[address] += 1

    def _accessed(self, state: VcpuState, address: int, hpa: Hpa, size: int, access: Access, value: int) -> None:
        gpa = self._frames.gpa(hpa)
        if gpa is not None and not self._machine.tries:
            if access is Access.READ:
                self._read = gpa
            elif self._read == gpa and self._effect is not Effect.LOCKED:
                self.divisible.add(address)
            self.accesses[state.index, address, gpa & -_VARIABLE, access is Access.WRITE] += 1
            self.synchronizing.accessed(state.index, address, gpa, size, access, self._effect)


@cache
def shared_accesses(start: Start, limit: int) -> SharedAccesses:
    """What the vCPUs of a guest share in a run in which nobody interferes, one in which they alternate quickly, and a few others.

    RaceError if such a run has more than 3 million steps.
    """
    free, *schedulers = _schedulers()
    alone = _profile(start, limit, free)
    profiles = [alone, *(_profile(start, limit, scheduler, first_look(alone.steps)) for scheduler in schedulers)]
    shared = _shared(profiles)
    places = _rarest(
        {address for profile in profiles for _, address, variable, _ in profile.accesses if variable in shared},
        Counter(address for profile in profiles for _, address, _, _ in profile.accesses.elements()),
    )
    interruptible = sum((profile.interruptible for profile in profiles), Counter())
    variables: defaultdict[int, set[int]] = defaultdict(set)
    written: set[int] = set()
    for profile in profiles:
        for _, address, variable, writes in profile.accesses:
            if variable in shared and address in places:
                variables[address].add(variable)
                if writes:
                    written.add(address)
    ended = [profile for profile in profiles if profile.has_ended] or profiles
    return SharedAccesses(
        {address: frozenset(found) for address, found in variables.items()},
        frozenset(written),
        _counts(ended, variables, start.spec.vcpus or 1),
        frozenset(_rarest(set(interruptible), interruptible)),
        frozenset().union(*(profile.synchronizing.bytes for profile in profiles)),
        max(profile.interruptible.total() for profile in ended),
        frozenset(places.intersection(set().union(*(profile.divisible for profile in profiles)))),
    )


def divisible_instructions(start: Start, limit: int) -> frozenset[int]:
    """Where instructions change what vCPUs share without LOCK in a run in which nobody interferes: their linear addresses."""
    alone = _profile(start, limit, UnpreemptedScheduler())
    shared = _shared([alone])
    return frozenset(alone.divisible.intersection(address for _, address, variable, _ in alone.accesses if variable in shared))


def _shared(profiles: Iterable[_Profile]) -> set[int]:
    """The variables that several vCPUs access, and one of them changes."""
    users: defaultdict[int, set[int]] = defaultdict(set)
    changed: set[int] = set()
    for vcpu, _, variable, writes in (access for profile in profiles for access in profile.accesses):
        users[variable].add(vcpu)
        if writes:
            changed.add(variable)
    return {variable for variable, vcpus in users.items() if len(vcpus) > 1 and variable in changed}


def _counts(profiles: Sequence[_Profile], variables: Mapping[int, Collection[int]], vcpus: int) -> list[Counter[int]]:
    """How often each vCPU accesses each variable in a run, at most, by one of the instructions that are given."""
    counts: list[Counter[int]] = [Counter() for _ in range(vcpus)]
    for profile in profiles:
        for (vcpu, address, variable, _), times in profile.accesses.items():
            if variable in variables.get(address, ()):
                counts[vcpu][variable] = max(counts[vcpu][variable], times)
    return counts


def _schedulers() -> Iterator[Scheduler]:
    """What is done only if another vCPU has come first is seen in some of those in which chance decides."""
    yield UnpreemptedScheduler()
    yield CountedScheduler(SHORT_SLICE)
    for seed in range(_RANDOM_RUNS):
        yield SeededScheduler(seed, SHORT_SLICE << seed % _RANDOM_SIZES)


def _rarest(places: set[int], times: Counter[int]) -> set[int]:
    return set(sorted(places, key=lambda address: (times[address], address))[:_MOST_PLACES])


def _profile(start: Start, limit: int, scheduler: Scheduler, look_from: int | None = None) -> _Profile:
    with guest_machine(start, min(limit // _SHORTER, _LONGEST), apart=True) as machine:
        profile = _Profile(machine)
        machine.run(scheduler, fair=True, look_from=look_from)
        profile.steps = machine.ticks
        profile.has_ended = machine.vm.ending is not None
        if machine.ticks > _LONGEST:
            raise RaceError(
                f"{start.spec.image}: a run has {machine.ticks:,} steps: what vCPUs share is looked for in runs of up to"
                f" {_LONGEST:,}; `--after` begins later"
            )
        return profile
