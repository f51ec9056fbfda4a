"""What happens to machines, for any number of clients that listen: the latest of everything, however slowly they read."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import trio


class Event(NamedTuple):
    """As the stream has it."""

    kind: str
    data: dict[str, Any]

    def encode(self) -> bytes:
        """Of a stream of events (HTML, "Server-sent events")."""
        return f"event: {self.kind}\ndata: {json.dumps(self.data, separators=(',', ':'))}\n\n".encode()


class Listener:
    """One client. What has not been read when something later is known of the same thing is never sent: it holds no queue."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str], Callable[[], Event]] = {}
        self._news = trio.Event()

    def tell(self, key: tuple[str, str], event: Callable[[], Event]) -> None:
        """`key`: what it is about. `event` is asked for when it is sent."""
        self._waiting.pop(key, None)
        self._waiting[key] = event
        self._news.set()

    def forget(self, id: str) -> None:
        """Nothing that waits about it is sent any more."""
        for key in [key for key in self._waiting if key[1] == id]:
            del self._waiting[key]

    async def take(self) -> list[Event]:
        """What has happened since the last call: waits for the first of it."""
        await self._news.wait()
        self._news = trio.Event()
        waiting, self._waiting = self._waiting, {}
        return [event() for event in waiting.values()]


class Events:
    """Tells the listeners."""

    def __init__(self) -> None:
        self._listeners: Final[set[Listener]] = set()

    def __len__(self) -> int:
        """How many listen."""
        return len(self._listeners)

    @contextmanager
    def listening(self) -> Iterator[Listener]:
        listener = Listener()
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    def tell(self, key: tuple[str, str], event: Callable[[], Event]) -> None:
        for listener in self._listeners:
            listener.tell(key, event)

    def forget(self, id: str) -> None:
        for listener in self._listeners:
            listener.forget(id)
