"""Builds the guests and packs the root file system whenever a wheel or an editable install is made.

Every folder of rootfs/guests with a guest.toml is a guest. Its top-level keys are the fields of `kev.guests.catalogue.Guest`; the
table [build] holds what the compiler needs (`Build`). The guests and the files of rootfs/files become kev/data/rootfs.img, a
SIMPLEFS image; what `kev guests` lists becomes kev/data/guests.txt. Each native/NAME.c becomes kev/data/NAME-MACHINE.so, for each
machine that Linux may run on here: hosts without one do the same in another way.
"""

import compileall
import importlib.util
import io
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).parent))
from kev.fs.mkfs import create_image

COMPILER_FLAGS = [
    "-std=c17",
    "-O2",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-ffreestanding",
    "-fno-sanitize=all",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    # General registers only: Zig does not heed -mgeneral-regs-only.
    "-mcpu=baseline-mmx-sse-sse2-x87+soft_float",
    "-mno-red-zone",
    "-nostdlib",
    "-static",
    "-Wl,--build-id=none",
    "-Wl,-z,max-page-size=4096",
]
NATIVE_FLAGS = [
    "-std=c17",
    "-O2",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-fPIC",
    "-shared",
    "-nostdlib",
    "-g0",
    "-s",
    "-Wl,--build-id=none",
]
NATIVE_MACHINES = ("x86_64", "aarch64")
"""As `uname -m` calls them."""


class GuestBuildError(Exception):
    """A guest, or what runs natively, cannot be built."""


@dataclass(frozen=True)
class Build:
    """How a guest is compiled. Paths are relative to its folder."""

    target: str
    """The instruction set of its C code and the format of its image: x86_64 (ELF64) or x86 (ELF32)."""
    sources: list[str]
    linker_script: str
    """OUTPUT_FORMAT(binary) in it makes an image of what is loaded and nothing else."""
    flags: list[str] = field(default_factory=list)
    debug: bool = False
    """Keeps the symbols."""
    lines: bool = False
    """Keeps the lines of the sources, too."""


@dataclass(frozen=True)
class GuestSource:
    folder: Path
    manifest: dict[str, Any]
    build: Build

    @property
    def name(self) -> str:
        return str(self.manifest["name"])


def read_guest(folder: Path) -> GuestSource:
    """GuestBuildError if guest.toml lacks something or has too much."""
    file = folder / "guest.toml"
    try:
        manifest = tomllib.loads(file.read_text(encoding="utf-8"))
        return GuestSource(folder, manifest, Build(**manifest.pop("build")))
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise GuestBuildError(f"{file}: {error}") from error


class Compiler:
    """Zig's C compiler, whose cache notices by itself what did not change."""

    def __init__(self, root: Path) -> None:
        package = importlib.util.find_spec("ziglang")
        if package is None or package.origin is None:
            raise GuestBuildError("the guests need a compiler: the package ziglang, in the version that pyproject.toml names")
        # Zig finds its own headers from where its program really is.
        self._headers = Path(package.origin).with_name("zig").resolve().parent / "lib" / "include"
        build = root / "build"
        self._output = build / "guests"
        self._output.mkdir(parents=True, exist_ok=True)
        cache = str(build / "zig-cache")
        self._environment = os.environ | {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}

    def compile(self, guest: GuestSource) -> Path:
        """The guest's image. GuestBuildError with the compiler's own words if it refuses."""
        image = self._output / guest.name
        build = guest.build
        command = ["cc", "-target", f"{build.target}-freestanding-none"]
        command += [*COMPILER_FLAGS, "-g" if build.lines else "-g0", *self._same_names_everywhere()]
        command += ["-I../lib", *build.flags, *([] if build.debug else ["-s"])]
        command += [f"-Wl,-T,{build.linker_script}", *build.sources, "-o", str(image)]
        self._run(command, guest.folder, f"the guest {guest.name}")
        return image

    def compile_native(self, source: Path, machine: str, library: Path) -> None:
        """A library of functions for Linux on `machine`. GuestBuildError as above."""
        command = ["cc", "-target", f"{machine}-linux-none", *NATIVE_FLAGS, source.name, "-o", str(library)]
        self._run(command, source.parent, source.name)

    def _run(self, command: list[str], folder: Path, what: str) -> None:
        command = [sys.executable, "-m", "ziglang", *command]
        result = subprocess.run(command, cwd=folder, env=self._environment, capture_output=True, text=True)
        if result.returncode:
            raise GuestBuildError(f"{what} does not compile:\n{result.stderr}")

    def _same_names_everywhere(self) -> list[str]:
        """Flags without which an image's debug information has the names of the folders that it was built in.

        Sources and headers of guests are named relative to the guest's folder, in which the compiler runs.
        """
        return ["-fdebug-compilation-dir=.", f"-ffile-prefix-map={self._headers}=include"]

    def compile_all(self, guests: Iterable[GuestSource]) -> list[Path]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(self.compile, guests))


