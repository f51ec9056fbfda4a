"""The time-stamp counters (Intel SDM vol. 3, "Time-stamp counter"): each follows the machine's clock, at an offset."""

from collections.abc import Sequence
from typing import Final

from kev.clock import Clock
from kev.state import Fields, State, bits, check_count, listed
from kev.subscribers import Subscribers

_MASK64: Final = 0xFFFF_FFFF_FFFF_FFFF
_FIELDS: Final = Fields({}, offsets=listed(bits(64)))


class TimeStampCounter:
    """One vCPU's. It runs at 1 GHz, so it counts the clock's nanoseconds."""

    __slots__ = ("_clock", "changed", "offset")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.offset = 0
        """IA32_TSC_ADJUST: what the guest has added to the clock's time, modulo 2**64. Set by `TimeStampCounters.set_offset`."""
        self.changed: Final[Subscribers[[]]] = Subscribers()
        """Are told when the offset is another one than before."""

    def read(self) -> int:
        """What RDTSC gives."""
        return (self._clock.now() + self.offset) & _MASK64


class TimeStampCounters:
    """Those of all vCPUs, by vCPU number. A `Device` without addresses: `kev.dev.chipset.processor` has the registers."""

    name: Final = "time-stamp counters"

    __slots__ = ("_clock", "_counters", "changing", "moved")

    def __init__(self, vcpus: int, clock: Clock) -> None:
        self._clock = clock
        self._counters: Final = tuple(TimeStampCounter(clock) for _ in range(vcpus))
        self.changing: Final[Subscribers[[Sequence[int]]]] = Subscribers()
        """Are told all offsets as they are about to be. If one of them raises PageAbsent, nothing changes."""
        self.moved: Final[Subscribers[[]]] = Subscribers()
        """Are told when the offsets may be others than before, after all else."""

    def __len__(self) -> int:
        return len(self._counters)

    def __getitem__(self, vcpu: int) -> TimeStampCounter:
        return self._counters[vcpu]

    def reset(self) -> None:
        for counter in self._counters:
            counter.offset = 0
        self.moved()

    def save(self) -> State:
        return _FIELDS.save(self, offsets=self.offsets)

    def load(self, state: State) -> None:
        offsets = _FIELDS.load(self, self.name, state)["offsets"]
        check_count(self.name, "offsets", offsets, len(self._counters))
        for counter, offset in zip(self._counters, offsets, strict=True):
            counter.offset = offset
        self.moved()

    @property
    def offsets(self) -> list[int]:
        return [counter.offset for counter in self._counters]

    def write(self, vcpu: int, value: int) -> None:
        """WRMSR to IA32_TSC: the counter goes on from `value`."""
        self.set_offset(vcpu, value - self._clock.now())

    def set_offset(self, vcpu: int, offset: int) -> None:
        """WRMSR to IA32_TSC_ADJUST."""
        offsets = self.offsets
        offsets[vcpu] = offset & _MASK64
        self.changing(offsets)
        counter = self._counters[vcpu]
        counter.offset = offsets[vcpu]
        counter.changed()
        self.moved()
