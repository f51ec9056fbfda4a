"""Guest-physical addresses where neither memory nor a device is: what a whole machine makes of them."""

import struct
from pathlib import Path

import pytest

import kev
from kev.cli.launch import main
from kev.errors import KevError
from kev.machine.run_report import RunReport
from tests.abi.calls import POWER_OFF, SHOW_RAX, kernel, load
from tests.boot.images import source
from tests.machine.code import code

EMPTY = 0xE000_0000
"""Nothing is there."""
RAM = 16 << 20
ONES = b"\xff\xff\xff\xff"
SEEDS = pytest.mark.parametrize("seed", [None, 5])


def run(text: bytes, *, seed: int | None = None, strict: bool = False, disk: str | None = None) -> RunReport:
    image = source(kernel(text + SHOW_RAX + POWER_OFF))
    return kev.launch(image, memory=RAM, timeout=30, seed=seed, strict_memory=strict, disks=disk)


def read(gpa: int) -> bytes:
    return b"\xa1" + struct.pack("<I", gpa)


@SEEDS
@pytest.mark.parametrize("gpa", [RAM, 0xBFFD_A000, EMPTY, 0xFED4_0000, 0xFFFF_F000, 0xFFFF_FFFC])
def test_what_is_not_there_reads_as_ones(gpa: int, seed: int | None) -> None:
    report = run(read(gpa), seed=seed)
    assert (report.exit_code, report.output) == (0, ONES)
    page = gpa & ~0xFFF
    assert report.unanswered == {"accesses": 1, "pages": 1, "ranges": [f"{page:#x}-{page + 0x1000:#x}"]}


@SEEDS
def test_writes_go_nowhere(seed: int | None) -> None:
    report = run(code("c7 05 00 00 00 e0 78 56 34 12 ; mov dword [EMPTY], 0x12345678") + read(EMPTY), seed=seed)
    assert (report.exit_code, report.output) == (0, ONES)
    assert report.unanswered is not None
    assert report.unanswered["accesses"] == 2


@pytest.mark.parametrize(
    ("text", "eax"),
    [
        ("31 c0 a0 01 00 00 e0 ; xor eax, eax; mov al, [EMPTY+1]", 0xFF),
        ("31 c0 66 a1 01 00 00 e0 ; xor eax, eax; mov ax, [EMPTY+1]", 0xFFFF),
        ("f0 ff 05 00 00 00 e0 a1 00 00 00 e0 ; lock inc dword [EMPTY]; mov eax, [EMPTY]", 0xFFFF_FFFF),
        ("a1 fe ff ff 00 ; mov eax, [RAM - 2]", 0xFFFF_0000),
        ("bc 00 10 00 e0 50 58 ; mov esp, EMPTY + 0x1000; push eax; pop eax", 0xFFFF_FFFF),
        ("be 00 00 00 e0 bf 00 00 20 00 b9 00 08 00 00 f3 a5 a1 fc 1f 20 00 ; copy 8 KiB to 2 MiB; mov eax, its end", 0xFFFF_FFFF),
    ],
    ids=["byte", "word", "locked", "across the end of RAM", "stack", "string"],
)
def test_every_kind_of_access_goes_on(text: str, eax: int) -> None:
    report = run(code(text))
    assert (report.exit_code, report.output) == (0, struct.pack("<I", eax))


def test_a_search_for_the_end_of_ram_is_counted_by_pages() -> None:
    # mov ebx, 8 MiB; 1: mov eax, [ebx]; add ebx, 0x1000; cmp ebx, 64 MiB; jb 1b
    report = run(code("bb 00 00 80 00 8b 03 81 c3 00 10 00 00 81 fb 00 00 00 04 72 f0"))
    assert report.exit_code == 0
    pages = (48 << 20) >> 12
    assert report.unanswered == {"accesses": pages, "pages": pages, "ranges": ["0x1000000-0x4000000"]}


def test_page_tables_that_are_not_there_do_not_take_more_than_the_guest_down() -> None:
    # mov eax, EMPTY; mov cr3, eax; mov eax, cr0; or eax, PG; mov cr0, eax
    report = run(code("b8 00 00 00 e0 0f 22 d8 0f 20 c0 0d 00 00 00 80 0f 22 c0"))
    assert report.ending.kind.value == "died"


def test_page_tables_in_a_devices_page_do_not_either() -> None:
    report = run(code("b8 00 00 e0 fe 0f 22 d8 0f 20 c0 0d 00 00 00 80 0f 22 c0"))
    assert report.ending.kind.value == "died"


@SEEDS
@pytest.mark.parametrize("before", [b"", read(EMPTY)], ids=["first", "after a read"])
def test_a_fetch_from_nowhere_ends_the_run_by_name(before: bytes, seed: int | None) -> None:
    report = run(before + load(rax=EMPTY) + code("ff e0 ; jmp eax"), seed=seed)
    assert report.ending.kind.value == "died"
    assert report.ending.message.startswith(
        "vCPU 0 at RIP 0xe0000000: there is no page at guest-physical address 0xe0000000: RAM is 0x0-0x1000000, the image 0x100000-"
    )


def test_a_fetch_from_a_devices_page_ends_the_run_by_name() -> None:
    report = run(read(0xFEE0_0030) + load(rax=0xFEE0_0000) + code("ff e0 ; jmp eax"))
    assert report.ending.message == ("vCPU 0 at RIP 0xfee00000: gpa 0xfee00000: the guest executes what is a device's page")


@pytest.mark.parametrize("text", [read(EMPTY), code("c7 05 00 00 00 e0 78 56 34 12")], ids=["read", "write"])
def test_a_strict_machine_ends_the_run(text: bytes) -> None:
    report = run(text, strict=True)
    assert report.ending.kind.value == "died"
    assert "there is no page at guest-physical address 0xe0000000" in report.ending.message
    assert report.unanswered is None


def test_a_page_that_cannot_be_loaded_is_still_an_error() -> None:
    class Broken:
        """Its headers can be read, and nothing else."""

        def __init__(self) -> None:
            self._image = source(kernel(read(0x10_1400) + SHOW_RAX + POWER_OFF, bytes(0x1000)))
            self.name, self.size = self._image.name, self._image.size

        def read_into(self, offset: int, buffer: memoryview) -> int:
            if offset >= 0x1000:
                raise KevError("the disk is gone")
            return self._image.read_into(offset, buffer)

    report = kev.launch(Broken(), memory=RAM, timeout=30)
    assert report.ending.kind.value == "died"
    assert "the disk is gone" in report.ending.message


def test_who_waits_for_a_device_that_is_not_there_is_told_which(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    image = tmp_path / "kernel"
    reset = code("66 ba f2 03 b0 0c ee 66 ba f4 03 ec ; mov dx, 0x3f2; mov al, 12; out dx, al; mov dx, 0x3f4; in al, dx")
    image.write_bytes(kernel(reset + code("f4 ; hlt")))
    assert main([str(image)]) == 3
    told = "kev: the guest has looked for what this machine has not: diskette controller (from port 0x3f2 on)\n"
    assert told in capfd.readouterr().err
    image.write_bytes(kernel(reset + POWER_OFF))
    assert main([str(image)]) == 0
    assert "diskette" not in capfd.readouterr().err
