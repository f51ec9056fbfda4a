"""`kev.start`: a machine that is held."""

import asyncio
import re
import signal
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import kev
from kev.addressing import Gpa
from kev.exits import Exit
from kev.machine.blocking import run_in_thread
from kev.machine.ending import Ending, EndingKind
from kev.machine.errors import MachineError
from kev.machine.machine import ExpectError, Machine, MachineState
from kev.machine.vcpu import Vcpu
from kev.machine.vm import VmObserver
from kev.pager.pages import PageState
from kev.pager.source import FileSource
from kev.postmortem.core_file import read_core


async def test_a_guest_is_expected_to_print_in_order() -> None:
    async with kev.start("gKeOS") as machine:
        assert (await machine.expect("kvmclock is")).group() == b"kvmclock is"
        assert (await machine.expect(re.compile(rb"subsystems: (\d+)"))).group(1) == b"24"
        await machine.expect(b"Hello")
        with pytest.raises(ExpectError, match=r"gKeOS: 'kvmclock is' was not printed before the run ended \(exit code 0\)"):
            await machine.expect("kvmclock is")
        report = await machine.wait()
    assert report.exit_code == 0
    assert machine.output.text.endswith("Hello guest os!\n")
    assert report.output == bytes(machine.output)


async def test_what_never_comes_is_named_with_the_last_line_that_came() -> None:
    async with kev.start("spin") as machine:
        with pytest.raises(ExpectError, match=r"spin: 'login:' was not printed within 0.01 s; the last line is ''"):
            await machine.expect("login:", timeout=0.01)


async def test_neither_instructions_nor_time_pass_while_a_machine_is_paused() -> None:
    async with kev.start("echo", vcpus=2) as machine:
        await machine.expect("echo> ")
        await machine.pause()
        before = machine.state, machine.vm.clock.now(), machine.registers(0), machine.registers(1), len(machine.output)
        assert before[0] is MachineState.PAUSED
        for _ in range(100):
            await trio.lowlevel.checkpoint()
        assert before == (machine.state, machine.vm.clock.now(), machine.registers(0), machine.registers(1), len(machine.output))
        await machine.resume()
        machine.send(b"exit 0\n")
        assert (await machine.wait()).exit_code == 0


async def test_a_machine_that_is_resumed_and_paused_at_once_executes_nothing() -> None:
    async with kev.start("spin") as machine:
        while machine.vm.first_instruction is None:
            await trio.lowlevel.checkpoint()
        await machine.pause()
        await trio.testing.wait_all_tasks_blocked()
        before = machine.vm.exits.copy()
        await machine.resume()
        await machine.pause()
        await trio.testing.wait_all_tasks_blocked()
        assert machine.vm.exits == before


async def test_a_machine_that_is_about_to_end_is_neither_paused_nor_resumed() -> None:
    async with kev.start("spin") as machine:
        machine.end(Ending.stopped())
        with pytest.raises(MachineError, match="spin: the machine is ended: it cannot be paused or resumed"):
            await machine.pause()


async def test_a_machine_that_is_started_paused_has_executed_nothing() -> None:
    async with kev.start("gKeOS", paused=True) as machine:
        assert machine.report().ending.kind is EndingKind.RUNNING
        assert machine.report().violations == 0
        await machine.resume()
        assert (await machine.wait()).exit_code == 0


async def test_looking_at_an_absent_page_loads_it() -> None:
    async with kev.start("gKeOS", paused=True) as machine:
        assert machine.page(0x101000) is PageState.ABSENT
        code = await machine.read(16, gpa=0x101000)
        assert machine.page(0x101000) is PageState.PRESENT
        assert len(code) == 16


async def test_memory_that_is_written_is_what_the_guest_reads() -> None:
    async with kev.start("lost-update", vcpus=1, paused=True) as machine:
        message = bytes(range(256)) * 32
        await machine.write(message, gpa=0x200800)
        assert await machine.read(len(message), gpa=0x200800) == message
        assert await machine.read(len(message), gva=0x200800) == message


async def test_addresses_that_are_nothing_are_refused_by_name() -> None:
    async with kev.start("gKeOS", paused=True) as machine:
        with pytest.raises(kev.KevError, match=r"gpa 0xffffff000, which is not memory"):
            await machine.read(8, gpa=0xF_FFFF_F000)
        with pytest.raises(MachineError, match=r"vCPU 1: the machine has 1, from 0 on"):
            machine.registers(1)
        with pytest.raises(MachineError, match=r"gKeOS: there is no symbol 'nothing' among its \d+"):
            machine.symbol("nothing")
        with pytest.raises(MachineError, match=r"interrupt 3: a vector is 16 to 255"):
            machine.inject(3)


