"""What a snapshot is, for people and programs."""

from typing import Any

from kev.pager.kernel import trio_rendezvous
from kev.snapshot.description import Description, FileIdentity
from kev.snapshot.layout import VERSION
from kev.snapshot.reader import SnapshotFile, Source
from kev.state import Plain

_NANOSECONDS = 1_000_000_000


def inspect_snapshot(source: Source) -> dict[str, Any]:
    """What a snapshot says of itself, as JSON has it. Its pages and its parents are not read. SnapshotError."""
    file = SnapshotFile(source, trio_rendezvous)
    description, header = Description.load(file.machine(), file.name), file.header
    parent = description.parent
    return {
        "snapshot": file.name,
        "format": VERSION,
        "kev": description.kev,
        "id": header.id.hex(),
        "parent": None if parent is None else {"file": parent.file, "id": parent.id.hex()},
        "size": header.size,
        "compressed": header.compressed,
        "pages": {
            "present": header.present,
            "stored": header.stored,
            "zero": header.zero,
            "by_reference": header.present - header.stored - header.zero,
        },
        "time_ns": description.time,
        "instructions": description.instructions,
        "seed": description.seed,
        "vcpus": _vcpus(file.state()),
        "files": [_file(identity) for identity in description.files],
        "ram": [[region.start, region.stop - 1] for region in description.ram],
        "machine": description.spec.to_dict(),
    }


def inspection_text(found: dict[str, Any]) -> str:
    """The same in lines."""
    pages, parent = found["pages"], found["parent"]
    time = f"guest time: {found['time_ns'] / _NANOSECONDS:.6f} s"
    lines = [
        f"{found['snapshot']}: a snapshot of {found['machine']['image']}, made by kev {found['kev']}: {found['size']:,} bytes",
        f"id: {found['id']}",
        *([] if parent is None else [f"parent: {parent['file']}, id {parent['id']}"]),
        f"pages: {pages['present']:,} present: {pages['stored']:,} stored{', compressed' * found['compressed']}, "
        f"{pages['zero']:,} of zeros, {pages['by_reference']:,} by reference",
        f"{time}, {found['instructions']:,} instructions, seed {found['seed']}" if found["seed"] is not None else time,
        *(f"vCPU {number}: RIP {vcpu['rip']:#x}, {vcpu['activity'].lower()}" for number, vcpu in enumerate(found["vcpus"])),
        "files:",
        *(f"  {file['role']} {file['name']}: {file['size']:,} bytes{_digest(file)}" for file in found["files"]),
    ]
    return "\n".join(lines)


def _digest(file: dict[str, Any]) -> str:
    return f", SHA-256 {file['sha256'][:16]}..." if file["sha256"] is not None else ""


def _file(identity: FileIdentity) -> dict[str, Any]:
    whole = identity.digest is not None and identity.whole
    return {
        "role": identity.role,
        "name": identity.name,
        "size": identity.size,
        "sha256": identity.digest.hex() if whole and identity.digest is not None else None,
    }


def _vcpus(state: dict[str, Plain]) -> list[dict[str, Any]]:
    """What each is doing, as far as it is said."""
    machine: Any = state.get("machine")
    try:
        return [{"rip": vcpu["registers"]["rip"], "activity": vcpu["activity"]} for vcpu in machine["vcpus"]]
    except (KeyError, TypeError):
        return []
