"""Signals that are noted, and who hears of them."""

import signal
import sys
from threading import Event

import pytest

from kev.machine.api import launch
from kev.measure.dialogue import Dialogue
from kev.measure.processes import measure_process
from kev.pager.source import NoAnswer, answered
from kev.work.stopping import Stopped, check, signals_noted, stopped_when, stopped_while_waiting

TELLS_US: str = "import os, signal, time; os.kill(os.getppid(), signal.SIGTERM); time.sleep(600)"


@pytest.mark.parametrize("measure", [Dialogue("never").measure, measure_process])
def test_a_signal_ends_the_wait_for_a_process_at_once(measure: object) -> None:
    assert callable(measure)
    with signals_noted([signal.SIGTERM]), pytest.raises(Stopped) as caught:
        measure([sys.executable, "-c", TELLS_US])
    assert caught.value.signal == signal.SIGTERM


def test_a_wait_that_begins_behind_a_signal_ends_at_once() -> None:
    with signals_noted():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Stopped), stopped_while_waiting():
            raise AssertionError("it has waited")


def test_a_signal_that_nobody_looks_for_goes_to_whom_it_would_have_gone() -> None:
    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        with signals_noted([signal.SIGTERM]):
            signal.raise_signal(signal.SIGTERM)
            assert not heard
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]


def test_a_signal_that_has_stopped_the_work_is_over_with_it() -> None:
    with signals_noted():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Stopped):
            check()
    check()


def test_work_within_work_does_not_keep_a_signal_for_itself() -> None:
    with signals_noted():
        with signals_noted():
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(Stopped):
            check()


def test_a_signal_that_comes_when_a_run_has_just_ended_is_noted() -> None:
    def interrupt(line: str) -> None:
        if "Vmcall number 0x0" in line:
            signal.raise_signal(signal.SIGTERM)

    with signals_noted([signal.SIGTERM]):
        report = launch("hypercalls", trace_exits=interrupt, interrupt_ends=True)
        with pytest.raises(Stopped):
            check()
    assert report.exit_code == 42


def test_whoever_is_to_stop_does_not_wait_for_an_answer() -> None:
    with stopped_when(lambda: True), pytest.raises(NoAnswer, match="nobody waits for it any more"):
        answered(Event().wait, 1e6, "kernel")
