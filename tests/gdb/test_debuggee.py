"""Runs that are stopped, stepped and taken back remain the runs that they are."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from random import Random
from typing import Any

import pytest
import trio

from kev.exits import Access
from kev.gdb.debuggee import Debuggee
from kev.gdb.history import Moment
from kev.gdb.player import Player
from kev.gdb.registers import linear_rip
from kev.gdb.resumption import Resumption
from kev.gdb.stops import StopReason
from kev.machine.api import launch, opened, wanted_machine

pytestmark = pytest.mark.slow

GUESTS = ["lost-update", "smp", "timer", "events", "events32", "user"]


@asynccontextmanager
async def debuggee(image: str, output: bytearray, **wishes: Any) -> AsyncIterator[Debuggee]:
    player = Player(lambda _repeating: opened(wanted_machine(image, wishes)), output.extend)
    try:
        await player.begin()
        yield Debuggee(player)
    finally:
        player.close()


def state_of(subject: Debuggee) -> list[object]:
    """All that can be told of where a run is."""
    registers = ("rax", "rcx", "rsp", "rip", "rflags", "cr2", "cr3", "instructions")
    vm = subject.player.machine.vm
    return [[getattr(vcpu.state, name) for name in registers] + [vcpu.activity] for vcpu in vm.vcpus]


async def run_to_end(subject: Debuggee) -> list[object]:
    """What is left of the run; where it ends."""
    subject.forget_traps()
    while (await subject.resume(Resumption())).reason is not StopReason.ENDED:
        pass
    return state_of(subject)


async def wander(subject: Debuggee, random: Random) -> None:
    """Stops, steps and sets breakpoints here and there, as long as the run lasts."""
    for _ in range(12):
        for _ in range(random.randrange(40)):
            if (await subject.resume(Resumption(step=0))).reason is StopReason.ENDED:
                return
        subject.breakpoints.add(linear_rip(subject.state(0)))
        for _ in range(3):
            if (await subject.resume(Resumption())).reason is StopReason.ENDED:
                return


@pytest.mark.parametrize("image", GUESTS)
async def test_a_run_that_is_looked_at_is_the_run_that_is_not(image: str) -> None:
    printed, output = bytearray(), bytearray()
    await trio.to_thread.run_sync(partial(launch, image, seed=3, output=printed.extend))
    async with debuggee(image, bytearray(), seed=3) as subject:
        end = await run_to_end(subject)
    async with debuggee(image, output, seed=3) as subject:
        await wander(subject, Random(1))
        assert await run_to_end(subject) == end
    assert output == printed


@pytest.mark.slow
@pytest.mark.parametrize("image", GUESTS)
@pytest.mark.parametrize("over", [True, False], ids=["over handlers", "into handlers"])
async def test_steps_back_lead_to_where_steps_forward_came_from(image: str, over: bool) -> None:
    random = Random(2)
    async with debuggee(image, bytearray(), seed=3) as subject:
        await run_to_end(subject)
        subject.steps_over_handlers = over
        recorded = subject.player.history.turns
        turns = [(index, recorded[index]) for index in range(len(recorded)) if recorded[index].executed > 1]
        for index, turn in random.choices(turns, k=3):
            await subject.go_to(Moment(index, random.randrange(turn.executed - 1)))
            states = []
            for _ in range(5):
                states.append(state_of(subject)[turn.vcpu])
                if (await subject.resume(Resumption(step=turn.vcpu))).reason is not StopReason.STEPPED:
                    states.pop()
                    break
            for state in reversed(states):
                assert (await subject.reverse_step(turn.vcpu)).reason is StopReason.STEPPED
                assert state_of(subject)[turn.vcpu] == state


async def test_going_back_meets_the_breakpoints_that_were_met() -> None:
    async with debuggee("lost-update", bytearray(), seed=7, vcpus=5) as subject:
        subject.breakpoints.add(subject.player.machine.symbol("work").address)
        stops, states = [], []
        for _ in range(5):
            stops.append(await subject.resume(Resumption()))
            states.append(state_of(subject))
        for stop, state in reversed(list(zip(stops[:-1], states[:-1], strict=True))):
            assert await subject.reverse_continue(0) == stop
            assert state_of(subject) == state
        assert (await subject.reverse_continue(0)).reason is StopReason.HISTORY_BEGINS


async def test_going_back_from_a_death_finds_who_wrote_last() -> None:
    async with debuggee("lost-update", bytearray(), seed=1) as subject:
        counter = subject.player.machine.symbol("counter").address
        end = await run_to_end(subject)
        subject.watchpoints.add((range(counter, counter + 4), Access.WRITE))
        for expected in range(8, 0, -1):
            stop = await subject.reverse_continue(0)
            assert (stop.reason, stop.address) == (StopReason.WATCHPOINT, counter)
            before = await subject.memory.read(0, counter, 4)
            assert before == (expected - 1).to_bytes(4, "little")
        assert await run_to_end(subject) == end


async def test_whoever_waits_for_others_in_a_loop_can_be_stepped_out_of_it() -> None:
    """In a run that is not repeatable, others get their turn now and then."""
    async with debuggee("lost-update", bytearray(), vcpus=2) as subject:
        work = subject.player.machine.symbol("work").address
        subject.breakpoints.add(work)
        first = (await subject.resume(Resumption())).vcpu
        other = 1 - first
        subject.forget_traps()
        for _ in range(20_000):
            stop = await subject.resume(Resumption(step=other))
            if stop.reason is StopReason.ENDED:
                break
        assert subject.player.machine.ending is not None


async def test_who_is_to_run_alone_runs_alone() -> None:
    async with debuggee("lost-update", bytearray(), vcpus=2) as subject:
        subject.breakpoints.add(subject.player.machine.symbol("work").address)
        stop = await subject.resume(Resumption())
        other = 1 - stop.vcpu
        before = state_of(subject)[other]
        for _ in range(50):
            await subject.resume(Resumption(step=stop.vcpu, alone=stop.vcpu))
        assert state_of(subject)[other] == before


async def test_what_was_typed_is_typed_again_when_the_run_is_repeated() -> None:
    output = bytearray()
    async with debuggee("echo", output, seed=1) as subject:
        player = subject.player
        counter = player.machine.symbol("lines_read").address
        subject.watchpoints.add((range(counter, counter + 4), Access.WRITE))
        states = []
        for line in (b"one\n", b"two\n", b"exit 7\n"):
            player.receive(line)
            assert (await subject.resume(Resumption())).address == counter
            await subject.reverse_step(0)
            states.append(state_of(subject))
            await subject.resume(Resumption())
        for state in reversed(states):
            await subject.reverse_continue(0)
            assert state_of(subject) == state
        await run_to_end(subject)
        assert player.machine.ending is not None
        assert player.machine.ending.exit_code == 7
    assert output == b"echo> you said: one\necho> you said: two\necho> "


async def test_another_input_in_the_past_makes_another_future() -> None:
    output = bytearray()
    async with debuggee("echo", output, seed=1) as subject:
        player = subject.player
        player.receive(b"exit 1\n")
        await run_to_end(subject)
        await subject.go_to(Moment(0, 5))
        player.receive(b"\nexit 2\n")
        await run_to_end(subject)
        assert player.machine.ending is not None
        assert player.machine.ending.exit_code == 1
        await subject.go_to(Moment(0, 0))
        player.receive(b"exit 3\n")
        await run_to_end(subject)
        assert player.machine.ending.exit_code == 3
        await subject.go_to(Moment(0, 0))
        await run_to_end(subject)
        assert player.machine.ending.exit_code == 3
    assert output == b"echo> "
