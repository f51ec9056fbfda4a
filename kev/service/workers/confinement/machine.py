"""Confines a worker to its machine: when its files are open, and before its guest runs."""

import os
import sys
import threading
from typing import Final

from kev import log
from kev.dev.storage.overlay_file import file_size
from kev.machine.machine import Machine
from kev.service.workers.confinement import Confinement
from kev.spec.files import DiskFile
from kev.spec.machine_spec import MachineSpec

_FOR_NAMES_OF_HOSTS: Final = ("/etc", "/usr/share")
"""What resolvers and TLS read."""


class MachineConfinement:
    """The measures in `wanted`, for one machine, in the process that it will live in.

    `before` and `after` its files are opened. A machine whose image is behind a URL may use the network, and read what that takes.
    If the URL is not one of http or https, what reads it has threads, and needs nobody knows which files: the machine is confined
    before, and may read all files.
    """

    def __init__(self, wanted: Confinement) -> None:
        self._wanted: Final = wanted
        self._is_restricted = False

    def before(self, spec: MachineSpec) -> None:
        """OSError if the kernel refuses."""
        if self._wanted.limits:
            from kev.service.workers.confinement import limits

            limits.limit_process()
        if "://" in spec.image and not _is_http(spec.image):
            self._restrict(spec, network=True)

    def after(self, spec: MachineSpec, machine: Machine) -> None:
        """OSError if the kernel refuses. `spec` is what was asked for."""
        made_as = machine.spec or spec
        if self._wanted.limits:
            from kev.service.workers.confinement import limits

            limits.limit_machine(machine.vm.pager.ram_pages << 12, _largest_disk(made_as))
        if not self._is_restricted:
            if threading.active_count() > 1:
                log.warning("threads of a worker are not confined", image=spec.image)
            self._restrict(made_as._replace(paging=spec.paging), network="kev.pager.fsspec_source" in sys.modules)
        if self._wanted.capabilities:
            from kev.service.workers.confinement import capabilities

            capabilities.give_away()

    def _restrict(self, spec: MachineSpec, *, network: bool) -> None:
        self._is_restricted = True
        if self._wanted.landlock:
            from kev.service.workers.confinement import landlock

            landlock.restrict(_rules(spec, network), network=network)
        if self._wanted.seccomp:
            from kev.service.workers.confinement import seccomp

            seccomp.restrict(network=network)


def files_of(spec: MachineSpec) -> MachineSpec:
    """What the measures for a machine follow from: machines for which this is the same can live in one process, one by one."""
    return MachineSpec()._replace(image=spec.image, memory=spec.memory, modules=spec.modules, disks=spec.disks)


def allows_another(spec: MachineSpec) -> bool:
    """Whether a process that is confined for such a machine can open once more all that it needs."""
    return (
        "://" not in spec.image
        and spec.firmware is None
        and spec.boot_sector is None
        and (spec.paging or "").partition("=")[0] not in ("record", "prefetch")
        and not any(disk.writes for disk in spec.disks)
    )


def prepare() -> None:
    """Imports, and finds out, what all processes need that are forked from this one."""
    if sys.platform == "linux":
        from kev.service.workers.confinement import capabilities, landlock, limits, seccomp  # noqa: F401

        landlock.libraries()
        seccomp.prepare()


def in_force(wanted: Confinement) -> Confinement:
    """What of `wanted` can be had here."""
    from kev.service.workers.confinement import describe

    return Confinement(*(measure.in_force for measure in describe(wanted)))


def _rules(spec: MachineSpec, network: bool) -> dict[str, int]:
    """What may be opened from now on. Files that are open need none, but a snapshot says what those are now that it names."""
    from kev.service.workers.confinement.landlock import READ, READ_WRITE, REPLACE

    files = (spec.image, *(module.path for module in spec.modules), *(disk.path for disk in spec.disks))
    rules = {file: READ for file in files if os.path.exists(file)}
    if network and _is_http(spec.image):
        rules |= dict.fromkeys(_for_http(), READ)
    elif network:
        rules |= {"/": READ} | {disk.overlay or disk.path: READ_WRITE for disk in _written(spec)}
    kind, _, file = (spec.paging or "").partition("=")
    if kind == "record":
        rules[os.path.dirname(os.path.realpath(file))] = REPLACE
    return rules


def _written(spec: MachineSpec) -> list[DiskFile]:
    """The disks that are, and whose file is there."""
    return [disk for disk in spec.disks if disk.writes and os.path.exists(disk.overlay or disk.path)]


def _is_http(image: str) -> bool:
    return image.startswith(("http://", "https://"))


def _for_http() -> list[str]:
    import ssl

    certificates = ssl.get_default_verify_paths()
    places = (*_FOR_NAMES_OF_HOSTS, os.path.realpath("/etc/resolv.conf"), certificates.cafile, certificates.capath)
    return [place for place in places if place]


def _largest_disk(spec: MachineSpec) -> int | None:
    """The size in bytes of the largest disk that is written in place; None if a block device is."""
    largest = 0
    for disk in spec.disks:
        if disk.writes:
            if not os.path.isfile(disk.path):
                return None
            size = os.path.getsize(disk.path)
            largest = max(largest, file_size(size) if disk.overlay else size)
    return largest
