"""Hosts with several guests: real ones, which take turns with the host's file system."""

import io
import struct
from itertools import pairwise
from pathlib import Path

import pytest

import kev
from kev.envs.environment import EnvironmentKind, Status
from kev.envs.errors import JosFailure
from kev.envs.ipc import PTE_P, PTE_U, PTE_W, try_send
from kev.envs.josfs_files import JosFsFiles
from kev.envs.spaces import HostSpace
from kev.envs.vmx import VmxCapabilities
from kev.fs.disk import Disk
from kev.fs.josfs import JosFs
from kev.fs.josfs_mkfs import create_josfs_image
from kev.jos import Guest, Host
from kev.jos.host import HostError
from kev.machine.ending import EndingKind
from tests.abi.calls import load
from tests.boot.images import source
from tests.envs.exchange import MESSAGES_EACH, POSITION, exchanging
from tests.envs.guest import FD, REQUEST, Program
from tests.machine.code import VMCALL, code

ROUNDS_FOR_10000_MESSAGES = 834
FEW_ROUNDS = 100


def disk(folder: Path, number: int) -> Path:
    file = folder / f"fs{number}.img"
    file.write_bytes(bytes([number]) * (16 << 12))
    return file


def add_exchanging(host: Host, folder: Path, rounds: int) -> Guest:
    number = len(host.guests) + 1
    return host.mkguest(source(exchanging(f"/vmm/fs{number}.img", rounds)), disks=[f"{disk(folder, number)},ipc"])


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "rounds"), [(1, ROUNDS_FOR_10000_MESSAGES), (None, FEW_ROUNDS)])
def test_ten_thousand_messages_with_pages_are_exchanged_and_none_is_lost(tmp_path: Path, seed: int | None, rounds: int) -> None:
    """Each guest dies if a value, a page or a position is not what it must be."""
    with Host(seed=seed) as host:
        guests = [add_exchanging(host, tmp_path, rounds) for _ in range(2)]
        reports = host.run(timeout=120)
        assert [str(report.ending) for report in reports] == ["exit code 0"] * 2
        requests = host.environments.file_server.requests
        assert requests * 2 == 2 * rounds * MESSAGES_EACH
        assert requests * 2 > 10_000 or seed is None
        # Only the file system is left, with the struct Fd of each place that was ever taken.
        places = len(host.environments.file_server.open_files)
        assert places <= 4
        assert len(host.environments.memory) == places
        assert all(host.environments.memory.references(page) == 1 for page in host.environments.memory)
        assert host.environments.memory.memory.allocated == places << 12
        assert all(guest.environment.runs > rounds for guest in guests)
    for number in (1, 2):
        data = (tmp_path / f"fs{number}.img").read_bytes()
        assert data == bytes([number]) * POSITION + struct.pack("<I", 1) + bytes([number]) * ((16 << 12) - POSITION - 4)


def test_guests_are_interleaved_the_same_whenever_the_seed_is(tmp_path: Path) -> None:
    def turns() -> list[tuple[int, int]]:
        with Host(seed=3) as host:
            for _ in range(2):
                add_exchanging(host, tmp_path, 5)
            taken = []
            while any(guest.ending is None for guest in host.guests):
                turn = host.sched_yield()
                assert turn is not None
                taken.append(turn[:2])
            return taken

    first = turns()
    assert turns() == first
    assert {place for place, _ in first} == {0, 1, 2}
    assert sum(before[0] != after[0] for before, after in pairwise(first)) > 30


def test_a_guest_is_launched_once_and_then_resumed(tmp_path: Path) -> None:
    with Host(seed=1) as host:
        guest = add_exchanging(host, tmp_path, 1)
        assert (guest.entered_by, guest.environment.runs) == ("", 0)
        host.sched_yield()
        assert (guest.entered_by, guest.environment.runs) == ("VMLAUNCH", 1)
        host.run()
        assert guest.entered_by == "VMRESUME"


