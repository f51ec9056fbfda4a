"""`kev inspect`: says how an image would be launched."""

import json
from collections.abc import Sequence
from typing import Any

import click

from kev.boot.inspection import Inspection, inspect
from kev.guests.images import DEFAULT_IMAGE, open_image_or_url
from kev.pager.image import KernelImage, Segment
from kev.pager.source import AsynchronousSource
from kev.postmortem.core_file import is_core, read_core

_COLUMNS = ("virtual address", "physical address", "file offset", "in the file", "in memory", "flags")


@click.command
@click.argument("image", default=DEFAULT_IMAGE)
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
def command(image: str, as_json: bool) -> None:
    """Say how IMAGE would be launched, and what would be refused, without launching it. Or what a core file holds.

    IMAGE is a file, or the name of a guest on the root file system. The exit code is 2 if it cannot be launched. Of a core file, as
    `kev run --dump` writes it, this says how the run ended, where the vCPUs are, and which memory there is.
    """
    with open_image_or_url(image) as (opened, _):
        source = opened.blocking if isinstance(opened, AsynchronousSource) else opened
        if is_core(source):
            core = read_core(source)
            click.echo(json.dumps(core.as_dict(), indent=2) if as_json else core.as_text())
            return
        inspection = inspect(source)
    click.echo(json.dumps(_as_json(inspection), indent=2) if as_json else _as_text(inspection))
    if inspection.error is not None:
        raise inspection.error


def _as_json(inspection: Inspection) -> dict[str, Any]:
    kernel = inspection.image
    return {
        "image": inspection.name,
        "size": inspection.size,
        "protocol": inspection.protocol,
        "usable": inspection.error is None,
        "error": None if inspection.error is None else str(inspection.error),
        "entry": None if kernel is None else {"virtual": kernel.virtual_entry, "physical": kernel.entry},
        "segments": [] if kernel is None else [_segment_as_json(segment) for segment in kernel.segments],
        "pages": inspection.pages.all,
        "shared_pages": inspection.pages.shared,
        "refused": [{"options": refusal.options, "reason": refusal.reason} for refusal in inspection.refused],
    }


def _segment_as_json(segment: Segment) -> dict[str, Any]:
    return {
        "virtual_address": segment.vaddr,
        "physical_address": segment.paddr,
        "file_offset": segment.offset,
        "file_size": segment.filesz,
        "memory_size": segment.memsz,
        "flags": _flags(segment),
    }


def _as_text(inspection: Inspection) -> str:
    lines = [f"{inspection.name}: {inspection.size:,} bytes", f"boot protocol: {inspection.protocol or 'none'}"]
    if inspection.image is not None:
        lines += _kernel_as_text(inspection.image)
        lines.append(f"pages: {inspection.pages.all:,} in all, {inspection.pages.shared:,} of them shared by segments")
    if inspection.refused:
        lines.append("refused:")
        lines += [f"  {refusal.options}: {refusal.reason}" for refusal in inspection.refused]
    return "\n".join(lines)


def _kernel_as_text(kernel: KernelImage) -> list[str]:
    rows = [_COLUMNS, *map(_segment_as_row, kernel.segments)]
    return [f"entry: virtual {kernel.virtual_entry:#x}, physical {kernel.entry:#x}", "segments:", *_table(rows)]


def _segment_as_row(segment: Segment) -> tuple[str, ...]:
    numbers = (segment.vaddr, segment.paddr, segment.offset, segment.filesz, segment.memsz)
    return (*(f"{number:#x}" for number in numbers), _flags(segment))


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]


def _flags(segment: Segment) -> str:
    """Read, write, execute, as `ls` writes them."""
    return "".join(letter if segment.flags & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1)))
