"""What the documents refer to is there: names in the code, links, options of commands, and what cheap examples print."""

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from click.testing import CliRunner

from kev.cli.launch import RUN_OPTIONS
from kev.cli.main import kev
from tests.first_hour import FIRST_HOUR, ROOT, loosely

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NAMED = [
    file
    for file in DOCUMENTS
    if file.name in ("architecture.md", "CONTRIBUTING.md", "security.md") or file.parent.name in ("decisions", "tours")
]

_CODE = re.compile(r"```.*?```", re.DOTALL)
_REFERENCE = re.compile(r"`([\w./-]+\.py):\s+([\w.]+)`")
_PATH = re.compile(r"`((?:kev|pager|fs|rootfs|tests|bench|docs|findings)/[\w./-]*|hatch_build\.py|pyproject\.toml|Makefile)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)
_INDENTED = re.compile(r"^ {4}(kev .*)$", re.MULTILINE)
_INLINE = re.compile(r"`(kev [^`]*)`")
_INCOMPLETE = re.compile(r"Missing|requires an argument|^Usage:")
_PLACEHOLDER = re.compile(r"[A-Z]{3,}|[\[|…]|\.\.\.")


def names(document: Path) -> str:
    return str(document.relative_to(ROOT))


# Names in the code


@cache
def defined(file: Path) -> frozenset[str]:
    """The names that a module defines, with their classes before them."""
    return frozenset(_defined(ast.parse(file.read_text(encoding="utf-8")).body, ""))


def _defined(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    for statement in body:
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield prefix + name
            case ast.ClassDef(name=name, body=members):
                yield prefix + name
                yield from _defined(members, f"{prefix}{name}.")
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield prefix + name
            case ast.Assign(targets=targets):
                yield from (prefix + node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))


@pytest.mark.parametrize("document", NAMED, ids=names)
def test_every_name_in_the_code_that_a_document_refers_to_exists(document: Path) -> None:
    references = _REFERENCE.findall(document.read_text(encoding="utf-8"))
    missing = [f"{file}: {name}" for file, name in references if not (ROOT / file).is_file() or name not in defined(ROOT / file)]
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=names)
def test_every_file_that_a_document_names_exists(document: Path) -> None:
    made = {"kev/data"}
    paths = set(_PATH.findall(_CODE.sub("", document.read_text(encoding="utf-8")))) - made
    assert not [path for path in sorted(paths) if "NAME" not in path and "GUEST" not in path and not (ROOT / path).exists()]


def test_the_map_shows_the_layers_of_the_import_contracts() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    drawn = _CODE.findall((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))[0]
    rows = re.findall(r"^ ([a-z]\w*(?: {3}\w+)*)(?: ─.*)?$", drawn, re.MULTILINE)
    assert [row.split() for row in rows] == [re.findall(r"\w+", layer) for layer in layers]


@pytest.mark.parametrize("document", DOCUMENTS, ids=names)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    broken = []
    for link in _LINK.findall(_CODE.sub("", document.read_text(encoding="utf-8"))):
        path, _, heading = link.partition("#")
        if "://" in path:
            continue
        target = document.parent / path if path else document
        if not target.exists() or (heading and heading not in _anchors(target)):
            broken.append(link)
    assert not broken


def _anchors(document: Path) -> set[str]:
    """What headings are called in links: as GitHub does it."""
    headings = _HEADING.findall(_CODE.sub("", document.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_readme_lists_every_document() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not [file.name for file in (ROOT / "docs").glob("*.md") if f"](docs/{file.name})" not in readme]


def test_readme_describes_every_option_of_kev_run() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    switches = [switch for option in RUN_OPTIONS for switch in option.switches]
    assert not [switch for switch in switches if f"`{switch}`" not in readme and f"`{switch} " not in readme]


def test_every_promise_of_security_names_a_test() -> None:
    text = (
        (ROOT / "docs" / "security.md")
        .read_text(encoding="utf-8")
        .partition("## What is promised")[2]
        .partition("## Named limits")[0]
    )
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| promise |")]
    assert len(rows) > 20
    untested = [row for row in rows if not all(name.startswith("test_") for _, name in _REFERENCE.findall(row))]
    assert not untested
    assert all(_REFERENCE.search(row) for row in rows)


# Examples


class Example(NamedTuple):
    """A command in a document, and what it prints there."""

    document: str
    line: str
    output: str = ""
    in_sentence: bool = False
    """It may stand there without its arguments."""

    @property
    def words(self) -> list[str]:
        return shlex.split(re.split(" #| > ", self.line)[0])[1:]


@cache
def examples() -> tuple[Example, ...]:
    return tuple(dict.fromkeys(_examples()))


def _examples() -> Iterator[Example]:
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for block in _CONSOLE.findall(text):
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                line, _, output = part.partition("\n")
                if line.startswith("kev "):
                    yield Example(names(document), line, output)
        yield from (Example(names(document), line) for line in _INDENTED.findall(text))
        for line in _INLINE.findall(_CODE.sub("", text)):
            if not _PLACEHOLDER.search(line):
                yield Example(names(document), line, in_sentence=True)


def shown(example: Example) -> str:
    return f"{example.document}: {example.line[:60]}"


@pytest.mark.parametrize("example", examples(), ids=shown)
def test_every_example_is_a_command_line_that_there_is(example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(click.Command, "invoke", lambda *_: None)  # command lines are read, and nothing is run
    result = CliRunner().invoke(kev, example.words, prog_name="kev")
    assert result.exit_code == 0 or (example.in_sentence and _INCOMPLETE.search(result.output)), result.output


_CHEAP = re.compile(
    r"kev inspect gKeOS|kev run|kev run (?:lv6|gKeOS|hypercalls|jos-vmx).*|kev run jos|kev tour.*|kev bench tables|kev ept .*"
    r"|kev run smp --smp 2 --seed 7|kev run .*booted.snap|kev race replay kev1-.*"
)
_RUN = [
    example
    for example in examples()
    if example.output and _CHEAP.fullmatch(example.line) and (ROOT / example.document) not in FIRST_HOUR
]
"""Examples that are run, and compared with what is shown. Those of the first hour are in `tests.test_first_hour`."""
_MADE = {example.words[-1]: example.line for example in _RUN if {"--snapshot-at", "-o"} & set(example.words)}
"""The examples that make the files which others read."""
_FINDS_SOMETHING = re.compile(r"kev (?:race replay|ept audit|ept diff)")


def test_there_are_examples_to_run() -> None:
    assert len(_RUN) == 35


@pytest.mark.parametrize("example", _RUN, ids=shown)
def test_an_example_prints_what_the_document_shows(example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for made in {_MADE[word] for word in example.words if word in _MADE} - {example.line}:
        CliRunner().invoke(kev, shlex.split(made)[1:], prog_name="kev")
    result = CliRunner().invoke(kev, example.words, prog_name="kev")
    assert result.exit_code == _exit_code(example), result.output
    printed = {loosely(line) for line in result.output.splitlines()}
    wanted = [line for line in example.output.splitlines() if line.strip() not in ("", "...")]
    assert not [line for line in wanted if loosely(line) not in printed]


def _exit_code(example: Example) -> int:
    """1 for what fails as it is to, and 3 for a guest that dies."""
    if "VCPU Dump" in example.output:
        return 3
    return int(bool(_FINDS_SOMETHING.match(example.line)) or "wrong  " in example.output)


def test_the_python_examples_about_snapshots_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for example in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "snapshots.md").read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(example, "docs/snapshots.md", "exec"), {})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["echo.snap", "later.snap"]