def test_a_guest_waits_for_its_status(tmp_path: Path) -> None:
    with Host(seed=1) as host:
        add_exchanging(host, tmp_path, 1)
        waiting = host.mkguest(source(Program().show_rax().image()), start=False)
        assert waiting.environment.status is Status.NOT_RUNNABLE
        host.run()
        assert (waiting.ending, waiting.environment.runs) == (None, 0)
        waiting.set_status(Status.RUNNABLE)
        host.run()
        assert str(waiting.ending) == "exit code 0"


@pytest.mark.parametrize(("permissions", "may_write"), [(PTE_P | PTE_U, False), (PTE_P | PTE_U | PTE_W, True)])
def test_a_guest_may_write_to_a_page_if_the_sender_permits(permissions: int, may_write: bool) -> None:
    with Host(seed=1) as host:
        guest = host.mkguest(source(Program().call(rax=3, rbx=FD).show(FD, 4).store(FD, b"mine").show(FD, 4).image()))
        sender = host.environments.create(EnvironmentKind.USER)
        assert isinstance(sender.space, HostSpace)
        page = sender.space.allocate(FD, PTE_P | PTE_U | PTE_W)
        host.environments.memory.write(page, 0, b"read")
        while not guest.environment.receiving:
            host.sched_yield()
        try_send(sender, guest.environment, 0, FD, permissions)
        (report,) = host.run()
        assert host.environments.memory.read(page, 0, 4) == (b"mine" if may_write else b"read")
    if may_write:
        assert (report.exit_code, bytes(guest.output)) == (0, b"readmine")
    else:
        assert b"Unhandled VMEXIT, aborting guest.\n" in guest.output
        assert guest.output.endswith(b"read")
        assert f"gpa {FD:#x}: the page was sent without the permission to write to it" in report.ending.message


def test_each_guest_is_told_its_number_and_has_its_disk(tmp_path: Path) -> None:
    printed: list[tuple[int, bytes]] = []
    with Host(seed=1, output=lambda number, data: printed.append((number, data))) as host:
        for number in (1, 2, 3):
            program = Program().call(rax=6).show_rax().open(f"/vmm/fs{number}.img").show(FD + 12, 4)
            host.mkguest(source(program.image()), disks=[f"{disk(tmp_path, number)},ipc"])
        host.run()
        outputs = [struct.unpack("<iii", guest.output) for guest in host.guests]
    assert [(number, answer) for number, answer, _ in outputs] == [(1, 0), (2, 0), (3, 0)]
    assert len({place for _, _, place in outputs}) == 3
    assert {number for number, _ in printed} == {1, 2, 3}


@pytest.mark.parametrize(
    ("processor", "line"),
    [
        (VmxCapabilities(cpuid_1_ecx=0), "[VMM] VMX extension not supported."),
        (VmxCapabilities(procbased_ctls2=0), "[VMM] EPT extension not supported."),
    ],
)
def test_a_processor_that_cannot_is_told_of(processor: VmxCapabilities, line: str) -> None:
    with Host(processor=processor) as host:
        with pytest.raises(JosFailure) as caught:
            host.mkguest(source(Program().image()))
        assert caught.value.code in (-17, -18)
        assert bytes(host.console) == f"{line}\n".encode()
        assert host.guests == []


BACK = b"Now back to the host, VM halt in the background, run vmmanager to resume the VM.\n"


@pytest.mark.parametrize("seed", [None, 1])
def test_a_guest_that_goes_back_to_its_host_is_in_the_background_until_it_may_go_on(seed: int | None) -> None:
    with Host(seed=seed) as host:
        leaving = host.mkguest(source(Program().call(rax=5, rbx=7).show_rax().image()))
        other = Program()
        other.text += load(rcx=500_000) + code("e2 fe ; loop .")
        staying = host.mkguest(source(other.image()))
        host.run(timeout=20)
        assert (bytes(leaving.output), leaving.ending, leaving.in_background) == (BACK, None, True)
        assert leaving.environment.status is Status.NOT_RUNNABLE
        assert str(staying.ending) == "exit code 0"
        leaving.set_status(Status.RUNNABLE)
        assert not leaving.in_background
        host.run(timeout=20)
        assert str(leaving.ending) == "exit code 0"
        assert bytes(leaving.output) == BACK + struct.pack("<i", 5)


