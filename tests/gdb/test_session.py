"""What a session answers, packet by packet."""

from pathlib import Path

import pytest

from kev.gdb.packets import escape, frame
from kev.guests.images import open_image
from kev.pager.image import KernelImage
from tests.gdb.client import served, session

RIP, RSP = 16, 7


def address(guest: str, symbol: str) -> int:
    with open_image(guest) as (source, _):
        return next(found.address for found in KernelImage.from_elf(source).symbols if found.name == symbol)


async def test_a_guest_that_waits_stands_at_its_entry(tmp_path: Path) -> None:
    async with session("lost-update", tmp_path) as (client, _):
        assert await client.ask("qC") == "QC1"
        stop = await client.stop("?")
        assert stop["thread"] == "1"
        assert await client.register(RIP) == address("lost-update", "_start")


async def test_breakpoints_stop_before_their_instruction_and_leave_no_trace_in_memory(tmp_path: Path) -> None:
    main = address("lost-update", "main")
    async with session("lost-update", tmp_path) as (client, guest):
        code = await client.ask(f"m{main:x},8")
        assert await client.ask(f"Z0,{main:x},1") == "OK"
        assert "swbreak" in await client.stop("vCont;c:-1")
        assert await client.register(RIP) == main
        assert await client.ask(f"m{main:x},8") == code
        assert await client.ask(f"z0,{main:x},1") == "OK"
        assert await client.ask("vCont;c") == "W00"
        await guest.ended.wait()
    assert guest.output == b"8 of 8 increments counted\n"


async def test_a_step_is_one_instruction(tmp_path: Path) -> None:
    async with session("lost-update", tmp_path) as (client, _):
        rip = await client.register(RIP)
        for length in (2, 2, 5):  # mov, mov, mov with four bytes of immediate
            assert (await client.stop("vCont;s:1"))["signal"] == "05"
            rip += length
            assert await client.register(RIP) == rip


async def test_an_interrupt_stops_what_never_ends(tmp_path: Path) -> None:
    async with session("spin", tmp_path) as (client, guest):
        for _ in range(3):
            await client.send(b"vCont;c")
            await client.interrupt()
            assert (await client.reply()).startswith(b"T02")
        await client.stream.send_all(frame(b"vCont;c") + b"\x03")
        assert (await client.reply()).startswith(b"T02")
        assert await client.ask("vKill;1") == "OK"
        await guest.ended.wait()
    assert guest.report is not None
    assert guest.report.ending.message == "stopped"


@pytest.mark.parametrize("packet", ["D", "D;1"])
async def test_a_guest_goes_on_when_the_debugger_detaches(tmp_path: Path, packet: str) -> None:
    async with session("hypercalls", tmp_path) as (client, guest):
        await client.ask(f"Z0,{await client.register(RIP) + 1:x},1")
        assert await client.ask(packet) == "OK"
        await guest.ended.wait()
    assert guest.report is not None
    assert guest.report.exit_code == 42


async def test_a_guest_goes_on_when_the_debugger_is_gone(tmp_path: Path) -> None:
    async with session("hypercalls", tmp_path) as (client, guest):
        await client.stream.aclose()
        await guest.ended.wait()
    assert guest.report is not None
    assert guest.report.exit_code == 42


async def test_a_guest_that_nobody_waits_for_runs_and_lets_a_debugger_in(tmp_path: Path) -> None:
    async with served("spin", tmp_path, wait=False) as guest:
        client = await guest.connect()
        await client.begin()
        assert (await client.stop("?"))["signal"] == "02"
        assert "spin" in (await client.monitor("info"))


async def test_a_second_debugger_is_turned_away(tmp_path: Path) -> None:
    async with session("spin", tmp_path) as (client, guest):
        assert await (await guest.connect()).is_closed()
        assert await client.ask("qC") == "QC1"


async def test_the_exit_code_is_the_guests(tmp_path: Path) -> None:
    async with session("hypercalls", tmp_path) as (client, guest):
        assert await client.ask("c") == "W2a"
        await guest.ended.wait()


@pytest.mark.parametrize(("guest_name", "why"), [("triple", "triple fault"), ("halt", "halted for ever"), ("wild", "no page")])
async def test_a_death_stops_in_the_debugger_and_then_ends_the_run(tmp_path: Path, guest_name: str, why: str) -> None:
    async with session(guest_name, tmp_path) as (client, guest):
        said = bytes.fromhex((await client.ask("vCont;c"))[1:]).decode()
        assert why in said
        assert (await client.reply()).startswith(b"T06")
        assert await client.register(RIP)
        said = bytes.fromhex((await client.ask("vCont;c"))[1:]).decode()
        assert why in said
        assert await client.reply() == b"W03"
        await guest.ended.wait()
    assert guest.report is not None
    assert guest.report.exit_code == 3


async def test_memory_ends_where_the_guests_does(tmp_path: Path) -> None:
    async with session("spin", tmp_path, memory=2 << 20) as (client, _):
        end = 2 << 20
        assert len(await client.ask(f"m{end - 4:x},10")) == 2 * 4
        assert await client.ask("mfee00000,4") == "E0e"
        assert await client.ask("mfffffffffffff000,4") == "E0e"


