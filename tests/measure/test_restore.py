"""`kev bench restore`: machines that are saved, go on and are forked, to a line of what they print."""

import json
import re
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kev.addressing import GIB, MIB
from kev.cli.main import kev
from kev.measure.case import Case, Rounds
from kev.measure.counted_source import ReadCounts
from kev.measure.errors import BenchError
from kev.measure.held import ForkRun, save_at
from kev.measure.line import FirstInstruction, Line, LineRun, working_set_of
from kev.measure.processes import qemu_run
from kev.measure.qemu import QemuSnapshot
from kev.measure.result import BenchResult
from kev.measure.targets import restore_targets
from kev.measure.touched import write_touched
from kev.pager.policy import PagingPolicy
from kev.pager.prefetch import Prefetch
from kev.pager.slow_source import SlowSource, SourceDelay
from kev.pager.source import AsynchronousSource
from kev.spec.machine_spec import MachineSpec
from kev.work.stopping import Stopped, signals_noted
from tests.measure.test_image import guest

BANNER = "output:gKeOS, a KeOS-style guest kernel"
LAST = Line("Hello guest os!")
GKEOS = MachineSpec("gKeOS", memory=256 * MIB)
HEADERS = 64 * 1024


class Zeros:
    name = "zeros"
    size = 1 << 20

    def read_into(self, offset: int, buffer: memoryview, /) -> int:
        buffer[:] = bytes(len(buffer))
        return len(buffer)


async def test_reads_are_counted_whether_they_are_awaited_or_not() -> None:
    counts = ReadCounts()
    for source in (Zeros(), SlowSource(Zeros(), SourceDelay(0.0))):
        counted = counts.counted(source)
        read = counted.read_into(0, memoryview(bytearray(100)))
        assert (read if isinstance(read, int) else await read) == 100
        assert (counted.name, counted.size) == ("zeros", 1 << 20)
    assert (counts.reads, counts.bytes) == (2, 200)


def test_headers_of_a_source_that_waits_are_counted_once() -> None:
    counts = ReadCounts()
    counted = counts.counted(SlowSource(Zeros(), SourceDelay(0.0)))
    assert isinstance(counted, AsynchronousSource)
    for offset in (0, 4096):
        counted.blocking.read_into(offset, memoryview(bytearray(64)))
    assert (counts.reads, counts.bytes) == (1, HEADERS)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """gKeOS behind its banner."""
    file = tmp_path_factory.mktemp("restore") / "gKeOS.snap"
    save_at(GKEOS, BANNER, file)
    return file


def test_what_goes_on_loads_what_it_touches_and_counts_up_to_the_line(saved: Path) -> None:
    metrics = LineRun(MachineSpec(saved), LAST, PagingPolicy).measure()
    assert metrics["violations"] == metrics["pages_loaded"] > 100
    assert 0 < metrics["first_instruction_ms"] < metrics["line_ms"] < metrics["end_ms"]
    assert metrics["kib_read"] > metrics["reads"] > 100


def test_a_prefetch_from_a_slow_source_leaves_hardly_a_violation(saved: Path) -> None:
    spec = MachineSpec(saved, source_latency="2ms")
    pages = working_set_of(spec, LAST)
    lazy = LineRun(spec, LAST, PagingPolicy).measure()
    prefetch = LineRun(spec, LAST, lambda: Prefetch(pages)).measure()
    assert prefetch["violations"] <= 0.03 * lazy["violations"]
    assert prefetch["reads"] < lazy["reads"]


def test_a_run_that_is_to_end_with_its_line_does(saved: Path) -> None:
    metrics = LineRun(MachineSpec(saved), Line("kvmclock", ends_run=True), PagingPolicy).measure()
    assert "end_ms" not in metrics
    assert metrics["violations"] < 100


def test_a_fork_is_measured_from_where_its_machine_is_held() -> None:
    begun = ForkRun(GKEOS, BANNER, LAST).measure()
    booted = ForkRun(GKEOS, "output:subsystems", LAST).measure()
    assert begun["violations"] > 100 > booted["violations"]
    assert 0 < booted["first_instruction_ms"] < booted["line_ms"] < booted["end_ms"]


