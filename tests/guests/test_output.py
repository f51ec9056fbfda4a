"""What the guests print, through `kev run`."""

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kev.cli.main import kev
from kev.fs.disk import Disk
from kev.fs.josfs import JosFs
from kev.fs.josfs_mkfs import create_josfs_image
from kev.fs.mkfs import create_image
from kev.guests.catalogue import Guest, guests
from kev.version import __version__
from tests.guests.images import read_file
from tests.guests.protocol import assert_all_checks_hold

DISK_GUESTS = {"block": "svirtb", "virtio": "virtio", "virtio-pci": "virtio-pci"}
RACES = {"lost-update", "bad-spinlock", "boot-race"}
ENDING = [guest for guest in guests() if guest.exit_code is not None and guest.name not in RACES]

BOOT_LOADER = f'boot loader "kev {__version__}"'
MODULES = [
    'module "welcome.txt", 204 bytes: This is the root file system of kev: a SIMPLEFS image with the guests that were built from '
    "rootfs/guests, and the files of",
    'module "module.txt", 176 bytes: The guests that print what the boot loader gave them get this file as a module: they show its '
    "first line.",
]
MEMORY_MAP = [
    "memory map:",
    "  0x0000000000000000-0x000000000009fbff usable",
    "  0x000000000009fc00-0x000000000009ffff reserved",
    "  0x00000000000f0000-0x00000000000fffff reserved",
    "  0x0000000000100000-0x000000000fffffff usable",
    "  0x00000000fffc0000-0x00000000ffffffff reserved",
]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(kev, ["run", *arguments], prog_name="kev")


