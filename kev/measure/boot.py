"""`kev bench boot`: how soon a guest says something, by paging policy, size of image, size of RAM, and latency of the source.

Six scenarios. `launch` is gKeOS in a warm process, as a new process, and its Multiboot 1 twin on QEMU. `image` is a tiny guest
with a segment behind it that it never touches, up to gigabytes. `memory` is the same guest with more and more RAM. `source` is
gKeOS from sources of several latencies, to its end. `cache` is gKeOS from a file that the host has in its page cache, and from one
that it has to read from the disk. `violation` is what one page costs.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from kev.addressing import GIB, KIB, MIB, TIB
from kev.errors import known_names
from kev.guests.images import open_root_file_system
from kev.measure.case import Case, Metrics
from kev.measure.errors import BenchError
from kev.measure.image import write_padded_image
from kev.measure.launches import Launch, MachineLaunch, prefetching
from kev.measure.page_cache import CACHED, make_cold
from kev.measure.processes import kev_run, measure_process, qemu_run
from kev.measure.units import latency_text, size_text
from kev.measure.violations import measure_violations
from kev.pager.policy import Around, Eager, PagingPolicy
from kev.pager.slow_source import SourceDelay
from kev.spec.machine_spec import MachineSpec

_TINY_GUEST: Final = "hypercalls"
_GUEST: Final = "gKeOS"
_TWIN: Final = "mb1"
_MEMORY: Final = 256 * MIB
_AROUND: Final = 16


@attrs.frozen(slots=True, kw_only=True)
class BootBenchOptions:
    """What `kev bench boot` goes through. Sizes in bytes, latencies in seconds."""

    image_sizes: tuple[int, ...] = (MIB, 16 * MIB, 256 * MIB, 4 * GIB)
    memory_sizes: tuple[int, ...] = (64 * MIB, GIB, 16 * GIB, TIB)
    latencies: tuple[float, ...] = (0.0, 0.001)
    scenarios: tuple[str, ...] = ("launch", "image", "memory", "source", "cache", "violation")
    largest_eager: int = 256 * MIB
    """Images larger than this are not loaded eagerly: it would take a minute and as much memory."""
    machine: MachineSpec | None = None
    """A machine to go through instead, with its paging policy, or with each."""
    policies: Mapping[str, Callable[[], PagingPolicy]] = {}
    """For that machine: policies of the user's own, by name, which are measured beside those of kev."""
    source: Callable[[Any], Any] | None = None
    """For that machine: makes of its image's source what is read."""
    cold_file: Path | None = None
    """For that machine: what it is read from, if it is to be measured with a cold page cache, too."""


def boot_cases(options: BootBenchOptions, folder: Path) -> Iterator[Case]:
    """All cases; the images that they need are written to `folder`. BenchError if there is no such scenario."""
    if options.machine is not None:
        yield from _machine(options.machine, options)
        return
    for name in options.scenarios:
        if name not in _SCENARIOS:
            raise BenchError(f"no scenario is named {name!r}: {known_names(name, _SCENARIOS)}")
        yield from _SCENARIOS[name](options, folder)


def _machine(spec: MachineSpec, options: BootBenchOptions) -> Iterator[Case]:
    launches = {
        paging: MachineLaunch(spec.replace(paging=paging), source=options.source)
        for paging in (("lazy", "eager", f"around={_AROUND}") if spec.paging is None else (spec.paging,))
    }
    launches |= {name: MachineLaunch(spec, policy, options.source) for name, policy in options.policies.items()}
    for name, launch in launches.items():
        parameters = {"image": spec.image, "policy": name}
        if options.cold_file is None:
            yield Case("machine", parameters, launch.measure)
        else:
            yield from _warm_and_cold("machine", parameters, launch.measure, options.cold_file)


def _warm_and_cold(scenario: str, parameters: dict[str, str], measure: Callable[[], Metrics], file: Path) -> Iterator[Case]:
    """`measure` reads `file`. Of it, `cached_kib` could not be made cold."""

    def warm() -> Metrics:
        file.read_bytes()
        return measure()

    def cold() -> Metrics:
        cached = make_cold(file)
        return {**measure(), CACHED: cached / KIB}

    yield Case(scenario, {**parameters, "cache": "warm"}, warm)
    yield Case(scenario, {**parameters, "cache": "cold"}, cold)


def _caches(_options: BootBenchOptions, folder: Path) -> Iterator[Case]:
    image = folder / _GUEST
    image.write_bytes(_file(_GUEST))
    for name, policy in {"lazy": PagingPolicy, "eager": Eager}.items():
        yield from _warm_and_cold("cache", {"policy": name}, Launch(str(image), _MEMORY, policy).measure, image)


def _launches(_options: BootBenchOptions, folder: Path) -> Iterator[Case]:
    yield Case("launch", {"what": "kev, warm process"}, Launch(_GUEST, _MEMORY).measure)
    yield _process("kev run", kev_run(_GUEST))
    twin = folder / _TWIN
    twin.write_bytes(_file(_TWIN))
    qemu = qemu_run(twin, _MEMORY)
    if qemu is not None:
        yield _process("QEMU", qemu)


def _process(what: str, command: tuple[str, ...]) -> Case:
    return Case("launch", {"what": what}, lambda: measure_process(command), command)


def _image_sizes(options: BootBenchOptions, folder: Path) -> Iterator[Case]:
    memory = 16 * GIB
    for size in options.image_sizes:
        image = _padded(folder, size)
        for name, policy in _policies(image, memory).items():
            if name == "eager" and size > options.largest_eager:
                continue
            for latency in options.latencies:
                launch = Launch(str(image), memory, policy, _delay(latency))
                yield Case("image", {"image": size_text(size), "policy": name, "latency": latency_text(latency)}, launch.measure)


def _memory_sizes(options: BootBenchOptions, folder: Path) -> Iterator[Case]:
    image = _padded(folder, MIB)
    for memory in options.memory_sizes:
        yield Case("memory", {"memory": size_text(memory), "policy": "lazy"}, Launch(str(image), memory).measure)


def _sources(options: BootBenchOptions, _folder: Path) -> Iterator[Case]:
    for name, policy in _policies(_GUEST, _MEMORY).items():
        for latency in options.latencies:
            launch = Launch(_GUEST, _MEMORY, policy, _delay(latency))
            yield Case("source", {"latency": latency_text(latency), "policy": name}, launch.measure)


def _violations(_options: BootBenchOptions, _folder: Path) -> Iterator[Case]:
    yield Case("violation", {}, measure_violations)


_SCENARIOS: Final = {
    "launch": _launches,
    "image": _image_sizes,
    "memory": _memory_sizes,
    "source": _sources,
    "cache": _caches,
    "violation": _violations,
}


def _policies(image: Path | str, memory: int) -> dict[str, Callable[[], PagingPolicy]]:
    return {
        "lazy": PagingPolicy,
        "eager": Eager,
        f"around={_AROUND}": lambda: Around(_AROUND),
        "prefetch": prefetching(image, memory),
    }


def _padded(folder: Path, size: int) -> Path:
    image = folder / f"{_TINY_GUEST}-{size_text(size)}"
    if not image.exists():
        write_padded_image(_file(_TINY_GUEST), image, size)
    return image


def _file(name: str) -> bytes:
    with open_root_file_system() as files:
        return files.open(name).read()


def _delay(latency: float) -> SourceDelay | None:
    return SourceDelay(latency) if latency else None
