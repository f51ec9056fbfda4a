"""The token that clients over TCP must know."""

import hashlib
import hmac
import os
import secrets
from functools import cached_property
from typing import Final

from kev.service.errors import ServiceError
from kev.user_files import read_user_file

_LARGEST_FILE: Final = 4096
_SHORTEST: Final = 16
_BYTES: Final = 32


class TokenError(ServiceError):
    """The file with the token cannot be used. Names it, and why."""


class Token:
    """What a client has to say; only its digest is kept."""

    def __init__(self, text: str) -> None:
        self._digest: Final = _digest(text)

    def matches(self, said: str) -> bool:
        """Takes equally long, whatever is said of it."""
        return hmac.compare_digest(self._digest, _digest(said))

    # Sessions: nothing is kept of them, so that they outlive the service. They end with the token.

    def session(self, end: int) -> str:
        """What whoever has said the token can say instead until `end`, in seconds since 1970."""
        text = f"{end}.{secrets.token_urlsafe(_BYTES)}"
        return f"{text}.{self._signature(text)}"

    def session_end(self, said: str) -> int:
        """When a session ends; 0 if it is none."""
        text, _, signature = said.rpartition(".")
        if not hmac.compare_digest(_digest(self._signature(text)), _digest(signature)):
            return 0
        return int(text.partition(".")[0])

    def _signature(self, text: str) -> str:
        return hmac.new(self._key, text.encode(errors="surrogateescape"), hashlib.sha256).hexdigest()

    @cached_property
    def _key(self) -> bytes:
        """Slow to make, so that nobody finds by trying which token a session belongs to (RFC 7914)."""
        return hashlib.scrypt(self._digest, salt=b"kev-session", n=1 << 14, r=8, p=1)


def read_token(file: str) -> Token:
    """Of a file that only its owner, or a group, can read; a file that is not there is made. TokenError."""
    if not os.path.exists(file):
        _make(file)
    text = read_user_file(file, _LARGEST_FILE, TokenError)
    if os.stat(file).st_mode & 0o007:
        raise TokenError(f"--token-file: {file!r}: everybody can read it: chmod 600 it, and change the token")
    token = text.decode(errors="replace").strip()
    if len(token) < _SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
        raise TokenError(
            f"--token-file: {file!r}: its token must have {_SHORTEST} or more printable ASCII characters, and no space"
        )
    return Token(token)


def _make(file: str) -> None:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="ascii") as out:
            out.write(secrets.token_urlsafe(_BYTES) + "\n")
    except OSError as error:
        raise TokenError(f"--token-file: {file!r}: cannot be made: {error.strerror}") from error


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogateescape")).digest()
