"""Runs with a seed that are repeated: what is launched, how, and what is compared of them."""

import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import zip_longest
from typing import Any, Final
from zlib import crc32

import attrs
import trio

import kev
from bench.disturbance import CHANCE, ScatteredSource, piped
from kev.addressing import PAGE_SIZE, Gpa
from kev.guests.images import open_image
from kev.machine.digest import all_registers, memory_checksum
from kev.machine.event_log import ExitTrace
from kev.machine.machine import Machine, MachineState
from kev.machine.saved import save_vm
from kev.pager.pages import PageState
from kev.race.guest.source import MemorySource
from tests.race import small_guests as small

_TIMEOUT: Final = 120.0


@attrs.frozen(slots=True)
class Repeated:
    """What is launched again and again, with several seeds."""

    image: str
    wishes: Mapping[str, Any] = {}
    data: bytes = b""
    """Its input."""
    scattered: bool = False
    """Its pages come when they like, from a source that has to be awaited."""
    build: Callable[[], bytes] | None = None
    """Makes an image that no file has."""
    holdable: bool = True
    """It can be run by `kev.start`, and paused on the way."""


@attrs.frozen(slots=True)
class Facts:
    """What is compared of a run that is over."""

    ending: str
    output: int
    """CRC-32, as the others that do not say otherwise."""
    registers: int
    """Of all vCPUs."""
    memory: int
    """Addresses and contents of all pages that are there."""
    devices: int
    """All else that a snapshot would hold: clock, timers, console, devices, MSRs, FPU."""
    time: int
    """Guest time, in nanoseconds."""
    instructions: int
    counts: int | None = None
    """How often each kind of exit was taken; None of a run that was stopped on the way, which takes one more."""
    exits: int | None = None
    """A line for every exit, in order; None if nobody traced the run."""


@attrs.frozen(slots=True)
class Run:
    facts: Facts
    lines: list[str]
    """The exits, if they were traced."""
    pages: list[int]
    """Those that are there."""


class LateInput(Exception):
    """The host was so busy that the input was not there when it had to be, which the run has warned of."""


def _facts(machine: Machine, output: bytes | bytearray, lines: list[str] | None, memory: int | None = None) -> Facts:
    """`memory` of a machine that was stopped on the way."""
    vm = machine.vm
    stopped = memory is not None
    registers = repr(tuple(all_registers(vcpu) for vcpu in vm.vcpus))
    counts = sorted((kind.__name__, count) for kind, count in vm.exits.items() if count)
    return Facts(
        ending="" if vm.ending is None else vm.ending.message,
        output=crc32(output),
        registers=crc32(registers.encode()),
        memory=memory_checksum(vm) if memory is None else memory,
        devices=crc32(repr(save_vm(vm)).encode()),
        time=vm.clock.now(),
        instructions=vm.instructions,
        counts=None if stopped else crc32(repr(counts).encode()),
        exits=None if lines is None else crc32("\n".join(lines).encode()),
    )


def run_once(repeated: Repeated, seed: int, *, traced: bool, held: bool = False) -> Run:
    """One run. `held`: by `kev.start`, and paused at moments that chance chooses. LateInput."""
    lines: list[str] | None = [] if traced else None
    wishes = {"memory": "64M", **repeated.wishes, "seed": seed, "timeline": CHANCE.random() < 0.05}
    with _image(repeated) as image:
        facts, pages = trio.run(_hold, image, wishes, lines) if held else _launch(image, wishes, repeated.data, lines)
    return Run(facts, lines or [], pages)


def _pages(machine: Machine) -> list[int]:
    return [page for run in machine.vm.pager.pages.runs(PageState.PRESENT) for page in run]


def _launch(image: Any, wishes: Mapping[str, Any], data: bytes, lines: list[str] | None) -> tuple[Facts, list[int]]:
    found: list[tuple[Facts, list[int]]] = []
    warnings: list[str] = []
    output = bytearray()
    with piped(data) as descriptor:
        kev.launch(
            image,
            output=output.extend,
            trace_exits=None if lines is None else lines.append,
            at_end=lambda machine: found.append((_facts(machine, output, lines), _pages(machine))),
            input_descriptor=descriptor,
            warn=warnings.append,
            timeout=_TIMEOUT,
            **wishes,
        )
    if any("there is no input in this run" in warning for warning in warnings):
        raise LateInput
    return found[0]


