"""The real-time clock and CMOS memory of a PC (Motorola MC146818A datasheet; the memory's layout: IBM PC/AT and its successors)."""

from collections.abc import Sequence
from typing import Final, Self

from kev.addressing import KIB, MIB
from kev.clock import TIMER, Clock, Timer, TimerQueue
from kev.dev.base import InterruptLine
from kev.dev.clocks.calendar_time import CalendarTime, day_of_week
from kev.dev.surroundings import Surroundings
from kev.state import FLAG, Fields, State, bits, converted, integers, listed, octets, optional

_IRQ: Final = 8

_NANOSECONDS: Final = 1_000_000_000
_DAY: Final = 86_400
_CRYSTAL: Final = 32_768
"""Its frequency in Hz."""

_SECONDS: Final = 0x00
_SECONDS_ALARM: Final = 0x01
_MINUTES: Final = 0x02
_MINUTES_ALARM: Final = 0x03
_HOURS: Final = 0x04
_HOURS_ALARM: Final = 0x05
_DAY_OF_WEEK: Final = 0x06
_DAY_OF_MONTH: Final = 0x07
_MONTH: Final = 0x08
_YEAR: Final = 0x09
_A: Final = 0x0A
_B: Final = 0x0B
_C: Final = 0x0C
_D: Final = 0x0D
_CENTURY: Final = 0x32
_TIME: Final = frozenset({_SECONDS, _MINUTES, _HOURS, _DAY_OF_WEEK, _DAY_OF_MONTH, _MONTH, _YEAR, _CENTURY})
_ALARMS: Final = frozenset({_SECONDS_ALARM, _MINUTES_ALARM, _HOURS_ALARM})

_ANY: Final = 0xC0
"""An alarm byte from here on matches every time."""

_UPDATE_IN_PROGRESS: Final = 0x80
_UPDATE_NOTICE: Final = 244_000
"""It rises this many nanoseconds before a second ends."""
_A_AT_START: Final = 0x26
"""A 32768 Hz crystal, periodic interrupts at 1024 Hz."""

_SET: Final = 0x80
_BINARY: Final = 0x04
_24_HOURS: Final = 0x02
_PM: Final = 0x80

_PERIODIC: Final = 0x40
_ALARM: Final = 0x20
_UPDATE: Final = 0x10
_SOURCES: Final = _PERIODIC | _ALARM | _UPDATE
"""The interrupts: enabled in register B, flagged in register C."""
_REQUEST: Final = 0x80
_VALID_RAM: Final = 0x80
_MEMORY_SIZE: Final = 128


_TIME_KIND: Final = converted(
    listed(integers(-(1 << 40), 1 << 40), 2),
    lambda time: list(divmod(time, _NANOSECONDS)),
    lambda pair: pair[0] * _NANOSECONDS + pair[1],
)
"""Nanoseconds since 1970, of any year that a guest can set; saved as seconds and nanoseconds."""
_CALENDAR: Final = converted(
    listed(bits(16), 6),
    lambda calendar: [getattr(calendar, field) for field in CalendarTime.FIELDS],
    lambda fields: CalendarTime(*fields),
)