async def test_a_closed_machine_touches_no_memory_and_no_processor_any_more() -> None:
    async with kev.start("spin", paused=True) as machine:
        pass
    closed = "spin: the machine is closed: there is no"
    with pytest.raises(MachineError, match=f"{closed} memory left"):
        await machine.read(4, gpa=0x100000)
    with pytest.raises(MachineError, match=f"{closed} memory left"):
        await machine.write(b"1234", gpa=0x100000)
    with pytest.raises(MachineError, match=f"{closed}body to interrupt"):
        machine.inject("nmi")
    with pytest.raises(MachineError, match=f"{closed} register that was ever set"):
        machine.registers()


async def test_a_read_that_waits_for_its_page_ends_with_the_machine() -> None:
    async with trio.open_nursery() as nursery:

        async def read(machine: Machine) -> None:
            with pytest.raises(MachineError, match="gKeOS: the machine is closed: there is no memory left"):
                await machine.read(4, gpa=0x101000)

        async with kev.start("gKeOS", paused=True, source_latency="1us") as machine:
            machine.vm.pager.map_page(Gpa(0x101000), never)
            nursery.start_soon(read, machine)
            await trio.testing.wait_all_tasks_blocked()
        assert machine.page(0x101000) is PageState.ABSENT


async def never(_page: memoryview) -> bool:
    await trio.sleep_forever()
    return True


class Broken(VmObserver):
    def exit_began(self, vcpu: Vcpu, exit: Exit) -> None:
        raise ZeroDivisionError from KeyError()


async def test_what_an_observer_raises_comes_from_the_block_as_it_was_raised() -> None:
    async def run() -> None:
        async with kev.start("gKeOS", paused=True) as machine:
            machine.observe(Broken())
            await machine.resume()
            await machine.wait()

    with pytest.raises(ZeroDivisionError) as caught:
        await run()
    assert type(caught.value.__cause__) is KeyError


def test_without_trio_what_an_observer_raises_comes_from_the_block() -> None:
    def run() -> None:
        with kev.start("gKeOS", paused=True) as machine:
            machine.observe(Broken())
            machine.resume()
            machine.expect("what never comes")

    with pytest.raises(ZeroDivisionError):
        run()


def test_without_trio_a_read_that_waits_ends_with_the_machine() -> None:
    with ThreadPoolExecutor(1) as pool:
        with kev.start("gKeOS", paused=True, source_latency="1us") as machine:
            waits = threading.Event()

            async def load(_page: memoryview) -> bool:
                waits.set()
                await trio.sleep_forever()
                return True

            machine._machine.vm.pager.map_page(Gpa(0x101000), load)
            reading = pool.submit(machine.read, 4, gpa=0x101000)
            waits.wait()
        with pytest.raises(MachineError, match="the machine is closed"):
            reading.result()


def test_an_interrupt_while_a_machine_is_started_ends_it() -> None:
    @asynccontextmanager
    async def interrupted() -> AsyncIterator[Machine]:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        async with kev.start("spin") as machine:
            yield machine

    with pytest.raises(KeyboardInterrupt), run_in_thread(interrupted) as machine:
        machine.wait()
    assert "kev-machine" not in [thread.name for thread in threading.enumerate()]


async def test_a_machine_ends_with_its_block_and_leaves_a_report() -> None:
    async with kev.start("spin") as machine:
        await trio.lowlevel.checkpoint()
    assert machine.state is MachineState.ENDED
    assert machine.report().ending.kind is EndingKind.STOPPED
    with pytest.raises(MachineError, match=r"spin: b'x' cannot be sent: the run has ended"):
        machine.send(b"x")


async def test_an_error_in_the_block_is_not_wrapped_in_a_group() -> None:
    with pytest.raises(ZeroDivisionError):
        async with kev.start("spin"):
            raise ZeroDivisionError


async def test_a_cancelled_holder_leaves_a_report() -> None:
    with trio.CancelScope() as scope:
        async with kev.start("spin") as machine:
            scope.cancel()
            await machine.wait()
    assert scope.cancelled_caught
    assert machine.report().ending.kind is EndingKind.STOPPED


