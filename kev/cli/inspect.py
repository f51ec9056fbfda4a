"""`kev inspect`: says how an image would be launched."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from kev.abi.selection import default_abi
from kev.boot.inspection import Inspection, inspect
from kev.cli.click_options import add_options, image_argument
from kev.cli.options import described, machine_options
from kev.errors import KevError, printable
from kev.machine.starting import start_of
from kev.pager.image import KernelImage, Segment
from kev.pager.memory_region import MemoryRegion, RegionType
from kev.pager.source import SynchronousSource, blocking, is_snapshot
from kev.postmortem.core_file import is_core, read_core
from kev.spec.machine_spec import MachineSpec

if TYPE_CHECKING:
    from kev.machine.inspection import MachineInspection

_MODES = {16: "real mode", 32: "32-bit protected mode, without paging", 64: "64-bit mode, with paging"}
_COLUMNS = ("virtual address", "physical address", "file offset", "in the file", "in memory", "flags")


@click.command
@image_argument
@add_options(machine_options())
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
def command(as_json: bool, **given: Any) -> None:
    """Say how IMAGE would be launched on the machine that is described, and what would be refused, without launching it.

    IMAGE is a file, or the name of a guest on the root file system (by default gKeOS). The exit code is 2 if it cannot be launched.
    Of a core file, as `kev run --dump` writes it, this says how the run ended, where the vCPUs are, and which memory there is.
    Of a snapshot, it says what was saved, and which files it needs.
    """
    spec = described(given, may_start_disk=True)
    with start_of(spec, None) as start:
        source = blocking(start.source)
        if is_core(source):
            core = read_core(source)
            click.echo(json.dumps(core.as_dict(), indent=2) if as_json else core.as_text())
            return
        if is_snapshot(source):
            click.echo(_snapshot(source, as_json))
            return
        inspection = inspect(source, start.protocol or spec.protocol)
        resolved = spec.resolved(None if start.guest is None else start.guest.spec, inspection.protocol)
    abi = resolved.abi or (None if inspection.protocol is None else default_abi(inspection.protocol, resolved.syscall or ""))
    machine, error = None, inspection.error
    if error is None:
        from kev.machine.inspection import inspect_machine

        try:
            machine = inspect_machine(spec)
        except KevError as refusal:
            error = refusal
    if as_json:
        click.echo(
            json.dumps(_as_json(inspection, abi, error) | {"machine": resolved.to_dict()} | _machine_as_json(machine), indent=2)
        )
    else:
        click.echo("\n".join([_as_text(inspection, abi), *_spec_as_text(resolved), *_machine_as_text(machine)]))
    if error is not None:
        raise error


def _snapshot(source: SynchronousSource, as_json: bool) -> str:
    from kev.snapshot.inspection import inspect_snapshot, inspection_text

    found = inspect_snapshot(source)
    if as_json:
        return json.dumps(found, indent=2)
    return "\n".join([inspection_text(found), *_spec_as_text(MachineSpec.of(found["machine"]))])


def _as_json(inspection: Inspection, abi: str | None, error: KevError | None) -> dict[str, Any]:
    kernel = inspection.image
    return {
        "image": inspection.name,
        "size": inspection.size,
        "protocol": inspection.protocol,
        "mode": inspection.mode,
        "reason": inspection.reason,
        "seen": list(inspection.seen),
        "abi": abi,
        "warnings": list(inspection.warnings),
        "usable": error is None,
        "error": None if error is None else str(error),
        "entry": None if kernel is None else {"virtual": kernel.virtual_entry, "physical": kernel.entry},
        "segments": [] if kernel is None else [_segment_as_json(segment) for segment in kernel.segments],
        "pages": inspection.pages.all,
        "shared_pages": inspection.pages.shared,
        "refused": [{"options": refusal.options, "reason": refusal.reason} for refusal in inspection.refused],
    }


def _machine_as_json(machine: "MachineInspection | None") -> dict[str, Any]:
    if machine is None:
        return {}
    return {
        "memory_map": [
            {"base": region.base, "length": region.length, "type": _region_type(region)} for region in machine.memory_map
        ],
        "devices": [
            {"name": name, "ports": _as_pairs(ports), "gpas": _as_pairs(gpas)} for name, (ports, gpas) in _places(machine).items()
        ],
        "pci": [{"device": number, "identity": identity} for number, identity in machine.pci],
    }


def _spec_as_text(spec: MachineSpec) -> list[str]:
    try:
        return ["machine:", *(f"  {line}" for line in spec.to_toml().splitlines())]
    except KevError as error:  # a name that is not Unicode
        return [f"machine: {error}"]


def _machine_as_text(machine: "MachineInspection | None") -> list[str]:
    if machine is None:
        return []
    regions = [f"  {region.base:#018x}-{region.end - 1:#018x} {_region_type(region)}" for region in machine.memory_map]
    devices = [
        f"  {name}: {', '.join([*map(_range_as_text, ports), *(f'gpa {_range_as_text(gpas)}' for gpas in memory)])}"
        for name, (ports, memory) in _places(machine).items()
    ]
    pci = [f"  PCI device {number}: {identity}" for number, identity in machine.pci]
    return ["memory map:", *regions, "devices:", *devices, *pci]


def _places(machine: "MachineInspection") -> dict[str, tuple[list[range], list[range]]]:
    """The ranges of ports and of guest-physical addresses of each device, by its name."""
    places: dict[str, tuple[list[range], list[range]]] = {}
    for kind, owners in enumerate((machine.ports, machine.mmio)):
        for name, numbers in owners:
            places.setdefault(name, ([], []))[kind].append(numbers)
    return places


def _as_pairs(ranges: Sequence[range]) -> list[list[int]]:
    return [[numbers.start, numbers.stop - 1] for numbers in ranges]


def _range_as_text(numbers: range) -> str:
    return f"{numbers.start:#x}" if len(numbers) == 1 else f"{numbers.start:#x}-{numbers.stop - 1:#x}"


def _region_type(region: MemoryRegion) -> str:
    return "usable" if region.type is RegionType.AVAILABLE else region.type.name.lower()


def _segment_as_json(segment: Segment) -> dict[str, Any]:
    return {
        "virtual_address": segment.vaddr,
        "physical_address": segment.paddr,
        "file_offset": segment.offset,
        "file_size": segment.filesz,
        "memory_size": segment.memsz,
        "flags": _flags(segment),
    }


def _as_text(inspection: Inspection, abi: str | None) -> str:
    lines = [f"{printable(inspection.name)}: {inspection.size:,} bytes", f"boot protocol: {inspection.protocol or 'none'}"]
    if inspection.reason is not None:
        lines.append(f"  because: {inspection.reason}")
    lines += [f"  also seen: {seen}" for seen in inspection.seen]
    if inspection.mode is not None:
        lines.append(f"entered in: {_MODES[inspection.mode]}")
    if abi is not None:
        lines.append(f"abi: {abi}")
    lines += [f"warning: {warning}" for warning in inspection.warnings]
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