async def _hold(image: Any, wishes: Mapping[str, Any], lines: list[str] | None) -> tuple[Facts, list[int]]:
    async with kev.start(image, paused=True, timeout=_TIMEOUT, **wishes) as machine:
        if lines is not None:
            machine.observe(ExitTrace(lines.append))
        await machine.resume()
        while machine.state is not MachineState.ENDED:
            await trio.sleep(CHANCE.random() / 500)
            if machine.state is MachineState.RUNNING and CHANCE.random() < 0.5:
                await machine.pause()
                machine.registers(0)
                await trio.sleep(CHANCE.random() / 1000)
                await machine.resume()
        await machine.wait()
        return _facts(machine, bytes(machine.output), lines), _pages(machine)


def run_forks(repeated: Repeated, seed: int, first: Run, count: int) -> list[Run]:
    """Runs that share their beginning: so many forks of a machine somewhere on the way of `first`, and the machine itself."""
    wishes = {"memory": "64M", **repeated.wishes, "seed": seed}
    at = CHANCE.randrange(1, first.facts.instructions)
    with _image(repeated) as image:
        return [Run(facts, [], []) for facts in trio.run(_fork, image, wishes, at, count, first.pages)]


async def _fork(image: Any, wishes: Mapping[str, Any], at: int, count: int, pages: list[int]) -> list[Facts]:
    found: list[Facts] = []
    async with kev.start(image, paused=True, timeout=_TIMEOUT, **wishes) as machine:
        machine.vm.stop_at = at
        await machine.resume()
        while machine.state not in (MachineState.PAUSED, MachineState.ENDED):
            await trio.lowlevel.checkpoint()
        if machine.state is MachineState.PAUSED:
            before = bytes(machine.output)
            for fork in await machine.fork(count):
                await fork.resume()
                await fork.wait()
                found.append(_facts(fork, before + bytes(fork.output), None, await _checksum(fork, pages)))
                fork.close()
            await machine.resume()
        await machine.wait()
        found.append(_facts(machine, bytes(machine.output), None, await _checksum(machine, pages)))
    return found


async def _checksum(machine: Machine, pages: list[int]) -> int:
    """That of `kev.machine.digest.memory_checksum`, of pages of which not all need to be there: a fork has others' to look at."""
    checksum, memory = 0, machine.vm.pager.memory
    for page in pages:
        hpa = machine.vm.pager.gpa2hpa(Gpa(page))
        if hpa is None:
            checksum = crc32(await machine.read(PAGE_SIZE, gpa=page), crc32(page.to_bytes(8, "little"), checksum))
        elif hpa < memory.size:
            checksum = crc32(memory.page(hpa), crc32(page.to_bytes(8, "little"), checksum))
    return checksum


@contextmanager
def _image(repeated: Repeated) -> Iterator[Any]:
    if repeated.build is not None:
        source = MemorySource(repeated.image, repeated.build())
        yield ScatteredSource(source) if repeated.scattered else source
    elif repeated.scattered:
        with open_image(repeated.image) as (file, _):
            yield ScatteredSource(file)
    else:
        yield repeated.image


def difference(first: Run, other: Run) -> str | None:
    """Where two runs part: the first exit that they do not share, and what else of them differs; None if nothing does."""
    ours, theirs = attrs.asdict(first.facts), attrs.asdict(other.facts)
    differing = [name for name in ours if ours[name] != theirs[name] and None not in (ours[name], theirs[name])]
    if not differing:
        return None
    told = ", ".join(f"{name} {ours[name]!r} and {theirs[name]!r}" for name in differing)
    if not first.lines or not other.lines:
        return f"{told}; the exits of one of them are not known"
    for number, (line, line_too) in enumerate(zip_longest(first.lines, other.lines)):
        if line != line_too:
            return f"{told}; exit {number}: {line or 'none any more'!r} and {line_too or 'none any more'!r}"
    return f"{told}; all {len(first.lines)} exits are the same"


def packed(run: Run) -> bytes:
    """A run as bytes, to be kept."""
    return zlib.compress(json.dumps([attrs.asdict(run.facts), run.lines, run.pages]).encode())


def unpacked(data: bytes) -> Run:
    facts, lines, pages = json.loads(zlib.decompress(data))
    return Run(Facts(**facts), lines, pages)


def _small(*first: small.Action, others: tuple[small.Action, ...], vcpus: int = 2) -> Callable[[], bytes]:
    return lambda: small.guest(first, others, vcpus=vcpus)


