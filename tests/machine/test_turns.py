"""Whose turn it is when time is the host's."""

import itertools
from functools import partial

import pytest
import trio

import kev
from kev.dev.interrupts.local_apic import DeliveryMode
from kev.exits import Exit, Wrmsr
from kev.guests.images import open_image
from kev.machine.builder import MachineOptions
from kev.machine.driving import drive
from kev.machine.ending import Ending
from kev.machine.launcher import prepare
from kev.machine.schedule import Decision, FreeScheduler
from kev.machine.vcpu import Vcpu
from kev.machine.vm import VmObserver
from tests.abi.calls import POWER_OFF, kernel
from tests.boot.images import source
from tests.machine.code import code
from tests.race import small_guests as small

FULL = 0.005
X2APIC_COMMAND = 0x830


def turns(scheduler: FreeScheduler, count: int, runnable: tuple[int, ...] = (0, 1, 2)) -> list[int]:
    return [scheduler.next(runnable).vcpu for _ in range(count)]


def test_everybody_gets_a_turn_of_the_same_length() -> None:
    scheduler = FreeScheduler(FULL)
    decisions = [scheduler.next((0, 2, 5)) for _ in range(7)]
    assert [decision.vcpu for decision in decisions] == [0, 2, 5, 0, 2, 5, 0]
    assert {decision.budget.seconds for decision in decisions} == {FULL}


def test_who_was_sent_something_goes_next_and_the_sender_behind_it() -> None:
    scheduler = FreeScheduler(FULL)
    assert turns(scheduler, 1) == [0]
    scheduler.prefer(2)
    assert turns(scheduler, 5) == [2, 0, 1, 2, 0]


def test_turns_are_short_behind_that_and_grow_to_their_full_length() -> None:
    scheduler = FreeScheduler(FULL)
    scheduler.next((0, 1))
    scheduler.prefer(1)
    lengths = [scheduler.next((0, 1)).budget.seconds or 0 for _ in range(9)]
    assert lengths[0] < 0.001
    assert lengths == sorted(lengths)
    assert lengths[-1] == FULL


def test_who_cannot_run_is_not_waited_for() -> None:
    scheduler = FreeScheduler(FULL)
    turns(scheduler, 1)
    scheduler.prefer(1)
    assert turns(scheduler, 2, (0, 2)) == [2, 0]
    scheduler.prefer(2)
    assert turns(scheduler, 1) == [2]
    assert turns(scheduler, 2, (1, 2)) == [1, 2]


def test_two_that_send_to_each_other_all_the_time_leave_the_others_their_turns() -> None:
    scheduler = FreeScheduler(FULL)
    seen = turns(scheduler, 1)
    for _ in range(200):
        scheduler.prefer(1 - seen[-1] if seen[-1] < 2 else 0)
        seen += turns(scheduler, 1, (0, 1, 2, 3))
    assert seen.count(2) >= 5
    assert seen.count(3) >= 5


class Turnstile:
    """Two vCPUs, of which the first is elsewhere whenever somebody looks."""

    def __init__(self) -> None:
        self.places = {0: 0, 1: 100}
        self.used = 1.0
        """How much of its turn each uses."""
        self.now = 0.0
        self.scheduler = FreeScheduler(FULL, lambda vcpu: self.places[vcpu], lambda: self.now)

    def lengths(self, rounds: int) -> dict[int, float]:
        """Of the last turns."""
        found = {}
        for _ in range(2 * rounds):
            decision = self.scheduler.next((0, 1))
            found[decision.vcpu] = decision.budget.seconds or 0
            self.places[0] += 1
            self.now += self.used * found[decision.vcpu]
        return found


def test_who_is_found_where_it_was_waits_and_gets_short_turns_until_it_is_elsewhere() -> None:
    board = Turnstile()
    assert board.lengths(1) == {0: FULL, 1: FULL}
    waiting = board.lengths(2)
    assert waiting[0] == FULL
    assert waiting[1] < FULL / 10
    board.places[1] = 101
    assert board.lengths(1) == {0: FULL, 1: FULL}


