"""Forks as those who hold machines see them: in trio, and blocking."""

import gc
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

import kev
from kev.exits import Exit
from kev.machine.ending import EndingKind
from kev.machine.errors import MachineError
from kev.machine.forked import Forks
from kev.machine.machine import Machine, MachineState
from kev.machine.vcpu import Vcpu
from kev.machine.vm import VmObserver

_LAST_LINE = "Hello guest os!"


@asynccontextmanager
async def booted(seed: int | None = 1, **limit: int) -> AsyncIterator[Machine]:
    """A guest that is paused in the middle of its boot."""
    async with kev.start("gKeOS", seed=seed, paused=True, **limit) as machine:  # type: ignore[arg-type]
        machine.vm.stop_at = 200_000
        await machine.resume()
        with trio.fail_after(60):
            while machine.state is not MachineState.PAUSED:
                await trio.lowlevel.checkpoint()
        yield machine


async def test_a_fork_prints_what_the_first_one_would_have_printed() -> None:
    async with booted() as machine:
        before = bytes(machine.output)
        one, other = await machine.fork(2)
        assert one.state is other.state is MachineState.PAUSED
        await one.resume()
        found = await one.wait()
        await machine.resume()
        expected = await machine.wait()
        await other.resume()
        assert before + found.output == expected.output
        assert (found.ending, found.exits, found.pages_loaded) == (expected.ending, expected.exits, expected.pages_loaded)
        assert (await other.wait()).output == found.output


async def test_a_fork_prints_what_its_bios_would_have_printed() -> None:
    """Where on the screen the last line was printed from is nowhere in the guest's memory."""
    async with kev.start("bios", seed=1, paused=True) as machine:
        machine.vm.stop_at = 300_000
        await machine.resume()
        with trio.fail_after(60):
            while machine.state is not MachineState.PAUSED:
                await trio.lowlevel.checkpoint()
        before = bytes(machine.output)
        (fork,) = await machine.fork()
        await fork.resume()
        found = await fork.wait()
        await machine.resume()
        expected = await machine.wait()
        assert before + found.output == expected.output
        assert not found.screen_is_news


async def test_writes_are_seen_by_nobody_else() -> None:
    async with booted() as machine:
        address = 0x8000000
        await machine.write(b"first", gpa=address)
        one, other = await machine.fork(2)
        await machine.write(b"FIRST", gpa=address)
        await one.write(b"ONE..", gpa=address)
        (child,) = await one.fork()
        await child.write(b"child", gpa=address)
        assert [await each.read(5, gpa=address) for each in (machine, one, other, child)] == [
            b"FIRST",
            b"ONE..",
            b"first",
            b"child",
        ]


async def test_a_running_machine_is_forked_and_goes_on() -> None:
    async with kev.start("echo") as machine, trio.open_nursery() as nursery:
        await machine.expect("echo> ")

        texts = ("one", "two", "three")

        async def fork_and_talk(text: str) -> None:
            (fork,) = await machine.fork()
            await fork.resume()
            fork.send(f"{text}\n")
            await fork.expect(f"you said: {text}", timeout=60)
            await fork.pause()
            assert not [other for other in texts if other != text and other in fork.output.text]

        for text in texts:
            nursery.start_soon(fork_and_talk, text)
        machine.send("first\n")
        await machine.expect("you said: first", timeout=60)
        assert not [text for text in texts if text in machine.output.text]


async def test_one_that_never_waits_is_forked_while_it_runs() -> None:
    async with kev.start("spin") as machine:
        while machine.state is not MachineState.RUNNING:
            await trio.lowlevel.checkpoint()
        forks = [fork for _ in range(3) for fork in await machine.fork()]
        for fork in forks:
            await fork.resume()
        assert {each.state for each in (machine, *forks)} == {MachineState.RUNNING}
        for fork in forks:
            await fork.pause()
        assert {fork.state for fork in forks} == {MachineState.PAUSED}
        assert machine.state is MachineState.RUNNING


async def test_a_fork_is_paused_and_resumed_as_often_as_one_likes() -> None:
    async with booted() as machine:
        whole, halting = await machine.fork(2)
        await whole.resume()
        expected = await whole.wait()
        while halting.state is not MachineState.ENDED:
            before = halting.vm.instructions
            await halting.resume()
            while halting.state is MachineState.RUNNING and halting.vm.instructions == before:
                await trio.lowlevel.checkpoint()
            if halting.ending is None:
                await halting.pause()
                assert halting.state is not MachineState.RUNNING
        assert (await halting.wait()).output == expected.output
        assert halting.registers() == whole.registers()


async def test_forks_and_the_first_one_are_closed_in_any_order() -> None:
    async with booted() as machine:
        one, other = await machine.fork(2)
        (child,) = await one.fork()
        one.close()
        machine.close()
        await child.resume()
        assert _LAST_LINE in (await child.wait()).output.decode()
        child.close()
        with pytest.raises(MachineError, match="the machine is closed"):
            await child.read(1, gpa=0)
        await other.resume()
        other.close()
        assert (await other.wait()).ending.message == "stopped"
        assert _LAST_LINE in child.output.text