async def test_a_time_limit_ends_the_run_and_says_where_it_was() -> None:
    async with kev.start("spin", timeout=0.01) as machine:
        report = await machine.wait()
    assert report.ending.kind is EndingKind.TIMED_OUT
    assert "vCPU 0 at RIP 0x10001" in report.ending.message


async def test_several_machines_run_in_one_trio_program() -> None:
    async with kev.start("gKeOS") as first, kev.start("smp", vcpus=4) as second, kev.start("spin") as third:
        assert (await first.wait()).exit_code == 0
        assert (await second.wait()).exit_code == 0
        await third.stop()
        assert third.state is MachineState.ENDED


async def test_an_nmi_reaches_a_guest_before_its_first_instruction() -> None:
    async with kev.start("spin", paused=True) as machine:
        assert machine.registers()["rip"] == 0x100018
        machine.inject("nmi")
        await machine.resume()
        report = await machine.wait()
    assert report.ending.kind is EndingKind.DIED
    assert "triple fault" in report.ending.message


async def test_a_guest_that_is_talked_to_answers() -> None:
    async with kev.start("echo") as machine:
        for number, text in enumerate(["hello", "", "a longer line with spaces"], 1):
            await machine.expect("echo> ")
            machine.send(f"{text}\n")
            await machine.expect(f"you said: {text}\n")
            counter = machine.symbol("lines_read")
            assert await machine.read(counter.size, gva=counter.address) == number.to_bytes(4, "little")
        await machine.expect("echo> ")
        machine.send(b"exit 7\n")
        assert (await machine.wait()).exit_code == 7


def test_without_trio_every_method_waits() -> None:
    with kev.start("echo") as machine:
        machine.expect("echo> ")
        machine.pause()
        assert machine.state is MachineState.PAUSED
        counter = machine.symbol("lines_read")
        assert machine.read(4, gva=counter.address) == bytes(4)
        machine.write(b"\x29\0\0\0", gva=counter.address)
        machine.resume()
        machine.send("hello\n")
        machine.expect("you said: hello")
        assert machine.read(4, gva=counter.address) == b"\x2a\0\0\0"
        assert machine.registers()["cr0"] & 1 << 31
        machine.send("exit 0\n")
        assert machine.wait().exit_code == 0
    assert machine.report().exit_code == 0
    with pytest.raises(MachineError, match="echo: the machine is closed"):
        machine.pause()


def test_without_trio_errors_come_from_the_block() -> None:
    with pytest.raises(kev.KevError, match="nosuch"), kev.start("nosuch"):
        pass
    with pytest.raises(ZeroDivisionError), kev.start("spin"):
        raise ZeroDivisionError


def test_threads_hold_a_machine_each() -> None:
    def boot(_: int) -> int:
        with kev.start("gKeOS") as machine:
            machine.expect("Hello", timeout=60)
            return machine.wait().exit_code

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(boot, range(6))) == [0] * 6


def test_where_the_vcpus_were_can_be_asked_when_the_machine_is_closed() -> None:
    with kev.start("crash") as machine:
        machine.wait()
    (place,) = machine.places()
    assert place.startswith("vCPU 0 at RIP 0x")
    assert " in store (main.c:" in place


async def test_output_is_a_stream_that_ends_with_the_run() -> None:
    answers = ["one\n", "two\n", "exit 0\n"]
    printed = b""
    async with kev.start("echo") as machine:
        async for data in machine.stream():
            printed += data
            if printed.endswith(b"> "):
                machine.send(answers.pop(0))
    assert printed == b"echo> you said: one\necho> you said: two\necho> " == bytes(machine.output)


def test_without_trio_output_is_a_stream_too() -> None:
    with kev.start("gKeOS") as machine:
        assert b"".join(machine.stream()) == bytes(machine.output)
        assert machine.output.text.endswith("Hello guest os!\n")


@pytest.mark.parametrize("interrupt", ["smi", 15, 256, 3.5])
async def test_an_interrupt_that_there_is_not_is_refused_by_name(interrupt: Any) -> None:
    async with kev.start("spin") as machine:
        with pytest.raises(MachineError, match=f"interrupt {interrupt!r}: a vector is 16 to 255, or 'nmi'"):
            machine.inject(interrupt)


@pytest.mark.parametrize(("addresses", "given"), [({}, "none"), ({"gpa": 0x1000, "gva": 0x1000}, "both")])
async def test_memory_is_found_by_exactly_one_address(addresses: dict[str, int], given: str) -> None:
    async with kev.start("spin") as machine:
        with pytest.raises(MachineError, match=f"one address is given, as gpa= or as gva=, not {given}"):
            await machine.read(8, **addresses)
        with pytest.raises(MachineError, match=f"one address is given, as gpa= or as gva=, not {given}"):
            await machine.write(b"8", **addresses)


