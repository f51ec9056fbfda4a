"""How an image would be launched, found out without launching it."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate, pairwise

import attrs

from kev.addressing import KIB, PAGE_SHIFT, page_ceil, page_floor
from kev.boot.base import BootProtocol
from kev.boot.detection import Detection, find_protocol, findings, load, protocol_named, with_entry_checked
from kev.boot.kernel_file import KernelFile
from kev.boot.protocols import PROTOCOLS
from kev.errors import KevError
from kev.pager.image import KernelImage, Segment
from kev.pager.ram import MMIO_HOLE
from kev.pager.source import SynchronousSource


@attrs.frozen(slots=True)
class Refusal:
    """What `kev run` would not do with an image."""

    options: str
    """Those that ask for it."""
    reason: str


@attrs.frozen(slots=True, kw_only=True)
class PageCounts:
    """Of guest pages, by how many segments reach into them."""

    all: int
    shared: int
    """By two segments or more."""


@attrs.frozen(slots=True, kw_only=True)
class Inspection:
    """What an image is."""

    name: str
    size: int
    """Of the file, in bytes."""
    protocol: str | None
    """The boot protocol that it is made for; None if there is none."""
    mode: int | None
    """16, 32 or 64: how many bits the mode has that it is entered in; None if it cannot be launched."""
    reason: str | None
    """What decided for the protocol."""
    seen: tuple[str, ...]
    """What else speaks for a protocol, that protocol's name in front."""
    warnings: tuple[str, ...]
    """What looks wrong."""
    error: KevError | None
    """Why it cannot be launched; None if it can."""
    image: KernelImage | None
    """What is loaded. Of an image that cannot be launched, what its ELF headers say, if they can be read."""
    refused: tuple[Refusal, ...]

    @property
    def pages(self) -> PageCounts:
        return count_pages(self.image.segments if self.image is not None else ())


def inspect(source: SynchronousSource, boot: str | None = None) -> Inspection:
    """Reads the headers of an image, as the protocol called `boot` has them, or the one that the image is made for.

    SourceError if they cannot be read; whatever else is wrong with them is in the result.
    """
    file = KernelFile(source)
    detection: Detection | None = None
    try:
        detection = find_protocol(file, boot)
        kernel = load(detection.protocol, file)
    except KevError as error:
        return _inspection(file, detection, None, error)
    return _inspection(file, with_entry_checked(file, kernel, detection), kernel, None)


def _inspection(file: KernelFile, detection: Detection | None, kernel: BootProtocol | None, error: KevError | None) -> Inspection:
    name = None if detection is None else detection.protocol.name
    return Inspection(
        name=file.name,
        size=file.source.size,
        protocol=name,
        mode=None if kernel is None else kernel.mode,
        reason=None if detection is None else detection.reason,
        seen=tuple(f"{other}: {seen}" for other, seen in findings(file) if detection is None or seen != detection.reason),
        warnings=() if detection is None else detection.warnings,
        error=error,
        image=_elf_image(file) if kernel is None else kernel.image,
        refused=() if kernel is None else tuple(_refusals(file, type(kernel), kernel.image)),
    )


def count_pages(segments: Iterable[Segment]) -> PageCounts:
    changes: Counter[int] = Counter()
    for segment in segments:
        changes[page_floor(segment.paddr)] += 1
        changes[page_ceil(segment.end)] -= 1
    boundaries = sorted(changes)
    runs = zip(pairwise(boundaries), accumulate(changes[boundary] for boundary in boundaries), strict=False)
    lengths = [((end - start) >> PAGE_SHIFT, depth) for (start, end), depth in runs]
    return PageCounts(
        all=sum(length for length, depth in lengths if depth), shared=sum(length for length, depth in lengths if depth > 1)
    )


def _elf_image(file: KernelFile) -> KernelImage | None:
    try:
        return file.elf
    except KevError:
        return None


def _refusals(file: KernelFile, protocol: type[BootProtocol], image: KernelImage) -> Iterator[Refusal]:
    end = image.end_in_ram
    least = end if end <= MMIO_HOLE.start else end - len(MMIO_HOLE)
    yield Refusal(f"--memory below {page_ceil(least) // KIB}K", f"the image ends at {image.end:#x}")
    if not protocol.passes_modules:
        yield Refusal("--module", f"the {protocol.name} boot protocol passes no modules")
    if not protocol.passes_command_line:
        yield Refusal("--append", f"the {protocol.name} boot protocol passes no command line")
    for other in PROTOCOLS:
        try:
            load(protocol_named(other), file)
        except KevError as error:
            yield Refusal(f"--boot {other}", str(error))
