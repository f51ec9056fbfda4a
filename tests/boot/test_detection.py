import bz2
import gzip
import lzma
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.boot.base import BootError
from kev.boot.detection import disk_protocol, open_detected, open_kernel, protocol_named
from kev.boot.protocols import PROTOCOLS
from kev.errors import KevError
from kev.guests.images import open_image
from tests.boot.images import (
    CONTENTS,
    KEOS_BASE,
    MIB,
    add_sections,
    bzimage,
    elf,
    elf_with_note,
    multiboot1_header,
    multiboot2_header,
    note,
    source,
    tag2,
)
from tests.boot.real_mode_images import iso, linux16_image
from tests.fs.errors import refused

BOOT_SECTOR = b"\xf4".ljust(510, b"\0") + b"\x55\xaa"
PVH_NOTE = note(b"Xen\0", 18, MIB.to_bytes(4, "little"))
FLAT_MULTIBOOT1 = multiboot1_header(1 << 16, [MIB, MIB, 0, 0, MIB])
FLAT_MULTIBOOT2 = multiboot2_header(tag2(2, MIB, MIB, 0, 0), tag2(3, MIB))

IMAGES: dict[str, bytes | bytearray] = {
    "keos": elf(multiboot2_header(), bits=64, base=KEOS_BASE),
    "jos": elf(bytes.fromhex("b8 01 00 00 00 0f 01 c1"), bits=64),
    "multiboot2": elf(multiboot2_header()),
    "multiboot1": elf(multiboot1_header()),
    "pvh": elf_with_note(PVH_NOTE),
    "linux16": linux16_image(),
    "el_torito": iso(),
    "linux": bzimage(),
    "real_mode": BOOT_SECTOR,
}
_CHOSEN_ONLY = "firmware"


def protocol_of(image: bytes | bytearray) -> str:
    return open_kernel(source(image)).name


@pytest.mark.parametrize("protocol", [name for name in PROTOCOLS if name != _CHOSEN_ONLY])
def test_an_image_is_opened_by_the_protocol_it_is_made_for(protocol: str) -> None:
    assert protocol_of(IMAGES[protocol]) == protocol


@pytest.mark.parametrize(("guest", "protocol"), [("gKeOS", "keos"), ("mb1", "multiboot1")])
def test_our_guests_are_recognized(guest: str, protocol: str) -> None:
    with open_image(guest) as (image, _):
        assert open_kernel(image).name == protocol


def test_a_keos_kernel_needs_no_boot_header() -> None:
    assert protocol_of(elf(bits=64, base=KEOS_BASE)) == "keos"


@pytest.mark.parametrize("base", [0xFFFF_FFFF_8000_0000, 0xFFFF_8000_0000_0000])
def test_a_multiboot2_kernel_elsewhere_in_the_high_half_gets_all_of_multiboot2(base: int) -> None:
    assert protocol_of(elf(multiboot2_header(), bits=64, base=base)) == "multiboot2"


@pytest.mark.parametrize("bits", [32, 64])
def test_an_elf_image_without_any_header_is_entered_as_keos_is(bits: int) -> None:
    assert protocol_of(elf(b"\xf4", bits=bits)) == "keos"


def test_a_guest_of_the_jos_vmm_is_one_whatever_headers_it_has() -> None:
    assert protocol_of(elf(bytes.fromhex("b8 01 00 00 00 0f 01 c1") + multiboot1_header(), bits=64)) == "jos"


@pytest.mark.parametrize("code", ["b8 02 00 00 00 0f 01 c1", "b8 01 00 00 00 0f 01 d9", "b8 01 00 00 00 0f 01"])
def test_what_asks_for_something_else_is_no_guest_of_the_jos_vmm(code: str) -> None:
    assert protocol_of(elf(bytes.fromhex(code), bits=64, memsz=7)) == "keos"


def test_a_32_bit_file_is_no_guest_of_the_jos_vmm() -> None:
    assert protocol_of(elf(bytes.fromhex("b8 01 00 00 00 0f 01 c1"))) == "keos"


