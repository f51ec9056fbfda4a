"""`kev fs`: makes, lists, reads and writes images of SIMPLEFS and of JOS' file system."""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Final, Literal, NoReturn

import click

from kev.cli.sizes import Size
from kev.errors import KevError, printable
from kev.fs.disk import Disk
from kev.fs.file import COPY_SIZE, File
from kev.fs.josfs import JosFile, JosFs, is_josfs
from kev.fs.simplefs import SimpleFs, is_simplefs
from kev.user_files import open_storage, real_path


class FsCommandError(KevError):
    """A file that was named on the command line cannot be opened or made."""


_MOST_FILES: Final = 1 << 16
"""In a folder that is copied."""
_IMAGE: Final = click.argument("image", type=click.Path(path_type=Path))


@click.group
def command() -> None:
    """Make, list, read and write disk images: SIMPLEFS, KeOS' format, and JOS-FS, that of JOS.

    Which of them an image is, it says itself.
    """


@command.command
@_IMAGE
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format", "kind", type=click.Choice(["simplefs", "josfs"]), default="simplefs", show_default=True, help="The file system."
)
@click.option("--size", type=Size(), help="Size of the disk, such as 16M; by default what the files need.")
@click.option("--force", is_flag=True, help="Replace IMAGE if it exists.")
def mk(image: Path, files: tuple[Path, ...], kind: str, size: int | None, force: bool) -> None:
    """Make IMAGE from each FILE, named as on the host but without its folder.

    Of a folder, a disk of JOS gets all files, in directories like those on the host; those without files are left out.
    """
    from kev.fs.josfs_mkfs import create_josfs_image
    from kev.fs.mkfs import create_image

    if os.path.exists(image) and not force:
        raise FsCommandError(f"{image} exists: --force replaces it")
    by_name = _by_name(files, folders=kind == "josfs")
    with ExitStack() as stack:
        contents = {name: stack.enter_context(_open(file)) for name, file in by_name.items()}
        _check_room(image, contents.values())
        create = create_image if kind == "simplefs" else create_josfs_image
        create(stack.enter_context(_replacement(image)), str(image), contents, size)


@command.command
@_IMAGE
@click.option("--json", "as_json", is_flag=True, help="As a JSON list of objects with name and size.")
def ls(image: Path, as_json: bool) -> None:
    """List the files of IMAGE: size in bytes, and name. Directories end with a slash, and their files follow."""
    with _open(image) as file:
        fs = _file_system(file, image)
        if isinstance(fs, JosFs):
            entries = [(found.path + "/" * found.is_directory, found.size) for found in fs.walk()]
        else:
            entries = [(entry.name, entry.size) for entry in fs.files.values()]
    click.echo(_as_json(entries) if as_json else _as_table(entries), nl=as_json)


@command.command
@_IMAGE
@click.argument("name")
def cat(image: Path, name: str) -> None:
    """Write the bytes of the file NAME to standard output."""
    with _open(image) as file:
        source = _opened(_file_system(file, image), name)
        for offset in range(0, source.size, COPY_SIZE):
            click.echo(source.read_at(offset, COPY_SIZE), nl=False)


@command.command
@_IMAGE
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
def put(image: Path, name: str, file: Path) -> None:
    """Write FILE to the file NAME of IMAGE.

    A file of a SIMPLEFS disk is overwritten in place, and keeps its size: FILE must not be larger, and if it is smaller, the rest
    of NAME stays as it is. On a disk of JOS, NAME is made if it is not there, and becomes as large as FILE.
    """
    with _open(file) as source, _open(image, "r+b") as disk:
        fs = _file_system(disk, image)
        if isinstance(fs, JosFs):
            click.echo(f"{name}: {fs.put(name, source)} bytes written")
        else:
            target = fs.open(name)
            click.echo(f"{name}: {target.overwrite(source)} of {target.size} bytes overwritten")


@command.command
@_IMAGE
@click.argument("name")
def rm(image: Path, name: str) -> None:
    """Remove the file or empty directory NAME of IMAGE, a disk of JOS."""
    with _open(image, "r+b") as disk:
        fs = _file_system(disk, image)
        if not isinstance(fs, JosFs):
            raise FsCommandError(f"{image}: a SIMPLEFS disk keeps its files: none can be removed")
        fs.remove(name)
        fs.flush()