@pytest.mark.parametrize(
    ("run", "problem"),
    [
        (lambda: LineRun(MachineSpec("hypercalls"), Line("never"), PagingPolicy).measure(), "hypercalls: has not printed 'never'"),
        (lambda: LineRun(MachineSpec("crash"), Line(""), PagingPolicy).measure(), "crash: has printed nothing: vCPU 0 at "),
        (lambda: ForkRun(MachineSpec("hypercalls"), "instructions:1", Line("never")).measure(), "hypercalls: has not printed"),
        (lambda: ForkRun(MachineSpec("hypercalls"), "output:never", Line("")).measure(), "the run has ended before output:never"),
        (lambda: save_at(MachineSpec("hypercalls"), "output:never", Path("x")), "the run has ended before output:never"),
    ],
)
def test_what_does_not_come_is_no_measurement(run: object, problem: str) -> None:
    with pytest.raises(BenchError, match=re.escape(problem)):
        run()  # type: ignore[operator]


@pytest.mark.parametrize(
    "work",
    [
        lambda folder: save_at(MachineSpec("spin"), "output:never", folder / "spin.snap"),
        lambda _: ForkRun(MachineSpec("spin"), "", Line("never")).measure(),
        lambda _: working_set_of(MachineSpec("hypercalls"), Line("")),
    ],
)
def test_a_signal_ends_what_is_made_ready_and_measured(tmp_path: Path, work: Callable[[Path], object]) -> None:
    with signals_noted([signal.SIGTERM]):
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Stopped):
            work(tmp_path)


def test_ram_can_be_touched_afterwards_and_the_machine_goes_on(tmp_path: Path) -> None:
    small, touched = tmp_path / "small", tmp_path / "touched"
    save_at(MachineSpec("gKeOS", memory=8 * GIB), BANNER, small)
    write_touched(small, touched, GIB)
    assert touched.stat().st_size > small.stat().st_size + 512 * 4096
    assert FirstInstruction(MachineSpec(touched)).measure()["first_instruction_ms"] > 0
    counts = [LineRun(MachineSpec(file), LAST, PagingPolicy).measure()["pages_loaded"] for file in (small, touched)]
    assert counts[0] == counts[1]


def test_ram_that_is_not_there_cannot_have_been_touched(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="its machine has no RAM at 0x140000000-0x180000000"):
        write_touched(saved, tmp_path / "touched", GIB)
    assert not list(tmp_path.iterdir())


# QEMU.


@pytest.fixture
def qemu(tmp_path: Path) -> Sequence[str]:
    """The command line of the Multiboot 1 twin."""
    (tmp_path / "mb1").write_bytes(guest("mb1"))
    command = qemu_run(tmp_path / "mb1", 256 * MIB)
    if command is None:
        pytest.skip("qemu-system-x86_64 is not installed")
    return command


def test_qemu_goes_on_from_its_own_snapshot(qemu: Sequence[str], tmp_path: Path) -> None:
    snapshot = QemuSnapshot.save(qemu, tmp_path / "state", b"gKeOS, a KeOS", b"Hello")
    assert snapshot.file.stat().st_size > MIB
    assert snapshot.command[: len(qemu)] == tuple(qemu)
    assert str(snapshot.file) in snapshot.method
    assert snapshot.measure(b"Hello guest os!")["line_ms"] > 0


def test_a_machine_of_qemu_that_was_stopped_too_late_is_refused(qemu: Sequence[str], tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"QEMU's guest had printed 'Hello' before it was stopped, in 2 attempts$"):
        QemuSnapshot.save(qemu, tmp_path / "state", b"Hello guest", b"Hello", attempts=2)


# What was promised, and the command.


def result(*cases: tuple[str, dict[str, str], dict[str, Sequence[float]]]) -> BenchResult:
    made = Rounds([Case(scenario, parameters, dict) for scenario, parameters, _ in cases])
    for found, (_, _, metrics) in zip(made.values, cases, strict=True):
        found.update({metric: list(values) for metric, values in metrics.items()})
    return BenchResult.of(made, {})