async def test_fewer_than_no_bytes_cannot_be_read() -> None:
    async with kev.start("spin") as machine:
        with pytest.raises(MachineError, match="length: -1: it must be bytes to read, a whole number of at least 0"):
            await machine.read(-1, gpa=0x1000)


async def test_a_machine_that_has_executed_nothing_is_at_its_entry_point(tmp_path: Path) -> None:
    async with kev.start("gKeOS", paused=True) as machine:
        places = machine.places()
        assert places[0].startswith(f"vCPU 0 at RIP {machine.registers(0)['rip']:#x}")
    async with kev.start("gKeOS", paused=True) as machine:
        machine.dump(tmp_path / "core")
        with FileSource(tmp_path / "core") as core:
            assert f"rip {machine.registers(0)['rip']:#x}" in read_core(core).as_text()


async def test_a_task_of_trio_is_told_how_to_hold_a_machine() -> None:
    with pytest.raises(MachineError, match=r"`with kev.start\(...\)` waits for a machine.*: use `async with`"), kev.start("gKeOS"):
        pass
    with pytest.raises(MachineError, match=r"`kev.launch` waits for a machine.*: use `async with kev.start\(...\)`"):
        kev.launch("gKeOS")
    assert (await trio.to_thread.run_sync(kev.launch, "gKeOS")).exit_code == 0


def test_a_task_of_asyncio_is_told_how_to_hold_a_machine() -> None:
    async def hold() -> None:
        async with kev.start("gKeOS"):
            pass

    with pytest.raises(MachineError, match=r"`async with kev.start\(...\)` runs in trio: .* as in asyncio, use `with kev.start"):
        asyncio.run(hold())


def test_a_machine_that_is_not_entered_says_how_to() -> None:
    with pytest.raises(AttributeError, match=r"'wait': a machine is started by `with kev.start\(...\) as machine:`"):
        kev.start("gKeOS").wait()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda machine: machine.expect(re.compile("x")), "pattern: 'x' is a regular expression over text, not over bytes"),
        (lambda machine: machine.expect(5), "pattern: 5 is neither text, nor bytes, nor a regular expression"),
        (lambda machine: machine.expect("x", timeout=-1), "timeout: -1: it must be seconds, 0 or more, or None for no limit"),
        (lambda machine: machine.expect("x", timeout="1"), "timeout: '1': it must be seconds, 0 or more, or None for no limit"),
        (lambda machine: machine.send(3), "data: 3 cannot be typed: it must be text or bytes"),
        (lambda machine: machine.page(-1), "gpa: -1 is no guest-physical address: there are 0 to 0xffffffffffff"),
        (lambda machine: machine.page("x"), "gpa: 'x' is no guest-physical address"),
        (lambda machine: machine.read("4", gpa=0), "length: '4': it must be bytes to read, a whole number of at least 0"),
        (lambda machine: machine.read(4, gpa="0"), "gpa: '0': it must be an address, a whole number of at least 0"),
        (lambda machine: machine.read(4, gva=1.5), "gva: 1.5: it must be an address, a whole number of at least 0"),
        (lambda machine: machine.write("x", gpa=0), "data: 'x': it must be bytes"),
        (lambda machine: machine.write(b"x", gpa=True), "gpa: True: it must be an address, a whole number of at least 0"),
        (lambda machine: machine.registers("0"), "vCPU '0': the machine has 1, from 0 on"),
        (lambda machine: machine.fork("2"), "count: '2': it must be forks, a whole number of at least 0"),
        (lambda machine: machine.snapshot(5), "file: 5: it must be the name of a file"),
        (lambda machine: machine.dump(None), "file: None: it must be the name of a file"),
    ],
)
def test_an_argument_that_cannot_be_is_refused_by_its_name(call: Callable[[Any], object], message: str) -> None:
    with kev.start("gKeOS", paused=True) as machine, pytest.raises(kev.KevError) as caught:
        call(machine)
    assert str(caught.value).startswith(message)


def test_a_failed_expectation_points_at_the_caller() -> None:
    with kev.start("hypercalls") as machine, pytest.raises(kev.KevError) as caught:
        machine.expect("what is not printed")
    visible = [entry for entry in caught.traceback if not entry.ishidden(caught)]
    assert [Path(entry.path).name for entry in visible] == ["test_start.py"]
