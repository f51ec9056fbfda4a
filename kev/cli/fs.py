"""`kev fs`: makes, lists, reads and overwrites SIMPLEFS images."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Final, Literal

import click

from kev.cli.sizes import Size
from kev.errors import KevError, printable
from kev.fs.disk import Disk
from kev.fs.file import COPY_SIZE
from kev.fs.simplefs import FileEntry, SimpleFs
from kev.user_files import open_storage


class FsCommandError(KevError):
    """A file that was named on the command line cannot be opened or made."""


_IMAGE: Final = click.argument("image", type=click.Path(path_type=Path))


@click.group
def command() -> None:
    """Make, list and read SIMPLEFS images, the disks of KeOS."""


@command.command
@_IMAGE
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--size", type=Size(), help="Size of the disk, such as 16M; by default what the files need.")
@click.option("--force", is_flag=True, help="Replace IMAGE if it exists.")
def mk(image: Path, files: tuple[Path, ...], size: int | None, force: bool) -> None:
    """Make IMAGE from each FILE, named as on the host but without its folder."""
    from kev.fs.mkfs import create_image

    if image.exists() and not force:
        raise FsCommandError(f"{image} exists: --force replaces it")
    by_name = _by_name(files)
    with ExitStack() as stack:
        contents = {name: stack.enter_context(_open(file)) for name, file in by_name.items()}
        create_image(stack.enter_context(_replacement(image)), str(image), contents, size)


@command.command
@_IMAGE
@click.option("--json", "as_json", is_flag=True, help="As a JSON list of objects with name and size.")
def ls(image: Path, as_json: bool) -> None:
    """List the files of IMAGE: size in bytes, and name."""
    with _open(image) as file:
        entries = list(SimpleFs(Disk(file, str(image))).files.values())
    click.echo(_as_json(entries) if as_json else _as_table(entries), nl=as_json)


@command.command
@_IMAGE
@click.argument("name")
def cat(image: Path, name: str) -> None:
    """Write the bytes of the file NAME to standard output."""
    with _open(image) as file:
        source = SimpleFs(Disk(file, str(image))).open(name)
        while chunk := source.read(COPY_SIZE):
            click.echo(chunk, nl=False)


@command.command
@_IMAGE
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
def put(image: Path, name: str, file: Path) -> None:
    """Overwrite the file NAME of IMAGE with FILE, in place.

    FILE must not be larger. If it is smaller, the rest of NAME stays as it is, for a file of a SIMPLEFS disk keeps its size.
    """
    with _open(file) as source, _open(image, "r+b") as disk:
        target = SimpleFs(Disk(disk, str(image))).open(name)
        written = target.overwrite(source)
    click.echo(f"{name}: {written} of {target.size} bytes overwritten")


def _open(path: Path, mode: Literal["rb", "r+b"] = "rb") -> BinaryIO:
    try:
        file = open_storage(path, writes="+" in mode)
    except (OSError, ValueError) as error:
        raise FsCommandError(f"{path}: {getattr(error, 'strerror', error)}") from error
    if file is None:
        raise FsCommandError(f"{path}: is neither a regular file nor a block device")
    return file


@contextmanager
def _replacement(path: Path) -> Iterator[BinaryIO]:
    """A new file, for reading and writing, that takes the place of `path` if all goes well, and otherwise leaves no trace.

    What a symbolic link leads to is replaced, and not the link. FsCommandError if something else than a file is there.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise FsCommandError(f"{path}: is no regular file, and cannot be replaced by one")
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with draft.open("x+b", buffering=0) as file:
            yield file
        draft.replace(target)
    except (OSError, ValueError) as error:
        raise FsCommandError(f"{path}: {getattr(error, 'strerror', error)}") from error
    finally:
        draft.unlink(missing_ok=True)


def _by_name(files: tuple[Path, ...]) -> dict[str, Path]:
    by_name: dict[str, Path] = {}
    for file in files:
        first = by_name.setdefault(file.name, file)
        if first is not file:
            raise FsCommandError(f"{first} and {file} would both be named {file.name!r}")
    return by_name


def _as_json(entries: list[FileEntry]) -> str:
    import json

    return json.dumps([{"name": entry.name, "size": entry.size} for entry in entries], indent=2)


def _as_table(entries: list[FileEntry]) -> str:
    width = max((len(str(entry.size)) for entry in entries), default=0)
    # A disk may come from anywhere: its names must not reach the terminal as control sequences.
    return "".join(f"{entry.size:{width}}  {printable(entry.name)}\n" for entry in entries)
