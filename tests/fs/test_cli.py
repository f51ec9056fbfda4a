import json
import os
import shutil
import struct
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kev.cli.fs import FsCommandError, command
from kev.errors import KevError
from kev.fs.disk import Disk
from kev.fs.errors import JosFsError, JosFsNotFound, SimpleFsError
from kev.fs.josfs import JosFs
from tests.fs.errors import refused
from tests.fs.images import free_space, image

FILES = {"kernel": b"\x7fELF\0\xff" * 300, "hello.txt": b"Hello guest os!\n", "empty": b""}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the files in it and in an image."""
    monkeypatch.chdir(tmp_path)
    for name, data in FILES.items():
        Path(name).write_bytes(data)
    Path("disk.img").write_bytes(image(FILES))
    return tmp_path


def run(*arguments: str) -> Result:
    """Runs `kev fs`; a user's error is raised, to be compared."""
    result = CliRunner().invoke(command, arguments)
    if isinstance(result.exception, KevError):
        raise result.exception
    return result


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_mk_makes_an_image_that_just_fits(folder: Path) -> None:
    result = run("mk", "new.img", *FILES)
    assert (result.exit_code, result.output) == (0, "")
    assert Path("new.img").read_bytes() == image(FILES)
    assert names(folder) == {*FILES, "disk.img", "new.img"}


def test_mk_names_files_without_their_folder(folder: Path) -> None:
    run("mk", "new.img", str(folder / "kernel"))
    assert Path("new.img").read_bytes() == image({"kernel": FILES["kernel"]})


@pytest.mark.parametrize(("size", "sectors"), [("16k", 32), ("16384", 32), ("1M", 2048)])
def test_mk_makes_a_disk_of_the_size_that_is_asked_for(folder: Path, size: str, sectors: int) -> None:
    run("mk", "--size", size, "new.img", "hello.txt")
    assert Path("new.img").read_bytes() == image({"hello.txt": FILES["hello.txt"]}, free_space(sectors - 3))


@pytest.mark.parametrize("size", ["", "M", "-1", "1.5M", "1MM", "1P", "²"])
def test_mk_refuses_what_is_no_size(folder: Path, size: str) -> None:
    result = run("mk", "--size", size, "new.img", "kernel")
    assert result.exit_code == 2
    assert f"{size!r} is not a size: it must be a number of bytes, or one with K, M, G or T behind it" in result.output


def test_mk_replaces_what_a_link_leads_to_and_no_device(folder: Path) -> None:
    (folder / "real.img").touch()
    (folder / "link.img").symlink_to("real.img")
    assert run("mk", "--force", "link.img", "kernel").exit_code == 0
    assert (folder / "link.img").is_symlink()
    assert (folder / "real.img").stat().st_size
    os.mkfifo(folder / "fifo")
    with refused(FsCommandError, "fifo: is no regular file, and cannot be replaced by one"):
        run("mk", "--force", "fifo", "kernel")


def test_mk_replaces_an_image_only_by_force(folder: Path) -> None:
    with refused(FsCommandError, "disk.img exists: --force replaces it"):
        run("mk", "disk.img", "kernel")
    assert Path("disk.img").read_bytes() == image(FILES)
    run("mk", "--force", "disk.img", "kernel")
    assert Path("disk.img").read_bytes() == image({"kernel": FILES["kernel"]})


def test_mk_can_pack_the_image_that_it_replaces(folder: Path) -> None:
    run("mk", "--force", "disk.img", "disk.img")
    assert Path("disk.img").read_bytes() == image({"disk.img": bytes(image(FILES))})


def test_mk_that_fails_leaves_everything_as_it_was(folder: Path) -> None:
    before = names(folder)
    with refused(SimpleFsError, "disk.img: a size of 1024 bytes is too small: the files need 3072"):
        run("mk", "--force", "--size", "1K", "disk.img", "kernel")
    assert names(folder) == before
    assert Path("disk.img").read_bytes() == image(FILES)


@pytest.mark.parametrize("kind", ["simplefs", "josfs"])
def test_mk_refuses_more_than_there_is_room_for(folder: Path, kind: str) -> None:
    with Path("sparse").open("wb") as file:
        file.truncate(2 * shutil.disk_usage(folder).total)
    before = names(folder)
    with pytest.raises(FsCommandError, match=r"^new\.img: the files have [0-9,]+ bytes, and there is room for [0-9,]+ in /"):
        run("mk", "--format", kind, "new.img", "sparse")
    assert names(folder) == before


