"""Failures that were seen once, so that the next run tries them first."""

import json
import os
import re
import zlib
from pathlib import Path
from typing import Any, Final

from kev.addressing import MIB
from kev.race.errors import RaceError
from kev.race.outcome import Failure
from kev.race.schedule import Schedule
from kev.race.subject import Identity
from kev.race.token import Token
from kev.user_json import each, read_user_json, record, text

FOLDER: Final = "KEV_RACE_STATE"
"""The environment variable that says where failures are kept."""
_MOST: Final = 20
"""Failures that are kept of one subject: the latest."""
_LARGEST_FILE: Final = 16 * MIB
"""In bytes."""
_SHAPE: Final = each(record({"token": text}))


class StoreError(RaceError):
    """Failures cannot be read, or written."""


def default_folder() -> Path:
    """What `FOLDER` says, or else `kev/race` among the user's state (XDG Base Directory Specification 0.8: XDG_STATE_HOME)."""
    named = os.environ.get(FOLDER)
    if named:
        return Path(named)
    state = os.environ.get("XDG_STATE_HOME", "")
    return (Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state") / "kev" / "race"


class FailureStore:
    """A folder with a file for every subject that failed."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder: Final = folder or default_folder()

    def schedules(self, subject: Identity) -> list[Schedule]:
        """Those under which a subject has failed, the latest first."""
        return [Token.parse(entry["token"]).schedule for entry in self._entries(self._file(subject))]

    def keep(self, token: Token, failure: Failure) -> Path:
        """Adds a failure; returns the file it is in."""
        file = self._file(token.identity)
        others = [entry for entry in self._entries(file) if entry["token"] != str(token)]
        entries = [{"token": str(token), "oracle": failure.oracle, "message": failure.message}, *others]
        self._write(file, json.dumps(entries[:_MOST], indent=1) + "\n")
        return file

    def keep_token(self, token: Token) -> Path:
        """Writes a token into a file of its own, and returns that."""
        text = str(token)
        file = self.folder / f"{text[-16:]}.token"
        self._write(file, text + "\n")
        return file

    def _write(self, file: Path, text: str) -> None:
        temporary = file.with_name(f"{file.name}.{os.getpid()}.part")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(file)
        except OSError as error:
            raise StoreError(f"{file}: a failure cannot be kept: {error.strerror}") from error

    def _file(self, subject: Identity) -> Path:
        name = str(subject)
        readable = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:60]
        checksum = zlib.crc32(name.encode(errors="surrogatepass"))
        return self.folder / f"{readable}-{checksum:08x}.json"

    def _entries(self, file: Path) -> list[dict[str, Any]]:
        if not os.path.exists(file):  # or nobody may look
            return []
        entries: list[dict[str, Any]] = read_user_json(
            file, _LARGEST_FILE, StoreError, "a list of failures (it can be deleted)", _SHAPE
        )
        return entries
