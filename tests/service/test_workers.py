"""Workers: what takes one down is contained in it, and nothing is left of it."""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing

from kev.machine.ending import Ending, EndingKind
from kev.service.errors import MachineLost, NoWorker
from kev.service.home import Status
from kev.service.workers.channel import Channel
from kev.service.workers.contained import launch_contained
from kev.service.workers.fork_server_process import ForkServerProcess
from kev.service.workers.home import WorkerHome
from kev.service.workers.homes import WorkerHomes, worker_homes
from kev.service.workers.stream import Stream
from kev.service.workers.turns import Turns
from kev.service.workers.worker import Worker
from kev.spec.machine_spec import MachineSpec
from tests.cli.programs import FLOOD
from tests.service.processes import workers_of
from tests.service.watcher import Watcher

SPIN = MachineSpec("spin")


@pytest.fixture
async def homes(forked_from: ForkServerProcess) -> AsyncIterator[WorkerHomes]:
    async with worker_homes(ready=1, forked_from=forked_from) as made:
        yield made


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
async def test_a_worker_that_is_killed_is_lost_with_the_signal_and_no_other_notices(
    homes: WorkerHomes, number: signal.Signals
) -> None:
    watcher, others = Watcher(), Watcher()
    home, other = await homes.open(SPIN, watcher), await homes.open(MachineSpec("echo"), others)
    await home.start()
    await other.start()
    await others.prints(b"echo> ")
    os.kill(home.process, number)
    status = await watcher.ends()
    assert status == home.status
    assert (status.state, status.message) == (
        "lost",
        f"spin: the machine is lost: its process {home.process} was killed by {number.name}",
    )
    assert watcher.states == ["running", "lost"]
    with pytest.raises(MachineLost, match=number.name):
        await home.registers()
    await other.send(b"exit 6\n")
    assert (await others.ends()).ending == Ending.exited(6)
    await home.aclose()
    await other.aclose()


async def test_calls_that_wait_are_told_that_the_machine_is_lost(homes: WorkerHomes) -> None:
    home = await homes.open(SPIN, Watcher())
    os.kill(home.process, signal.SIGSTOP)
    failures = []

    async def ask() -> None:
        with pytest.raises(MachineLost) as failure:
            await home.report()
        failures.append(failure.value)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        os.kill(home.process, signal.SIGKILL)
    assert len(failures) == 3
    await home.aclose()


async def test_a_worker_that_does_not_answer_is_killed_when_patience_is_over(forked_from: ForkServerProcess) -> None:
    async with worker_homes(ready=1, patience=0.2, forked_from=forked_from) as homes:
        watcher = Watcher()
        home = await homes.open(SPIN, watcher)
        await home.start()
        os.kill(home.process, signal.SIGSTOP)
        assert "has said nothing for 0 s, and was killed" in (await watcher.ends()).message
        stubborn = await homes.open(SPIN, Watcher())
        os.kill(stubborn.process, signal.SIGSTOP)
        await stubborn.aclose()
        assert stubborn.status == Status("created")


async def test_a_worker_that_dies_before_its_first_turn_gives_its_place_back(homes: WorkerHomes) -> None:
    watcher, turns = Watcher(), Turns(1)
    home = await homes.open(SPIN, watcher)
    assert isinstance(home, WorkerHome)
    os.kill(home.process, signal.SIGKILL)
    await watcher.ends()
    await home.aclose()
    async with trio.open_nursery() as nursery:
        home.take_turns(await turns.take(), nursery)
        with trio.fail_after(1):
            await turns.take()


async def test_a_worker_that_wants_turns_and_never_reads_makes_nobody_grow(homes: WorkerHomes) -> None:
    home = await homes.open(SPIN, Watcher())
    assert isinstance(home, WorkerHome)
    os.kill(home.process, signal.SIGSTOP)
    turn = await Turns(1).take()
    async with trio.open_nursery() as nursery:
        home.take_turns(turn, nursery)
        for _ in range(20_000):  # more than a socket holds
            turn.want()
        assert len(nursery.child_tasks) == 1
        os.kill(home.process, signal.SIGKILL)
    await home.aclose()


