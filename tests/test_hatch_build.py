import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest

from hatch_build import Compiler, GuestBuildError, build_guests, compile_packages, pack, read_guest
from kev.guests.catalogue import root_file_system

REPOSITORY = Path(__file__).parents[1]

MANIFEST = """
name = "tiny"
description = "halts"
boot = "keos"

[build]
target = "x86_64"
sources = ["tiny.S"]
linker_script = "../lib/flat.ld"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A guest of one instruction, in a source tree of its own."""
    folder = tmp_path / "rootfs" / "guests" / "tiny"
    folder.mkdir(parents=True)
    (folder / "guest.toml").write_text(MANIFEST)
    (folder / "tiny.S").write_text(".globl _start\n_start: hlt\n")
    library = folder.parent / "lib"
    library.mkdir()
    (library / "flat.ld").write_text("SECTIONS { . = 0x100000; .text : { *(.text) } }")
    return folder


@pytest.fixture
def compiler(tmp_path: Path) -> Compiler:
    return Compiler(tmp_path)


def test_what_a_guest_wants_of_its_machine_is_not_what_the_compiler_gets(folder: Path) -> None:
    guest = read_guest(folder)
    assert guest.manifest == {"name": "tiny", "description": "halts", "boot": "keos"}
    assert guest.build.sources == ["tiny.S"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (MANIFEST + "speed = 1\n", "speed"),
        (MANIFEST.replace("linker_script", "# "), "linker_script"),
        ('name = "tiny"\n', "build"),
        ("name = tiny\n", "line 1"),
    ],
    ids=["unknown key", "missing key", "no build table", "not TOML"],
)
def test_a_guest_toml_that_is_wrong_is_refused_by_file_and_key(folder: Path, text: str, complaint: str) -> None:
    (folder / "guest.toml").write_text(text)
    with pytest.raises(GuestBuildError, match=f"guest.toml: .*{complaint}"):
        read_guest(folder)


def test_a_missing_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ziglang", None)
    with pytest.raises(GuestBuildError, match="the package ziglang"):
        Compiler(tmp_path)


def test_two_files_of_one_name_do_not_fit_on_the_root_file_system(tmp_path: Path) -> None:
    files = [tmp_path / "a" / "file", tmp_path / "b" / "file"]
    with pytest.raises(GuestBuildError, match="two files named file"):
        pack(tmp_path / "rootfs.img", files)


def test_a_guest_that_does_not_compile_is_refused_in_the_compilers_words(folder: Path, compiler: Compiler) -> None:
    (folder / "tiny.S").write_text("_start: frobnicate\n")
    with pytest.raises(GuestBuildError, match=r"(?s)tiny does not compile:.*frobnicate"):
        compiler.compile(read_guest(folder))


def test_an_image_follows_its_sources_and_is_the_same_again_when_they_are(folder: Path, compiler: Compiler) -> None:
    source = folder / "tiny.S"
    halt = source.read_text()
    first = compiler.compile(read_guest(folder)).read_bytes()
    source.write_text(halt.replace("hlt", "nop"))
    changed = compiler.compile(read_guest(folder)).read_bytes()
    source.write_text(halt)
    assert changed != first
    assert compiler.compile(read_guest(folder)).read_bytes() == first


def test_an_image_follows_its_linker_script(folder: Path, compiler: Compiler) -> None:
    script = folder.parent / "lib" / "flat.ld"
    before = compiler.compile(read_guest(folder)).read_bytes()
    script.write_text(script.read_text().replace("0x100000", "0x200000"))
    assert compiler.compile(read_guest(folder)).read_bytes() != before


def test_a_binary_guest_is_what_is_loaded_and_nothing_else(folder: Path, compiler: Compiler) -> None:
    script = folder.parent / "lib" / "flat.ld"
    script.write_text(f"OUTPUT_FORMAT(binary) {script.read_text()}")
    assert compiler.compile(read_guest(folder)).read_bytes() == b"\xf4"


