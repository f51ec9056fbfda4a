"""Reading a console of a service, piece by piece."""

from typing import Any, Final

from kev.service.client import Client


class ConsoleReader:
    """Goes on where it was."""

    def __init__(self, client: Client, machine: dict[str, Any]) -> None:
        """`machine` is as the service describes it: how much it had printed by then is what there was."""
        self._client: Final = client
        self._machine: Final[str] = machine["id"]
        self._end: Final[int] = machine["console"]["end"]
        self._offset = 0
        self.is_over = False
        """Nothing comes any more."""
        self.lost = 0
        """Bytes that the service does not keep any more, and that were not read before."""

    def past(self) -> bytes:
        """What there was."""
        data = bytearray()
        while self._offset < self._end and not self.is_over:
            data += self._read(follow=False)
        return bytes(data)

    def last_lines(self, count: int) -> bytes:
        """Of what there was: so many lines, the one that has been begun included."""
        data = self.past()
        start = len(data)
        for _ in range(count):
            end = start - 1 if data[:start].endswith(b"\n") else start
            if end < 0:
                break
            start = data.rfind(b"\n", 0, max(end, 0)) + 1
        return data[start:]

    def more(self) -> bytes:
        """What comes next; it waits for a while, and may be nothing."""
        return self._read(follow=True)

    def _read(self, *, follow: bool) -> bytes:
        piece = self._client.console(self._machine, self._offset, follow=follow)
        self.lost += max(piece.offset - self._offset, 0)
        self._offset, self.is_over = piece.next, piece.is_last
        return piece.data
