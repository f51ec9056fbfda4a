"""That nobody gets any further is proved early, and never said of a guest that does."""

import struct
from pathlib import Path

import attrs
import pytest

from kev.machine.schedule import SeededScheduler
from kev.race.explore import explore
from kev.race.guest.machine import ENDLESS
from kev.race.guest.outcome import GuestOutcome
from kev.race.guest.prepared import Start
from kev.race.guest.start import guest_machine
from kev.race.guest.subject import GuestSubject
from kev.race.memory_model import MemoryModel
from kev.race.shrink import shrink
from kev.race.strategy import make_strategy
from kev.race.strategy.replay import ReplayScheduler
from tests.race import small_guests as small

_SOON = 3_000
"""Steps. Without a proof, a run is one without an end after 200,000."""


def until(variable: int, value: int, *actions: small.Action) -> small.Action:
    """All of them, one after the other, again and again until the variable has the value."""

    def build(bits: int) -> bytes:
        body = b"".join(action(bits) for action in actions) + small.compare(variable, value)(bits)
        return body + b"\x75" + (-len(body) - 2).to_bytes(1, "little", signed=True)

    return build


def count_down(count: int) -> small.Action:
    """A loop of so many PAUSEs, which changes nothing but a register."""

    def build(bits: int) -> bytes:
        return b"\xb9" + count.to_bytes(bits // 8, "little") + b"\xf3\x90\x49\x75\xfb"  # pause; dec ecx; jnz

    return build


def poll_refresh(is_set: bool) -> small.Action:
    """Waits until bit 4 of the port 0x61, which changes every 15 microseconds, is set or clear."""
    return lambda _bits: b"\xe4\x61\x24\x10" + (b"\x74" if is_set else b"\x75") + b"\xfa"  # in; and al, 0x10; jz or jnz


def halt(_bits: int) -> bytes:
    """HLT."""
    return b"\xf4"


def wake_later(_bits: int) -> bytes:
    """Has the 8254 send the second processor an NMI in 17 microseconds, by the I/O APIC: for the first processor."""
    stores = {8: small.NMI_HANDLER, 0xFEC0_0000: 0x15, 0xFEC0_0010: 1 << 24}
    text = b"".join(b"\xc7\x05" + struct.pack("<II", *store) for store in stores.items())
    text += b"".join(b"\xc7\x05" + struct.pack("<II", *store) for store in ((0xFEC0_0000, 0x14), (0xFEC0_0010, 0x400)))
    return text + b"\xb0\x30\xe6\x43\xb0\x14\xe6\x40\xb0\x00\xe6\x40"  # out 0x43, 0x30; out 0x40, 20; out 0x40, 0


def locks(pause: bool) -> tuple[list[small.Action], list[small.Action]]:
    """Two locks, which two processors take in different orders."""
    first = [small.acquire(2, pause=pause), small.acquire(3, pause=pause), small.release(3), small.release(2)]
    other = [small.acquire(3, pause=pause), small.acquire(2, pause=pause), small.release(2), small.release(3)]
    return first, other


def first_endless(subject: GuestSubject, runs: int = 300) -> GuestOutcome:
    for seed in range(runs):
        outcome = subject.run(SeededScheduler(seed, 8))
        if outcome.failure is not None and outcome.failure.oracle == ENDLESS:
            return outcome
    raise AssertionError(f"no run of {runs} is one without an end")


@pytest.mark.parametrize("pause", [True, False])
def test_a_deadlock_is_known_soon(pause: bool, tmp_path: Path) -> None:
    subject = small.subject(tmp_path, small.guest(*locks(pause)))
    outcome = first_endless(subject)
    assert outcome.steps < _SOON
    assert outcome.failure is not None
    assert "the same state comes again and again when vCPUs take turns fairly after step" in outcome.failure.message


@pytest.mark.parametrize("strategy", ["random", "pct", "pos", "surw", "places"])
def test_a_deadlock_is_known_soon_whatever_chooses(strategy: str, tmp_path: Path) -> None:
    subject = small.subject(tmp_path, small.guest(*locks(pause=True)))
    exploration = explore(subject, make_strategy(strategy), 40, keep_going=True)
    assert ENDLESS in {oracle for oracle, _ in exploration.kinds}
    assert exploration.longest < _SOON
    assert exploration.nondeterminism is None


@pytest.mark.parametrize("pause", [True, False])
def test_the_schedule_of_a_proved_standstill_is_repeated_shrunk_and_told(pause: bool, tmp_path: Path) -> None:
    subject = small.subject(tmp_path, small.guest(*locks(pause)))
    outcome = first_endless(subject)
    again = subject.replay(ReplayScheduler(outcome.schedule))
    assert (again.history, again.failure) == (outcome.history, outcome.failure)
    assert outcome.failure is not None
    shrunk = shrink(subject, outcome.schedule, outcome.failure)
    assert shrunk.schedule.switches <= 2
    failure = subject.tell(shrunk.schedule).failure
    assert failure is not None
    assert "waits for" in failure.message


def test_a_vcpu_that_waits_alone_is_known_soon(tmp_path: Path) -> None:
    # The NMI may come between the look at the variable and the HLT: then the other one sleeps for ever, and the first waits for it.
    image = small.guest([small.store(2, 1), small.wake(1)], [small.sleep_until(2, 1)])
    outcome = first_endless(small.subject(tmp_path, image))
    assert outcome.steps < _SOON


PROGRESS = {
    "a loop that counts": ([small.acquire(2), count_down(100), small.release(2)], [small.acquire(2), small.release(2)]),
    "a variable that is what it was after each lap": (
        [until(3, 1, small.store(2, 1), small.store(2, 0))],
        [small.wait_until(2, 1, pause=False), small.store(3, 1)],
    ),
    "the same behind an exchange": (
        [until(3, 1, small.acquire(2), small.release(2))],
        [small.wait_until(2, 1, pause=False), small.store(3, 1)],
    ),
    "a device that is asked": (
        [small.acquire(2), *[small.read_cmos(0, 4)] * 12, small.release(2)],
        [small.acquire(2), small.release(2)],
    ),
    "a device that gives the same answer for a while": (
        [*[poll_refresh(True), poll_refresh(False)] * 4, small.store(2, 1)],
        [small.wait_until(2, 1)],
    ),
    "one alone that asks such a device": (
        [*[poll_refresh(True), poll_refresh(False)] * 4, small.store(2, 1), small.wake(1)],
        [small.sleep_until(2, 1)],
    ),
    "one alone until a timer comes": (
        [small.wait_until(3, 1), wake_later, small.wait_until(2, 1)],
        [small.store(3, 1), halt, small.store(2, 1)],
    ),
    "one alone that counts in a register": ([count_down(100), small.store(2, 1), small.wake(1)], [small.sleep_until(2, 1)]),
    "one alone that counts in memory": (
        [until(4, 60, small.locked_increment(4), small.relax), small.store(2, 1), small.wake(1)],
        [small.sleep_until(2, 1)],
    ),
}


@pytest.mark.parametrize("model", MemoryModel)
@pytest.mark.parametrize("name", PROGRESS)
def test_whoever_gets_further_is_never_taken_for_standing_still(name: str, model: MemoryModel, tmp_path: Path) -> None:
    first, other = PROGRESS[name]
    start = Start(small.spec(tmp_path, small.guest(first, other)), model=model)
    for seed in range(8 if model is MemoryModel.SC else 2):
        with guest_machine(start, 200_000) as machine:
            machine.run(SeededScheduler(seed, 4), fair=True, look_from=80 * seed)
            assert machine.vm.ending is not None
            assert machine.fair is None  # its schedule was never over
            looked = machine.schedule
        with guest_machine(start, 200_000) as machine:
            machine.run(SeededScheduler(seed, 4), fair=True)
            assert machine.schedule == looked


@pytest.mark.parametrize("name", ["spinlocks", "spinlocks without PAUSE"])
def test_a_deadlock_with_store_buffers_is_known_soon(name: str, tmp_path: Path) -> None:
    subject = attrs.evolve(small.subject(tmp_path, small.guest(*locks("without" not in name))), model=MemoryModel.TSO)
    assert first_endless(subject).steps < _SOON