def test_multiboot2_is_preferred_to_multiboot1() -> None:
    assert protocol_of(elf(multiboot1_header().ljust(16, b"\0") + multiboot2_header())) == "multiboot2"


def test_multiboot_is_preferred_to_pvh() -> None:
    assert protocol_of(elf_with_note(PVH_NOTE, contents=multiboot1_header())) == "multiboot1"


@pytest.mark.parametrize(("image", "protocol"), [(FLAT_MULTIBOOT1, "multiboot1"), (FLAT_MULTIBOOT2, "multiboot2")])
def test_a_flat_image_is_recognized_by_its_header(image: bytes, protocol: str) -> None:
    assert protocol_of(image) == protocol


def test_a_disk_image_boots_by_its_first_sector() -> None:
    assert protocol_of(BOOT_SECTOR + bytes(4 * 512)) == "real_mode"


@pytest.mark.parametrize("header", [multiboot1_header(), multiboot2_header()], ids=["multiboot1", "multiboot2"])
def test_a_disk_with_a_multiboot_kernel_behind_its_boot_sector_starts_from_the_sector(header: bytes) -> None:
    """The disks of xv6 and JOS: the kernel's own header lies in the first 8 KiB, but at its place in the kernel."""
    assert protocol_of(BOOT_SECTOR + bytes(elf(header))) == "real_mode"


def test_a_flat_kernel_on_a_disk_does_not_make_the_disk_a_kernel() -> None:
    """GRUB's disks: the header has load addresses, of what begins in the second sector."""
    kernel = multiboot1_header(1 << 16, [MIB, MIB, 0, 0, MIB]).ljust(512)
    assert protocol_of(BOOT_SECTOR + kernel) == "real_mode"


def test_a_flat_kernel_with_a_boot_signature_is_one() -> None:
    header = multiboot1_header(1 << 16, [MIB, MIB, 0, 0, MIB])
    assert protocol_of(header + BOOT_SECTOR[len(header) :]) == "multiboot1"


def test_a_hybrid_cd_boots_by_its_first_sector() -> None:
    assert protocol_of(BOOT_SECTOR + iso()[512:]) == "real_mode"
    table_alone = bytes(446) + b"\x80".ljust(64, b"\1") + b"\x55\xaa"
    assert protocol_of(table_alone + iso()[512:]) == "el_torito"


def test_an_image_with_damaged_elf_headers_boots_by_the_addresses_of_its_multiboot_header() -> None:
    at = MIB + CONTENTS
    image = elf(multiboot1_header(1 << 16, [at, MIB, 0, 0, at]), bits=64, entry=MIB)
    image[24:32] = b"\xff" * 8  # e_entry
    assert protocol_of(image) == "multiboot1"


def test_the_protocol_can_be_chosen() -> None:
    assert open_kernel(source(IMAGES["keos"]), "multiboot2").name == "multiboot2"


def test_a_protocol_that_an_image_is_not_made_for_is_refused() -> None:
    with refused(BootError, "kernel: no Multiboot header (0x1badb002) in the first 8192 bytes"):
        open_kernel(source(IMAGES["keos"]), "multiboot1")
    with refused(BootError, "kernel: no Multiboot2 header (0xe85250d6) in the first 32768 bytes"):
        open_kernel(source(IMAGES["pvh"]), "multiboot2")
    with refused(BootError, "kernel: no ELF note Xen of type 18, which holds the PVH entry"):
        open_kernel(source(IMAGES["keos"]), "pvh")
    with refused(BootError, "kernel: no boot sector: at offset 0x1fe is 00 00, not 55 aa"):
        open_kernel(source(IMAGES["keos"]), "real_mode")
    with refused(BootError, "kernel: no boot sector: at offset 0x1fe is nothing, not 55 aa"):
        open_kernel(source(b"\xf4"), "real_mode")