async def test_what_is_written_is_read_and_executed(tmp_path: Path) -> None:
    """The empty loop of `spin` becomes a jump to itself elsewhere: translated code must not outlive it."""
    async with session("spin", tmp_path) as (client, _):
        await client.send(b"vCont;c")
        await client.interrupt()
        await client.reply()
        rip = await client.register(RIP)
        binary = b"\x90\x90}#$*\x03\x00"
        assert await client.ask(b"X%x,%x:%b" % (rip + 64, len(binary), escape(binary))) == "OK"
        assert await client.ask(f"m{rip + 64:x},{len(binary):x}") == binary.hex()
        assert await client.ask(f"M{rip:x},2:eb3e") == "OK"
        assert await client.ask(f"Z1,{rip + 64:x},1") == "OK"
        assert "swbreak" in await client.stop("vCont;c")
        assert await client.register(RIP) == rip + 64


async def test_registers_are_written_one_by_one_and_all_together(tmp_path: Path) -> None:
    async with session("gKeOS", tmp_path) as (client, _):
        assert await client.ask("P0=8877665544332211") == "OK"
        assert await client.register(0) == 0x1122334455667788
        everything = await client.ask("g")
        assert everything.startswith("8877665544332211")
        changed = "01" + everything[2:]
        assert await client.ask("G" + changed) == "OK"
        assert await client.ask("g") == changed


async def test_vector_and_floating_point_registers_are_there(tmp_path: Path) -> None:
    async with session("gKeOS", tmp_path) as (client, _):
        xmm3, st2, fctrl = 43, 26, 32
        value = bytes(range(16)).hex()
        assert await client.ask(f"P{xmm3:x}={value}") == "OK"
        assert await client.ask(f"p{xmm3:x}") == value
        assert await client.ask(f"P{st2:x}={value[:20]}") == "OK"
        assert await client.ask(f"p{st2:x}") == value[:20]
        assert await client.ask(f"p{fctrl:x}") == "7f030000"


async def test_segment_registers_are_not_the_debuggers(tmp_path: Path) -> None:
    async with session("gKeOS", tmp_path) as (client, _):
        cs = 18
        value = await client.ask(f"p{cs:x}")
        assert await client.ask(f"P{cs:x}={value}") == "OK"
        assert (await client.ask(f"P{cs:x}=40000000")).startswith("E")


async def test_watchpoints_tell_what_was_accessed(tmp_path: Path) -> None:
    counter = address("lost-update", "counter")
    async with session("lost-update", tmp_path, vcpus=1) as (client, _):
        assert await client.ask(f"Z2,{counter:x},4") == "OK"
        values = []
        for _ in range(4):
            assert int((await client.stop("vCont;c"))["watch"], 16) == counter
            values.append(await client.ask(f"m{counter:x},4"))
        assert values == ["01000000", "02000000", "03000000", "04000000"]
        assert await client.ask(f"z2,{counter:x},4") == "OK"
        assert await client.ask(f"Z3,{counter:x},4") == "OK"
        assert int((await client.stop("vCont;c"))["rwatch"], 16) == counter


async def test_vcpus_are_threads(tmp_path: Path) -> None:
    async with session("lost-update", tmp_path, vcpus=3, seed=1) as (client, _):
        assert await client.ask("qfThreadInfo") == "m1,2,3"
        assert await client.ask("qsThreadInfo") == "l"
        assert bytes.fromhex(await client.ask("qThreadExtraInfo,2")).decode() == "vCPU 1 waits for a start-up IPI"
        assert 'core="2" name="vCPU 2"' in await client.ask("qXfer:threads:read::0,1000")
        assert await client.ask("T3") == "OK"
        assert await client.ask("T4") == "E03"
        assert await client.ask("Hg4") == "E03"
        assert await client.ask("Hg2") == "OK"
        assert await client.register(RIP) == 0


async def test_the_one_that_steps_is_the_one_that_was_asked(tmp_path: Path) -> None:
    work = address("lost-update", "work")
    async with session("lost-update", tmp_path, vcpus=2) as (client, _):
        await client.ask(f"Z0,{work:x},1")
        first = (await client.stop("vCont;c"))["thread"]
        other = {"1": "2", "2": "1"}[first]
        before = await client.register(RIP)
        await client.ask(f"Hg{other}")
        there = await client.register(RIP)
        assert (await client.stop(f"vCont;s:{other}"))["thread"] == other
        assert await client.register(RIP) != there
        await client.ask(f"Hg{first}")
        assert await client.register(RIP) == before


async def test_stepping_within_bounds_ends_behind_them(tmp_path: Path) -> None:
    main = address("lost-update", "main")
    async with session("lost-update", tmp_path, vcpus=1) as (client, _):
        await client.ask(f"Z0,{main:x},1")
        await client.stop("vCont;c")
        await client.stop(f"vCont;r{main:x},{main + 1:x}:1")
        assert await client.register(RIP) > main


