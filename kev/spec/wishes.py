"""The keywords that describe a machine, for type checkers."""

import os
from collections.abc import Mapping, Sequence
from typing import TypeAlias, TypedDict

from kev.pager.policy import PagingPolicy
from kev.pager.slow_source import SourceDelay

StrPath: TypeAlias = str | os.PathLike[str]
File: TypeAlias = (
    StrPath
    | tuple[StrPath]
    | tuple[StrPath, str]
    | tuple[StrPath, str, str]
    | tuple[StrPath, str, str, str]
    | list[str]
    | Mapping[str, str]
)


class MachineWishes(TypedDict, total=False):
    """What a machine is made of. See `kev.spec.machine_spec.MachineSpec`."""

    memory: int | str | None
    vcpus: int | str | None
    smp: int | str | None
    boot: str | None
    abi: str | None
    syscall: str | None
    command_line: str | None
    append: str | None
    modules: StrPath | Sequence[File] | None
    module: StrPath | Sequence[File] | None
    initrd: StrPath | Sequence[File] | None
    disks: StrPath | Sequence[File] | None
    disk: StrPath | Sequence[File] | None
    firmware: StrPath | None
    boot_sector: StrPath | None
    lenient_msr: bool | None
    strict_ports: bool | None
    strict_memory: bool | None
    keyboard: bool | None


class Wishes(MachineWishes, total=False):
    """That, and what a run of it is like."""

    paging: str | PagingPolicy | None
    source_latency: str | SourceDelay | None
    seed: int | str | None
    timeout: float | str | None
    max_pages: int | str | None
    max_output: int | str | None
    retry: int | str | None
    timeline: bool | None
