"""The bytecode of what `kev run` imports, in one file: to read it from 200 takes longer than some guests need to boot.

The file lies beside the bytecode that Python keeps, which it is made of. As Python does, every module is held against its source:
one that was changed is imported as ever, and is in the file behind the next run.
"""

import marshal
import mmap
import os
import sys
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import MAGIC_NUMBER

TYPE_CHECKING = False  # typing's own would take longer to import
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import CodeType, ModuleType

_FORMAT = 1
"""Another one whenever what is in the file changes: what was kept earlier is not used then."""
_HEADER_SIZE = 16
"""Of a file of bytecode that Python keeps (PEP 552): magic number, flags, and the source's time of change and size."""
_WORD = 0xFFFF_FFFF
_LENGTH_SIZE = 8
"""Of the number of bytes that the list of modules takes, with which the file begins; behind the list is their bytecode."""

_Module = tuple[str, str, bool, int, int]
"""Its source, where Python keeps its bytecode, whether it is a package, and the source's time of change in nanoseconds and size."""
_Placed = tuple[_Module, int, int]
"""The same, and where its bytecode begins and ends here."""


class _Loader(SourceFileLoader):
    """Loads a module whose bytecode is at hand."""

    def __init__(self, name: str, path: str, code: memoryview) -> None:
        super().__init__(name, path)
        self._code = code

    def get_code(self, fullname: str) -> "CodeType":
        code: CodeType = marshal.loads(self._code)
        return code


class KeptBytecode:
    """A finder of modules, see `sys.meta_path`, that knows those of earlier runs."""

    def __init__(self, package: str, folder: str, file: str | None) -> None:
        """Of the modules of `package`, which lies in `folder`. They are kept in `file`; None: they are not."""
        self._package = package
        self._folder = folder
        self._file = file
        self._modules, self._code = _nothing() if file is None else _read(file, folder)
        self._used: set[str] = set()

    @classmethod
    def of_kev(cls) -> "KeptBytecode":
        """What `kev run` uses."""
        return cls(__name__.partition(".")[0], os.path.dirname(__file__), _file())

    def find_spec(self, name: str, _path: "Sequence[str] | None" = None, _target: "ModuleType | None" = None) -> ModuleSpec | None:
        placed = self._modules.get(name)
        if placed is None:
            return None
        (source, cached, is_package, changed, size), begin, end = placed
        try:
            status = os.stat(source)
        except OSError:
            return None
        if status.st_mtime_ns != changed or status.st_size != size:
            return None
        self._used.add(name)
        spec = ModuleSpec(name, _Loader(name, source, self._code[begin:end]), origin=source, is_package=is_package)
        spec.has_location = True
        spec.cached = cached
        if is_package:
            spec.submodule_search_locations = [os.path.dirname(source)]
        return spec

    def update(self) -> None:
        """Keeps what was imported in another way, unless Python is to keep no bytecode, or cannot."""
        if self._file is None or sys.dont_write_bytecode:
            return
        new = {name: kept for name in self._missing() if (kept := _kept_by_python(name)) is not None}
        if any(name not in self._modules or self._modules[name][0] != module for name, (module, _) in new.items()):
            old = {name: (module, self._code[begin:end]) for name, (module, begin, end) in self._modules.items()}
            _write(self._file, self._folder, {**old, **new})

    def _missing(self) -> "Iterator[str]":
        return (name for name in sys.modules if name.startswith(f"{self._package}.") and name not in self._used)


def _file() -> str | None:
    """Where it is; None where Python keeps no bytecode."""
    cached = __spec__.cached
    if cached is None:
        return None
    folder, name = os.path.split(cached)
    return os.path.join(folder, name.replace("bytecode.", "run.", 1).removesuffix("pyc") + "kept")


def _nothing() -> tuple[dict[str, _Placed], memoryview]:
    return {}, memoryview(b"")


def _read(file: str, folder: str) -> tuple[dict[str, _Placed], memoryview]:
    """Nothing if there is no such file, or if it is another's: of another Python, or of a folder that this one is a copy of."""
    try:
        with open(file, "rb", buffering=0) as opened:
            content = memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))
        begin = _LENGTH_SIZE + int.from_bytes(content[:_LENGTH_SIZE], "little")
        magic, form, kept_of, end, modules = marshal.loads(content[_LENGTH_SIZE:begin])
    except (OSError, EOFError, ValueError, TypeError):
        return _nothing()
    code = content[begin:]
    return (modules, code) if (magic, form, kept_of, end) == (MAGIC_NUMBER, _FORMAT, folder, len(code)) else _nothing()


def _write(file: str, folder: str, modules: "Mapping[str, tuple[_Module, bytes | memoryview]]") -> None:
    """In one step, or not at all."""
    end, placed = 0, {}
    for name, (module, code) in modules.items():
        placed[name] = module, end, end + len(code)
        end += len(code)
    head = marshal.dumps((MAGIC_NUMBER, _FORMAT, folder, end, placed))
    new = f"{file}.{os.getpid()}"
    try:
        with open(new, "xb") as opened:
            opened.write(len(head).to_bytes(_LENGTH_SIZE, "little") + head)
            for _, code in modules.values():
                opened.write(code)
        os.replace(new, file)
    except OSError:
        _remove(new)


def _remove(file: str) -> None:
    try:
        os.remove(file)
    except OSError:
        """It has not come so far."""


def _kept_by_python(name: str) -> tuple[_Module, bytes] | None:
    """A module that was imported, with its bytecode; None if Python has kept none of what its source is now."""
    spec = sys.modules[name].__spec__
    if spec is None or spec.origin is None or spec.cached is None:
        return None
    try:
        status = os.stat(spec.origin)
        with open(spec.cached, "rb") as cached:
            header, code = cached.read(_HEADER_SIZE), cached.read()
    except OSError:
        return None
    wanted = (0, int(status.st_mtime) & _WORD, status.st_size & _WORD)
    if header != MAGIC_NUMBER + b"".join(number.to_bytes(4, "little") for number in wanted):
        return None
    is_package = spec.submodule_search_locations is not None
    return (spec.origin, spec.cached, is_package, status.st_mtime_ns, status.st_size), code
