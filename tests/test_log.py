"""Events of the log."""

import pytest

from kev import log


def test_an_event_is_one_line_that_prints_whatever_is_in_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info")
    try:
        log.info("request", path="/v1/\n\x00\x1b[31m" + "x" * 5000)
    finally:
        log.redirect("", lambda *_: None)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    assert r"path=/v1/\n\x00\x1b[31mxxx" in line
    assert len(line) < 1200