async def test_going_back_is_offered_where_the_run_is_repeatable(tmp_path: Path) -> None:
    async with session("spin", tmp_path) as (client, _):
        assert "ReverseStep+" not in await client.ask("qSupported")
        assert await client.ask("bs") == ""
    (tmp_path / "2").mkdir()
    async with session("spin", tmp_path / "2", seed=1) as (client, _):
        assert "ReverseStep+;ReverseContinue+" in await client.ask("qSupported")


async def test_steps_back_are_steps_undone(tmp_path: Path) -> None:
    async with session("lost-update", tmp_path, vcpus=2, seed=5) as (client, _):
        await client.ask(f"Z0,{address('lost-update', 'work'):x},1")
        thread = (await client.stop("vCont;c"))["thread"]
        states = []
        for _ in range(8):
            states.append(await client.ask("g"))
            await client.stop(f"vCont;s:{thread};c")
        for state in reversed(states):
            await client.stop("bs")
            assert await client.ask("g") == state


async def test_nothing_is_before_the_beginning(tmp_path: Path) -> None:
    async with session("hypercalls", tmp_path, seed=1) as (client, _):
        entry = await client.register(RIP)
        await client.stop("vCont;s:1")
        assert "replaylog" in await client.stop("bc")
        assert await client.register(RIP) == entry
        assert (await client.stop("bs"))["replaylog"] == "begin"


async def test_going_back_finds_the_last_write_before_a_death(tmp_path: Path) -> None:
    async with session("triple", tmp_path, seed=1) as (client, _):
        await client.ask("vCont;c")
        await client.reply()
        dead = await client.register(RIP)
        await client.stop("bs")
        assert await client.register(RIP) <= dead
        assert (await client.ask("vCont;c")).startswith("O")


async def test_what_a_guest_prints_is_printed_once(tmp_path: Path) -> None:
    async with session("lost-update", tmp_path, vcpus=2, seed=1) as (client, guest):
        finish = address("lost-update", "finish")
        await client.ask(f"Z0,{finish:x},1")
        await client.stop("vCont;c")
        printed = bytes(guest.output)
        assert printed
        await client.stop("bs")
        await client.stop("bc")
        await client.stop("vCont;c")
        assert guest.output == printed


async def test_what_a_debugger_writes_is_written_again_when_the_run_is_repeated(tmp_path: Path) -> None:
    main, counter = address("lost-update", "main"), address("lost-update", "counter")
    async with session("lost-update", tmp_path, vcpus=1, seed=1) as (client, guest):
        await client.ask(f"Z0,{main:x},1")
        await client.stop("vCont;c")
        await client.ask(f"M{counter:x},4:40000000")
        await client.stop("vCont;s:1")
        await client.stop("vCont;s:1")
        await client.stop("bs")
        assert await client.ask(f"m{counter:x},4") == "40000000"
        await client.ask(f"z0,{main:x},1")
        assert await client.ask("vCont;c") == "W01"
        await guest.ended.wait()
    assert guest.output == b"68 of 4 increments counted\n"


async def test_monitor_tells_of_pages_mappings_exits_and_loads(tmp_path: Path) -> None:
    start = address("lost-update", "_start")
    async with session("lost-update", tmp_path) as (client, _):
        assert "absent" in await client.monitor(f"pages {start:#x}")
        await client.ask(f"m{start:x},1")
        assert "present" in await client.monitor(f"pages {start:#x}")
        assert "1 of 65,536 pages are loaded" in await client.monitor("pages")
        said = await client.monitor(f"mappings {start:#x}")
        assert "paging is off" in said
        assert f"gpa {start:#x} -> hpa" in said
        assert "vCPU 0" in await client.monitor("report")
        assert "1 pages loaded" in await client.monitor("loads")
        assert "no exits yet" in await client.monitor("exits")
        assert "monitor pages" in await client.monitor("help")
        assert "there is no command 'x'" in await client.monitor("x")
        assert "an address is a number" in await client.monitor("mappings x")


@pytest.mark.parametrize("packet", ["vMustReplyEmpty", "qNothing", "!", "Z7,0,1", "R00"])
async def test_what_is_unknown_is_answered_with_nothing(tmp_path: Path, packet: str) -> None:
    async with session("spin", tmp_path) as (client, _):
        assert await client.ask(packet) == ""


@pytest.mark.parametrize(
    "packet", ["mx,1", "m1000", "P0", "pffff", "Z0,zz,1", "vCont;q", "Hgz", "M1000,4:00", "qRcmd,0", "qXfer:threads:read::"]
)
async def test_what_is_malformed_is_an_error(tmp_path: Path, packet: str) -> None:
    async with session("spin", tmp_path) as (client, _):
        assert (await client.ask(packet)).startswith("E")


async def test_lldb_is_told_of_the_machine(tmp_path: Path) -> None:
    async with session("gKeOS", tmp_path) as (client, _):
        assert "ptrsize:8" in await client.ask("qHostInfo")
        assert "pid:1" in await client.ask("qProcessInfo")
        assert (await client.ask("qThreadStopInfo1")).startswith("T")
