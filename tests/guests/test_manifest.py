import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import kev
from kev.boot.detection import detect
from kev.boot.kernel_file import KernelFile
from kev.boot.multiboot1 import HEADER_MAGIC
from kev.guests.catalogue import Guest, find_guest, guests
from kev.guests.images import open_image
from tests.guests.images import elf_file, read_file

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize("guest", guests(), ids=lambda guest: guest.name)
def test_every_guest_is_an_elf_file_on_the_root_file_system_or_begins_with_a_boot_sector_or_header(guest: Guest) -> None:
    if guest.boot == "real_mode" or guest.name.startswith("linux-bzimage"):
        assert read_file(guest.name)[510:512] == b"\x55\xaa"
    elif guest.name.startswith("lv6"):
        assert read_file(guest.name)[4:8] == HEADER_MAGIC.to_bytes(4, "little")
    else:
        assert elf_file(guest.name)["e_type"] == "ET_EXEC"


@pytest.mark.parametrize("guest", guests(), ids=lambda guest: guest.name)
def test_every_guest_is_made_for_the_boot_protocol_that_it_names(guest: Guest) -> None:
    with open_image(guest.name) as (source, _):
        protocol = detect(KernelFile(source)).protocol
    assert protocol.name == guest.boot


def test_every_source_folder_is_a_guest() -> None:
    folders = (REPOSITORY / "rootfs" / "guests").glob("*/guest.toml")
    assert len(guests()) == len(list(folders))


@pytest.mark.parametrize("file", sorted((REPOSITORY / "rootfs" / "files").iterdir()), ids=lambda file: file.name)
def test_the_files_beside_the_guests_are_on_the_root_file_system(file: Path) -> None:
    assert read_file(file.name) == file.read_bytes()


def test_a_guest_is_found_by_its_name() -> None:
    guest = find_guest("hypercalls")
    assert guest is not None
    assert guest.exit_code == 42


def test_a_file_that_is_no_guest_is_not_found() -> None:
    assert find_guest("welcome.txt") is None


def test_a_guest_that_never_ends_has_no_exit_code() -> None:
    guest = find_guest("spin")
    assert guest is not None
    assert guest.exit_code is None


def test_without_its_build_the_package_says_what_is_missing_and_how_to_get_it(tmp_path: Path) -> None:
    shutil.copytree(Path(kev.__file__).parent, tmp_path / "kev", ignore=shutil.ignore_patterns("data", "__pycache__"))
    program = "import kev.guests.catalogue\ntry: kev.guests.catalogue.guests()\nexcept kev.errors.KevError as error: print(error)"
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (
        result.stdout == f"{tmp_path / 'kev' / 'data' / 'guests.txt'} is missing: `pip install` of the kev source tree builds it\n"
    )
