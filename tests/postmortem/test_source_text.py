"""The text of lines of source files."""

import os
from pathlib import Path

import pytest

from kev.postmortem.source_lines import SourceLine
from kev.postmortem.source_text import SourceTexts

MADE = 1_000_000_000


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """With a source file beside its folder, which is older."""
    (tmp_path / "src").mkdir()
    (tmp_path / "build").mkdir()
    source, image = tmp_path / "src" / "main.c", tmp_path / "build" / "kernel"
    source.write_text("int a;\n\tint b;\n\n", encoding="utf-8")
    image.touch()
    os.utime(source, (MADE - 1, MADE - 1))
    os.utime(image, (MADE, MADE))
    return image


@pytest.mark.parametrize("folder", ["{0}/src", "src", "../src"])
def test_a_line_is_found_by_its_absolute_path_or_from_the_image_on(image: Path, folder: str) -> None:
    texts = SourceTexts(str(image))
    path = f"{folder.format(image.parents[1])}/main.c"
    assert [texts.line(SourceLine.of(path, line)) for line in (1, 2, 3, 4)] == ["int a;", "int b;", None, None]


def test_a_file_that_was_changed_since_the_image_was_made_has_no_text(image: Path) -> None:
    source = image.parents[1] / "src" / "main.c"
    os.utime(source, (MADE + 1, MADE + 1))
    assert SourceTexts(str(image)).line(SourceLine.of(str(source), 1)) is None


@pytest.mark.parametrize("path", ["", "nonsuch.c", "src", "a\0b"])
def test_what_is_no_file_has_no_text(image: Path, path: str) -> None:
    assert SourceTexts(str(image)).line(SourceLine.of(path, 1)) is None
    assert SourceTexts("lost-update").line(None) is None
