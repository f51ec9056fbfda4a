"""Failures that were seen once, so that the next run tries them first."""

import json
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

DEFAULT: Final = Path(".kev/race")
"""Beside whatever is tested, in the working directory."""
_MOST: Final = 20
"""Failures that are kept of one subject: the latest."""
_LARGEST_FILE: Final = 16 * MIB
"""In bytes."""
_SHAPE: Final = each(record({"token": text}))


class StoreError(RaceError):
    """Failures cannot be read, or written."""


class FailureStore:
    """A folder with a file for every subject that failed."""

    def __init__(self, folder: Path = DEFAULT) -> None:
        self._folder: Final = folder

    def schedules(self, subject: Identity) -> list[Schedule]:
        """Those under which a subject has failed, the latest first."""
        return [Token.parse(entry["token"]).schedule for entry in self._entries(self._file(subject))]

    def keep(self, token: Token, failure: Failure) -> Path:
        """Adds a failure; returns the file it is in."""
        file = self._file(token.identity)
        others = [entry for entry in self._entries(file) if entry["token"] != str(token)]
        entries = [{"token": str(token), "oracle": failure.oracle, "message": failure.message}, *others]
        temporary = file.with_suffix(".part")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(entries[:_MOST], indent=1) + "\n", encoding="utf-8")
            temporary.replace(file)
        except OSError as error:
            raise StoreError(f"{file}: a failure cannot be kept: {error.strerror}") from error
        return file

    def _file(self, subject: Identity) -> Path:
        name = str(subject)
        readable = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:60]
        return self._folder / f"{readable}-{zlib.crc32(name.encode()):08x}.json"

    def _entries(self, file: Path) -> list[dict[str, Any]]:
        if not file.exists():
            return []
        entries: list[dict[str, Any]] = read_user_json(
            file, _LARGEST_FILE, StoreError, "a list of failures (it can be deleted)", _SHAPE
        )
        return entries