@pytest.mark.parametrize("name", ["welcome/disk.img", "n" * 300, "n/" * 3000])
def test_mk_refuses_names_that_no_file_can_have(folder: Path, name: str) -> None:
    Path("welcome").write_bytes(b"no folder")
    before = names(folder)
    for arguments in ([name, "kernel"], ["--format", "josfs", "new.img", name]):
        with pytest.raises(FsCommandError):
            run("mk", *arguments)
    assert names(folder) == before


def test_mk_refuses_two_files_of_one_name(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "kernel").write_bytes(b"other")
    with refused(FsCommandError, "kernel and sub/kernel would both be named 'kernel'"):
        run("mk", "new.img", "kernel", "sub/kernel")


def test_mk_puts_a_folder_on_a_disk_of_jos_as_a_directory(folder: Path) -> None:
    (folder / "bin" / "more").mkdir(parents=True)
    (folder / "bin" / "none").mkdir()
    (folder / "bin" / "sh").write_bytes(b"shell")
    (folder / "bin" / "more" / "ls").write_bytes(b"list")
    assert run("mk", "--format", "josfs", "new.img", "empty", "bin").exit_code == 0
    assert run("ls", "new.img").output == "   0  empty\n4096  bin/\n4096  bin/more/\n   4  bin/more/ls\n   5  bin/sh\n"
    assert run("cat", "new.img", "/bin/more/ls").output == "list"


def test_mk_refuses_two_folders_whose_files_have_one_name(folder: Path) -> None:
    for place in ("a", "b"):
        (folder / place / "bin").mkdir(parents=True)
        (folder / place / "bin" / "sh").touch()
    with refused(FsCommandError, "a/bin/sh and b/bin/sh would both be named 'bin/sh'"):
        run("mk", "--format", "josfs", "new.img", "a/bin", "b/bin")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mk", "new.img", "missing"], "missing: No such file or directory"),
        (["mk", "new.img", "."], ".: is neither a regular file nor a block device"),
        (["mk", "missing/new.img", "kernel"], "missing/new.img: No such file or directory"),
        (["ls", "missing"], "missing: No such file or directory"),
        (["cat", ".", "kernel"], ".: is neither a regular file nor a block device"),
        (["put", "disk.img", "kernel", "missing"], "missing: No such file or directory"),
        (["put", "missing", "kernel", "kernel"], "missing: No such file or directory"),
    ],
)
def test_a_file_of_the_host_that_cannot_be_opened_is_named(folder: Path, arguments: list[str], message: str) -> None:
    with refused(FsCommandError, message):
        run(*arguments)
    assert names(folder) == {*FILES, "disk.img"}


def test_ls_shows_sizes_and_names_in_the_order_of_the_disk(folder: Path) -> None:
    assert run("ls", "disk.img").output == "1800  kernel\n  16  hello.txt\n   0  empty\n"


def test_ls_of_a_disk_without_files_prints_nothing(folder: Path) -> None:
    Path("empty.img").write_bytes(image({}, free_space(4)))
    assert run("ls", "empty.img").output == ""
    assert json.loads(run("ls", "--json", "empty.img").output) == []


def test_ls_gives_json_for_programs(folder: Path) -> None:
    expected = [{"name": "kernel", "size": 1800}, {"name": "hello.txt", "size": 16}, {"name": "empty", "size": 0}]
    assert json.loads(run("ls", "disk.img", "--json").output) == expected


def test_ls_lets_no_control_sequence_through(folder: Path) -> None:
    Path("evil.img").write_bytes(image({"\x1b[2Jred\n": b"x"}))
    assert run("ls", "evil.img").output == "1  \\x1b[2Jred\\n\n"


@pytest.mark.parametrize("name", FILES)
def test_cat_writes_the_bytes_as_they_are(folder: Path, name: str) -> None:
    assert run("cat", "disk.img", name).stdout_bytes == FILES[name]


def test_put_overwrites_in_place_and_keeps_the_rest(folder: Path) -> None:
    Path("new").write_bytes(b"HELLO")
    assert run("put", "disk.img", "hello.txt", "new").output == "hello.txt: 5 of 16 bytes overwritten\n"
    assert Path("disk.img").read_bytes() == image(FILES | {"hello.txt": b"HELLO guest os!\n"})


