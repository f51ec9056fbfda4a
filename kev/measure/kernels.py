"""`kev bench kernels`: any kernel to a line of its output, beside QEMU, in time of processors and by the clock.

kev and QEMU run the same machine, each as a process, in turns. The ratio of a round is that of the two runs in it. One run more
says where kev's time went.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Self

import attrs

from kev.measure.case import Case, Metrics
from kev.measure.dialogue import Dialogue
from kev.measure.errors import BenchError
from kev.measure.processes import find_qemu, kev_run
from kev.measure.qemu_machine import qemu_command
from kev.measure.result import BenchResult, CaseResult
from kev.measure.summary import summarize
from kev.measure.time_spent import time_spent
from kev.spec.machine_spec import MachineSpec

SCENARIO: Final = "kernel"
KEV: Final = "kev"
_RATIOS: Final = {"processor_ratio": "processor_ms", "line_ratio": "line_ms"}
_KVM: Final = Path("/dev/kvm")
_SHORTEST_TRIAL, _LONGEST_TRIAL = 5.0, 60.0
"""Seconds."""
_TRIAL_IN_RUNS: Final = 5
"""As many runs by TCG may take: a KVM that needs longer is of no use."""


@attrs.frozen(slots=True)
class KernelBench:
    """What is measured of some machines."""

    machines: tuple[MachineSpec, ...]
    """Their disks stay as they are, whatever the guests write."""
    dialogue: Dialogue
    folder: Path
    """For files that are needed meanwhile."""
    notes: dict[str, str]
    """What is not measured, and why."""

    @classmethod
    def of(cls, machines: Sequence[MachineSpec], dialogue: Dialogue, folder: Path) -> Self:
        """BenchError for an image that QEMU cannot read."""
        return cls(tuple(map(_resolved, machines)), dialogue, folder, {})

    def cases(self) -> Iterator[Case]:
        """kev, and QEMU by every accelerator that works here. BenchError if QEMU is there, and has no such machine."""
        qemu = find_qemu()
        if qemu is None:
            self.notes["QEMU"] = "is not installed: there is nothing to compare with"
        for spec in self.machines:
            yield self._case(spec, KEV, kev_run(*spec.to_arguments()))
            if qemu is not None:
                tcg = qemu_command(qemu, "tcg", spec, self.folder)
                yield self._case(spec, "QEMU tcg", tcg)
                yield from self._with_kvm(spec, qemu_command(qemu, "kvm", spec, self.folder), tcg)

    def _with_kvm(self, spec: MachineSpec, command: tuple[str, ...], tcg: tuple[str, ...]) -> Iterator[Case]:
        """Only where it comes to the line: on many a host there is a KVM that runs nothing. BenchError if TCG does not."""
        reason = "no /dev/kvm that may be used"
        if os.access(_KVM, os.R_OK | os.W_OK):
            needed = _TRIAL_IN_RUNS * self.dialogue.measure(tcg)["line_ms"] / 1e3
            trial = min(self.dialogue.timeout, max(_SHORTEST_TRIAL, needed), _LONGEST_TRIAL)
            try:
                attrs.evolve(self.dialogue, timeout=trial).measure(command)
            except BenchError:
                reason = f"the line did not come in {trial:.3g} s"
            else:
                yield self._case(spec, "QEMU kvm", command)
                return
        self.notes[f"QEMU kvm, {spec.image}"] = f"is left out: {reason}"

    def _case(self, spec: MachineSpec, what: str, command: tuple[str, ...]) -> Case:
        def measure() -> Metrics:
            return self.dialogue.measure(command)

        return Case(SCENARIO, {"image": spec.image, "what": what}, measure, command)

    def completed(self, result: BenchResult) -> BenchResult:
        """With the ratios of kev to each of the others, and where kev's time went."""
        more = [*_ratios(result), *(case for spec in self.machines for case in self._parts(spec))]
        return attrs.evolve(result, cases=(*result.cases, *more))

    def _parts(self, spec: MachineSpec) -> Iterator[CaseResult]:
        for part, spent in time_spent(spec, self.dialogue, self.folder).items():
            yield CaseResult("kev's time", {"image": spec.image, "part": part}, {"processor_ms": summarize([spent])})


def _ratios(result: BenchResult) -> Iterator[CaseResult]:
    own = {case.parameters["image"]: case for case in result.scenario(SCENARIO, what=KEV)}
    for case in result.scenario(SCENARIO):
        image, what = case.parameters["image"], case.parameters["what"]
        if what == KEV:
            continue
        ratios = {
            name: summarize(
                [a / b for a, b in zip(own[image].metrics[metric].values, case.metrics[metric].values, strict=True) if b]
            )
            for name, metric in _RATIOS.items()
        }
        yield CaseResult("kev against", {"image": image, "what": what}, ratios)


def _resolved(spec: MachineSpec) -> MachineSpec:
    """With what both have to be told alike, and disks that stay as they are."""
    if "://" in spec.image:
        raise BenchError(f"{spec.image}: QEMU reads no URLs: the image has to be a file")
    said = spec.resolved()
    for disk in spec.disks:
        if disk.overlay:
            raise BenchError(f"disk {disk.path}: overlay={disk.overlay}: what was written there, QEMU does not read")
    disks = tuple(disk if disk.access == "ro" else disk._replace(access="overlay") for disk in spec.disks)
    return spec.replace(memory=said.memory, vcpus=said.vcpus, disks=disks)
