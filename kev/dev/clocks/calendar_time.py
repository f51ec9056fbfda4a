"""Date and time of day, in the fields that a real-time clock has registers for."""

import time
from typing import Final

_DAY = 86_400
_ORDINAL_OF_1970 = 719_163


class CalendarTime:
    """A time in the proleptic Gregorian calendar, UTC. The fields may be out of range while a guest sets them one by one."""

    __slots__ = ("day", "hour", "minute", "month", "second", "year")

    FIELDS: Final = ("second", "minute", "hour", "day", "month", "year")
    """In the order of the arguments."""

    def __init__(self, second: int, minute: int, hour: int, day: int, month: int, year: int) -> None:
        self.second = second
        self.minute = minute
        self.hour = hour
        self.day = day
        self.month = month
        self.year = year

    @classmethod
    def from_unix(cls, seconds: int) -> "CalendarTime":
        """`seconds` since 1970."""
        fields = time.gmtime(seconds)
        return cls(fields.tm_sec, fields.tm_min, fields.tm_hour, fields.tm_mday, fields.tm_mon, fields.tm_year)

    def to_unix(self) -> int:
        """Seconds since 1970. Out-of-range days and times carry over, 31 February being 3 March; month and year are clipped."""
        from datetime import date  # kept out of start-up: only guests that set the clock come here

        first = date(min(max(self.year, 1), 9999), min(max(self.month, 1), 12), 1)
        days = first.toordinal() - _ORDINAL_OF_1970 + self.day - 1
        return days * _DAY + self.hour * 3600 + self.minute * 60 + self.second


def day_of_week(seconds: int) -> int:
    """Of a time since 1970: 1 is Sunday, 7 Saturday."""
    return (seconds // _DAY + 4) % 7 + 1