def test_guests_that_wait_for_each_other_end_as_jos_says() -> None:
    with Host(seed=1) as host:
        for _ in range(2):
            host.mkguest(source(Program().call(rax=3, rbx=FD).image()))
        reports = host.run()
    assert all(report.ending.kind is EndingKind.DIED for report in reports)
    assert reports[0].ending.message.endswith(": No runnable environments in the system!")


@pytest.mark.parametrize("seed", [None, 1])
def test_a_guest_that_never_ends_is_ended_by_the_clock(seed: int | None) -> None:
    with Host(seed=seed) as host:
        host.mkguest(source(Program().image()))
        spinning = Program()
        spinning.text += code("eb fe ; jmp .")
        host.mkguest(source(spinning.image()))
        reports = host.run(timeout=0.2)
    assert [report.ending.kind for report in reports] == [EndingKind.EXITED, EndingKind.TIMED_OUT]


def test_a_guest_that_waits_for_a_message_takes_no_time() -> None:
    """It does not spin: the other one has the processor to itself."""
    with Host(seed=1) as host:
        waiting = host.mkguest(source(Program().call(rax=3, rbx=FD).image()))
        other = Program()
        other.text += load(rcx=500_000) + code("e2 fe ; loop .")
        host.mkguest(source(other.image()))
        host.run()
        assert waiting.environment.runs == 1
        assert waiting.machine.vm.instructions < 10


def test_one_that_dies_leaves_the_others_alone(tmp_path: Path) -> None:
    with Host(seed=1) as host:
        add_exchanging(host, tmp_path, 3)
        host.mkguest(source(Program().call(rax=99).image()))
        reports = host.run()
    assert [report.ending.kind for report in reports] == [EndingKind.EXITED, EndingKind.DIED]


def test_one_that_dies_with_a_request_under_way_leaves_the_file_system_to_the_others(tmp_path: Path) -> None:
    with Host(seed=1) as host:
        dying = Program()
        dying.text += load(rax=2, rbx=1, rcx=5, rdx=REQUEST, rsi=7) + VMCALL + code("0f 0b ; ud2")
        host.mkguest(source(dying.image()))
        number = len(host.guests) + 1
        host.mkguest(source(exchanging(f"/vmm/fs{number}.img", 3)), disks=[f"{disk(tmp_path, number)},ipc"])
        reports = host.run()
        assert [report.ending.kind for report in reports] == [EndingKind.DIED, EndingKind.EXITED]
        assert all(host.environments.memory.references(page) == 1 for page in host.environments.memory)


def test_guests_use_the_hosts_own_disk(tmp_path: Path) -> None:
    backing = io.BytesIO()
    create_josfs_image(backing, "host", {"vmm/fs1.img": io.BytesIO(bytes(4096))}, 64 << 12)
    with Host(seed=1, files=JosFsFiles(JosFs(Disk(backing, "host")))) as host:
        guest = host.mkguest(source(Program().open("/vmm/fs1.img").transfer(4, 1024, 5, 6000, b"grown").image()))
        host.run()
        assert struct.unpack("<ii", guest.output) == (0, 5)
    again = JosFs(Disk(backing, "host")).open("vmm/fs1.img")
    assert (again.size, again.read_at(5999, 9)) == (6005, b"\0grown")


def test_a_guest_of_a_host_has_one_vcpu_and_the_abi_of_jos() -> None:
    with Host() as host:
        with pytest.raises(HostError, match="vcpus: 2: a guest of the JOS VMM has one"):
            host.mkguest("halt", vcpus=2)
        with pytest.raises(HostError, match="a guest of a host needs the ABI jos: with keos it has no environments"):
            host.mkguest("halt", abi="keos")
        with pytest.raises(kev.KevError, match="there is no such file"):
            host.mkguest("no such guest at all")
        assert host.guests == []


def test_a_guest_of_a_host_is_not_saved_alone(tmp_path: Path) -> None:
    with Host(seed=1) as host:
        guest = add_exchanging(host, tmp_path, 1)
        with pytest.raises(kev.KevError, match="it is neither saved nor forked alone"):
            guest.machine.vm.devices.save()
