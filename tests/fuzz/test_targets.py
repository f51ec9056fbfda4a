"""Every target, for a moment: what it begins from is accepted, and what is made of that is read or refused."""

import os
import signal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.examples import examples
from tests.fuzz.contained import Inside, Loss, one_by_one, run_contained, tally
from tests.fuzz.coverage import lines_reached
from tests.fuzz.devices import DeviceTarget
from tests.fuzz.guests import random_guests
from tests.fuzz.streams import MODES, image
from tests.fuzz.targets import TARGETS, Target

BY_NAME = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)


@BY_NAME
def test_what_it_begins_from_is_well_formed(target: Target) -> None:
    assert target.seeds()
    if target.name not in ("names", "spec"):  # not all seeds are ELF files, or TOML
        assert [target.check(seed) for seed in target.seeds()] == [None] * len(target.seeds())


@BY_NAME
@given(st.data())
@settings(max_examples=examples(60), deadline=None, suppress_health_check=list(HealthCheck))
def test_what_is_mutated_is_read_or_refused_in_a_line(target: Target, data: st.DataObject) -> None:
    error = target.check(data.draw(target.inputs()))
    assert error is None or str(error)


@given(st.data())
@settings(max_examples=examples(60), deadline=None, suppress_health_check=list(HealthCheck))
def test_devices_take_whatever_a_guest_writes(data: st.DataObject) -> None:
    target = DeviceTarget()
    assert target.check(data.draw(target.inputs())) is None


@pytest.mark.parametrize("seeded", [False, True], ids=["without a seed", "with a seed"])
@pytest.mark.parametrize("bits", MODES)
def test_random_guests_end_or_take_their_own_process_down(bits: int, seeded: bool) -> None:
    launched, others = (tally(random_guests(bits, 0, count, seeded=seeded)) for count in (100, 20))
    assert [sum(counts.values()) + len(losses) for counts, losses in (launched, others)] == [100, 20]
    assert not any(loss.is_ours for loss in launched[1] + others[1])
    assert image(bits, 1) == image(bits, 1) != image(bits, 2)


def test_a_guest_that_takes_its_process_down_is_told_and_the_next_one_runs() -> None:
    def run(number: int) -> str:
        if number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if number == 3:
            raise AssertionError
        return "well"

    counts, losses = tally(run_contained(one_by_one(run), range(5), 60))
    assert counts == {"well": 3}
    nowhere = "its guest had not begun"
    assert losses == [Loss(1, "was killed by SIGKILL", False, nowhere), Loss(3, "ended with exit code 97", True, nowhere)]


def test_where_a_guest_was_that_has_taken_its_process_down_is_told() -> None:
    def work(inside: Inside) -> None:
        inside.note_place(1, 0x7C00)
        inside.say("well")
        inside.note_place(2, 0x1234)
        os.kill(os.getpid(), signal.SIGSEGV)

    assert list(run_contained(work, range(2), 60)) == [
        (0, "well"),
        Loss(1, "was killed by SIGSEGV", False, "vCPU 2 ran last, from RIP 0x1234"),
    ]


def test_lines_that_are_reached_are_counted() -> None:
    target = next(target for target in TARGETS if target.name == "simplefs")
    (seed,) = target.seeds()
    reached, lines = lines_reached(target.modules, lambda: target.check(seed))
    assert 0 < reached < lines
    assert lines_reached(target.modules, lambda: None)[0] == 0
