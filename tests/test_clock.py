"""Guest time."""

import time

from kev.clock import TimerQueue, VirtualClock, WallClock

_WORK = 200_000
"""Nanoseconds."""


def test_no_time_passes_for_the_machine_while_its_clock_stands_still() -> None:
    clock = WallClock()
    began, before = time.perf_counter_ns(), clock.now()
    clock.stop()
    entered, stopped = time.perf_counter_ns(), clock.now()
    while (left := time.perf_counter_ns()) - entered < _WORK:
        assert clock.now() == stopped
    clock.go_on()
    passed, ended = clock.now() - before, time.perf_counter_ns()
    assert 0 <= passed <= ended - began - (left - entered)


class BusyClock:
    """Looking at it takes longer than a guest's timer."""

    def __init__(self) -> None:
        self._now = 0

    def now(self) -> int:
        self._now += 20_000
        return self._now


def test_timers_that_come_due_faster_than_they_are_run_do_not_keep_the_machine() -> None:
    clock = BusyClock()
    timers = TimerQueue(clock)
    ran: list[int] = []

    def expire() -> None:
        ran.append(clock.now())
        assert len(ran) < 100
        timers.at(ran[-1] + 10_000, expire)

    timers.at(0, expire)
    assert timers.run_due()
    assert len(ran) == 1


def test_a_timer_that_would_do_nothing_does_not_keep_the_queue_from_being_idle() -> None:
    clock = VirtualClock()
    timers = TimerQueue(clock)
    waiting: list[int] = []
    timers.at(10, waiting.clear, lambda: not waiting)
    assert timers.is_idle
    waiting.append(1)
    assert not timers.is_idle
    clock.advance(10)
    assert timers.run_due()
    assert timers.is_idle
    other = timers.at(20, waiting.clear)
    assert not timers.is_idle
    timers.cancel(other)
    assert timers.is_idle
