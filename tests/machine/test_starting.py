"""What a machine is started from, besides an image: a disk, or a firmware."""

import struct
from pathlib import Path

import pytest

import kev
from kev.boot.base import BootError
from kev.machine.errors import MachineError
from kev.spec.errors import SpecError
from tests.bios.calls import interrupt, text
from tests.boot.real_mode_images import iso
from tests.fs.errors import refused
from tests.machine.code import code

POWER_OFF = code("ba 04 06 b8 00 20 ef ; mov dx, 0x604; mov ax, 0x2000; out dx, ax")
WRITE_SECTOR_2 = interrupt(0x13, eax=0x0301, ebx=0x7C00, ecx=0x0002, edx=0x80)
SECOND_DISK = interrupt(0x13, eax=0x0201, ebx=0x9000, ecx=0x0001, edx=0x81) + code("be 00 90 ac b4 0e cd 10 ; print [0x9000]")


def sector(*parts: bytes) -> bytes:
    return b"".join(parts).ljust(510, b"\0") + b"\x55\xaa"


def disk(tmp_path: Path, contents: bytes, name: str = "disk.img") -> Path:
    file = tmp_path / name
    file.write_bytes(contents)
    return file


@pytest.mark.parametrize("device", ["", ",ide", ",virtio-pci", ",virtio"])
def test_without_an_image_the_first_disk_is_booted(tmp_path: Path, device: str) -> None:
    file = disk(tmp_path, sector(text("booted"), POWER_OFF))
    report = kev.launch(kev.MachineSpec(disks=[f"{file}{device}"]), timeout=30)
    assert (report.output, report.exit_code) == (b"booted", 0)


@pytest.mark.parametrize("hybrid", [False, True])
def test_a_cd_is_booted_as_a_cd_and_is_in_a_drive(tmp_path: Path, hybrid: bool) -> None:
    identify = code(
        """
        ba 76 01 b0 a0 ee 42 b0 a1 ee   ; mov dx, 0x176; mov al, 0xa0; out dx, al; inc dx; mov al, 0xa1; out dx, al
        ba 70 01 ed 88 e0 b4 0e cd 10   ; mov dx, 0x170; in ax, dx; print its high byte
        """
    )
    contents = bytearray(iso(text("a CD") + identify + POWER_OFF))
    if hybrid:
        contents[:512] = sector(text("a hard disk"), POWER_OFF)
    file = disk(tmp_path, bytes(contents), "cd.iso")
    file.chmod(0o444)
    report = kev.launch(kev.MachineSpec(disks=[f"{file},cdrom"]), timeout=30)
    assert (report.output, report.exit_code) == ("a CD\u00e0".encode(), 0)
    assert kev.launch(file, timeout=30).output == (b"a hard disk" if hybrid else report.output)


@pytest.mark.parametrize("device", ["ide", "virtio-pci"])
def test_what_the_guest_writes_to_the_disk_stays(tmp_path: Path, device: str) -> None:
    file = disk(tmp_path, sector(WRITE_SECTOR_2, POWER_OFF) + bytes(1024))
    kev.launch(kev.MachineSpec(disks=[f"{file},{device}"]), timeout=30)
    contents = file.read_bytes()
    assert contents[512:1024] == contents[:512]


def test_the_image_of_a_disk_stays_as_it_is(tmp_path: Path) -> None:
    contents = sector(WRITE_SECTOR_2, POWER_OFF) + bytes(1024)
    file = disk(tmp_path, contents)
    kev.launch(file, timeout=30)
    assert file.read_bytes() == contents


@pytest.mark.parametrize(("boot_device", "device"), [("ide", "ide"), ("ide", "svirtb"), ("virtio-pci", "ide")])
def test_other_disks_are_numbered_behind_it(tmp_path: Path, boot_device: str, device: str) -> None:
    file = disk(tmp_path, sector(SECOND_DISK, POWER_OFF))
    other = disk(tmp_path, b"!".ljust(512), "other.img")
    report = kev.launch(kev.MachineSpec(disks=[f"{file},{boot_device}", f"{other},{device}"]), timeout=30)
    assert report.output == b"!"


def test_a_disk_that_no_bios_could_boot_is_refused(tmp_path: Path) -> None:
    file = disk(tmp_path, bytes(512))
    with refused(BootError, f"disk {file}: cannot be booted: it has no boot sector and no El Torito boot record"):
        kev.launch(kev.MachineSpec(disks=[file]))


def test_a_description_without_anything_to_start_is_refused() -> None:
    with refused(SpecError, "image: the description names none, and no disk or firmware to start instead"):
        kev.launch(kev.MachineSpec())


def rom(tmp_path: Path, start: bytes) -> Path:
    """A ROM that begins with `start`, and goes there from the reset vector."""
    contents = start.ljust(0xFFF0, b"\0") + code("e9 0d 00 ; to the beginning of the segment").ljust(16, b"\0")
    return disk(tmp_path, contents, "rom.bin")


HELLO = code("b0 21 e6 e9 ; mov al, '!'; out 0xe9, al")


def test_a_firmware_is_started_at_the_reset_vector(tmp_path: Path) -> None:
    report = kev.launch(kev.MachineSpec(firmware=rom(tmp_path, HELLO + POWER_OFF)), timeout=30)
    assert (report.output, report.exit_code, report.image_pages) == (b"!", 0, 32)


