"""How long a launch takes: from the call until the guest has executed its first instruction, in a warm process."""

import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import attrs

from bench.images import write_sparse_kernel
from bench.machines import free_machines
from bench.measurement import Measurement, Result, repeat
from kev.addressing import GIB, MIB, TIB, Gpa
from kev.engine.base import Budget
from kev.exits import Hlt
from kev.machine.launcher import prepare
from kev.machine.step import Ran
from kev.pager.source import FileSource

TITLE: Final = "from the call to the first guest instruction"
_ROUNDS: Final = 41
_FLAT: Final = 1.2


@attrs.frozen(slots=True)
class _Launch:
    memory: int
    """Bytes of RAM."""
    image: int
    """Bytes of the image."""
    gpa: Gpa
    """Where the image's large segment lies."""


_LOW: Final = Gpa(2 * MIB)
_HIGH: Final = Gpa(4 * GIB)
_BY_MEMORY: Final = {
    "RAM of 64 MiB, image of 1 MiB": _Launch(64 * MIB, MIB, _LOW),
    "RAM of 4 GiB, image of 1 MiB": _Launch(4 * GIB, MIB, _LOW),
    "RAM of 1 TiB, image of 1 MiB": _Launch(TIB, MIB, _LOW),
}
_BY_IMAGE: Final = {
    "RAM of 16 GiB, image of 1 MiB": _Launch(16 * GIB, MIB, _HIGH),
    "RAM of 16 GiB, image of 4 GiB": _Launch(16 * GIB, 4 * GIB, _HIGH),
}


def measure(quick: bool) -> list[Result]:
    launches = _BY_MEMORY | _BY_IMAGE
    with TemporaryDirectory() as folder:
        kernels = {name: Path(folder, name.replace(" ", "-")) for name in launches}
        for name, launch in launches.items():
            write_sparse_kernel(kernels[name], launch.image, launch.gpa)
        samples = repeat(_ROUNDS, quick, lambda: {name: _launch(kernels[name], launches[name].memory) for name in launches})
    measurements = {name: Measurement(name, "ms", values) for name, values in samples.items()}
    return [
        *(measurements[name] for name in _BY_MEMORY),
        _ratio("  the slowest by the fastest", measurements, _BY_MEMORY),
        *(measurements[name] for name in _BY_IMAGE),
        _ratio("  the slowest by the fastest", measurements, _BY_IMAGE),
    ]


def _ratio(name: str, measurements: Mapping[str, Measurement], compared: Mapping[str, _Launch]) -> Measurement:
    medians = [measurements[launch].median for launch in compared]
    return Measurement(name, "times", [max(medians) / min(medians)], _FLAT)


def _launch(kernel: Path, memory: int) -> float:
    """Milliseconds until the guest has halted, which is the first thing it does."""
    free_machines()
    began = time.perf_counter()
    with FileSource(kernel) as source:
        vm = prepare(source, memory=memory, output=lambda _: None).vm
        step = vm.run(vm.vcpus[0], Budget(seconds=1.0))
        ended = time.perf_counter()
        assert isinstance(step, Ran), f"{kernel}: {step}"
        assert isinstance(step.exit, Hlt), f"{kernel}: {step}"
        vm.engine.close()
        vm.pager.close()
    return (ended - began) * 1e3
