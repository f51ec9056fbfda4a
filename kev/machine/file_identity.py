"""How a snapshot tells whether a file that its machine is made from is still what it was."""

import hashlib
import os
import time
from functools import lru_cache
from typing import Final

from kev.addressing import MIB
from kev.guests.catalogue import root_file_system
from kev.guests.images import open_image_or_url, open_root_file_system
from kev.pager.source import FileSource, SynchronousSource, blocking, read_bytes, samples
from kev.snapshot.description import FileIdentity
from kev.snapshot.errors import SnapshotError

MOST_DIGESTED: Final = 256 * MIB
"""Bytes of a file of the host that are read in full for its digest. A larger one is known by its time of modification alone."""
_AGE: Final = 2_000_000_000
"""Nanoseconds for which a file must not have changed, so that its next change has another time, whatever the file system."""
_PIECE: Final = MIB


def identify(role: str, name: str, *, packed: bool = False) -> FileIdentity:
    """The identity of a file as it is now: one of the host, one behind a URL, or one that is `packed` on the root file system.

    SourceError if it cannot be read.
    """
    if "://" in name:
        with open_image_or_url(name) as (source, _):
            at_once = blocking(source)
            return FileIdentity(role, name, False, source.size, None, _sampled_digest(at_once), False)
    if packed:
        changed = os.stat(root_file_system()).st_mtime_ns
        length, packed_digest = _packed_digest(name, changed)
        return FileIdentity(role, name, True, length, None, packed_digest, True)
    path = os.path.abspath(name)
    with FileSource(path) as source:
        modified, size = source.modified, source.size
    is_small = size <= MOST_DIGESTED
    digest = _digest_of(path, size, modified) if is_small else None
    # A change in the same tick of the file system's clock would not be seen by the time.
    is_settled = time.time_ns() - modified > _AGE
    return FileIdentity(role, path, False, size, modified if is_settled or not is_small else None, digest, is_small)


def check(identity: FileIdentity, name: str, snapshot: str) -> None:
    """SnapshotError if the file `name` is not the one that was identified when `snapshot` was made."""
    what = f"{snapshot}: {identity.role} {name}"
    if not identity.packed and "://" not in name:
        with FileSource(name) as source:
            if (source.size, source.modified) == (identity.size, identity.modified):
                return
    now = identify(identity.role, name, packed=identity.packed)
    if now.size != identity.size:
        raise SnapshotError(f"{what} has changed since: it has {now.size:,} bytes, and had {identity.size:,}")
    if identity.digest is None or now.digest != identity.digest:
        how = "its time of modification is another" if identity.digest is None else "its contents are other ones"
        raise SnapshotError(f"{what} has changed since: {how}")


@lru_cache(maxsize=64)
def _digest_of(path: str, size: int, modified: int) -> bytes:
    """Of a file of this size and time of modification: both are there for the cache."""
    with FileSource(path) as source:
        return _digest(source)


@lru_cache(maxsize=64)
def _packed_digest(name: str, changed: int) -> tuple[int, bytes]:
    """Size and digest of a file on the root file system, which was changed then."""
    with open_root_file_system() as files:
        file = files.open(name)
        return file.size, _digest(file)


def _digest(source: SynchronousSource) -> bytes:
    digest = hashlib.sha256()
    for offset in range(0, source.size, _PIECE):
        digest.update(read_bytes(source, offset, min(_PIECE, source.size - offset)))
    return digest.digest()


def _sampled_digest(source: SynchronousSource) -> bytes:
    """Of a file behind a URL."""
    digest = hashlib.sha256()
    for sample in samples(source):
        digest.update(sample)
    return digest.digest()
