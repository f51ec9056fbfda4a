"""The host's file system as guests see it: real guests, which print the answers' values and what is in the pages."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kev
from kev.envs.file_protocol import FileRequest
from kev.machine.ending import EndingKind
from tests.envs.guest import FD, REQUEST, Program

OPEN, SET_SIZE, READ, WRITE, STAT, FLUSH, REMOVE, SYNC = FileRequest
PATH = "/vmm/fs1.img"
FIRST = 1024
"""The id of the file that is opened first."""
E_INVAL, E_NO_DISK, E_NOT_FOUND, E_BAD_PATH = -3, -10, -12, -13


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Every sector begins with its number."""
    file = tmp_path / "fs1.img"
    file.write_bytes(b"".join(struct.pack("<I508x", sector) for sector in range(512)))
    return file


def values(program: Program, disk: Path | None = None, access: str = "") -> list[int]:
    """What it prints, all of it numbers of 32 bits."""
    report = program.run(disk, access)
    assert (report.ending.kind, report.exit_code) == (EndingKind.EXITED, 0), report.ending
    output = report.output or b""
    return list(struct.unpack(f"<{len(output) // 4}i", output))


def test_a_file_is_opened_and_its_fd_is_shared(disk: Path) -> None:
    assert values(Program().open(PATH).show(FD, 16), disk) == [0, ord("f"), 0, 2, FIRST]


def test_it_is_read_at_the_position_that_the_guest_stores_and_the_host_moves_on(disk: Path) -> None:
    program = Program().open(PATH).transfer(READ, FIRST, 1024, 7 * 512).show(REQUEST, 4).show(REQUEST + 512, 4).show(FD + 4, 4)
    program.store(REQUEST, struct.pack("<i4xQ", FIRST, 1024)).request(READ).show(REQUEST, 4).show(FD + 4, 4)
    assert values(program, disk) == [0, 1024, 7, 8, 9 * 512, 1024, 9, 11 * 512]


def test_it_is_written_there_and_reaches_the_file(disk: Path) -> None:
    program = Program().open(PATH).transfer(WRITE, FIRST, 8, 512, b"written!").show(FD + 4, 4)
    assert values(program, disk) == [0, 8, 520]
    data = disk.read_bytes()
    assert (data[:516], data[512:520]) == (data[:512] + b"writ", b"written!")
    assert len(data) == 512 * 512


def test_a_page_holds_so_much_and_no_more(disk: Path) -> None:
    program = Program().open(PATH).transfer(READ, FIRST, 2**63, 0).show(FD + 4, 4).transfer(WRITE, FIRST, 2**63, 0).show(FD + 4, 4)
    assert values(program, disk) == [0, 4096, 4096, 4080, 4080]


def test_at_the_end_there_is_less_to_read_and_nothing_to_write(disk: Path) -> None:
    end = 512 * 512
    program = Program().open(PATH).transfer(READ, FIRST, 1024, end - 100).transfer(READ, FIRST, 1024, end).show(FD + 4, 4)
    program.transfer(WRITE, FIRST, 101, end - 100).transfer(READ, FIRST, 1, -1).transfer(WRITE, FIRST, 1, -1)
    assert values(program, disk) == [0, 100, 0, end, E_NO_DISK, E_INVAL, E_INVAL]


def test_an_answer_is_not_written_to_a_page_that_was_sent_read_only(disk: Path) -> None:
    program = Program().open(PATH).store(FD + 4, struct.pack("<i", 512)).store(REQUEST, struct.pack("<i4xQ", FIRST, 4))
    for request in (READ, STAT):
        program.request(request, permissions=5).show(REQUEST, 4).show(FD + 4, 4)
    assert values(program, disk) == [0, *[E_INVAL, FIRST, 512] * 2]


def test_its_status(disk: Path) -> None:
    program = Program().open(PATH).store(REQUEST, struct.pack("<i", FIRST)).request(STAT).show(REQUEST, 136)
    shown = program.run(disk).output or b""
    assert struct.unpack("<ii128sii", shown) == (0, 0, b"fs1.img".ljust(128, b"\0"), 512 * 512, 0)


def test_it_keeps_its_size(disk: Path) -> None:
    program = Program().open(PATH)
    for size in (512 * 512, 512 * 512 + 1, 512, -1):
        program.store(REQUEST, struct.pack("<ii", FIRST, size)).request(SET_SIZE)
    assert values(program, disk) == [0, 0, E_NO_DISK, E_INVAL, E_INVAL]


def test_flush_and_sync(disk: Path) -> None:
    program = Program().open(PATH).store(REQUEST, struct.pack("<i", FIRST)).request(FLUSH).request(SYNC)
    assert values(program, disk) == [0, 0, 0]


def test_a_disk_is_not_removed_and_no_file_is_made(disk: Path) -> None:
    program = Program().store(REQUEST, PATH.encode().ljust(1028, b"\0")).request(REMOVE)
    program.store(REQUEST, b"/vmm/fs2.img".ljust(1028, b"\0")).request(REMOVE).open("/vmm/fs2.img", 0x102)
    assert values(program, disk) == [E_INVAL, E_NOT_FOUND, E_INVAL]


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        (PATH, 0),
        ("vmm//fs1.img", 0),
        ("/vmm/fs.img", 0),
        ("/vmm/fs2.img", E_NOT_FOUND),
        ("", E_NOT_FOUND),
        ("/" + 128 * "x", E_BAD_PATH),
    ],
)
def test_paths(disk: Path, path: str, answer: int) -> None:
    assert values(Program().open(path), disk) == [answer]