def test_an_unknown_protocol_is_refused_with_those_that_there_are() -> None:
    message = (
        "no boot protocol is named 'lilo': "
        "there are keos, jos, multiboot2, multiboot1, pvh, linux16, linux, el_torito, real_mode, firmware"
    )
    with refused(BootError, message):
        protocol_named("lilo")


@pytest.mark.parametrize("data", [b"\x7f", b"hello", bytes(510) + b"\xaa\x55", b"MZ", b"MZ" + bytes(100)])
def test_an_image_of_no_known_format_is_refused(data: bytes) -> None:
    found = "neither an ELF file, nor a file with a Multiboot header, nor a Linux kernel, nor a boot sector"
    with refused(BootError, f"kernel: {found}: cannot be booted"):
        open_kernel(source(data))


MAKES = "makes one of it that is read here"
PE = "a PE file, such as an EFI application: a UEFI runs it, which --firmware starts, from a disk; or boot the kernel that it loads"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gzip.compress(IMAGES["keos"]), "compressed by gzip: gunzip it first"),
        (lzma.compress(IMAGES["keos"]), "compressed by xz: unxz it first"),
        (bz2.compress(IMAGES["keos"]), "compressed by bzip2: bunzip2 it first"),
        (bytes.fromhex("28 b5 2f fd 00"), "compressed by zstd: unzstd it first"),
        (bytes.fromhex("02 21 4c 18 00"), "compressed by lz4: unlz4 it first"),
        (b"", "it is empty"),
        (b"QFI\xfb".ljust(512, b"\0"), f"a disk image in QEMU's format: `qemu-img convert -f qcow2 -O raw` {MAKES}"),
        (b"KDMV".ljust(512, b"\0"), f"a disk image in VMware's format: `qemu-img convert -f vmdk -O raw` {MAKES}"),
        (bytes(64) + b"\x7f\x10\xda\xbe", f"a disk image in VirtualBox' format: `qemu-img convert -f vdi -O raw` {MAKES}"),
        (b"PK\3\4", "an archive: extract the kernel from it, and boot that"),
        (b"!<arch>\n", "an archive: extract the kernel from it, and boot that"),
        (bytes(257) + b"ustar\0", "an archive: extract the kernel from it, and boot that"),
        (bytes(0x8001) + b"CD001", "an ISO 9660 image: extract the kernel from it, and boot that"),
        (
            b"MZ".ljust(60, b"\0") + b"\x40\0\0\0PE\0\0",
            PE,
        ),
        (
            b"MZ".ljust(60, b"\0") + b"\x40\0\0\0PE\0\0" + struct.pack("<3I", 0x1BADB002, 0, -0x1BADB002 & 0xFFFFFFFF),
            PE,
        ),
        (
            bytes(64 * 1024 - 16) + bytes.fromhex("ea 5b e0 00 f0").ljust(16, b"\0"),
            "it ends like a firmware's ROM, which is not booted, but is what boots: --firmware starts it",
        ),
    ],
    ids=[
        "gzip",
        "xz",
        "bzip2",
        "zstd",
        "lz4",
        "empty",
        "qcow2",
        "vmdk",
        "vdi",
        "zip",
        "ar",
        "tar",
        "iso",
        "pe",
        "pe with a Multiboot header",
        "firmware",
    ],
)
def test_what_cannot_be_booted_is_named_with_what_to_do(data: bytes, message: str) -> None:
    with refused(BootError, f"kernel: {message}"):
        open_kernel(source(data))


NOTHING = "it has no Multiboot header, no PVH note and nothing of Linux"
OTHER_LOADER = "is it made for another loader, such as Limine or the bootloader crate?"


def test_an_image_for_another_loader_is_refused_as_such() -> None:
    where = "it is loaded at 0x0, where the keos boot protocol has its information"
    with refused(BootError, f"kernel: {where}; {NOTHING}: {OTHER_LOADER}"):
        open_kernel(source(elf(bits=64, paddr=0)))
    with refused(
        BootError,
        f"kernel: program header 0: p_paddr 0xffffffff80000000 + p_memsz 0x2000 exceeds 0x1000000000000; {NOTHING}: {OTHER_LOADER}",
    ):
        open_kernel(source(elf(b"\xf4", bits=64, paddr=0xFFFF_FFFF_8000_0000)))