async def test_a_run_to_the_end_whose_time_was_up_before_it_began_is_told_of(homes: WorkerHomes) -> None:
    watcher = Watcher()
    home = await homes.open(SPIN.replace(timeout=0.01), watcher)
    assert isinstance(home, WorkerHome)
    await watcher.ends()
    ending, report = await home.run_to_end()
    assert ending is not None
    assert ending.kind is EndingKind.TIMED_OUT
    assert report["ending"]["kind"] == "timed out"
    await home.aclose()


async def test_what_is_asked_of_a_machine_that_has_just_begun_is_answered_without_being_asked_again(
    forked_from: ForkServerProcess,
) -> None:
    async with worker_homes(ready=0, patience=1e4, forked_from=forked_from) as homes:
        for _ in range(3):
            home = await homes.open(SPIN, Watcher(), start=True)
            with trio.fail_after(60):
                await home.pause()
            assert home.status.state == "paused"
            await home.aclose()


async def test_an_idle_worker_that_dies_is_replaced(forked_from: ForkServerProcess) -> None:
    async with worker_homes(ready=2, forked_from=forked_from) as homes:
        first = await homes.open(SPIN, Watcher())
        while len(idle := [process for process in workers_of(forked_from) if process != first.process]) < 2:
            await trio.lowlevel.checkpoint()
        for process in idle:
            os.kill(process, signal.SIGKILL)
        while set(workers_of(forked_from)) & set(idle):
            await trio.lowlevel.checkpoint()
        for _ in range(3):
            home = await homes.open(SPIN, Watcher())
            assert home.process not in idle
            await home.aclose()
        await first.aclose()


async def test_nothing_is_left_of_workers(forked_from: ForkServerProcess) -> None:
    descriptors, processes = os.listdir("/proc/self/fd"), workers_of(forked_from)
    async with worker_homes(ready=2, forked_from=forked_from) as homes:
        for _ in range(3):
            home = await homes.open(SPIN, Watcher())
            await home.start()
            await home.aclose()
        killed, left = await homes.open(SPIN, Watcher()), await homes.open(SPIN, Watcher())
        os.kill(killed.process, signal.SIGKILL)
        await left.start()
    while set(workers_of(forked_from)) - set(processes):
        await trio.lowlevel.checkpoint()
    assert os.listdir("/proc/self/fd") == descriptors


async def test_opening_can_be_given_up_at_every_moment(forked_from: ForkServerProcess) -> None:
    processes = workers_of(forked_from)
    async with worker_homes(ready=1, forked_from=forked_from) as homes:
        opened = 0
        for steps in range(0, 60, 2):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(cancel_after, scope, steps)
                    home = await homes.open(SPIN, Watcher())
                    opened += 1
                    with trio.CancelScope(shield=True):
                        await home.aclose()
                    nursery.cancel_scope.cancel()
        home = await homes.open(SPIN, Watcher())
        await home.aclose()
    while set(workers_of(forked_from)) - set(processes):
        await trio.lowlevel.checkpoint()


async def test_calls_can_be_given_up_at_every_moment(homes: WorkerHomes, folder: Path) -> None:
    home = await homes.open(SPIN, Watcher())
    for steps in range(0, 30, 3):
        for call in (home.report, home.registers, lambda: home.snapshot(folder / "given-up.snap")):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(cancel_after, scope, steps)
                    await call()
                    nursery.cancel_scope.cancel()
    assert set(os.listdir(folder)) <= {"given-up.snap"}
    assert len(await home.registers()) == 1
    await home.aclose()


async def cancel_after(scope: trio.CancelScope, steps: int) -> None:
    for _ in range(steps):
        await trio.lowlevel.checkpoint()
    scope.cancel()