def test_a_build_leaves_the_disk_and_the_list_of_guests(folder: Path, compiler: Compiler, tmp_path: Path) -> None:
    (tmp_path / "kev").mkdir()
    build_guests(tmp_path)
    assert {file.name for file in (tmp_path / "kev" / "data").iterdir()} == {"rootfs.img", "guests.txt"}


def test_what_runs_natively_is_built_for_every_machine(folder: Path, compiler: Compiler, tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "native", tmp_path / "native")
    (tmp_path / "kev").mkdir()
    build_guests(tmp_path)
    machines = {file.name: file.read_bytes()[18:20] for file in (tmp_path / "kev" / "data").glob("*.so")}
    sources = [file.stem for file in (REPOSITORY / "native").glob("*.c")]
    of_the_elf_header = {"x86_64": b"\x3e\0", "aarch64": b"\xb7\0"}
    assert machines == {f"{source}-{machine}.so": number for source in sources for machine, number in of_the_elf_header.items()}


@pytest.fixture
def guest_sources(tmp_path: Path) -> Path:
    """A source tree of one guest that has all there is: C, assembly, headers of Zig's and ours, symbols and lines."""
    for name in ("lib", "lost-update"):
        shutil.copytree(REPOSITORY / "rootfs" / "guests" / name, tmp_path / "here" / "rootfs" / "guests" / name)
    (tmp_path / "here" / "kev").mkdir()
    return tmp_path / "here"


def test_guests_are_the_same_bytes_wherever_they_are_built(guest_sources: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "another folder" / "deeper"
    shutil.copytree(guest_sources, elsewhere)
    for folder in (guest_sources, elsewhere):
        build_guests(folder)
    image = (guest_sources / "kev" / "data" / "rootfs.img").read_bytes()
    assert (elsewhere / "kev" / "data" / "rootfs.img").read_bytes() == image
    assert b"main.c" in image
    assert str(tmp_path).encode() not in image
    assert b"ziglang" not in image


def test_the_modules_behind_links_are_compiled_to_bytecode_too(tmp_path: Path) -> None:
    for package in ("kev", "pager", "fs"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "module.py").write_text("x = 1\n")
    for package in ("pager", "fs"):
        (tmp_path / "kev" / package).symlink_to(tmp_path / package)
    compile_packages(tmp_path)
    assert len(list(tmp_path.glob("*/__pycache__/module.*.pyc"))) == 3


def hatchling_builds(target: str, source: Path, destination: Path) -> Path:
    """The sdist or the wheel of a source tree."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(destination)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (file,) = destination.iterdir()
    return file


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, in a folder of another name."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(hatchling_builds("sdist", REPOSITORY, folder / "file")) as archive:
        assert all(member.isfile() for member in archive)
        archive.extractall(folder / "unpacked", filter="data")
    (tree,) = (folder / "unpacked").iterdir()
    return tree


@pytest.mark.slow
def test_a_wheel_built_from_the_source_distribution_owns_nothing_but_kev_and_has_the_same_guests(
    unpacked: Path, tmp_path: Path
) -> None:
    with ZipFile(hatchling_builds("wheel", unpacked, tmp_path / "wheel")) as wheel:
        names = wheel.namelist()
        root_image = wheel.read("kev/data/rootfs.img")
    assert len(set(names)) == len(names)
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"kev", "kev_hypervisor"}
    typed = {"kev/py.typed", "kev/pager/py.typed", "kev/fs/py.typed"}
    sources = {f"kev/{file.relative_to(unpacked / 'kev')}" for file in unpacked.glob("kev/**/*.py")}
    assert {"kev/pager/kernel.py", "kev/fs/simplefs.py"} < sources
    assert typed | sources < set(names)
    assert {f"kev/data/{library}-x86_64.so" for library in ("blocks", "shortcuts", "tlb")} <= set(names)
    assert root_image == Path(root_file_system()).read_bytes()