def test_restores_are_held_to_what_they_promise() -> None:
    slow = {"what": "restore", "latency": "2ms"}
    figures = result(
        ("touched", {"touched": "64M"}, {"first_instruction_ms": [2.0, 2.0, 9.0]}),
        ("touched", {"touched": "64G"}, {"first_instruction_ms": [2.1, 2.2, 2.3]}),
        ("source", {**slow, "policy": "lazy"}, {"line_ms": [400.0], "violations": [100]}),
        ("source", {**slow, "policy": "prefetch"}, {"line_ms": [100.0], "violations": [4]}),
    )
    flat, sooner, fewer = restore_targets(figures)
    assert (round(flat.value, 3), flat.limit) == (1.1, 1.1)
    assert (sooner.value, sooner.met) == (4.0, True)
    assert (fewer.value, fewer.met) == (0.04, False)
    assert not list(restore_targets(result()))


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(kev, ["bench", "restore", "--rounds", "1", *arguments], prog_name="kev")


@pytest.mark.slow
def test_every_way_is_measured_and_qemus_is_told(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    answer = bench("--only", "ways", "--json", str(file))
    assert answer.exit_code == 0, answer.stderr
    fields = json.loads(file.read_text(encoding="utf-8"))
    ways = [(case["parameters"]["what"], case["parameters"]["saved"]) for case in fields["cases"]]
    ours = [("boot", ""), *((what, place) for place in ("banner", "booted") for what in ("restore", "fork"))]
    assert ways[:5] == ours
    assert all(case["metrics"]["line_ms"]["median"] > 0 for case in fields["cases"])
    assert fields["environment"]["QEMU's snapshots"].startswith("migrate " if shutil.which("qemu-system-x86_64") else "none: ")


@pytest.mark.slow
def test_sizes_are_gone_through_and_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "picture.svg"
    sizes = ("--image", "1M", "--image", "2M", "--ram", "64M", "--touched", "64M")
    answer = bench("--only", "image", "--only", "memory", "--only", "touched", *sizes, "--picture", str(picture))
    assert answer.exit_code == 0, answer.stderr
    assert re.findall(r"^ +(1M|2M|64M) +(lazy|eager)?", answer.stdout, re.MULTILINE) == [
        ("1M", "lazy"), ("1M", "eager"), ("2M", "lazy"), ("2M", "eager"), ("64M", "lazy"), ("64M", ""),
    ]  # fmt: skip
    assert "<svg" in picture.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_guest_that_is_named_is_saved_and_goes_on_by_every_policy(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    answer = bench("smp", "--smp", "2", "--at", "output:ok 6", "--until", "ok 9", "--latency", "1", "--json", str(file))
    assert answer.exit_code == 0, answer.stderr
    cases = json.loads(file.read_text(encoding="utf-8"))["cases"]
    policies = ("lazy", "eager", "around=16", "record", "prefetch")
    expected = [(what, policy) for what in ("boot", "restore") for policy in policies]
    assert [(case["parameters"]["what"], case["parameters"]["policy"]) for case in cases] == [*expected, ("fork", "")]
    assert not any("end_ms" in case["metrics"] for case in cases)


@pytest.mark.slow
def test_a_snapshot_that_is_named_is_measured(saved: Path) -> None:
    answer = bench(str(saved), "--latency", "0")
    assert answer.exit_code == 0, answer.stderr
    assert re.findall(r" (boot|restore|fork) ", answer.stdout) == 5 * ["restore"] + ["fork"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["smp"], "kev: smp: is no snapshot: `--at CONDITION` says where it is to be saved\n"),
        (["smp", "--at", "soon"], "kev: condition 'soon': it must be one of output:TEXT"),
        (["--only", "nothing"], "kev: no scenario is named 'nothing': there are ways, source, image, memory, touched\n"),
        (["no/file"], "kev: no/file: there is no such file, and no such guest"),
    ],
)
def test_mistakes_are_one_line(words: list[str], problem: str) -> None:
    answer = bench(*words)
    assert answer.exit_code == 2
    assert answer.stderr.startswith(problem)
    assert answer.stderr.count("\n") == 1