@pytest.mark.parametrize("code", ["48 8d 25 00 10 00 00", "f3 0f 1e fa", "fa fc 31 c0 48 89 e5", "eb 02 f4 f4 55 48 89 e5"])
def test_an_elf_file_of_which_nothing_but_its_64_bit_code_is_known_is_refused(code: str) -> None:
    problem = "the code at its entry 0x100000 is 64-bit code, and nothing says how it wants to be entered"
    with refused(BootError, f"kernel: {problem}: {NOTHING}; {OTHER_LOADER}"):
        open_kernel(source(elf(bytes.fromhex(code), bits=64)))


def test_a_program_is_not_mistaken_for_a_kernel() -> None:
    dynamic = "a program that an operating system's dynamic linker loads, and no kernel"
    with refused(BootError, f"kernel: {dynamic}"):
        open_kernel(source(elf_with_note(b"/lib/ld.so\0", kind=3)))
    with refused(BootError, "kernel: a program for an operating system, as a note of GNU says, and no kernel"):
        open_kernel(source(elf_with_note(note(b"GNU\0", 1, bytes(16)))))


@pytest.mark.parametrize(("kind", "what"), [(1, "an object file: what a linker makes of it is a kernel"), (4, "a core file: gdb")])
def test_an_elf_file_that_is_not_executed_is_named(kind: int, what: str) -> None:
    image = elf(b"\xf4", bits=64)
    image[16] = kind
    with pytest.raises(BootError, match=f"^kernel: {what}"):
        open_kernel(source(image))


def test_a_disk_in_the_format_of_an_emulator_is_named_as_such() -> None:
    with pytest.raises(BootError, match=r"^disk kernel: cannot be booted: a disk image in QEMU's format: `qemu-img convert"):
        disk_protocol(source(b"QFI\xfb".ljust(4096, b"\0")))


def test_a_kernel_for_limine_is_refused_by_name() -> None:
    image = with_sections([".limine_requests"])
    with refused(BootError, "kernel: made for Limine, as its section .limine_requests says"):
        open_kernel(source(image))


LIMINE_REQUEST = struct.pack("<4Q", 0xC7B1_DD30_DF4C_8B88, 0x0A82_E883_A194_F07B, 1, 2)
HIGHER_HALF = 0xFFFF_FFFF_8000_0000


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (elf(b"\xf4" + bytes(7) + LIMINE_REQUEST, bits=64, paddr=HIGHER_HALF), "Limine, as a request in it says"),
        (elf(b"\x48\x89\xe5\xf4" + LIMINE_REQUEST, bits=64), "Limine, as a request in it says"),
        (elf_with_note(note(b"HERMIT\0\0", 0x5A00, b"\x03")), "Hermit's loader, as a note of HERMIT says"),
        (elf_with_note(note(b"Xen\0", 6, b"Mini-OS\0")), "Xen's paravirtualization, as a note of Xen says"),
        (elf_with_note(b"/red/herring\0", kind=3), "FreeBSD's loader, as its interpreter /red/herring says"),
        (elf(b"\x48\x89\xe5\xf4", bits=64, base=0xFFFF_FFFF_FFE0_2000 - MIB), "BOOTBOOT, as its addresses say"),
    ],
    ids=["limine", "limine, identity mapped", "hermit", "xen", "freebsd", "bootboot"],
)
def test_a_kernel_for_another_loader_is_refused_by_name(image: bytearray, message: str) -> None:
    with refused(BootError, f"kernel: made for {message}"):
        open_kernel(source(image))