def build_guests(root: Path) -> None:
    """Writes kev/data of the source tree `root`. GuestBuildError if a guest or the compiler stands in the way."""
    guests = [read_guest(file.parent) for file in sorted(root.glob("rootfs/guests/*/guest.toml"))]
    compiler = Compiler(root)
    images = compiler.compile_all(guests)
    data = root / "kev" / "data"
    data.mkdir(exist_ok=True)
    for source in root.glob("native/*.c"):
        for machine in NATIVE_MACHINES:
            library = data / f"{source.stem}-{machine}.so"
            new = library.with_suffix(".new")
            compiler.compile_native(source, machine, new)
            new.replace(library)
    pack(data / "rootfs.img", [*images, *sorted(root.glob("rootfs/files/*"))])
    listed = sorted(guests, key=lambda guest: guest.name)
    replace(data / "guests.txt", "\n\n".join(map(described, listed)).encode())


def described(guest: GuestSource) -> str:
    """What the list of guests says of one, as `kev.guests.catalogue` reads it. GuestBuildError if that cannot be said."""
    lines = [
        f"{key}={member}"
        for key, value in {"name": guest.name, **guest.manifest}.items()
        for member in (value if isinstance(value, list) else [value])
    ]
    if any("\\" in line for line in lines):
        raise GuestBuildError(
            f"{guest.folder / 'guest.toml'}: a backslash stands for a new line in the list of guests, and nothing else"
        )
    return "\n".join(line.replace("\n", "\\n") for line in lines)


def pack(image: Path, files: list[Path]) -> None:
    """Makes a SIMPLEFS image of files, which keep their names. GuestBuildError if two have the same."""
    names = [file.name for file in files]
    if twice := {name for name in names if names.count(name) > 1}:
        raise GuestBuildError(f"the root file system would have two files named {', '.join(sorted(twice))}")
    with ExitStack() as stack:
        disk = io.BytesIO()
        create_image(disk, image.name, {file.name: stack.enter_context(file.open("rb")) for file in files})
        replace(image, disk.getvalue())


def replace(file: Path, contents: bytes) -> None:
    """Writes a file in one step: whoever has the old one open keeps it."""
    new = file.with_suffix(".new")
    new.write_bytes(contents)
    new.replace(file)


def compile_packages(root: Path) -> None:
    """Writes the bytecode of kev, as pip does for what it copies: without it, `kev run` takes twice as long to start."""
    for package in ("kev", "kev/pager", "kev/fs"):  # compileall follows no links
        compileall.compile_dir(root / package, quiet=1)


class GuestBuildHook(BuildHookInterface[Any]):
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        try:
            build_guests(Path(self.root))
        except GuestBuildError as error:
            self.app.abort(str(error))
        build_data["artifacts"].append("/kev/data/")
        if version == "editable":
            compile_packages(Path(self.root))
