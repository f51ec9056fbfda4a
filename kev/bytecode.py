"""The bytecode of what `kev run` imports, in one file: to read it from 200 takes longer than some guests need to boot.

The file lies beside the bytecode that Python keeps, which it is made of. As Python does, every module is held against its source:
one that was changed is imported as ever, and is in the file behind the next run.

What is always imported together is in the file together, in the order in which it was executed. What a module needs is there then
when it is executed, so that Python's machinery, which takes as long as small modules, is not asked for each.
"""

import marshal
import mmap
import os
import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import MAGIC_NUMBER, module_from_spec

TYPE_CHECKING = False  # typing's own would take longer to import
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import CodeType, ModuleType

_FORMAT = 2
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
_Together = tuple[tuple[str, ...], int, int]
"""Modules in the order in which they were executed, and where the list of their bytecode, in reverse, begins and ends here."""


class _Loader(SourceFileLoader):
    """Loads a module whose bytecode is at hand."""

    def __init__(self, name: str, path: str, code: memoryview, executed: "list[str]") -> None:
        super().__init__(name, path)
        self._code = code
        self._executed = executed

    def get_code(self, fullname: str) -> "CodeType":
        code: CodeType = marshal.loads(self._code)
        return code

    def exec_module(self, module: "ModuleType") -> None:
        super().exec_module(module)
        self._executed.append(module.__name__)


class _Watched(SourceFileLoader):
    """Loads a module as ever, and says when it was executed."""

    def __init__(self, name: str, path: str, executed: "list[str]") -> None:
        super().__init__(name, path)
        self._executed = executed

    def exec_module(self, module: "ModuleType") -> None:
        super().exec_module(module)
        self._executed.append(module.__name__)


class KeptBytecode:
    """A finder of modules, see `sys.meta_path`, that knows those of earlier runs."""

    def __init__(self, package: str, folder: str, file: str | None) -> None:
        """Of the modules of `package`, which lies in `folder`. They are kept in `file`; None: they are not."""
        self._package = package
        self._folder = folder
        self._file = file
        self._modules, self._together, self._code = _nothing() if file is None else _read(file, folder)
        self._used: set[str] = set()
        self._executed: list[str] = []
        self._watches = False
        self._seen_together: dict[str, tuple[str, ...]] = {}

    @classmethod
    def of_kev(cls) -> "KeptBytecode":
        """What `kev run` uses."""
        return cls(__name__.partition(".")[0], os.path.dirname(__file__), _file())

    def find_spec(self, name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None) -> ModuleSpec | None:
        spec = self._find(name)
        if spec is not None or not self._watches or not name.startswith(f"{self._package}."):
            return spec
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _Watched(name, spec.loader.path, self._executed)
        return spec

    def import_together(self, name: str) -> None:
        """Imports a module that always imports the same ones, and in no circle. No other thread may import anything meanwhile."""
        before = len(self._executed)
        self._watches = True
        # Python measures only what its machinery imports.
        if name in self._together and "importtime" not in sys._xoptions:
            members, begin, end = self._together[name]
            codes = marshal.loads(self._code[begin:end])
            for member in members:
                self._execute(member, codes.pop())  # which is over then, and its memory another's
        __import__(name)
        self._watches = False
        self._seen_together[name] = tuple(self._executed[before:])

    def _execute(self, name: str, code: "CodeType") -> None:
        """Imports a module, unless it is there, or was changed, or comes before its package."""
        package, _, child = name.rpartition(".")
        if name in sys.modules or package not in sys.modules:
            return
        spec = self._find(name)
        if spec is None:
            return
        module = module_from_spec(spec)
        sys.modules[name] = module
        try:
            exec(code, module.__dict__)
        except BaseException:
            del sys.modules[name]
            raise
        setattr(sys.modules[package], child, module)
        self._executed.append(name)

    def _find(self, name: str) -> ModuleSpec | None:
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
        spec = ModuleSpec(name, _Loader(name, source, self._code[begin:end], self._executed), origin=source, is_package=is_package)
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
        known = self._modules.keys() | new.keys()
        together = {
            **{name: members for name, (members, _, _) in self._together.items()},
            **{name: tuple(member for member in seen if member in known) for name, seen in self._seen_together.items()},
        }
        if any(name not in self._modules or self._modules[name][0] != module for name, (module, _) in new.items()) or any(
            name not in self._together or self._together[name][0] != members for name, members in together.items()
        ):
            old = {name: (module, self._code[begin:end]) for name, (module, begin, end) in self._modules.items()}
            _write(self._file, self._folder, {**old, **new}, together)

    def _missing(self) -> "Iterator[str]":
        return (name for name in sys.modules if name.startswith(f"{self._package}.") and name not in self._used)


def _file() -> str | None:
    """Where it is; None where Python keeps no bytecode."""
    cached = __spec__.cached
    if cached is None:
        return None
    folder, name = os.path.split(cached)
    return os.path.join(folder, name.replace("bytecode.", "run.", 1).removesuffix("pyc") + "kept")


def _nothing() -> tuple[dict[str, _Placed], dict[str, _Together], memoryview]:
    return {}, {}, memoryview(b"")


def _read(file: str, folder: str) -> tuple[dict[str, _Placed], dict[str, _Together], memoryview]:
    """Nothing if there is no such file, or if it is another's: of another Python, or of a folder that this one is a copy of."""
    try:
        with open(file, "rb", buffering=0) as opened:
            content = memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))
        begin = _LENGTH_SIZE + int.from_bytes(content[:_LENGTH_SIZE], "little")
        magic, form, kept_of, end, modules, together = marshal.loads(content[_LENGTH_SIZE:begin])
    except (OSError, EOFError, ValueError, TypeError):
        return _nothing()
    code = content[begin:]
    right = (magic, form, kept_of, end) == (MAGIC_NUMBER, _FORMAT, folder, len(code))
    return (modules, together, code) if right else _nothing()


def _write(
    file: str,
    folder: str,
    modules: "Mapping[str, tuple[_Module, bytes | memoryview]]",
    together: "Mapping[str, Sequence[str]]",
) -> None:
    """In one step, or not at all."""
    parts: list[bytes | memoryview] = []
    end = 0

    def place(code: bytes | memoryview) -> tuple[int, int]:
        nonlocal end
        parts.append(code)
        begin, end = end, end + len(code)
        return begin, end

    placed = {name: (module, *place(code)) for name, (module, code) in modules.items()}
    lists = {
        name: (tuple(members), *place(marshal.dumps([marshal.loads(modules[member][1]) for member in reversed(members)])))
        for name, members in together.items()
    }
    head = marshal.dumps((MAGIC_NUMBER, _FORMAT, folder, end, placed, lists))
    new = f"{file}.{os.getpid()}"
    try:
        with open(new, "xb") as opened:
            opened.write(len(head).to_bytes(_LENGTH_SIZE, "little") + head)
            for code in parts:
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
