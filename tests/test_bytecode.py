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