async def test_a_flood_that_the_service_does_not_take_makes_nobody_grow(homes: WorkerHomes, folder: Path) -> None:
    image = folder / "flood"
    image.write_bytes(FLOOD)
    counted = Counter()
    home = await homes.open(MachineSpec(str(image)), counted)
    await home.start()
    await counted.has(100_000)
    before = resident(home.process)
    # As long as this task does not wait, the service reads nothing.
    while state_of(home.process) != "S":
        pass
    assert resident(home.process) < before + (8 << 20)
    await counted.has(counted.count + 500_000)
    await home.stop()
    await home.aclose()


async def test_what_is_printed_soon_after_something_comes_too_though_nothing_follows() -> None:
    ours, theirs = socket.socketpair()
    stream = Stream(ours)
    with theirs:
        async with trio.open_nursery() as nursery:
            worker = Worker(Channel(theirs))
            nursery.start_soon(worker.live)
            await trio.testing.wait_all_tasks_blocked()
            printed = b""
            for number in range(5):
                worker.printed(b"%d" % number)
            with trio.fail_after(60):
                while printed != b"01234":
                    printed += b"".join(frame.contents for frame in await stream.read())
            nursery.cancel_scope.cancel()
    stream.close()


class Counter:
    """An observer that keeps nothing."""

    def __init__(self) -> None:
        self.count = 0
        self._more = trio.Event()

    def printed(self, data: bytes) -> None:
        self.count += len(data)
        self._more.set()

    def changed(self, _status: Status) -> None:
        """Of no interest."""

    async def has(self, count: int) -> None:
        while self.count < count:
            self._more = trio.Event()
            await self._more.wait()


async def test_a_fork_server_that_dies_takes_its_machines_with_it_and_is_replaced() -> None:
    async with worker_homes(ready=1) as homes:
        watcher = Watcher()
        home = await homes.open(SPIN, watcher)
        await home.start()
        os.kill(parent_of(home.process), signal.SIGKILL)
        assert (await watcher.ends()).state == "lost"
        await home.aclose()
        again = await homes.open(SPIN, Watcher())
        await again.aclose()


async def test_where_there_is_nothing_to_fork_from_no_machine_is_made() -> None:
    with ForkServerProcess() as process:
        async with worker_homes(ready=0, forked_from=process) as homes:
            os.kill(process.number, signal.SIGKILL)
            with pytest.raises(NoWorker, match="the process that workers are forked from is gone"):
                await homes.open(SPIN, Watcher())


SERVICE = """
import os, signal, sys
sys.path[:] = %r
import trio
from kev.service.workers.homes import worker_homes
from kev.spec.machine_spec import MachineSpec
from tests.service.processes import workers_of
from tests.service.watcher import Watcher

async def main():
    async with worker_homes(ready=1) as homes:
        home = await homes.open(MachineSpec("spin"), Watcher())
        await home.start()
        print(home.process, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


def test_a_worker_does_not_outlive_its_service() -> None:
    with subprocess.Popen([sys.executable, "-c", SERVICE % sys.path], stdout=subprocess.PIPE) as service:
        assert service.stdout is not None
        worker = os.pidfd_open(int(service.stdout.readline()))
        service.kill()
        with open(worker, "rb", buffering=0) as handle:
            assert select.select([handle], [], [], 60)[0]


def test_a_run_that_takes_the_emulator_down_is_told_of(forked_from: ForkServerProcess) -> None:
    printed: list[bytes] = []
    run = launch_contained(MachineSpec("hypercalls"), output=printed.append, forked_from=forked_from)
    assert (run.status, printed != []) == (Status("ended", Ending.exited(42)), True)
    assert run.report is not None
    assert run.report["exit_code"] == 42

    def take_down(_: bytes) -> None:
        for process in workers_of(forked_from):
            os.kill(process, signal.SIGSEGV)

    died = launch_contained(MachineSpec("gKeOS"), output=take_down, forked_from=forked_from)
    assert (died.status.state, died.report) == ("lost", None)
    assert died.status.message.endswith("was killed by SIGSEGV")


def state_of(process: int) -> str:
    """As ps(1) has it: S, it waits for something."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def resident(process: int) -> int:
    """Bytes."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096


@pytest.fixture(autouse=True)
def _only_on_linux() -> None:
    if sys.platform != "linux":
        pytest.skip("looks at processes as Linux shows them")
