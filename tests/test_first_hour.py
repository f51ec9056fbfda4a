"""The documents of a first hour, followed to the letter."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.first_hour import FIRST_HOUR, ROOT, Typed, loosely, steps

pytestmark = pytest.mark.slow

COMPILERS = {
    "gcc": ("gcc -m32", shutil.which("gcc") is not None and os.uname().machine == "x86_64"),
    "clang": ("clang --target=i386-elf -fuse-ld=lld", None not in (shutil.which("clang"), shutil.which("ld.lld"))),
    "zig": ("python3 -m ziglang cc -target x86-freestanding-none", importlib.util.find_spec("ziglang") is not None),
}


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """The environment of a shell in which `kev` and `python3` are those of this test."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, words in (("kev", "-m kev "), ("python3", "")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words}"$@"\n', encoding="utf-8")
        program.chmod(0o755)
    path = os.pathsep.join((str(programs), os.environ["PATH"]))
    state = {"XDG_STATE_HOME": str(tmp_path / "state"), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return {**os.environ, **state, "PATH": path}


def follow(document: Path, folder: Path, shell: dict[str, str]) -> None:
    folder.mkdir()
    for step in steps(document):
        if not isinstance(step, Typed):
            (folder / step.name).write_text(step.text, encoding="utf-8")
            continue
        done = subprocess.run(
            step.command, shell=True, cwd=folder, env=shell, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        printed = [loosely(line) for line in (done.stdout + done.stderr).splitlines()]
        missing = [line for line in step.shown if not any(loosely(line) in found for found in printed)]
        assert not missing, (step.command, done.stdout, done.stderr)
        assert done.returncode == step.exit_code, (step.command, done.stdout, done.stderr)


@pytest.mark.parametrize("document", FIRST_HOUR[1:], ids=lambda document: document.stem)
def test_every_command_does_what_the_document_shows(document: Path, tmp_path: Path, shell: dict[str, str]) -> None:
    follow(document, tmp_path / "work", shell)


@pytest.mark.parametrize("compiler", COMPILERS)
def test_a_first_kernel_is_built_and_boots_dies_and_is_tested(compiler: str, tmp_path: Path, shell: dict[str, str]) -> None:
    words, is_there = COMPILERS[compiler]
    if not is_there:
        pytest.skip(f"{compiler} is not installed")
    assert f'"{words}"' in FIRST_HOUR[0].read_text(encoding="utf-8")
    follow(FIRST_HOUR[0], tmp_path / "work", {**shell, "CC": words})


def test_there_is_a_page_for_each_kind_of_user() -> None:
    assert [document.stem for document in FIRST_HOUR] == [
        "first-kernel", "for-hobby-kernels", "for-race-hunters", "for-researchers", "for-students",
    ]  # fmt: skip
    assert all(any(isinstance(step, Typed) for step in steps(document)) for document in FIRST_HOUR)