def test_put_of_a_file_that_is_too_large_changes_nothing(folder: Path) -> None:
    with refused(SimpleFsError, "'hello.txt': 1800 bytes do not fit: the file has 16 bytes and never grows"):
        run("put", "disk.img", "hello.txt", "kernel")
    assert Path("disk.img").read_bytes() == image(FILES)


@pytest.mark.parametrize("arguments", [["cat", "disk.img", "other"], ["put", "disk.img", "other", "kernel"]])
def test_a_file_that_is_not_on_the_disk_is_named(folder: Path, arguments: list[str]) -> None:
    with refused(SimpleFsError, "disk.img: no file is named 'other': the disk has 3 others"):
        run(*arguments)


@pytest.mark.parametrize("arguments", [["ls", "bad.img"], ["cat", "bad.img", "kernel"], ["put", "bad.img", "kernel", "empty"]])
def test_a_damaged_image_is_reported_by_sector(folder: Path, arguments: list[str]) -> None:
    data = image(FILES)
    data[6 * 512 : 6 * 512 + 8] = struct.pack("<Q", 500)
    Path("bad.img").write_bytes(data)
    with refused(SimpleFsError, "bad.img: sector 6: a name of 500 bytes: at most 496 fit"):
        run(*arguments)


# Disks of JOS.


@pytest.fixture
def josfs(folder: Path) -> str:
    run("mk", "--format", "josfs", "--size", "1M", "jos.img", *FILES)
    return "jos.img"


def test_a_disk_of_jos_is_made_listed_and_read(josfs: str) -> None:
    assert Path(josfs).stat().st_size == 1 << 20
    assert run("ls", josfs).output == "1800  kernel\n  16  hello.txt\n   0  empty\n"
    assert run("cat", josfs, "kernel").stdout_bytes == FILES["kernel"]


def test_its_directories_end_with_a_slash(josfs: str) -> None:
    with open(josfs, "r+b") as file:
        fs = JosFs(Disk(file, josfs))
        fs.create("etc", directory=True)
        fs.create("etc/motd").write_at(0, b"hi")
        fs.flush()
    assert json.loads(run("ls", "--json", josfs).output)[3:] == [{"name": "etc/", "size": 4096}, {"name": "etc/motd", "size": 2}]
    with refused(FsCommandError, "jos.img: 'etc' is a directory"):
        run("cat", josfs, "etc")


def test_a_file_of_jos_becomes_as_large_as_what_is_put_there(josfs: str) -> None:
    assert run("put", josfs, "kernel", "hello.txt").output == "kernel: 16 bytes written\n"
    assert run("put", josfs, "new", "kernel").output == "new: 1800 bytes written\n"
    assert run("cat", josfs, "kernel").stdout_bytes == FILES["hello.txt"]
    assert run("ls", josfs).output.endswith("1800  new\n")


def test_a_file_of_jos_is_removed(josfs: str) -> None:
    run("rm", josfs, "kernel")
    assert run("ls", josfs).output == "16  hello.txt\n 0  empty\n"
    with refused(JosFsNotFound, "jos.img: no file is named 'kernel'"):
        run("rm", josfs, "kernel")


def test_a_file_of_simplefs_is_not_removed(folder: Path) -> None:
    with refused(FsCommandError, "disk.img: a SIMPLEFS disk keeps its files: none can be removed"):
        run("rm", "disk.img", "kernel")


def test_a_simplefs_disk_that_holds_a_disk_of_jos_is_one_of_simplefs(folder: Path) -> None:
    contents = bytes(4096 - 1024) + struct.pack("<II", 0x4A0530AE, 2) + bytes(8192)
    Path("trick.img").write_bytes(image({"jos": contents}))
    assert run("ls", "trick.img").output == f"{len(contents)}  jos\n"


def test_damage_on_a_disk_of_jos_is_one_line(josfs: str) -> None:
    data = bytearray(Path(josfs).read_bytes())
    struct.pack_into("<I", data, 4096 + 4, 257)
    Path(josfs).write_bytes(data)
    with refused(JosFsError, "jos.img: block 1: the superblock is for 257 blocks: the disk has 256 of 4096 bytes"):
        run("ls", josfs)
