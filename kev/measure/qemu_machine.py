"""A machine that is described, as a command line of QEMU's."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from kev.boot.detection import find_protocol
from kev.boot.kernel_file import KernelFile
from kev.dev.storage.drive import DriveKind
from kev.guests.images import open_image
from kev.machine.starting import BOOTED_IN_PLACE, boot_disk
from kev.measure.errors import BenchError
from kev.pager.source import read_bytes
from kev.spec.files import DiskFile
from kev.spec.machine_spec import MachineSpec

_KERNELS: Final = ("multiboot1", "pvh", "linux16", "linux")
_DRIVES: Final = {"ide": "if=ide,index=1", "ide-master": "if=ide,index=0", "virtio-pci": "if=virtio"}


def qemu_command(program: str, accelerator: str, spec: MachineSpec, folder: Path) -> tuple[str, ...]:
    """What runs the same machine, with COM1 at standard input and output, and without devices that nobody asked for.

    `spec` says how much memory there is; a guest of the root file system is copied to `folder`. BenchError if QEMU has no such
    machine, or cannot boot it.
    """
    assert spec.memory is not None
    # Without a display, the guest's text screen has to be there all the same.
    machine = ["-accel", accelerator, "-m", f"{spec.memory >> 10}K", "-smp", str(spec.vcpus or 1), "-nodefaults", "-vga", "std"]
    boot = [*_boot(spec, folder), *(word for disk in _placed(spec) for word in _drive(disk))]
    return (program, *machine, "-display", "none", "-no-reboot", "-serial", "stdio", *boot)


def _boot(spec: MachineSpec, folder: Path) -> Iterator[str]:
    if spec.firmware is not None:
        yield from ("-bios", spec.firmware)
        if spec.image:
            yield from _drive(DiskFile(spec.image, "ide-master"))
        return
    if not spec.image:
        return
    with open_image(spec.image) as (source, guest):
        protocol = find_protocol(KernelFile(source), spec.boot).protocol.name
        image = spec.image
        if guest is not None:
            file = folder / image
            file.write_bytes(read_bytes(source, 0, source.size))
            image = str(file)
    if protocol == "el_torito":
        yield from ("-cdrom", image)
    elif protocol == "real_mode":
        yield from _drive(DiskFile(image, "ide-master"))
    elif protocol in _KERNELS:
        yield from ("-kernel", image)
        yield from ("-append", spec.command_line) if spec.command_line else ()
        yield from ("-initrd", ",".join(_module(module.path, module.text) for module in spec.modules)) if spec.modules else ()
    else:
        raise BenchError(f"{spec.image}: QEMU boots no kernel by the protocol {protocol}")


def _placed(spec: MachineSpec) -> Sequence[DiskFile]:
    """The disks, each behind what it is behind on kev: one that is booted from, and the first of two at the primary IDE channel,
    are that channel's first."""
    first = None if spec.image else boot_disk(spec)
    if first is not None and DriveKind(first.device) in BOOTED_IN_PLACE:
        first = None
    on_channel = [disk for disk in spec.disks if disk.device == "ide"]
    if first is None and len(on_channel) > 1:
        first = on_channel[0]
    return [disk._replace(device="ide-master") if disk is first else disk for disk in spec.disks]


def _module(path: str, text: str) -> str:
    """Commas end a module, unless there are two (QEMU documentation, "-initrd")."""
    return (f"{path} {text}" if text else path).replace(",", ",,")


def _drive(disk: DiskFile) -> tuple[str, str]:
    """What the guest writes is forgotten."""
    if disk.device not in _DRIVES:
        raise BenchError(f"{disk.path}: QEMU has no {disk.device} disk: it has {', '.join(_DRIVES)}")
    escaped = disk.path.replace(",", ",,")
    return "-drive", f"file={escaped},format=raw,{_DRIVES[disk.device]},snapshot=on"
