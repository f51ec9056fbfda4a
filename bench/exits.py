"""What each kind of exit and event costs: the guest bench-exits repeats them."""

from typing import Final

from bench.machines import run_on_kev
from bench.measurement import Measurement, Result, differences, repeat

TITLE: Final = "service time of exits and events"
_GUEST: Final = "bench-exits"
_ROUNDS: Final = 7
_VCPUS: Final = 2

_EMPTY_LOOP: Final = "empty loop"
_SYSCALL: Final = "SYSCALL"
_EMULATED: Final = "SYSCALL, emulated"
_SCAN: Final = "PCI scan"
_INTERRUPT: Final = "interrupt"
_HALT: Final = "HLT and interrupt"
_IN_PLACE: Final = 6.0  # microseconds
_LIMITS: Final = {
    **dict.fromkeys(("CPUID", "IN", "OUT", "RDMSR", "WRMSR", "RDTSC", "MMIO load", "MMIO store", "VMCALL"), _IN_PLACE),
    _INTERRUPT: 20.0,
    _SYSCALL: 20.0,
    "vCPU switch": 12.0,
}
_DESCRIPTIONS: Final = {
    _SCAN: "PCI scan, each access",
    "INT n": "INT n, IRET",
    "#UD": "#UD, IRET",
    "#PF": "#PF, IRET",
    _INTERRUPT: "interrupt: IPI to itself, delivery, end of interrupt, IRET",
    _HALT: "the same to the processor while it is halted",
    _SYSCALL: "SYSCALL from CPL 3, SYSRET",
    _EMULATED: "the same with --syscall emulate: both exit",
    "INT n at CPL 3": "INT n from CPL 3, IRET",
    "#PF at CPL 3": "#PF from CPL 3, IRET",
    "PAUSE": "PAUSE with nobody else to run",
}


def measure(quick: bool) -> list[Result]:
    """One run of the guest is one round of everything that it does."""
    counts: dict[str, int] = {}
    samples = repeat(_ROUNDS, quick, lambda: _run(counts))
    empty = samples.pop(_EMPTY_LOOP)
    results: list[Result] = [Measurement(_EMPTY_LOOP, "µs", empty)]
    for name, values in samples.items():
        results.append(Measurement(_DESCRIPTIONS.get(name, name), "µs", differences(values, empty), _LIMITS.get(name)))
    scan = [value * counts[_SCAN] / 1000 for value in samples[_SCAN]]
    results.append(Measurement(f"PCI scan, all {counts[_SCAN]:,} accesses", "ms", scan))
    results.append(Measurement("HLT: what it adds to an interrupt", "µs", differences(samples[_HALT], samples[_INTERRUPT])))
    return results


def _run(counts: dict[str, int]) -> dict[str, float]:
    """Microseconds that each operation took; `counts` says afterwards how many there were of each."""
    lines = {line.name: line for line in run_on_kev(_GUEST, _VCPUS).timed_lines()}
    emulated = run_on_kev(_GUEST, _VCPUS, syscall="emulate").timed_lines()
    lines[_EMULATED] = next(line for line in emulated if line.name == _SYSCALL)
    counts.update((name, line.count) for name, line in lines.items())
    return {name: line.seconds * 1e6 / line.count for name, line in lines.items()}