def lines(*arguments: str) -> list[str]:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A SIMPLEFS image with some files."""
    path = tmp_path / "disk.img"
    files = {name: Path(__file__).with_name(name) for name in ("images.py", "protocol.py", "test_output.py")}
    with path.open("w+b") as image:
        opened = {name: file.open("rb") for name, file in files.items()}
        create_image(image, str(path), opened)
        for file in opened.values():
            file.close()
    return path


@pytest.mark.parametrize("guest", ENDING, ids=lambda guest: guest.name)
def test_a_guest_ends_with_the_exit_code_it_promises(guest: Guest) -> None:
    assert run(guest.name).exit_code == guest.exit_code


@pytest.mark.parametrize("guest", ["smp", "timer"])
def test_all_checks_hold_in_real_time(guest: str) -> None:
    assert_all_checks_hold(run(guest).stdout)


def test_processors_print_in_turn() -> None:
    expected = [f"processor {index} of 7 has APIC id {index}" for index in range(7)]
    assert [line for line in lines("smp", "--smp", "7") if line.startswith("processor")] == expected


def test_a_program_at_cpl_3_prints_by_system_calls() -> None:
    assert lines("user")[:2] == ["hello from user mode, by SYSCALL", "hello from user mode, by INT 0x80"]


def test_mb1info_prints_what_multiboot_1_gives() -> None:
    assert lines("mb1info") == [
        'command line "mb1info colour=red and more"',
        BOOT_LOADER,
        *MODULES,
        "memory: 639 KiB below 1 MiB, 261120 KiB above",
        *MEMORY_MAP,
        "6 ELF sections",
    ]


def test_mb2info_prints_every_tag() -> None:
    assert lines("mb2info") == [
        "load base 0x00100000",
        'command line "colour=blue and more"',
        f'boot loader "kev {__version__} (like GRUB 2)"',
        *MODULES,
        "memory: 639 KiB below 1 MiB, 261120 KiB above",
        *MEMORY_MAP,
        "6 ELF sections",
        "boot device 0x80",
        "display at 0x000b8000: 80 by 25 of 16 bits, 160 bytes a row, type 2",
        "ACPI root pointer of revision 0, its checksum is right",
        "ACPI root pointer of revision 2, its checksum is right",
    ]


def test_pvh_prints_its_start_information() -> None:
    assert lines("pvh") == [
        'command line "colour=green and more"',
        MODULES[1],
        *MEMORY_MAP,
        "ACPI root pointer of revision 2",
    ]


@pytest.mark.parametrize("guest", ["linux-bzimage", "linux-bzimage32", "linux-vmlinux"])
def test_a_linux_kernel_finds_its_zero_page(guest: str) -> None:
    output = lines(guest)
    assert output[: len(MEMORY_MAP) + 3] == [
        'command line "colour=violet and more"',
        MODULES[1].replace("module.txt", "initrd"),
        *MEMORY_MAP,
        "setup data of type 9, 32 bytes",
    ]
    assert_all_checks_hold("\n".join(output))


def test_a_repeatable_run_of_a_linux_kernel_has_no_random_bytes_of_the_host() -> None:
    assert not [line for line in lines("linux-bzimage", "--seed", "1") if line.startswith("setup data")]


def test_initrd_is_another_name_for_modules(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("one")
    second.write_text("two\n")
    assert 'module "initrd", 8 bytes: one\0two' in lines("linux-bzimage", "--initrd", str(first), "--initrd", str(second))


def test_of_a_bzimage_the_pages_that_are_touched_are_loaded_and_no_others() -> None:
    figures = re.search(r"loaded (\d+) of [\d,]+ pages \((\d+) in the image\)", run("linux-bzimage").stderr)
    assert figures is not None
    loaded, image = map(int, figures.groups())
    assert loaded < image


@pytest.mark.parametrize(
    ("guest", "command_line", "text"),
    [("mb1info", "mb1info quiet", "{} for you"), ("mb2info", "quiet", "for you"), ("pvh", "quiet", "for you")],
)
def test_the_command_line_and_the_modules_can_be_replaced(guest: str, command_line: str, text: str, tmp_path: Path) -> None:
    module = tmp_path / "words"
    module.write_text("one line\nand another\n")
    output = lines(guest, "--append", "quiet", "--module", f"{module} for you")
    assert f'command line "{command_line}"' in output
    assert [line for line in output if line.startswith("module")] == [f'module "{text.format(module)}", 21 bytes: one line']


def test_a_boot_sector_prints_in_real_mode() -> None:
    assert lines("bootsector") == ["Hello from a boot sector, in real mode."]


@pytest.mark.parametrize(("guest", "kind"), DISK_GUESTS.items())
def test_a_disk_is_read_and_written_and_left_as_it_was(guest: str, kind: str, disk: Path) -> None:
    before = disk.read_bytes()
    assert_all_checks_hold(run(guest, "--disk", f"{disk},{kind}").stdout)
    assert disk.read_bytes() == before


@pytest.mark.parametrize("guest", DISK_GUESTS)
def test_a_guest_that_wants_a_disk_has_one_of_its_own(guest: str) -> None:
    assert_all_checks_hold(run(guest).stdout)


def test_a_disk_that_is_given_replaces_the_guests_own(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(4096))
    result = run("block", "--disk", str(disk))
    assert result.exit_code == 3
    assert result.stdout.splitlines()[-1] == "not ok 3 - it begins a SIMPLEFS image"


JOS_BOOT = [
    "jos, a guest of the JOS VMM",
    "memory 0x0-0x9ffff usable",
    "memory 0xa0000-0xfffff reserved",
    "memory 0x100000-0xffffff usable",
    "VMX is hidden",
    "fs: the block cache is good",
]
HALTED = ["", "HLT in guest, exiting guest."]


def jos(*arguments: str, typed: str | None = None) -> list[str]:
    """What `jos` prints with this on standard input: the disk's size aside, what comes behind its boot."""
    found = lines("jos", *arguments) if typed is None else typed_into(typed, *arguments).splitlines()
    assert found[:6] == JOS_BOOT
    return found[7:]


def typed_into(typed: str, *arguments: str) -> str:
    """`jos` in a process of its own, which has a standard input."""
    command = [sys.executable, "-m", "kev", "run", "jos", "--timeout", "60", *arguments]
    return subprocess.run(command, input=typed, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]).stdout


@pytest.mark.slow
def test_jos_lists_reads_and_writes_files_when_nobody_types() -> None:
    files = ["welcome.txt 204", "module.txt 176"]
    welcome = read_file("welcome.txt").decode().splitlines()
    expected = ["vm$ ls", *files, "vm$ cat welcome.txt", *welcome, "vm$ echo the guest wrote this > note.txt", "vm$ cat note.txt"]
    numbered = [f"{number} {line}" for number, line in enumerate(welcome, 1)]
    expected += ["the guest wrote this", "vm$ cat welcome.txt | num > numbered.txt", "vm$ cat numbered.txt", *numbered]
    expected += ["vm$ ls", *files, "note.txt 21", f"numbered.txt {sum(map(len, numbered)) + len(numbered)}", "vm$ exit", *HALTED]
    assert jos() == expected
    assert jos("--seed", "7") == expected
    assert jos(typed="") == expected