class Rtc:
    """A `PortDevice`: index at 0x70, data at 0x71. Interrupts on `irq`.

    Flags are worked out from the time when somebody looks; timers run only for interrupts that are enabled.
    """

    __slots__ = (
        "_a",
        "_asserted",
        "_b",
        "_boot_time",
        "_clock",
        "_collected",
        "_epoch",
        "_flags",
        "_held",
        "_index",
        "_irq",
        "_memory",
        "_memory_sizes",
        "_timer",
        "_timers",
    )

    _FIELDS: Final = Fields(
        {
            "_a": bits(7),
            "_asserted": FLAG,
            "_b": bits(8),
            "_collected": _TIME_KIND,
            "_epoch": _TIME_KIND,
            "_flags": bits(8),
            "_held": optional(_CALENDAR),
            "_index": bits(7),
            "_memory": octets(_MEMORY_SIZE),
        },
        timer=TIMER,
    )

    name: Final = "real-time clock"
    ports: Final[Sequence[range]] = (range(0x70, 0x72),)

    def __init__(
        self, clock: Clock, timers: TimerQueue, irq: InterruptLine, boot_time: int, low_ram: int, high_ram: int = 0
    ) -> None:
        """`boot_time`: when the machine was switched on, seconds since 1970 UTC. RAM below and above 4 GiB: in bytes."""
        self._clock = clock
        self._timers = timers
        self._irq = irq
        self._boot_time: Final = boot_time
        self._memory_sizes: Final = _memory_sizes(low_ram, high_ram)
        self._timer: Timer | None = None
        self.reset()

    @classmethod
    def built_for(cls, machine: Surroundings) -> Self:
        below_4_gib, *above = machine.ram
        return cls(machine.clock, machine.timers, machine.line(_IRQ), machine.boot_time, len(below_4_gib), sum(map(len, above)))

    def reset(self) -> None:
        """Also what a battery would keep: the machine is another one."""
        self._stop_timer()
        self._epoch = self._boot_time * _NANOSECONDS
        """What the clock below says is added to this."""
        self._held: CalendarTime | None = None
        """The time registers while the guest sets them."""
        self._index = 0
        self._a = _A_AT_START
        self._b = _24_HOURS
        self._flags = 0
        self._collected = self._epoch
        """Until when the flags are worked out: when the machine was switched on, however late anybody looks."""
        self._memory = bytearray(_MEMORY_SIZE)
        for register, value in (*self._memory_sizes.items(), *_BOOT_ORDER.items()):
            self._memory[register] = value
        self._set_interrupt(False)

    def save(self) -> State:
        return self._FIELDS.save(self, timer=self._timer)

    def load(self, state: State) -> None:
        self._stop_timer()
        timer = self._FIELDS.load(self, self.name, state)["timer"]
        self._timer = self._timers.restore(timer, self._update_interrupt)
        self._irq(self._asserted)

    def read_port(self, port: int, size: int) -> int:
        return self._read(self._index) if port == 0x71 else 0xFF

    def write_port(self, port: int, size: int, value: int) -> None:
        if port == 0x71:
            self._write(self._index, value & 0xFF)
        else:
            self._index = value & 0x7F  # bit 7 masks the NMI, which nothing here raises

    def _read(self, register: int) -> int:
        if register in _TIME:
            return self._read_time(register)
        if register == _A:
            return self._a | self._update_in_progress()
        if register == _B:
            return self._b
        if register == _C:
            return self._read_flags()
        return _VALID_RAM if register == _D else self._memory[register]

    def _write(self, register: int, value: int) -> None:
        if register in _TIME:
            self._write_time(register, value)
        elif register == _A:
            self._collect()
            self._a = value & 0x7F
            self._schedule()
        elif register == _B:
            self._write_b(value)
        elif register in _ALARMS:
            self._collect()
            self._memory[register] = value
            self._schedule()
        elif register not in (_C, _D):
            self._memory[register] = value

    # Date and time

    def _time(self) -> int:
        """Nanoseconds since 1970, as the guest has set the clock."""
        return self._epoch + self._clock.now()

    def _calendar(self) -> CalendarTime:
        return self._held or CalendarTime.from_unix(self._time() // _NANOSECONDS)

    def _update_in_progress(self) -> int:
        ends = self._time() % _NANOSECONDS >= _NANOSECONDS - _UPDATE_NOTICE
        return _UPDATE_IN_PROGRESS if ends and self._held is None else 0

    def _read_time(self, register: int) -> int:
        calendar = self._calendar()
        if register == _HOURS:
            return self._encode_hour(calendar.hour)
        if register == _DAY_OF_WEEK:
            return day_of_week(calendar.to_unix())
        return self._encode(
            {
                _SECONDS: calendar.second,
                _MINUTES: calendar.minute,
                _DAY_OF_MONTH: calendar.day,
                _MONTH: calendar.month,
                _YEAR: calendar.year % 100,
                _CENTURY: calendar.year // 100,
            }[register]
        )

    def _write_time(self, register: int, byte: int) -> None:
        """The day of the week follows from the date, and is not written."""
        calendar = self._calendar()
        value = self._decode(byte)
        if register == _SECONDS:
            calendar.second = value
        elif register == _MINUTES:
            calendar.minute = value
        elif register == _HOURS:
            calendar.hour = self._decode_hour(byte)
        elif register == _DAY_OF_MONTH:
            calendar.day = value
        elif register == _MONTH:
            calendar.month = value
        elif register == _YEAR:
            calendar.year = calendar.year // 100 * 100 + value
        elif register == _CENTURY:
            calendar.year = value * 100 + calendar.year % 100
        if self._held is None:
            self._set_time(calendar)

    def _set_time(self, calendar: CalendarTime) -> None:
        fraction = self._time() % _NANOSECONDS
        self._collect()
        self._epoch = calendar.to_unix() * _NANOSECONDS + fraction - self._clock.now()
        self._collected = self._time()
        self._schedule()

    def _write_b(self, value: int) -> None:
        self._collect()
        self._b = value
        if value & _SET:
            self._held = self._calendar()
        elif self._held is not None:
            held, self._held = self._held, None
            self._set_time(held)
        self._update_interrupt()

    def _encode(self, value: int) -> int:
        return (value if self._b & _BINARY else value // 10 << 4 | value % 10) & 0xFF

    def _decode(self, byte: int) -> int:
        return byte if self._b & _BINARY else (byte >> 4) * 10 + (byte & 0xF)

    def _encode_hour(self, hour: int) -> int:
        if self._b & _24_HOURS:
            return self._encode(hour)
        return self._encode(hour % 12 or 12) | (_PM if hour >= 12 else 0)

    def _decode_hour(self, byte: int) -> int:
        if self._b & _24_HOURS:
            return self._decode(byte)
        return self._decode(byte & 0x7F) % 12 + (12 if byte & _PM else 0)

    # Interrupts

    def _period(self) -> int:
        """Of the periodic interrupt, in cycles of the crystal; 0 for none. Rates 1 and 2 are those of 8 and 9."""
        rate = self._a & 0xF
        if rate == 0:
            return 0
        return 1 << (rate + 6 if rate < 3 else rate - 1)

    def _collect(self) -> None:
        """Flags what has happened since the last time."""
        before, self._collected = self._collected, self._time()
        period = self._period()
        if period and _cycles(before) // period != _cycles(self._collected) // period:
            self._flags |= _PERIODIC
        second_before, second = before // _NANOSECONDS, self._collected // _NANOSECONDS
        if self._held is None and second != second_before:
            self._flags |= _UPDATE
            alarm = self._next_alarm(second_before)
            if alarm is not None and alarm <= second:
                self._flags |= _ALARM

    def _read_flags(self) -> int:
        self._collect()
        value = self._flags | (_REQUEST if self._flags & self._b & _SOURCES else 0)
        self._flags = 0
        # The line falls, though the next event may have come by now: an edge is what interrupts.
        self._set_interrupt(False)
        self._update_interrupt()
        return value

    def _update_interrupt(self) -> None:
        self._collect()
        self._set_interrupt(bool(self._flags & self._b & _SOURCES))
        self._schedule()

    def _set_interrupt(self, asserted: bool) -> None:
        self._asserted = asserted
        self._irq(asserted)

    def _schedule(self) -> None:
        """Wakes up for the next event that has to interrupt and is not flagged yet."""
        self._stop_timer()
        events = self._next_events(self._b & _SOURCES & ~self._flags)
        if events:
            self._timer = self._timers.at(min(events) - self._epoch, self._update_interrupt)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timers.cancel(self._timer)
            self._timer = None

    def _next_events(self, sources: int) -> list[int]:
        now = self._time()
        events = []
        period = self._period()
        if sources & _PERIODIC and period:
            events.append(-(-(_cycles(now) // period + 1) * period * _NANOSECONDS // _CRYSTAL))
        if self._held is None:
            second = now // _NANOSECONDS
            if sources & _UPDATE:
                events.append((second + 1) * _NANOSECONDS)
            if sources & _ALARM and (alarm := self._next_alarm(second)) is not None:
                events.append(alarm * _NANOSECONDS)
        return events

    def _next_alarm(self, after: int) -> int | None:
        """The first second (since 1970) later than `after` that the alarm registers match."""
        seconds, minutes, hours = self._alarm_matches()
        midnight = after - after % _DAY
        for day in (midnight, midnight + _DAY):
            for hour in hours:
                if day + hour * 3600 + 3599 <= after:
                    continue
                for minute in minutes:
                    start = day + hour * 3600 + minute * 60
                    for second in seconds if start + 59 > after else ():
                        if start + second > after:
                            return start + second
        return None

    def _alarm_matches(self) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        second, minute, hour = (self._memory[register] for register in (_SECONDS_ALARM, _MINUTES_ALARM, _HOURS_ALARM))
        return (
            _matches(60, None if second >= _ANY else self._decode(second)),
            _matches(60, None if minute >= _ANY else self._decode(minute)),
            _matches(24, None if hour >= _ANY else self._decode_hour(hour)),
        )


def _matches(limit: int, value: int | None) -> Sequence[int]:
    if value is None:
        return range(limit)
    return (value,) if value < limit else ()


_BOOT_ORDER: Final = {0x3D: 0x32, 0x38: 0}
"""As Bochs has it, whose BIOS and SeaBIOS go by it: the first hard disk, then the CD-ROM drive; nothing else."""


def _cycles(time: int) -> int:
    """Nanoseconds in cycles of the crystal."""
    return time * _CRYSTAL // _NANOSECONDS


def _memory_sizes(low_ram: int, high_ram: int) -> dict[int, int]:
    """What the firmware has written about RAM: each size as a little-endian number over adjacent registers."""
    base_kib = min(low_ram, 640 * KIB) // KIB
    extended_kib = min(max(0, low_ram - MIB) // KIB, 0xFFFF)
    above_16_mib = min(max(0, low_ram - 16 * MIB) // (64 * KIB), 0xFFFF)
    above_4_gib = min(high_ram // (64 * KIB), 0xFF_FFFF)
    sizes = ((0x15, 2, base_kib), (0x17, 2, extended_kib), (0x30, 2, extended_kib), (0x34, 2, above_16_mib), (0x5B, 3, above_4_gib))
    return {first + index: value >> 8 * index & 0xFF for first, length, value in sizes for index in range(length)}