def with_sections(names: list[str]) -> bytearray:
    """A 64-bit ELF file with empty sections of these names."""
    strings = b"\0" + b"\0".join(name.encode() for name in names) + b"\0"
    image = add_sections(elf(b"\xf4", bits=64), [(3, 0, strings), *[(1, MIB, b"")] * len(names)], bits=64)
    table = int.from_bytes(image[40:48], "little")
    for index, name in enumerate(names):
        at = table + 64 * (2 + index)
        image[at : at + 4] = strings.index(name.encode()).to_bytes(4, "little")
    return image


def test_what_decided_is_said() -> None:
    assert reason(IMAGES["keos"]) == "its entry is mapped at 0xffffff0000000000 above its physical address"
    asks = "begins with MOV EAX, 1; VMCALL, by which a guest of the JOS VMM asks for the memory map"
    assert reason(IMAGES["jos"]) == f"its entry 0x100000 {asks}"
    assert reason(IMAGES["multiboot2"]) == "a Multiboot2 header (0xe85250d6) at offset 0x1000"
    assert reason(IMAGES["multiboot1"]) == "a Multiboot header (0x1badb002) at offset 0x1000"
    assert reason(IMAGES["pvh"]) == "a note of Xen of type 18, which holds the PVH entry"
    assert reason(IMAGES["linux"]) == 'a Linux boot header (HdrS, protocol 2.15) of "6.1.0-test (someone@somewhere) #1"'
    assert reason(IMAGES["real_mode"]) == "a boot sector: 55 aa at offset 0x1fe"
    assert reason(elf(b"\x60")) == f"{NOTHING}, and the code at its entry is 32-bit code"


def reason(image: bytes | bytearray) -> str:
    return open_detected(source(image))[1].reason


@pytest.mark.parametrize("protocol", IMAGES)
def test_what_is_right_is_not_warned_about(protocol: str) -> None:
    assert warnings(IMAGES[protocol]) == ()


def warnings(image: bytes | bytearray, protocol: str | None = None) -> tuple[str, ...]:
    return open_detected(source(image), protocol)[1].warnings


def test_a_guess_is_warned_about() -> None:
    entered = "is entered as KeOS is, in 32-bit mode at 0x100000"
    assert warnings(elf(b"\xf4")) == (f"{NOTHING}: it {entered}; --boot says otherwise",)
    assert warnings(elf(b"\xf4"), "keos") == ()


def test_64_bit_code_in_a_file_for_32_bit_processors_is_warned_about() -> None:
    assert warnings(elf(bytes.fromhex("48 8d 25 00 10 00 00")))[1:] == (
        "the keos boot protocol enters it in 32-bit mode, but the code at its entry 0x100000 is 64-bit code",
    )


def test_code_of_another_mode_than_the_protocols_is_warned_about() -> None:
    code = bytes.fromhex("48 8d 25 00 10 00 00")
    warning = "the {} boot protocol enters it in {}-bit mode, but the code at its entry {} is {}-bit code"
    assert warnings(elf(code), "keos") == (warning.format("keos", 32, "0x100000", 64),)
    image = elf(code + bytes(5) + multiboot1_header(), bits=64)
    assert warnings(image) == (warning.format("multiboot1", 32, "0x100000", 64),)
    assert warnings(elf(b"\x60", bits=64), "linux") == (warning.format("linux", 64, "0x100000", 32),)


def test_detection_reads_headers_only() -> None:
    image = source(elf(bytes(16 * MIB), bits=64, base=KEOS_BASE))
    open_kernel(image)
    assert sum(length for _, length in image.reads) < 0x1000


@given(st.sampled_from(list(IMAGES)), st.lists(st.tuples(st.integers(0, 0x1200), st.integers(0, 255)), max_size=6))
def test_damage_is_refused_or_harmless(protocol: str, damage: list[tuple[int, int]]) -> None:
    image = bytearray(IMAGES[protocol])
    for offset, value in damage:
        image[offset % len(image)] = value
    for name in (None, *PROTOCOLS):
        try:
            kernel = open_kernel(source(image), name)
        except KevError:
            continue
        assert kernel.image.start <= kernel.image.entry < kernel.image.end
