"""Guest time."""

import time

from kev.clock import WallClock

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