def test_without_a_disk_there_is_no_file() -> None:
    assert values(Program().open(PATH)) == [E_NOT_FOUND]


def test_a_read_only_disk_is_read_and_not_written(disk: Path) -> None:
    before = disk.read_bytes()
    program = Program().open(PATH).transfer(READ, FIRST, 4, 512).show(REQUEST, 4).transfer(WRITE, FIRST, 4, 512, b"lost")
    assert values(program, disk, ",ro") == [0, 4, 1, E_INVAL]
    assert disk.read_bytes() == before


def test_an_overlay_is_written_and_its_file_stays(disk: Path) -> None:
    before = disk.read_bytes()
    program = (
        Program().open(PATH).transfer(WRITE, FIRST, 4, 512, struct.pack("<I", 77)).transfer(READ, FIRST, 4, 512).show(REQUEST, 4)
    )
    assert values(program, disk, ",overlay") == [0, 4, 4, 77]
    assert disk.read_bytes() == before


@pytest.mark.parametrize("id", [0, 1, FIRST - 1, FIRST + 1, 2 * FIRST, -1])
def test_an_id_that_is_of_no_open_file_is_invalid(disk: Path, id: int) -> None:
    assert values(Program().open(PATH).transfer(READ, id, 4, 0), disk) == [0, E_INVAL]


def test_an_id_is_of_no_file_before_one_is_opened(disk: Path) -> None:
    assert values(Program().transfer(READ, FIRST, 4, 0), disk) == [E_INVAL]


def test_who_gives_an_fd_up_has_closed_the_file(disk: Path) -> None:
    """The next struct Fd takes the page's place: the first file's is nobody's any more, and the third file gets its place."""
    program = Program().open(PATH).open(PATH).show(FD + 12, 4).transfer(READ, FIRST, 4, 0).transfer(READ, FIRST + 1, 4, 0)
    program.open(PATH).show(FD + 12, 4)
    assert values(program, disk) == [0, 0, FIRST + 1, E_INVAL, 4, 0, 2 * FIRST]


@pytest.mark.parametrize(("number", "shown"), [(9, "9"), (0, "0"), (-1, "-1")])
def test_an_unknown_request_is_printed_and_invalid(disk: Path, number: int, shown: str) -> None:
    report = Program().request(number).run(disk)
    assert report.output == f"Invalid request code {shown} from 00001001\n".encode() + struct.pack("<i", E_INVAL)


def test_a_page_beyond_the_guests_memory_is_not_sent(disk: Path) -> None:
    report = Program().call(rax=2, rbx=1, rcx=1, rdx=16 << 20, rsi=5).show_rax().run(disk)
    assert struct.unpack("<i", report.output or b"") == (E_INVAL,)


def test_who_waits_for_what_nobody_sends_is_told_of() -> None:
    report = Program().call(rax=3, rbx=FD).run()
    assert report.ending.kind is EndingKind.DIED
    assert "waits for a message, which nobody can send" in report.ending.message
    assert report.ending.message.startswith("halted for ever: vCPU 0 at RIP 0x10003")


def test_the_position_is_what_the_guest_stores_last(disk: Path) -> None:
    """Also after the page has been the host's and the guest's for many requests."""
    program = Program().open(PATH)
    sectors = [(7 * step) % 512 for step in range(12)]
    for sector in sectors:
        program.transfer(READ, FIRST, 4, 512 * sector).show(REQUEST, 4)
    assert values(program, disk)[2::2] == sectors


def test_two_vcpus_are_no_hindrance(disk: Path) -> None:
    report = Program().open(PATH).run(disk, vcpus=2)
    assert report.exit_code == 0


@pytest.mark.parametrize("wish", [{"seed": 1}, {"paging": "eager"}, {"source_latency": "1ms"}], ids=str)
def test_it_makes_no_difference_how_the_guest_is_run(disk: Path, wish: dict[str, Any]) -> None:
    program = Program().open(PATH).transfer(READ, FIRST, 4, 512).show(REQUEST, 4)
    output = program.run(disk, **wish).output or b""
    assert struct.unpack("<3i", output) == (0, 4, 1)


def test_other_guests_have_no_host_to_serve_a_disk(disk: Path) -> None:
    with pytest.raises(kev.KevError, match=r"a disk behind ipc: a guest with the ABI keos has no host that would serve it"):
        kev.launch("gKeOS", abi="keos", disks=[f"{disk},ipc"])


def test_a_disk_of_a_host_is_one(disk: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(bytes(4096))
    call: Callable[[], object] = lambda: kev.launch("halt", abi="jos", disks=[f"{disk},ipc", f"{other},ipc"])  # noqa: E731
    with pytest.raises(kev.KevError, match=r"2 disks behind ipc: there can be 1"):
        call()
