"""The documents of a first hour: files to write, and commands that are run one after the other in one folder."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parent.parent
FIRST_HOUR: Final = [ROOT / "docs" / "first-kernel.md", *sorted((ROOT / "docs").glob("for-*.md"))]

_BLOCK: Final = re.compile(r"(?:`([\w.]+)`:\n\n)?```(\w+)\n(.*?)```", re.DOTALL)
_NUMBER: Final = re.compile(r"0x[0-9a-f]+|\d[\d,.]*")
_EXIT_CODE: Final = re.compile(r"exit code (\d+), by")


class Written(NamedTuple):
    """A file that the reader is to write."""

    name: str
    text: str


class Typed(NamedTuple):
    """A command, and what the document shows of what it prints."""

    command: str
    shown: list[str]

    @property
    def exit_code(self) -> int:
        """What it has to end with: as the lines say that are shown."""
        text = "\n".join(self.shown)
        found = _EXIT_CODE.search(text)
        if found is not None:
            return int(found[1])
        return int("wrong" in text)


def steps(document: Path) -> Iterator[Written | Typed]:
    """What a reader does who follows `document` from above to below. Python without a name is a test."""
    for number, (name, language, text) in enumerate(_BLOCK.findall(document.read_text(encoding="utf-8"))):
        if language == "console":
            for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                command, _, shown = part.partition("\n")
                yield Typed(command, [line for line in shown.splitlines() if line.strip() not in ("", "...")])
        elif name:
            yield Written(name, text)
        elif language == "python":
            yield Written(f"test_{number}.py", text)
            yield Typed(f"python3 -m pytest -q test_{number}.py", ["passed"])


def loosely(line: str) -> str:
    """Numbers and spaces differ from run to run, and from build to build."""
    return " ".join(_NUMBER.sub("#", line).split())
