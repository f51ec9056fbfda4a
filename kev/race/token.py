"""A failure in one word: what was run, and the schedule under which it fails.

A token is `kev1-` and the base64 (RFC 4648, the alphabet for URLs, without padding) of: a byte of flags (1: the rest up to the
checksum is deflated, and at most 4 MiB when it is inflated); the kind, the target and the details, each a length and so many bytes
of UTF-8, in which bytes of a command line that are no UTF-8 are surrogates (PEP 383); the number of segments, and the vCPU and
steps of each; four bytes of CRC-32 of everything before, little-endian. Numbers are varints: seven bits a byte, least significant
first, the highest bit set in all bytes but the last.
"""

import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from typing import Final, Self

import attrs

from kev.errors import KevError
from kev.race.errors import TokenError
from kev.race.schedule import Schedule, Stretch
from kev.race.subject import Identity
from kev.user_files import read_user_file

_PREFIX: Final = "kev1-"
_DEFLATED: Final = 1
_LARGEST_SHIFT: Final = 63
_CRC: Final = 4
_LARGEST: Final = 4 << 20
"""Bytes of a token, inflated; characters of one in a file."""
LONG: Final = 2_000
"""Characters that a command line is better spared: a longer token belongs into a file."""


class _NoFile(KevError):
    """Nothing of that name can be read as a file."""


@attrs.frozen(slots=True)
class Token:
    """What has to be known to make a run again."""

    identity: Identity
    schedule: Schedule

    def __str__(self) -> str:
        body = b"".join(_encode(self))
        deflated = _deflate(body)
        data = bytes([_DEFLATED]) + deflated if len(deflated) < len(body) else b"\0" + body
        data += zlib.crc32(data).to_bytes(_CRC, "little")
        return _PREFIX + urlsafe_b64encode(data).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Self:
        """TokenError if `text` is no token, or a damaged one."""
        shown = text if len(text) <= 40 else text[:37] + "..."
        if not text.startswith(_PREFIX):
            raise TokenError(f"{shown!r} is not a token: one begins with {_PREFIX}")
        if len(text) > _LARGEST:
            raise TokenError(f"token {shown}: it has {len(text)} characters; the limit is {_LARGEST}")
        try:
            data = urlsafe_b64decode(text[len(_PREFIX) :] + "=" * (-(len(text) - len(_PREFIX)) % 4))
            if len(data) <= _CRC or zlib.crc32(data[:-_CRC]) != int.from_bytes(data[-_CRC:], "little"):
                raise TokenError(f"token {shown}: its checksum is wrong: it was not copied whole")
            body = data[1:-_CRC]
            return cls(*_decode(_inflate(body) if data[0] & _DEFLATED else body))
        except (ValueError, IndexError, zlib.error) as error:
            raise TokenError(f"token {shown}: it cannot be read: {error}") from error

    @classmethod
    def read(cls, argument: str) -> Self:
        """The token that a command line names: itself, or a file that holds it. TokenError."""
        if argument.startswith(_PREFIX):
            return cls.parse(argument)
        try:
            return cls.parse(read_user_file(argument, _LARGEST + 1, _NoFile).decode().strip())
        except (_NoFile, UnicodeDecodeError) as error:
            raise TokenError(f"{argument!r} is neither a token, which begins with {_PREFIX}, nor a file that holds one") from error


def names_token(argument: str) -> bool:
    """Whether it looks like what `Token.read` takes, where it could be the name of something else: a token, or a file of one."""
    if argument.startswith(_PREFIX):
        return True
    try:
        return read_user_file(argument, _LARGEST + 1, _NoFile, _PREFIX.encode()).startswith(_PREFIX.encode())
    except _NoFile:
        return False


def _deflate(body: bytes) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush()


def _inflate(body: bytes) -> bytes:
    """ValueError if it comes to more than a token may have: a few bytes can be made to."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    data = inflater.decompress(body, _LARGEST + 1)
    if len(data) > _LARGEST:
        raise ValueError(f"it has more than {_LARGEST} bytes")
    return data


def _encode(token: Token) -> Iterator[bytes]:
    for text in (token.identity.kind, token.identity.target, token.identity.details):
        data = text.encode(errors="surrogatepass")
        yield _varint(len(data)) + data
    yield _varint(len(token.schedule.segments))
    for vcpu, steps in token.schedule.segments:
        yield _varint(vcpu) + _varint(steps)


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def _decode(body: bytes) -> tuple[Identity, Schedule]:
    reader = _Reader(body)
    identity = Identity(reader.text(), reader.text(), reader.text())
    segments = tuple(Stretch(reader.number(), reader.number()) for _ in range(reader.number()))
    return identity, Schedule(segments)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data: Final = data
        self._position = 0

    def number(self) -> int:
        result = shift = 0
        while True:
            byte = self._data[self._position]
            self._position += 1
            if shift > _LARGEST_SHIFT:
                raise ValueError("a number has more than 64 bits")
            result |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return result

    def text(self) -> str:
        length = self.number()
        start, self._position = self._position, self._position + length
        if self._position > len(self._data):
            raise IndexError("a text ends after the token does")
        return self._data[start : self._position].decode(errors="surrogatepass")