def test_of_those_that_wait_one_has_a_turn_in_each_round_while_another_does_not() -> None:
    places, now = {0: 0, 1: 100, 2: 200, 3: 300}, itertools.count()
    scheduler = FreeScheduler(FULL, lambda vcpu: places[vcpu], lambda: next(now))
    seen = []
    for _ in range(20):
        seen += turns(scheduler, 1, (0, 1, 2, 3))
        places[0] += 1
    assert seen[8:] == [0, 1, 0, 2, 0, 3] * 2


def test_who_waits_and_is_interrupted_has_a_turn_in_each_round() -> None:
    places, now = {0: 0, 1: 100, 2: 200, 3: 300}, itertools.count()
    scheduler = FreeScheduler(FULL, lambda vcpu: places[vcpu], lambda: next(now), lambda vcpu: vcpu == 3)
    seen = []
    for _ in range(21):
        seen += turns(scheduler, 1, (0, 1, 2, 3))
        places[0] += 1
    assert seen[9:] == [0, 3, 2, 0, 3, 1] * 2


def test_who_gives_up_its_turn_at_once_does_not_wait() -> None:
    board = Turnstile()
    board.used = 0.01
    assert board.lengths(5) == {0: FULL, 1: FULL}


def test_who_is_looked_at_in_its_turn_goes_on_with_it_unless_it_waits() -> None:
    board = Turnstile()
    first = board.scheduler.next((0, 1))
    loads = first.budget.kept_loads
    assert (first.vcpu, first.budget.seconds) == (0, FULL)
    assert loads is not None
    for part in (1, 2):
        board.places[0] += 1
        board.now += FULL / 4
        board.scheduler.cut(first)
        decision = board.scheduler.next((0, 1))
        assert (decision.vcpu, decision.budget.kept_loads) == (0, loads << part)
        assert decision.budget.seconds == pytest.approx(FULL * (4 - part) / 4)
    board.scheduler.cut(decision)
    assert board.scheduler.next((0, 1)).vcpu == 1


def test_who_was_cut_lets_the_one_run_that_was_sent_something() -> None:
    board = Turnstile()
    decision = board.scheduler.next((0, 1, 2))
    board.scheduler.prefer(2)
    board.scheduler.cut(decision)
    assert board.scheduler.next((0, 1, 2)).vcpu == 2


def test_turns_are_full_where_all_wait_that_can_run() -> None:
    times = itertools.count()
    scheduler = FreeScheduler(FULL, lambda _: 7, lambda: float(next(times)))
    assert {scheduler.next((0, 1, 2)).budget.seconds for _ in range(20)} == {FULL}
    assert {scheduler.next((0, 2)).budget.seconds for _ in range(20)} == {FULL}


class Delay:
    """Two vCPUs, of which the second gives up its turns by PAUSE at once, and the first uses its own."""

    def __init__(self, *, waits: bool = False) -> None:
        self.waits = waits
        """The second gets on when the first has had a turn, and not alone."""
        self.pauses = True
        self.place = 0
        self.now = 0.0
        self.gave_up = False
        self.scheduler = FreeScheduler(FULL, lambda _: self.place, lambda: self.now, paused=lambda: self.gave_up)

    def turns(self, count: int) -> list[Decision]:
        """Of the second one."""
        found: list[Decision] = []
        while len(found) < count:
            decision = self.scheduler.next((0, 1))
            self.gave_up = decision.vcpu == 1 and self.pauses and not decision.keeps_pauses
            self.now += 0.000_001 if self.gave_up else decision.budget.seconds or 0
            if self.waits is (decision.vcpu == 0):
                self.place += 1
            if decision.vcpu == 1:
                found.append(decision)
        return found