async def test_a_fork_that_runs_ends_with_the_block() -> None:
    async with booted() as machine:
        (fork,) = await machine.fork()
        await fork.resume()
    assert fork.state is MachineState.ENDED
    with pytest.raises(MachineError, match="closed"):
        await machine.fork()


async def test_many_are_held_without_an_emulated_cpu() -> None:
    async with booted() as machine:
        (warm,) = await machine.fork()
        warm.registers()
        gc.collect()
        threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
        forks = await machine.fork(1000)
        assert {fork.state for fork in forks} == {MachineState.PAUSED}
        assert {fork.registers()["rip"] for fork in forks[::100]} == {machine.registers()["rip"]}
        assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == (threads, descriptors)


async def test_forks_that_nobody_holds_are_forgotten() -> None:
    async with booted() as machine:
        for _ in range(30):
            (fork,) = await machine.fork()
            await fork.write(b"x", gpa=0x8000000)
            await machine.write(b"y", gpa=0x8000000)
        del fork
        gc.collect()
        await machine.fork()
        assert isinstance(machine.relatives, Forks)
        assert len(machine.relatives.all) <= 2


async def test_a_fork_is_saved_with_the_pages_that_it_shares(tmp_path: Path) -> None:
    file = tmp_path / "fork"
    async with booted() as machine:
        await machine.write(b"shared", gpa=0x8000000)
        (fork,) = await machine.fork()
        await fork.write(b"own", gpa=0x8001000)
        await fork.snapshot(file)
        await fork.resume()
        expected = (await fork.wait()).output
    async with kev.start(file, paused=True) as restored:
        assert await restored.read(6, gpa=0x8000000) == b"shared"
        (fork,) = await restored.fork()
        for machine in (fork, restored):
            assert await machine.read(3, gpa=0x8001000) == b"own"
            await machine.resume()
            assert (await machine.wait()).output == expected


async def test_observers_are_told_of_their_own_fork() -> None:
    class Counter(VmObserver):
        def __init__(self) -> None:
            self.exits = 0

        def exit_began(self, vcpu: Vcpu, exit: Exit) -> None:
            self.exits += 1

    async with booted() as machine:
        watched, other = await machine.fork(2)
        watched.observe(counter := Counter())
        await watched.resume()
        await watched.wait()
        seen = counter.exits
        await other.resume()
        await other.wait()
        assert seen
        assert counter.exits == seen


@pytest.mark.parametrize("limit", [{"max_output": 250}, {"max_pages": 150}], ids=["output", "pages"])
async def test_a_limit_holds_for_forks_and_theirs_as_it_would_have_for_the_first_one(limit: dict[str, int]) -> None:
    async with booted(**limit) as machine:
        before = bytes(machine.output)
        (fork,) = await machine.fork()
        (child,) = await fork.fork()
        await machine.resume()
        expected = await machine.wait()
        assert expected.ending.kind is EndingKind.LIMITED
        for each in (fork, child):
            await each.resume()
            found = await each.wait()
            assert (found.ending, before + found.output, found.pages_loaded) == (
                expected.ending,
                expected.output,
                expected.pages_loaded,
            )


async def test_what_has_ended_is_not_forked_and_does_not_go_on() -> None:
    async with booted() as machine:
        (fork,) = await machine.fork()
        await fork.stop()
        with pytest.raises(MachineError, match="the run has ended"):
            await fork.fork()
        with pytest.raises(MachineError, match="cannot be paused or resumed"):
            await fork.resume()
        with pytest.raises(MachineError, match="count: -1: it must be forks"):
            await machine.fork(-1)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    return disk


async def test_a_disk_that_is_written_in_place_cannot_be_shared(disk: Path) -> None:
    async with kev.start("gKeOS", disks=[(str(disk), "ide")], paused=True) as machine:
        with pytest.raises(MachineError, match=r"disk .*/disk is written in place"):
            await machine.fork()


async def test_a_machine_on_its_own_terms_has_no_forks() -> None:
    from kev.guests.images import open_image
    from kev.machine.launcher import prepare

    with open_image("gKeOS") as (source, _):
        machine = prepare(source)
        with pytest.raises(MachineError, match=r"started by `kev\.start`"):
            await machine.fork()
        machine.close()


def test_those_who_do_not_use_trio_fork_too() -> None:
    with kev.start("gKeOS", seed=1, paused=True) as machine:
        one, other = machine.fork(2)
        one.resume()
        report = one.wait()
        assert _LAST_LINE in report.output.decode()
        other.write(b"other", gpa=0x8000000)
        assert machine.read(5, gpa=0x8000000) == bytes(5)
        (child,) = other.fork()
        assert child.read(5, gpa=0x8000000) == b"other"
        other.close()
        child.resume()
        assert child.wait().output == report.output
