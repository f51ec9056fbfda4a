"""The model-specific registers that every processor of this kind has (Intel SDM vol. 4, "Architectural MSRs").

CPUID announces them: the time-stamp counter, memory type ranges, machine checks of which there are none, and the few that firmware
and kernels look at without asking, or before they know which processor they run on. Memory types are stored and have no effect.
"""

from typing import Final

from kev.dev.clocks.time_stamp_counter import TimeStampCounters
from kev.exits import GENERAL_PROTECTION, GuestException
from kev.state import Fields, State, bits, check_count, listed

_PLATFORM_ID: Final = 0x17
_TIME_STAMP_COUNTER: Final = 0x10
_EBL_CR_POWERON: Final = 0x2A
_FEATURE_CONTROL: Final = 0x3A
_TSC_ADJUST: Final = 0x3B
_BIOS_SIGN_ID: Final = 0x8B
_PLATFORM_INFO: Final = 0xCE
_MTRRCAP: Final = 0xFE
_MCG_CAP: Final = 0x179
_MCG_STATUS: Final = 0x17A
_PERF_STATUS: Final = 0x198
_PERF_CTL: Final = 0x199
_MISC_ENABLE: Final = 0x1A0
_MTRR_PHYS: Final = range(0x200, 0x210)
_MTRR_FIX_64K: Final = 0x250
_MTRR_FIX_16K: Final = range(0x258, 0x25A)
_MTRR_FIX_4K: Final = range(0x268, 0x270)
_MTRR_DEF_TYPE: Final = 0x2FF

_TEN_TIMES_100_MHZ: Final = 10 << 8
"""The only performance state, as processors of this family number them."""
_HIGHEST_RATIO: Final = 10 << 40
"""Of the performance status. In the platform information, the lowest stands there."""

_READ_ONLY: Final = {
    _PLATFORM_ID: 0,
    _EBL_CR_POWERON: 0,
    _FEATURE_CONTROL: 1,  # locked, VMX off
    _MTRRCAP: 0x508,  # 8 variable ranges, fixed ranges, write combining
    _MCG_CAP: 0,
    _PLATFORM_INFO: _HIGHEST_RATIO | _TEN_TIMES_100_MHZ,
    _PERF_STATUS: _HIGHEST_RATIO | _TEN_TIMES_100_MHZ,
}
_INITIAL: Final = {
    _BIOS_SIGN_ID: 0,
    _MCG_STATUS: 0,
    _PERF_CTL: _TEN_TIMES_100_MHZ,
    _MISC_ENABLE: 1,  # fast string operations
    _MTRR_DEF_TYPE: 0xC06,  # ranges on, write-back by default
    **dict.fromkeys((*_MTRR_PHYS, _MTRR_FIX_64K, *_MTRR_FIX_16K, *_MTRR_FIX_4K), 0),
}


_FIELDS: Final = Fields({}, processors=listed(listed(bits(64), len(_INITIAL))))


class ProcessorMsrs:
    """An `MsrDevice`. Every vCPU has its own registers."""

    name: Final = "processors"
    msrs: Final = tuple(range(index, index + 1) for index in (_TIME_STAMP_COUNTER, _TSC_ADJUST, *_READ_ONLY, *_INITIAL))

    __slots__ = ("_counters", "_values")

    def __init__(self, counters: TimeStampCounters) -> None:
        self._counters = counters
        self.reset()

    def reset(self) -> None:
        """The time-stamp counters aside, which are a device of their own."""
        self._values = [dict(_INITIAL) for _ in range(len(self._counters))]

    def save(self) -> State:
        """A list for every vCPU, in the order of the registers' numbers."""
        return _FIELDS.save(self, processors=[[values[index] for index in sorted(values)] for values in self._values])

    def load(self, state: State) -> None:
        processors = _FIELDS.load(self, self.name, state)["processors"]
        check_count(self.name, "processors", processors, len(self._counters))
        self._values = [dict(zip(sorted(_INITIAL), values, strict=True)) for values in processors]

    def read_msr(self, vcpu: int, index: int) -> int | GuestException:
        if index == _TIME_STAMP_COUNTER:
            return self._counters[vcpu].read()
        if index == _TSC_ADJUST:
            return self._counters[vcpu].offset
        return _READ_ONLY[index] if index in _READ_ONLY else self._values[vcpu][index]

    def write_msr(self, vcpu: int, index: int, value: int) -> GuestException | None:
        if index in _READ_ONLY:
            return GENERAL_PROTECTION
        if index == _TIME_STAMP_COUNTER:
            self._counters.write(vcpu, value)
        elif index == _TSC_ADJUST:
            self._counters.set_offset(vcpu, value)
        else:
            self._values[vcpu][index] = value
        return None