@pytest.mark.slow
def test_what_is_typed_comes_before_what_the_guest_would_get() -> None:
    assert jos(typed="echo hello\nexit\n") == ["vm$ echo hello", "hello", "vm$ exit", *HALTED]
    assert jos("--seed", "7", typed="cat nothing\nexit\n") == [
        "vm$ cat nothing",
        "nothing: there is no such file",
        "vm$ exit",
        *HALTED,
    ]


@pytest.mark.slow
def test_jos_has_pipes_of_any_length_and_writes_what_comes_out_to_a_file(tmp_path: Path) -> None:
    """A file of more blocks than its entry has room for, from one end of a pipe to the other."""
    disk = tmp_path / "fs1.img"
    large = b"".join(b"%d bottles\n" % number for number in range(6000))
    with disk.open("w+b") as image:
        create_josfs_image(image, str(disk), {"large": io.BytesIO(large), "end": io.BytesIO(b"no line")}, 128 * 4096).flush()
    typed = "cat large | cat > copy\ncat large | num > numbered\ncat end | num | num\nls | foo\nls > large\ncat gone | num\nexit\n"
    assert jos("--disk", f"{disk},ipc", typed=typed) == [
        *(f"vm$ {line}" for line in typed.splitlines()[:3]),
        "1 1 no linevm$ ls | foo",
        "there are: ls, cat FILE, num, echo TEXT, exit; COMMAND | COMMAND, COMMAND > FILE",
        "vm$ ls > large",
        "vm$ cat gone | num",
        "gone: there is no such file",
        "vm$ exit",
        *HALTED,
    ]
    with disk.open("rb") as image:
        fs = JosFs(Disk(image, str(disk)))
        assert fs.open("copy").read_at(0, 1 << 20) == large
        numbered = fs.open("numbered").read_at(0, 1 << 20).splitlines()
        assert numbered == [b"%d %d bottles" % (number + 1, number) for number in range(6000)]
        assert fs.open("large").read_at(0, 100).startswith(b"large 0\nend 7\ncopy ")


@pytest.mark.slow
def test_what_jos_writes_is_on_its_disk_in_the_next_run(tmp_path: Path) -> None:
    disk = tmp_path / "fs.img"
    with disk.open("w+b") as image:
        create_josfs_image(image, str(disk), {"first": io.BytesIO(b"one\n"), "large": io.BytesIO(b"x" * 5000)}, 64 * 4096).flush()
    first = jos("--disk", f"{disk},ipc", typed="echo two > second\necho shorter > large\nexit\n")
    assert first[-1] == HALTED[1]
    second = jos("--disk", f"{disk},ipc", typed="ls\ncat second\ncat large\nexit\n")
    assert second[1:4] == ["first 4", "large 8", "second 4"]
    assert second[4:] == ["vm$ cat second", "two", "vm$ cat large", "shorter", "vm$ exit", *HALTED]
    with disk.open("rb") as image:
        fs = JosFs(Disk(image, str(disk)))
        assert fs.open("large").read_at(0, 100) == b"shorter\n"


def test_a_disk_that_cannot_be_written_ends_jos(tmp_path: Path) -> None:
    disk = tmp_path / "fs.img"
    with disk.open("w+b") as image:
        create_josfs_image(image, str(disk), {}).flush()
    result = run("jos", "--disk", f"{disk},ipc,ro")
    assert result.exit_code == 3
    assert "fs: the disk cannot be written\nUnhandled VMEXIT, aborting guest.\n" in result.stdout


@pytest.mark.slow
def test_escape_on_the_keyboard_leaves_jos() -> None:
    assert jos("--keyboard", typed="\x1b") == [
        "vm$ ESC pressed",
        "Now back to the host, VM halt in the background, run vmmanager to resume the VM.",
    ]


def test_block_fails_its_first_check_without_a_disk(tmp_path: Path) -> None:
    image = tmp_path / "block"
    image.write_bytes(read_file("block"))
    result = run(str(image))
    assert result.exit_code == 1
    assert result.stdout == "not ok 1 - there is a block device (--disk FILE)\n"