_INCREMENTS: Final = _small(*[small.increment(0)] * 6, others=(small.increment(0),) * 6, vcpus=3)
_LOCKS: Final = _small(
    *[small.acquire(2), small.increment(0), small.release(2)] * 3,
    others=(small.acquire(2, pause=False), small.increment(0), small.release(2)) * 3,
    vcpus=4,
)
_NMIS: Final = _small(small.store(3, 1), small.wake(1), others=(small.sleep_until(3, 1), small.increment(0)))
_DRAWN: Final = _small(small.random(0), small.random(4), small.read_cmos(0, 1), others=(small.random(1), small.relax))

_TINY: Final = {"memory": "1M"}

REPEATED: Final[Mapping[str, Repeated]] = {
    "16-bit code: a boot sector": Repeated("bootsector"),
    "16-bit code: the BIOS": Repeated("bios"),
    "16-bit code: events": Repeated("events16"),
    "32- and 16-bit code, 3 vCPUs: lost updates": Repeated("increments", _TINY | {"vcpus": 3}, build=_INCREMENTS),
    "32- and 16-bit code, 4 vCPUs: locks": Repeated("locks", _TINY | {"vcpus": 4}, build=_LOCKS),
    "32- and 16-bit code, 2 vCPUs: NMIs": Repeated("nmis", _TINY | {"vcpus": 2}, build=_NMIS),
    "32- and 16-bit code, 2 vCPUs: RDRAND, clock": Repeated("drawn", _TINY | {"vcpus": 2}, build=_DRAWN),
    "the same, pages come when they like": Repeated("locks", _TINY | {"vcpus": 4}, build=_LOCKS, scattered=True),
    "32-bit code: events": Repeated("events32"),
    "32-bit code: Multiboot": Repeated("mb1info"),
    "32-bit code: lv6": Repeated("lv6"),
    "32-bit code: lv6, hypercalls": Repeated("lv6-vmcall"),
    "64-bit code: hypercalls": Repeated("hypercalls"),
    "64-bit code: events": Repeated("events"),
    "64-bit code: CPL 3": Repeated("user"),
    "64-bit code: ports": Repeated("ports"),
    "64-bit code: PVH": Repeated("pvh"),
    "64-bit code: a bzImage": Repeated("linux-bzimage"),
    "64-bit code: KeOS": Repeated("gKeOS"),
    "64-bit code: KeOS, all pages first": Repeated("gKeOS", {"paging": "eager"}),
    "64-bit code: KeOS, pages come when they like": Repeated("gKeOS", scattered=True),
    "a triple fault": Repeated("triple"),
    "JOS-vmx": Repeated("jos-vmx"),
    "2 vCPUs: lost updates": Repeated("lost-update"),
    "4 vCPUs: lost updates": Repeated("lost-update", {"vcpus": 4}),
    "4 vCPUs: lost updates, pages come when they like": Repeated("lost-update", {"vcpus": 4}, scattered=True),
    "4 vCPUs: lost updates, pages around, as they like": Repeated(
        "lost-update", {"vcpus": 4, "paging": "around=4"}, scattered=True
    ),
    "2 vCPUs: a broken spinlock": Repeated("bad-spinlock"),
    "2 vCPUs: boot": Repeated("boot-race"),
    "3 vCPUs: a lock in an interrupt": Repeated("bugs", {"command_line": "lock-in-interrupt corrected"}),
    "3 vCPUs: IPIs and page faults": Repeated("bugs", {"command_line": "missing-shootdown corrected"}),
    "3 vCPUs: late halts": Repeated("bugs", {"command_line": "late-halt corrected"}),
    "4 vCPUs: IPIs, spinlocks": Repeated("smp"),
    "4 vCPUs: IPIs, spinlocks, pages come when they like": Repeated("smp", {"vcpus": 4}, scattered=True),
    "2 vCPUs: a slow source": Repeated("smp", {"vcpus": 2, "source_latency": "20us,jitter=200us"}),
    "timers": Repeated("timer"),
    "a disk: svirtb": Repeated("block"),
    "a disk: virtio": Repeated("virtio"),
    "a disk: virtio on PCI": Repeated("virtio-pci"),
    "input": Repeated("echo", data=b"hello\nand more of it\nexit 0\n", holdable=False),
}
"""By what is said of each."""
