"""Terminals that are narrow, or that only print."""

import fcntl
import re
import struct
import sys
import termios

import pytest

from kev.observe.progress import PROGRESS_SECONDS
from tests.cli.sessions import Session

KEV = [sys.executable, "-m", "kev"]
PAGER = ["race", "explore", "--runs", "100000000"]


@pytest.mark.parametrize("columns", [20, 300])
def test_progress_stays_in_one_row(sessions: list[Session], columns: int) -> None:
    session = Session(*KEV, *PAGER)
    sessions.append(session)
    fcntl.ioctl(session.terminal, termios.TIOCSWINSZ, struct.pack("<4H", 24, columns, 0, 0))
    session.expect(b"\r\x1b[K", 2)
    session.expect(b"\r\x1b[K", 3)
    rows = bytes(session.output).split(b"\r\x1b[K")[1:-1]
    assert max(map(len, rows)) < columns
    assert columns == 20 or all(row.endswith(b" failures") for row in rows)


@pytest.mark.parametrize("words", [PAGER, ["bench", "boot", "hypercalls", "--rounds", "2", "--paging", "lazy"]])
def test_a_terminal_that_only_prints_gets_lines(sessions: list[Session], monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv(PROGRESS_SECONDS, "0.2")
    session = Session(*KEV, *words)
    sessions.append(session)
    session.expect(b"\n", 2)
    assert b"\x1b" not in session.output


@pytest.mark.parametrize(("name", "value", "colored"), [("NO_COLOR", "1", False), ("TERM", "dumb", False), ("TERM", "xterm", True)])
def test_events_are_colored_where_that_is_wanted(
    sessions: list[Session], monkeypatch: pytest.MonkeyPatch, name: str, value: str, *, colored: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, value)
    session = Session(*KEV, "run", "hypercalls", "--log-level", "info")
    sessions.append(session)
    session.expect(b"kev: loaded")
    assert (re.search(rb"\x1b\[\d+m", session.output) is not None) == colored