def _file_system(file: BinaryIO, image: Path) -> SimpleFs | JosFs:
    disk = Disk(file, str(image))
    return JosFs(disk) if is_josfs(disk) and not is_simplefs(disk) else SimpleFs(disk)


def _opened(fs: SimpleFs | JosFs, name: str) -> File | JosFile:
    found = fs.open(name)
    if isinstance(found, JosFile) and found.is_directory:
        raise FsCommandError(f"{fs.disk.name}: {name!r} is a directory")
    return found


def _open(path: Path, mode: Literal["rb", "r+b"] = "rb") -> BinaryIO:
    try:
        file = open_storage(path, writes="+" in mode)
    except (OSError, ValueError) as error:
        raise FsCommandError(f"{path}: {getattr(error, 'strerror', error)}") from error
    if file is None:
        raise FsCommandError(f"{path}: is neither a regular file nor a block device")
    return file


def _check_room(image: Path, contents: Iterable[BinaryIO]) -> None:
    """FsCommandError if what is to be copied has more bytes than there is room for, such as a sparse file of many TiB."""
    needed = sum(os.stat(file.fileno()).st_size for file in contents)
    folder = os.path.dirname(real_path(image))
    try:
        room = shutil.disk_usage(folder).free
    except (OSError, ValueError) as error:
        raise FsCommandError(f"{image}: {getattr(error, 'strerror', error)}") from error
    if needed > room:
        raise FsCommandError(f"{image}: the files have {needed:,} bytes, and there is room for {room:,} in {folder}")


@contextmanager
def _replacement(path: Path) -> Iterator[BinaryIO]:
    """A new file, for reading and writing, that takes the place of `path` if all goes well, and otherwise leaves no trace.

    What a symbolic link leads to is replaced, and not the link. FsCommandError if something else than a file is there.
    """
    target = Path(real_path(path))
    if os.path.exists(target) and not os.path.isfile(target):
        raise FsCommandError(f"{path}: is no regular file, and cannot be replaced by one")
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        file = draft.open("x+b", buffering=0)
    except (OSError, ValueError) as error:
        raise FsCommandError(f"{path}: {getattr(error, 'strerror', error)}") from error
    try:
        with file:
            yield file
        draft.replace(target)
    except (OSError, ValueError) as error:
        raise FsCommandError(f"{path}: {getattr(error, 'strerror', error)}") from error
    finally:
        draft.unlink(missing_ok=True)


def _by_name(files: tuple[Path, ...], *, folders: bool) -> dict[str, Path]:
    by_name: dict[str, Path] = {}
    for name, file in (named for given in files for named in _with_contents(given, folders)):
        first = by_name.setdefault(name, file)
        if first is not file:
            raise FsCommandError(f"{first} and {file} would both be named {name!r}")
    return by_name


def _with_contents(file: Path, folders: bool) -> Iterator[tuple[str, Path]]:
    """The name and path of a file or, if folders are wanted, of each file in a folder."""
    if not folders or not os.path.isdir(file):
        yield file.name, file
        return
    directory = os.path.basename(real_path(file))
    for inner in sorted(_files_in(file)):
        yield f"{directory}/{inner.relative_to(file).as_posix()}", inner


def _files_in(folder: Path) -> list[Path]:
    """All files below it; what links to a folder is left out. FsCommandError if they are too many, or cannot be listed."""

    def refuse(error: OSError) -> NoReturn:
        raise FsCommandError(f"{error.filename}: cannot be listed: {error.strerror}") from error

    files: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        files += [Path(parent, name) for name in names]
        if len(files) + len(folders) > _MOST_FILES:
            raise FsCommandError(f"{folder}: there are more than {_MOST_FILES:,} files in it")
    return files


def _as_json(entries: list[tuple[str, int]]) -> str:
    import json

    return json.dumps([{"name": name, "size": size} for name, size in entries], indent=2)


def _as_table(entries: list[tuple[str, int]]) -> str:
    width = max((len(str(size)) for _, size in entries), default=0)
    # A disk may come from anywhere: its names must not reach the terminal as control sequences.
    return "".join(f"{size:{width}}  {printable(name)}\n" for name, size in entries)
