"""Hosts with several guests under chosen schedules."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from kev.jos import Host
from kev.race import RaceDetected, check_host
from kev.race.explore import explore
from kev.race.host.subject import HostSubject
from kev.race.store import FOLDER
from kev.race.strategy import make_strategy
from kev.race.strategy.replay import ReplayScheduler
from tests.abi.calls import POWER_OFF, load
from tests.boot.images import source
from tests.envs.exchange import MESSAGES_EACH, exchanging
from tests.envs.guest import FD, REQUEST, STACK, Program
from tests.machine.code import VMCALL, code

GUESTS = 2


@cache
def _image(number: int) -> bytes:
    return exchanging(f"/vmm/fs{number}.img", 1)


@pytest.fixture(autouse=True)
def _failures_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path / "failures"))


@pytest.fixture
def make(tmp_path: Path) -> Callable[[Host], None]:
    for number in range(1, GUESTS + 1):
        (tmp_path / f"fs{number}.img").write_bytes(bytes(4 << 12))

    def make(host: Host) -> None:
        for number in range(1, GUESTS + 1):
            host.mkguest(source(_image(number)), disks=[f"{tmp_path}/fs{number}.img,ipc"])

    return make


def nothing_is_lost(host: Host) -> None:
    server, memory = host.environments.file_server, host.environments.memory
    assert server.requests * 2 == GUESTS * MESSAGES_EACH
    assert [memory.references(page) for page in memory] == [1] * len(server.open_files)


def nothing(_host: Host) -> None:
    """All that is asked for is that guests end with 0."""


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "runs"), [("random", 500), ("pct", 25)])
def test_no_message_is_lost_and_no_page_leaked_under_any_schedule(make: Callable[[Host], None], strategy: str, runs: int) -> None:
    check_host(make, check=nothing_is_lost, strategy=strategy, runs=runs)


def test_schedules_differ_and_each_can_be_repeated(make: Callable[[Host], None]) -> None:
    subject = HostSubject(make, nothing_is_lost, "exchange")
    assert (subject.vcpus, subject.longest_turn) == (1 + GUESTS, 64)
    exploration = explore(subject, make_strategy("random", 1, 3, None), 8)
    assert exploration.found is None
    assert exploration.nondeterminism is None
    assert len(exploration.schedules) == 8
    strategy = make_strategy("random", 2, 3, None)
    strategy.measure(subject.vcpus, subject.free_steps, subject.longest_turn)
    scheduler = strategy.scheduler(0)
    assert scheduler is not None
    outcome = subject.run(scheduler)
    again = subject.replay(ReplayScheduler(outcome.schedule))
    assert (again.schedule, again.history) == (outcome.schedule, outcome.history)
    story = subject.tell(outcome.schedule)
    assert {moment.vcpu for moment in story.moments} == {0, 1, 2}


def impatient() -> bytes:
    """Sends once, and takes it that the file system is there."""
    program = Program()
    program.text = STACK + load(rax=2, rbx=1, rcx=5, rdx=REQUEST, rsi=7) + VMCALL
    program.text += code("85 c0 74 02 0f 0b ; test eax, eax; je 1f; ud2; 1:") + load(rax=3, rbx=FD) + VMCALL + POWER_OFF
    return program.image()


def test_a_guest_that_does_not_try_again_is_found() -> None:
    """It is right alone, and under most schedules."""

    def make(host: Host) -> None:
        for _ in range(2):
            host.mkguest(source(impatient()))

    with pytest.raises(RaceDetected, match=r"guest [12]: vCPU 0 at RIP"):
        check_host(make, check=nothing, runs=100)


def test_what_the_check_says_is_a_failure() -> None:
    def make(host: Host) -> None:
        host.mkguest(source(Program().image()))

    def check(host: Host) -> None:
        raise AssertionError("it is not as it must be")

    with pytest.raises(RaceDetected, match="it is not as it must be"):
        check_host(make, check=check, runs=1)


def test_guests_that_wait_for_ever_are_found() -> None:
    def make(host: Host) -> None:
        host.mkguest(source(Program().call(rax=3, rbx=FD).image()))

    with pytest.raises(RaceDetected, match=r"guest 1, vCPU 0 at RIP 0x[0-9a-f]+: waits for a message that nobody sends"):
        check_host(make, check=nothing, runs=1)