@pytest.mark.parametrize("port", [0x400, 0x402, 0x403])
def test_what_a_firmware_logs_is_printed(port: int, tmp_path: Path) -> None:
    """As Bochs's does. Others look whether they may: what they find is no console."""
    log = b"\xba" + port.to_bytes(2, "little") + code("b0 21 ee b0 0a ee ; mov dx, port; out dx, '!'; out dx, newline")
    panic = code("ba 01 04 b8 21 21 ef ; the number of a line, in a word")
    look = code("ba 02 04 ec 2c be e6 e9 b0 0a e6 e9 ; in al, 0x402; sub al, 0xbe; out 0xe9, al; out 0xe9, newline")
    report = kev.launch(kev.MachineSpec(firmware=rom(tmp_path, log + panic + look + POWER_OFF)), timeout=30)
    assert report.output == b"!\nA\n"


READ_AND_PRINT_FIRST_BYTE = code(
    """
    ba f6 01 b0 e0 ee       ; out 0x1f6, 0xe0
    ba f2 01 b0 01 ee       ; one sector
    ba f3 01 30 c0 ee       ; number 0
    ba f7 01 b0 20 ee       ; READ SECTORS
    ba f0 01 ed e6 e9       ; in ax, 0x1f0; out 0xe9, al
    """
)


def test_the_image_beside_a_firmware_is_its_disk(tmp_path: Path) -> None:
    file = disk(tmp_path, b"D".ljust(512))
    report = kev.launch(file, firmware=rom(tmp_path, READ_AND_PRINT_FIRST_BYTE + POWER_OFF), timeout=30)
    assert report.output == b"D"


def test_a_disk_beside_a_firmware_is_where_it_looks_for_one(tmp_path: Path) -> None:
    others = disk(tmp_path, b"O".ljust(512), "other.img")
    spec = kev.MachineSpec(
        firmware=rom(tmp_path, READ_AND_PRINT_FIRST_BYTE + POWER_OFF),
        disks=[f"{others},virtio-pci", disk(tmp_path, b"D".ljust(512))],
    )
    assert kev.launch(spec, timeout=30).output == b"D"


def test_a_firmware_finds_a_host_bridge_and_an_ide_controller(tmp_path: Path) -> None:
    identity = code("66 b8") + b"%s" + code("66 ba f8 0c 00 00 66 ef 66 ba fc 0c 00 00 66 ed")
    out = code("b9 04 00 e6 e9 66 c1 e8 08 e2 f8 ; each byte of eax to port 0xe9")
    asks = b"".join(identity.replace(b"%s", address.to_bytes(4, "little")) + out for address in (0x8000_0000, 0x8000_0908))
    report = kev.launch(kev.MachineSpec(firmware=rom(tmp_path, asks + POWER_OFF)), timeout=30)
    assert report.output is not None
    assert (report.output[:4], report.output[-2:]) == (b"\x86\x80\x37\x12", b"\x01\x01")


def test_a_firmware_finds_acpi_timer_and_isa_devices_where_it_looks(tmp_path: Path) -> None:
    """UEFI asks a PIIX4 for the ports of the timer, and whether they respond, and takes an ISA bridge that has been enabled."""
    asks = code("66 b8") + b"%s" + code("66 ba f8 0c 00 00 66 ef 66 ba fc 0c 00 00 66 ed")
    out = code("b9 04 00 e6 e9 66 c1 e8 08 e2 f8 ; each byte of eax to port 0xe9")
    addresses = (0x8000_0B00, 0x8000_0B40, 0x8000_0B80, 0x8000_0804)
    reads = b"".join(asks.replace(b"%s", address.to_bytes(4, "little")) + out for address in addresses)
    ticks = code("66 ba 08 06 00 00 66 ed 66 89 c3 ; 1: in eax, 0x608; mov ebx, eax") + code(
        "66 ed 66 39 d8 74 f9 b0 2b e6 e9 ; 2: in eax, dx; cmp eax, ebx; je 2b; out 0xe9, '+'"
    )
    report = kev.launch(kev.MachineSpec(firmware=rom(tmp_path, reads + ticks + POWER_OFF)), timeout=30)
    assert report.output is not None
    identity, base, enabled, command, plus = struct.unpack("<4IB", report.output)
    assert (identity, base, enabled & 1, command & 3, plus) == (0x7113_8086, 0x601, 1, 3, ord("+"))


def test_a_boot_protocol_beside_a_firmware_is_refused(tmp_path: Path) -> None:
    with refused(SpecError, "boot: 'pvh': with a firmware, what else is booted is the firmware's choice"):
        kev.launch(kev.MachineSpec(firmware=rom(tmp_path, HELLO), boot="pvh"))


def test_a_firmware_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(kev.KevError, match=r"nowhere\.bin"):
        kev.launch(kev.MachineSpec(firmware=tmp_path / "nowhere.bin"))


def test_a_disk_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    with pytest.raises((MachineError, kev.KevError), match="nowhere"):
        kev.launch(kev.MachineSpec(disks=[tmp_path / "nowhere.img"]))
