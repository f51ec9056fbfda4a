"""The time-stamp counters (Intel SDM vol. 3, "Time-stamp counter"): each follows the machine's clock, at an offset."""

from collections.abc import Callable, Sequence
from typing import Final

from kev.clock import Clock

_MASK64: Final = 0xFFFF_FFFF_FFFF_FFFF


class TimeStampCounter:
    """One vCPU's. It runs at 1 GHz, so it counts the clock's nanoseconds."""

    __slots__ = ("_clock", "offset", "on_change")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.offset = 0
        """IA32_TSC_ADJUST: what the guest has added to the clock's time, modulo 2**64. Set by `TimeStampCounters.set_offset`."""
        self.on_change: Callable[[], None] | None = None
        """Told when the offset is another one than before."""

    def read(self) -> int:
        """What RDTSC gives."""
        return (self._clock.now() + self.offset) & _MASK64


class TimeStampCounters:
    """Those of all vCPUs, by vCPU number."""

    __slots__ = ("_clock", "_counters", "before_change")

    def __init__(self, vcpus: int, clock: Clock) -> None:
        self._clock = clock
        self._counters: Final = tuple(TimeStampCounter(clock) for _ in range(vcpus))
        self.before_change: Callable[[Sequence[int]], None] | None = None
        """Told all offsets as they are about to be. If it raises PageAbsent, nothing changes."""

    def __len__(self) -> int:
        return len(self._counters)

    def __getitem__(self, vcpu: int) -> TimeStampCounter:
        return self._counters[vcpu]

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
        if self.before_change is not None:
            self.before_change(offsets)
        counter = self._counters[vcpu]
        counter.offset = offsets[vcpu]
        if counter.on_change is not None:
            counter.on_change()
