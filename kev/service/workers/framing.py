"""What a service and its processes say to each other: frames on a stream.

A frame is a head of 9 bytes, big-endian (kind, 1; number of the call, 4; length of the contents, 4), and its contents. Neither side
believes the other: what is longer than it may be, or of no kind, is an error, found before anything is kept of it.
"""

import json
import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Any, Final, NamedTuple

from kev.addressing import KIB, MIB
from kev.errors import KevError
from kev.user_json import Shape, parse_user_json

MOST_CONTENTS: Final = 512 * KIB
"""Bytes of one frame."""
MOST_ANSWER: Final = 64 * MIB
"""Bytes of one answer, in all of its frames."""
PIECE: Final = 64 * KIB
"""Bytes of a frame of something long: what one side writes at once, and the other has to keep."""
_HEAD: Final = struct.Struct(">BII")


class FrameKind(IntEnum):
    CALL = 1
    """JSON: the name of a call, and its arguments by name. To a process."""
    CANCEL = 2
    """Nobody waits any more for the answer to the call of this number, which comes all the same."""
    PING = 3
    """Answered by the same."""
    OUTPUT = 4
    """What the guest has printed. From a worker, as all below."""
    STATUS = 5
    """JSON: where the machine is in its life."""
    LOG = 6
    """JSON: an event for the service's log."""
    PART = 7
    """Of the answer to the call of this number; more comes."""
    DATA = 8
    """The end of an answer that is bytes."""
    VALUE = 9
    """The end of an answer that is JSON."""
    ERROR = 10
    """The end of an answer that is an error."""
    TOLD = 11
    """JSON: what a fork server has to tell without being asked."""
    WANT = 12
    """The guest has something to compute. From a worker: see `kev.service.workers.turns`."""
    TURN = 13
    """It may. To a worker."""
    YIELD = 14
    """Others want to. To a worker."""
    BACK = 15
    """It computes nothing any more. From a worker."""


class Frame(NamedTuple):
    kind: FrameKind
    number: int
    contents: bytes


class ProtocolError(KevError):
    """The other side says what it cannot say."""


def pack(kind: FrameKind, number: int = 0, contents: bytes = b"") -> bytes:
    assert len(contents) <= MOST_CONTENTS
    return _HEAD.pack(kind, number, len(contents)) + contents


def pack_json(kind: FrameKind, value: Any, number: int = 0) -> bytes:
    return pack(kind, number, json.dumps(value, separators=(",", ":")).encode())


def pieces(data: bytes) -> Iterator[bytes]:
    """`data` in pieces that fit a frame, in order; one that is empty if `data` is."""
    for start in range(0, len(data) or 1, PIECE):
        yield data[start : start + PIECE]


class Unpacker:
    """Finds the frames in a stream of bytes."""

    def __init__(self) -> None:
        self._data: Final = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that have come to their end. ProtocolError."""
        self._data.extend(data)
        while len(self._data) >= _HEAD.size:
            kind, number, length = _HEAD.unpack_from(self._data)
            if length > MOST_CONTENTS:
                raise ProtocolError(f"a frame of {length} bytes: the most are {MOST_CONTENTS}")
            end = _HEAD.size + length
            if len(self._data) < end:
                return
            contents = bytes(self._data[_HEAD.size : end])
            del self._data[:end]
            yield Frame(_kind(kind), number, contents)


def _kind(number: int) -> FrameKind:
    try:
        return FrameKind(number)
    except ValueError:
        raise ProtocolError(f"a frame of kind {number}") from None


def parse(frame: Frame, shape: Shape) -> Any:
    """The JSON in a frame. ProtocolError unless it has that shape."""
    return parse_user_json(frame.contents, f"a frame of kind {frame.kind.name}", ProtocolError, "what it should be", shape)
