"""Machines that are saved, and forked, in the middle of what they have to do with their host."""

import struct
from pathlib import Path

import pytest
import trio

import kev
from kev.envs.environment import EnvironmentKind
from kev.envs.guest_port import GuestPort
from kev.envs.ipc import PTE_P, PTE_U, receive, try_send
from kev.envs.saved import SavedHost
from kev.envs.spaces import HostSpace
from kev.machine.machine import Machine, MachineState
from kev.state import StateError
from tests.envs.exchange import exchanging
from tests.envs.guest import FD, REQUEST, Program
from tests.machine.restoring import held, run

ROUNDS = 3
PATH = "/vmm/fs1.img"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    file = tmp_path / "guest"
    file.write_bytes(exchanging(PATH, ROUNDS))
    return file


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    file = tmp_path / "fs1.img"
    file.write_bytes(bytes(64 << 10))
    return file


def wishes(disk: Path, access: str = "overlay") -> dict[str, object]:
    return {"abi": "jos", "memory": 16 << 20, "seed": 1, "disks": [f"{disk},ipc,{access}"]}


def port(machine: Machine) -> GuestPort:
    device = next(device for device in machine.vm.devices if isinstance(device, SavedHost))
    return device._port


def stopped_at(machine: Machine, instructions: int) -> None:
    machine.vm.stop_at = instructions
    run(machine)


@pytest.mark.parametrize("instructions", range(10, 280, 23))
def test_a_run_goes_on_from_a_snapshot_wherever_it_was(image: Path, disk: Path, tmp_path: Path, instructions: int) -> None:
    """The guest itself dies unless pages, files and positions are what they were."""
    saved = tmp_path / "saved"
    with held(image, **wishes(disk)) as machine:
        stopped_at(machine, instructions)
        assert machine.vm.ending is None
        trio.run(machine.snapshot, saved)
        served = port(machine).host.file_server.requests
        run(machine)
        all_served = port(machine).host.file_server.requests
        time = machine.vm.clock.now()
        assert str(machine.vm.ending) == "exit code 0"
    with held(saved) as again:
        run(again)
        assert str(again.vm.ending) == "exit code 0"
        assert again.vm.clock.now() == time
        assert port(again).host.file_server.requests == all_served - served


def test_what_is_saved_is_what_is_loaded(image: Path, disk: Path) -> None:
    with held(image, **wishes(disk)) as machine, held(image, **wishes(disk)) as other:
        stopped_at(machine, 150)
        stopped_at(other, 150)
        state = SavedHost(port(machine)).save()
        loaded = SavedHost(port(other))
        loaded.load(state)
        assert len(list(state["pages"])) == 3  # type: ignore[arg-type]
        assert loaded.save() == state
        loaded.reset()
        assert loaded.save()["pages"] == []


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("pages", [], "saved page is 1: it must be one of the 0 that were saved"),
        ("pages", [b"x", b"", b""], "must be 4096 bytes each, or none"),
        ("environments", [], "saved environments is"),
        ("open_files", [[0, 1024, b"/vmm/gone.img"]], "there is no such file"),
        ("reply", [1], "saved reply is"),
        ("waiting", -1, "saved waiting is"),
    ],
)
def test_a_state_that_no_host_can_have_is_refused(image: Path, disk: Path, part: str, value: object, message: str) -> None:
    with held(image, **wishes(disk)) as machine:
        stopped_at(machine, 150)
        host = SavedHost(port(machine))
        state = host.save()
        assert len(list(state["pages"])) == 3  # type: ignore[arg-type]
        with pytest.raises(StateError, match=message):
            host.load({**state, part: value})  # type: ignore[dict-item]


WRITES_TO_FD = Program().show(REQUEST, 4).store(FD, b"x").image()
REFUSAL = f"gpa {FD:#x}: the page was sent without the permission to write to it"


def send_read_only(machine: Machine) -> None:
    """The guest is sent a page at FD that it may not write to."""
    host, guest = port(machine).host, port(machine).environment
    sender = host.create(EnvironmentKind.USER)
    assert isinstance(sender.space, HostSpace)
    sender.space.allocate(FD, PTE_P | PTE_U)
    receive(guest, FD)
    try_send(sender, guest, 0, FD, PTE_P | PTE_U)
    host.destroy(sender)


def test_a_page_stays_read_only_in_a_snapshot(disk: Path, tmp_path: Path) -> None:
    image, saved = tmp_path / "guest", tmp_path / "saved"
    image.write_bytes(WRITES_TO_FD)
    with held(image, **wishes(disk)) as machine:
        stopped_at(machine, 5)
        send_read_only(machine)
        trio.run(machine.snapshot, saved)
    with held(saved) as again:
        run(again)
        assert REFUSAL in str(again.vm.ending)


async def test_a_page_is_read_only_in_the_machine_that_was_sent_it_and_in_its_forks(disk: Path, tmp_path: Path) -> None:
    image = tmp_path / "guest"
    image.write_bytes(WRITES_TO_FD)
    async with kev.start(str(image), paused=True, **wishes(disk)) as machine:  # type: ignore[arg-type]
        machine.vm.stop_at = 5
        await machine.resume()
        while machine.state is not MachineState.PAUSED:
            await trio.lowlevel.checkpoint()
        (before,) = await machine.fork(1)
        send_read_only(machine)
        (after,) = await machine.fork(1)
        endings = []
        for each in (after, machine, before):
            await each.resume()
            endings.append(str((await each.wait()).ending))
    assert [REFUSAL in ending for ending in endings] == [True, True, False]
    assert endings[2] == "exit code 0"


async def test_forks_have_a_host_each(tmp_path: Path, disk: Path) -> None:
    """Each writes to a disk of its own, and has a position of its own."""
    program = Program().open(PATH).transfer(4, 1024, 4, 512, b"once").transfer(3, 1024, 4, 512).show(REQUEST, 4).show(FD + 4, 4)
    image = tmp_path / "guest"
    image.write_bytes(program.image())
    async with kev.start(str(image), paused=True, **wishes(disk)) as machine:  # type: ignore[arg-type]
        machine.vm.stop_at = 700
        await machine.resume()
        while machine.state is not MachineState.PAUSED:
            await trio.lowlevel.checkpoint()
        forks = await machine.fork(2)
        outputs = []
        for each in (*forks, machine):
            before = bytes(each.output)
            await each.resume()
            report = await each.wait()
            outputs.append(before + (report.output or b"")[len(before) :])
        assert outputs[2] == struct.pack("<iii", 0, 4, 4) + b"once" + struct.pack("<i", 516)
        assert all(outputs[2].endswith(output) for output in outputs[:2])
    assert await trio.Path(disk).read_bytes() == bytes(64 << 10)
