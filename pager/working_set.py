"""The working set of a run: the pages that a guest touched, in order, and the image that they belong to.

As a file it is JSON: `format`, `image` with `name`, `size` and `digest`, and `pages`, the numbers of the pages (their addresses
divided by 4,096) in the order of their first touch.
"""

import json
import struct
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Final, Self

import attrs

from kev.addressing import MIB, PAGE_SHIFT
from kev.errors import KevError
from kev.pager.image import KernelImage
from kev.pager.source import samples
from kev.user_files import read_user_file
from kev.user_json import constant, integer, integers, parse_user_json, record, text

FORMAT: Final = "kev working set 1"
_MAX_PAGE: Final = 1 << (48 - PAGE_SHIFT)
LARGEST_FILE: Final = 16 * MIB
"""In bytes: about two million pages."""
_SHAPE: Final = record(
    {
        "format": constant(FORMAT),
        "image": record({"name": text, "size": integer(), "digest": text}),
        "pages": integers(0, _MAX_PAGE - 1),
    }
)


class WorkingSetError(KevError):
    """A file is not a working set, or one of another image."""


@attrs.frozen(slots=True)
class ImageIdentity:
    """What tells one image from another without reading it.

    The digest is SHA-256 over the size, the entry, the segments' addresses and sizes, and 4 pages of the file: the first, the
    last, and two between. So images that differ in a few bytes elsewhere pass for the same. That is harmless: a working set says
    which pages to load, not what is in them.
    """

    name: str
    size: int
    digest: str

    @classmethod
    def of(cls, image: KernelImage) -> Self:
        """Reads 16 KiB of the image. SourceError."""
        import hashlib

        source = image.source
        digest = hashlib.sha256(struct.pack("<2Q", source.size, image.entry))
        for segment in image.segments:
            numbers = (segment.paddr, segment.vaddr, segment.offset, segment.filesz, segment.memsz, segment.flags)
            digest.update(struct.pack("<6Q", *numbers))
        for sample in samples(source):
            digest.update(sample)
        return cls(source.name, source.size, digest.hexdigest())


@attrs.frozen(slots=True)
class WorkingSet:
    """The pages of one run, by address, in the order of their first touch."""

    image: ImageIdentity
    pages: tuple[int, ...]
    name: str = "the working set"
    """Where it comes from, for messages."""

    def to_json(self) -> str:
        numbers = [page >> PAGE_SHIFT for page in self.pages]
        return json.dumps({"format": FORMAT, "image": attrs.asdict(self.image), "pages": numbers}) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, name: str) -> Self:
        """WorkingSetError, which calls the file `name`, if `text` is anything else."""
        fields = parse_user_json(text, name, WorkingSetError, "a working set", _SHAPE)
        image = fields["image"]
        identity = ImageIdentity(image["name"], image["size"], image["digest"])
        return cls(identity, tuple(number << PAGE_SHIFT for number in fields["pages"]), name)

    @classmethod
    def read(cls, file: str, *, waits: bool = False) -> Self:
        """The one in a file; `waits` as for `read_user_file`. WorkingSetError if it is none, or larger than `LARGEST_FILE`."""
        return cls.from_json(read_user_file(file, LARGEST_FILE, WorkingSetError, waits=waits), file)

    def check_image(self, image: KernelImage) -> None:
        """WorkingSetError if the working set is not one of `image`."""
        identity = ImageIdentity.of(image)
        if (identity.size, identity.digest) != (self.image.size, self.image.digest):
            raise WorkingSetError(
                f"{self.name}: stale: recorded with {_describe(self.image)}, but this is {_describe(identity)}; record it again"
            )


def merged(sets: Sequence[WorkingSet]) -> WorkingSet:
    """The pages of all of `sets`, of which there is one at least, each at its earliest place in any of them.

    WorkingSetError if they are not of one image.
    """
    first = sets[0]
    for other in sets[1:]:
        if (other.image.size, other.image.digest) != (first.image.size, first.image.digest):
            raise WorkingSetError(
                f"{other.name}: recorded with {_describe(other.image)}, but {first.name} with {_describe(first.image)}"
            )
    in_turn = chain.from_iterable(zip_longest(*(each.pages for each in sets)))
    return WorkingSet(first.image, tuple(dict.fromkeys(page for page in in_turn if page is not None)))


def _describe(identity: ImageIdentity) -> str:
    return f"{identity.name} of {identity.size:,} bytes, digest {identity.digest[:12]}"
