"""What `kev run` has imported is imported from one file the next time, and from where it is if that file is not right."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import kev

KEPT, AS_EVER = "_Loader", "SourceFileLoader"

# Imports modules of the package p, and prints by what each was loaded, and its `value`.
IMPORTS = """
import json, sys
from importlib import import_module
from kev.bytecode import KeptBytecode
folder, file, *names = sys.argv[1:]
sys.path.insert(0, folder)
kept = KeptBytecode("p", folder + "/p", file)
sys.meta_path.insert(0, kept)
found = {name: import_module(name) for name in names}
kept.update()
print(json.dumps({name: [type(module.__loader__).__name__, module.value, module.__file__] for name, module in found.items()}))
"""


# Imports a module, and what it imports, in one go; prints what was executed, in order, and by what each module of p was loaded.
IMPORTS_TOGETHER = """
import json, sys
from kev.bytecode import KeptBytecode
folder, file, top = sys.argv[1:]
sys.path.insert(0, folder)
sys.executed = []
kept = KeptBytecode("p", folder + "/p", file)
sys.meta_path.insert(0, kept)
try:
    kept.import_together(top)
except ZeroDivisionError:
    sys.executed.append("failed")
kept.update()
modules = {name: type(module.__loader__).__name__ for name, module in sys.modules.items() if name.startswith("p.")}
attributes = all(getattr(sys.modules[name.rpartition(".")[0]], name.rpartition(".")[2]) is sys.modules[name] for name in modules)
print(json.dumps([sys.executed, modules, attributes]))
"""


class Package:
    """The package p with the modules a and b, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "kept"
        (folder / "p").mkdir()
        (folder / "p" / "__init__.py").write_text("")
        for name in ("a", "b"):
            self.write(name, 1)

    def write(self, name: str, value: int) -> None:
        """Gives a module another `value`, and another size."""
        (self.folder / "p" / f"{name}.py").write_text(f"value = {value}\n" + value * "#")

    def imported(self, *names: str, dont_write: bool = False) -> dict[str, tuple[str, int]]:
        """By what each module was loaded in a process of its own, and its value."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment["PYTHONPATH"] = str(Path(kev.__file__).parent.parent)
        if dont_write:
            environment["PYTHONDONTWRITEBYTECODE"] = "1"
        command = [sys.executable, "-c", IMPORTS, str(self.folder), str(self.file), *names]
        found = json.loads(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
        assert all(file.startswith(str(self.folder)) for _, _, file in found.values())
        return {name: (loader, value) for name, (loader, value, _) in found.items()}


class Nested:
    """The package p, whose module top imports the package p.inner, which imports its own module leaf, and the module other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "kept"
        (folder / "p" / "inner").mkdir(parents=True)
        self.write("__init__", "")
        self.write("inner/__init__", "from p.inner.leaf import value")
        self.write("inner/leaf", "value = 1")
        self.write("other", "from p import inner")
        self.write("top", "from p import inner, other\nfrom p.inner.leaf import value")

    def write(self, name: str, text: str) -> None:
        """Gives a module another text, behind which it says that it was executed."""
        (self.folder / "p" / f"{name}.py").write_text(f"{text}\nimport sys\nsys.executed.append(__name__)\n")

    def run(self, *options: str) -> "subprocess.CompletedProcess[str]":
        """A process of its own that imports it."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment["PYTHONPATH"] = str(Path(kev.__file__).parent.parent)
        command = [sys.executable, *options, "-c", IMPORTS_TOGETHER, str(self.folder), str(self.file), "p.top"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    def imported(self) -> tuple[list[str], dict[str, str]]:
        """What was executed, in order, and by what it was loaded."""
        executed, modules, are_attributes = json.loads(self.run().stdout)
        assert are_attributes
        return executed, modules


@pytest.fixture
def nested(tmp_path: Path) -> Nested:
    return Nested(tmp_path)


@pytest.fixture
def package(tmp_path: Path) -> Package:
    (tmp_path / "one").mkdir()
    return Package(tmp_path / "one")


def test_what_was_imported_is_kept_and_what_is_new_is_added(package: Package) -> None:
    assert package.imported("p.a") == {"p.a": (AS_EVER, 1)}
    assert package.imported("p.a", "p.b") == {"p.a": (KEPT, 1), "p.b": (AS_EVER, 1)}
    assert package.imported("p.b", "p.a") == {"p.a": (KEPT, 1), "p.b": (KEPT, 1)}


def test_a_module_that_was_changed_is_imported_as_ever_and_kept_anew(package: Package) -> None:
    package.imported("p.a", "p.b")
    package.write("a", 2)
    assert package.imported("p.a", "p.b") == {"p.a": (AS_EVER, 2), "p.b": (KEPT, 1)}
    assert package.imported("p.a", "p.b") == {"p.a": (KEPT, 2), "p.b": (KEPT, 1)}


def test_a_copy_of_the_folder_imports_its_own_modules(package: Package, tmp_path: Path) -> None:
    package.imported("p.a")
    shutil.copytree(package.folder, tmp_path / "two")
    copy = Package.__new__(Package)
    copy.folder, copy.file = tmp_path / "two", tmp_path / "two" / "kept"
    assert copy.imported("p.a") == {"p.a": (AS_EVER, 1)}


def test_a_module_knows_where_its_bytecode_is(package: Package) -> None:
    package.imported("p.a")
    (package.folder / "p" / "a.py").write_text("value = __cached__\n")
    for loader in (AS_EVER, KEPT):
        ((found, cached),) = package.imported("p.a").values()
        assert (found, Path(str(cached)).parent) == (loader, package.folder / "p" / "__pycache__")


@pytest.mark.parametrize("damage", [b"", b"\0", b"\xff" * 100, None])
def test_a_file_that_is_none_is_not_used(package: Package, damage: bytes | None) -> None:
    package.imported("p.a")
    package.file.write_bytes(package.file.read_bytes()[:-1] if damage is None else damage)
    assert package.imported("p.a") == {"p.a": (AS_EVER, 1)}
    assert package.imported("p.a") == {"p.a": (KEPT, 1)}


def test_nothing_is_written_where_python_is_to_write_no_bytecode(package: Package) -> None:
    assert package.imported("p.a", dont_write=True) == {"p.a": (AS_EVER, 1)}
    package.imported("p.a")
    package.file.unlink()
    assert package.imported("p.a", dont_write=True) == {"p.a": (AS_EVER, 1)}
    assert not package.file.exists()


def test_a_folder_that_cannot_be_written_is_left_alone(package: Package) -> None:
    package.file = package.folder / "nowhere" / "kept"
    assert package.imported("p.a") == package.imported("p.a") == {"p.a": (AS_EVER, 1)}


IN_ORDER = ["p", "p.inner.leaf", "p.inner", "p.other", "p.top"]


def test_what_is_imported_together_is_executed_in_the_order_of_the_first_time(nested: Nested) -> None:
    first, second, third = (nested.imported() for _ in range(3))
    assert first[0] == second[0] == third[0] == IN_ORDER
    assert set(second[1].values()) == set(third[1].values()) == {KEPT}


def test_of_what_is_imported_together_a_module_that_was_changed_is_imported_as_ever(nested: Nested) -> None:
    nested.imported()
    nested.write("new", "")
    nested.write("other", "from p import new, inner")
    executed, modules = nested.imported()
    assert executed == ["p", "p.inner.leaf", "p.inner", "p.new", "p.other", "p.top"]
    assert {name for name, loader in modules.items() if loader == KEPT} == {"p.inner", "p.inner.leaf", "p.top"}
    assert nested.imported() == (executed, dict.fromkeys(modules, KEPT))


def test_of_what_is_imported_together_a_module_that_fails_is_not_there(nested: Nested, monkeypatch: pytest.MonkeyPatch) -> None:
    nested.write("other", "import os\nif 'FAIL' in os.environ: 1 / 0")
    nested.imported()
    monkeypatch.setenv("FAIL", "1")
    executed, modules = nested.imported()
    assert executed == ["p", "p.inner.leaf", "p.inner", "failed"]
    assert modules.keys() == {"p.inner", "p.inner.leaf"}


def test_python_measures_the_imports_of_each_module(nested: Nested) -> None:
    nested.imported()
    measured = [line.rpartition("|")[2].strip() for line in nested.run("-X", "importtime").stderr.splitlines()]
    assert [name for name in measured if name in IN_ORDER] == IN_ORDER
