"""The text that INT 10h shows, as a line-by-line output: what a teleprinter would have made of the screen."""

from collections.abc import Callable
from typing import Final

from kev.bios.paper import Paper

_NEW_LINE: Final = "\n"


class Teleprinter:
    """Follows the characters that are put on a screen, and prints them without a single cursor address.

    Where the next character is not behind the last one, the line is printed again up to there: a change of row begins a new line,
    a step back within a row is one of backspaces. What is on the paper already is not printed twice. Rows and columns are counted
    from 0.
    """

    __slots__ = ("_paper", "_print", "_row_of")

    def __init__(self, paper: Paper, print_bytes: Callable[[bytes], object], row_of: Callable[[int, int], str]) -> None:
        """`row_of(row, columns)` is what the screen shows in the first columns of a row."""
        self._paper: Final = paper
        self._print: Final = print_bytes
        self._row_of: Final = row_of

    def type(self, row: int, column: int, text: str) -> None:
        """`text` is shown from there on."""
        if row == self._paper.row and self._paper.line[column : column + len(text)] == text:
            return
        self._print(f"{self._way_to(row, column)}{text}".encode())
        self._paper.row, self._paper.line = row, self._row_of(row, column) + text

    def fill(self, row: int, column: int, text: str) -> None:
        """The same; blanks behind what has been printed can wait until something follows them."""
        if text.strip() or (row == self._paper.row and column < len(self._paper.line)):
            self.type(row, column, text)

    def end_line(self, row: int) -> None:
        """The cursor goes down from this row."""
        if row == self._paper.row:
            self._print(_NEW_LINE.encode())
            self._paper.row, self._paper.line = row + 1, ""

    def scroll(self, rows: int) -> None:
        """All rows have moved up by so many."""
        self._paper.row -= rows

    def clear(self) -> None:
        """There is nothing on the screen any more."""
        if self._paper.line:
            self._print(_NEW_LINE.encode())
        self._paper.row, self._paper.line = 0, ""

    def _way_to(self, row: int, column: int) -> str:
        if row != self._paper.row:
            return (_NEW_LINE if self._paper.line else "") + self._row_of(row, column)
        before = self._row_of(row, column)
        if column >= len(self._paper.line):
            return before[len(self._paper.line) :]
        if before == self._paper.line[:column]:
            return "\b" * (len(self._paper.line) - column)
        return "\r" + before