def test_who_counts_pauses_has_turns_that_keep_them_and_are_shorter() -> None:
    delay = Delay()
    assert not any(turn.keeps_pauses for turn in delay.turns(8))
    kept = [turn for turn in delay.turns(64) if turn.keeps_pauses]
    assert len(kept) > 50
    assert {turn.budget.seconds for turn in kept[16:]} == {FULL / 8}, "a turn is in halves"


def test_who_pauses_no_more_has_turns_as_before() -> None:
    delay = Delay()
    delay.turns(64)
    delay.pauses = False
    delay.turns(20)
    assert not any(turn.keeps_pauses for turn in delay.turns(32))


def test_who_waits_for_another_by_pauses_gives_up_its_turns() -> None:
    delay = Delay(waits=True)
    assert sum(turn.keeps_pauses for turn in delay.turns(1000)) < 20


class Turns(VmObserver):
    """Who ran in which order, and who was sent a start-up IPI through the x2APIC."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []

    def exit_began(self, vcpu: Vcpu, exit: Exit) -> None:
        if isinstance(exit, Wrmsr) and exit.index == X2APIC_COMMAND and exit.value >> 8 & 7 == DeliveryMode.STARTUP:
            self.events.append(("started", exit.value >> 32))

    def slice_ended(self, vcpu: Vcpu, exit: Exit) -> None:
        self.events.append(("ran", vcpu.index))


def test_a_processor_that_was_sent_its_start_up_ipi_runs_next() -> None:
    observer = Turns()
    with open_image("smp") as (source, guest):
        assert guest is not None
        machine = prepare(source, memory=guest.memory_mib << 20, options=MachineOptions(vcpus=4), output=lambda _: None)
        machine.vm.observe(observer)
        try:
            trio.run(partial(drive, machine, timeout=60))
        finally:
            machine.close()
    assert machine.vm.ending == Ending.exited(0)
    started = [index for index, (event, _) in enumerate(observer.events) if event == "started"]
    assert len(started) >= 3
    for index in started:
        assert observer.events[index + 1 : index + 3] == [("ran", 0), ("ran", observer.events[index][1])]


PAUSES = 1000
WAIT = code("b9 e8 03 00 00 f3 90 ff c9 75 fa ; mov ecx, 1000; pause; dec ecx; jnz")


@pytest.mark.parametrize("vcpus", [1, 2])
def test_nobody_is_asked_at_pause_while_no_other_vcpu_is_active(vcpus: int) -> None:
    report = kev.launch(source(kernel(WAIT + POWER_OFF)), memory=16 << 20, vcpus=vcpus, timeout=30)
    assert (report.exit_code, report.exits.get("Pause", 0)) == (0, 0)


def test_who_counts_pauses_gets_on_while_another_vcpu_computes() -> None:
    counting = code("b9 00 00 02 00 f3 90 49 75 fb ; mov ecx, 128 Ki; pause; dec ecx; jnz")
    computing = code("43 80 3e 02 a0 01 75 f8 ; inc bx; cmp byte [0xa002], 1; jne")
    guest = small.guest([lambda _: counting, small.store(2, 1)], [lambda _: computing])
    report = kev.launch(source(guest), memory=1 << 20, vcpus=2, timeout=120)
    assert report.exit_code == 0
    assert report.exits["Pause"] < 10_000


@pytest.mark.parametrize("how", ["in virtual time", "watched"])
def test_every_pause_of_several_vcpus_is_told_in_virtual_time_and_to_whoever_wants_to_see_exits(how: str) -> None:
    told: list[str] = []
    trace = told.append if how == "watched" else None
    seed = 1 if how == "in virtual time" else None
    report = kev.launch(source(kernel(WAIT + POWER_OFF)), memory=16 << 20, vcpus=2, timeout=30, seed=seed, trace_exits=trace)
    assert (report.exit_code, report.exits["Pause"]) == (0, PAUSES)
