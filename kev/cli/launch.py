"""What `kev run` does, once its command line is read."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from kev.cli.numbers import counted
from kev.cli.options import PRINT_SPEC, Option, choice, described, machine_options, parse
from kev.cli.standard_output import StandardOutput, StandardOutputError
from kev.errors import KevError, one_line
from kev.machine.ending import EXIT_CODE_MISTAKE, EXIT_CODE_TIMED_OUT, Ending, EndingKind
from kev.machine.opening import OpeningTimedOut
from kev.spec.errors import SpecError
from kev.spec.fields import Arity
from kev.spec.machine_spec import MachineSpec

if TYPE_CHECKING:
    from kev.cli.contained import Inside
    from kev.machine.machine import Machine
    from kev.machine.run_report import RunReport
    from kev.machine.snapshot_at import SnapshotAt
    from kev.pager.policy import PagingPolicy

_NOT_CONTAINED: Final = {"gdb": "sockets", "dump": "files", "screenshot": "files", "snapshot_at": "files", "trace": "files"}
RUN_OPTIONS: Final = (
    *machine_options(),
    PRINT_SPEC,
    Option(
        "contained",
        ("--contained",),
        "Run the machine in a process of its own, confined, which its guest may take down: the exit code is 4 then.",
        arity=Arity.FLAG,
    ),
    Option("report", ("--report",), "Write the run's figures; - is standard output, behind what the guest prints.", "FILE.json"),
    Option("dump", ("--dump",), "Write an ELF core file for gdb, crash and `kev inspect`, unless the guest ends itself.", "FILE"),
    Option("screenshot", ("--screenshot",), "Write a picture of what the guest shows at the end.", "FILE.png"),
    Option(
        "trace",
        ("--trace",),
        "Write a trace for Perfetto; it may be -, too, as may the screenshot and what paging records.",
        "FILE.json",
    ),
    Option("restore", ("--restore",), "Go on from a snapshot, which may be a URL. IMAGE may be one as well.", "FILE"),
    Option(
        "snapshot_at",
        ("--snapshot-at",),
        "Write a snapshot when the run comes to output:TEXT, symbol:NAME[+OFFSET], instructions:N or hypercall[:NUMBER]; "
        "or, with key, whenever Ctrl-A s is typed.",
        "CONDITION FILE",
        values=2,
    ),
    Option("logs", ("--log",), "Write a log of the guest to stderr: cr3, every write to CR3.", "NAME", arity=Arity.MANY),
    Option("trace_exits", ("--trace-exits",), "Write a line for every exit to stderr.", arity=Arity.FLAG),
    Option("gdb", ("--gdb",), "Let gdb or lldb in, there. With --seed, they may go back in time.", "[HOST:]PORT|unix:PATH"),
    Option("wait", ("--wait",), "With --gdb: do not begin before a debugger says so.", arity=Arity.FLAG),
    Option("log_level", ("--log-level",), "Write events of this level and above to stderr.", "LEVEL"),
)


def main(words: Sequence[str], import_together: Callable[[str], object] = import_module) -> int | None:
    """Runs `kev run` with the words of its command line. The exit code, or None if click has to be asked about them.

    `import_together` is what imports the hypervisor; nothing else is imported meanwhile.
    """
    given = parse(words, RUN_OPTIONS, "image")
    if given is None:
        return None
    if not given["contained"]:  # which forks
        from kev.engine.amdv import library

        library.load_beside()
        import_together("kev.machine.api")
    try:
        return run(given)
    except KevError as error:
        sys.stderr.write(f"kev: {error}\n")
        return EXIT_CODE_MISTAKE
    except FileNotFoundError as error:
        from kev.user_files import without_working_directory

        gone = without_working_directory(error)
        if gone is None:
            raise
        sys.stderr.write(f"kev: {gone}\n")
        return EXIT_CODE_MISTAKE


def run(given: Mapping[str, Any]) -> int:
    """Launches a guest: `given` has the values of `RUN_OPTIONS`, and `image`. The exit code. KevError."""
    try:
        return _run(given)
    except OpeningTimedOut as error:
        _write_line(f"kev: {one_line(str(error))}")
        return EXIT_CODE_TIMED_OUT


def _run(given: Mapping[str, Any]) -> int:
    policy = _own_policy(given)
    if policy is not None:
        given = {**given, "paging": None}
    spec = described(given if given["restore"] is None else _restoring(given), may_start_disk=True)
    if given["print_spec"]:
        if policy is not None:
            raise SpecError("--print-spec: a description names none but kev's own paging policies: leave --paging out")
        return _print(spec)
    report, trace = given["report"], given["trace"]
    if given["timeline"] and report is None and trace is None:
        raise SpecError("--timeline: it is a part of the report: add --report FILE.json")
    if given["wait"] and given["gdb"] is None:
        raise SpecError("--wait: there is no debugger to wait for: add --gdb [HOST:]PORT")
    if given["log_level"] is not None:
        from kev import log

        log.configure(choice("--log-level", given["log_level"], log.LEVELS))
    _check_files(spec, given)
    return _run_contained(spec, given, policy) if given["contained"] else _carry_out(spec, given, policy)


def _own_policy(given: Mapping[str, Any]) -> "PagingPolicy | None":
    """One that the user has made, if `--paging` names a module. KevError."""
    text = given["paging"]
    if text is None or ":" not in text:
        return None
    from kev.cli.own_objects import is_own, own_policy

    return own_policy(text)() if is_own(text) else None


def _run_contained(spec: MachineSpec, given: Mapping[str, Any], policy: "PagingPolicy | None") -> int:
    for name, what in _NOT_CONTAINED.items():
        if given[name] is not None:
            raise SpecError(f"--contained: not with --{name.replace('_', '-')}: a process that is confined can make no {what}")
    from kev.cli.contained import contained

    exit_code, report = contained(spec, partial(_carry_out, spec, given, policy))
    if report is not None:
        _write_report(report, given["report"])
    return exit_code


def _carry_out(spec: MachineSpec, given: Mapping[str, Any], policy: "PagingPolicy | None", inside: "Inside | None" = None) -> int:
    """The run, with all that is written and said at its end. The exit code."""
    report, trace = given["report"], given["trace"]
    files, snapshot = _FilesOfTheEnd(given["dump"], given["screenshot"]), _snapshot_at(given)
    tracing = None if trace is None else _Tracing(trace)
    recording = None
    record = _recorded(spec)
    if policy is None and inside is None and record is not None:
        from kev.cli.run_files import Recording

        recording = Recording(record)
        policy = recording.policy
    outcome, output = _launch(
        spec if tracing is None else spec.replace(timeline=True), given, policy, files, snapshot, tracing, inside
    )
    if recording is not None:
        files.attempt(recording.write)
    if report is not None:
        from kev.observe.output import is_standard_output

        tell = partial(_write_report, file=report) if inside is None or is_standard_output(report) else inside.tell
        files.attempt(lambda: tell(outcome.as_dict()))
    if tracing is not None:
        files.attempt(lambda: tracing.write(outcome))
    if output.error is None:
        _conclude(outcome)
    files.conclude(output.error)
    if snapshot is not None and (problem := snapshot.problem) is not None:
        if outcome.ending.kind is EndingKind.EXITED:
            raise problem
        _write_line(f"kev: {problem}")  # the exit code says why
    return outcome.exit_code


class _Tracing:
    """Keeps what vCPUs do, for a trace."""

    def __init__(self, file: str) -> None:
        from kev.observe.activity import Activity

        self.activity: Final = Activity()
        self._file: Final = file
        self._began = 0.0

    def begin(self, machine: "Machine") -> None:
        from kev.machine.watching import watch_activity

        self._began = machine.times.began
        watch_activity(machine, self.activity)

    def write(self, outcome: "RunReport") -> None:
        """OutputError."""
        from kev.observe.output import write_json
        from kev.observe.trace_file import trace_events

        self.activity.ended()
        write_json(self._file, trace_events(outcome.as_dict(), self.activity, self._began), compact=True)
        if self.activity.exits_left_out:
            _write_line(f"kev: {self.activity.exits_left_out:,} exits are not in the trace: it has the first of them only")


class _FilesOfTheEnd:
    """What is written when a run is over. If that fails, it is said at the very end, and hides nothing.

    Dumps a machine whose guest has not ended itself, and takes a picture of any.
    """

    def __init__(self, dump: str | None, screenshot: str | None) -> None:
        self._dump = dump
        self._screenshot = screenshot
        self._errors: list[KevError] = []
        self.unseen = False
        """The guest has drawn something that nobody has a picture of."""
        self.missing: list[str] = []
        """Devices that a guest which has not ended itself may have waited for."""

    def __call__(self, machine: "Machine") -> None:
        ending, framebuffer = machine.ending, machine.vm.framebuffer
        screen = machine.vm.screen
        draws = screen.in_graphics_mode or (framebuffer is not None and framebuffer.is_drawn_on)
        self.unseen = self._screenshot is None and draws
        unanswered = machine.vm.buses.ports.unanswered
        if unanswered and ending is not None and ending.kind is not EndingKind.EXITED:
            from kev.dev.buses.missing import missing_devices

            self.missing = missing_devices(unanswered)
        if self._dump is not None and ending is not None and ending.kind is not EndingKind.EXITED:
            self.attempt(partial(machine.dump, self._dump))
        if self._screenshot is not None:
            from kev.observe.output import write_bytes

            screenshot = self._screenshot
            self.attempt(lambda: write_bytes(screenshot, machine.screenshot()))

    def attempt(self, write: "Callable[[], None]") -> None:
        """Calls `write`; a KevError is kept for the end."""
        try:
            write()
        except KevError as error:
            self._errors.append(error)

    def conclude(self, unwritten: KevError | None) -> None:
        """Raises the last error, if there was one, when the others are said; `unwritten` is why output could not be written."""
        errors = [error for error in self._errors if unwritten is None or str(error) != str(unwritten)]
        if unwritten is not None:
            errors.append(unwritten)
        if errors:
            for error in errors[:-1]:
                _write_line(f"kev: {error}")
            raise errors[-1]


def _restoring(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same with the snapshot as its image. KevError if there is another, or if it is no snapshot."""
    from kev.guests.images import open_image_or_url
    from kev.pager.source import is_snapshot
    from kev.snapshot.errors import SnapshotError

    name = given["restore"]
    if given["image"] is not None:
        raise SpecError(f"--restore: {name!r} is what is launched: {given['image']!r} cannot be, too")
    if "://" not in name and os.sep not in name:
        name = os.path.join(os.curdir, name)  # and no guest's
    with open_image_or_url(name) as (source, _):
        if not is_snapshot(source):
            raise SnapshotError(f"--restore: {given['restore']!r}: is no snapshot")
    return {**given, "image": name}


def _snapshot_at(given: Mapping[str, Any]) -> "SnapshotAt | None":
    if given["snapshot_at"] is None:
        return None
    if given["gdb"] is not None:
        raise SpecError("--snapshot-at: not with --gdb, whose stops are the debugger's")
    from kev.machine.snapshot_at import SnapshotAt

    return SnapshotAt(*given["snapshot_at"])


def _print(spec: MachineSpec) -> int:
    from kev.guests.spec_files import resolved
    from kev.machine.snapshots import of_snapshot

    StandardOutput().write(resolved(of_snapshot(spec)).to_toml().encode())
    return 0


def _launch(
    spec: MachineSpec,
    given: Mapping[str, Any],
    policy: "PagingPolicy | None",
    at_end: _FilesOfTheEnd,
    snapshot: "SnapshotAt | None",
    tracing: _Tracing | None,
    inside: "Inside | None",
) -> "tuple[RunReport, StandardOutput]":
    """How the run has ended, and what it was printed to."""
    if given["gdb"] is None:
        from kev.machine.api import launch

        if snapshot is not None:
            launch = partial(launch, snapshot_at=snapshot)
    else:
        launch = _debugged(given["gdb"], wait=bool(given["wait"]))
    output = StandardOutput()
    running: list[Machine] = []

    def write(data: bytes) -> None:
        try:
            output.write(data)
        except StandardOutputError:
            for machine in running:
                machine.end_soon(Ending.stopped())

    def begin(machine: "Machine") -> None:
        if inside is not None:
            inside.begin(machine)
        running[:] = [machine]
        machine.describes_cut_short = given["report"] is not None  # the closing lines name places only
        output.is_over = lambda: machine.ending is not None or machine.time_left == 0
        if tracing is not None:
            tracing.begin(machine)

    report = launch(
        spec,
        paging=policy or _shown_loading(spec),
        output=write,
        logs=given["logs"] or (),
        log=_write_log,
        trace_exits=_write_line if given["trace_exits"] else None,
        warn=_write_warning,
        input_descriptor=_standard_input(),
        interrupt_ends=True,
        at_start=begin,
        at_end=at_end,
    )
    if report.screen_is_news:
        # What only a screen would have shown.
        write(f"{report.screen}\n".encode())
    if report.first_output_ms is None and at_end.unseen:
        _write_line("kev: the guest has drawn on its display: --screenshot FILE.png makes a picture of it")
    if at_end.missing:
        _write_line(f"kev: the guest has looked for what this machine has not: {', '.join(at_end.missing)}")
    if not output.ends_line and sys.stdout.isatty() and sys.stderr.isatty():
        _write_line("")  # what kev says begins on a line of its own
    if output.dropped:
        _write_line(f"kev: {output.dropped:,} bytes of the guest's output were not read, and are lost")
    return report, output


def _debugged(address: str, *, wait: bool) -> "Callable[..., RunReport]":
    """A `launch` that lets debuggers in."""
    from kev.gdb.launch import debug

    def tell(place: str) -> None:
        then = "; the guest waits for `continue`" if wait else ""
        _write_line(f"kev: gdb: listening on {place}; `target remote {place}`{then}")

    return partial(debug, address=address, wait=wait, listening=tell)


def _shown_loading(spec: MachineSpec) -> "PagingPolicy | None":
    """Eager loading with a progress bar; None for another policy."""
    if spec.paging != "eager":
        return None
    from kev.cli.loading_bar import LoadingBar
    from kev.pager.policy import Eager

    return Eager(LoadingBar())


def _recorded(spec: MachineSpec) -> str | None:
    """The file that the paging policy writes, if it is one that does."""
    kind, _, file = (spec.paging or "").partition("=")
    return file if kind == "record" else None


def _check_files(spec: MachineSpec, given: Mapping[str, Any]) -> None:
    """KevError, before the run, if a file that it is to write cannot be written."""
    snapshot = given["snapshot_at"]
    files = {
        **{f"--{name}": given[name] for name in ("report", "trace", "dump", "screenshot")},
        "--paging": _recorded(spec),
        "--snapshot-at": None if snapshot is None else snapshot[1],
    }
    if any(file is not None for file in files.values()):
        from kev.cli.run_files import check_files

        check_files(spec, given["spec"], {switch: file for switch, file in files.items() if file is not None})


def _write_report(told: Mapping[str, Any], file: str) -> None:
    from kev.observe.output import write_json

    write_json(file, told, compact=told.get("timeline") is not None)


def _standard_input() -> int | None:
    """The descriptor of standard input, or None if the process has none."""
    try:
        return sys.stdin.fileno()
    except (AttributeError, ValueError, OSError):
        return None


def _write_log(data: bytes) -> None:
    _write_line(data.decode(errors="replace").removesuffix("\n"))


def _write_line(line: str) -> None:
    sys.stderr.write(line + "\n")


def _write_warning(line: str) -> None:
    _write_line(f"kev: warning: {line}")


def _conclude(outcome: "RunReport") -> None:
    """The closing lines on stderr."""
    if outcome.ending.kind is not EndingKind.EXITED:
        _write_line(f"kev: {one_line(outcome.ending.message)}")
    if outcome.death is not None and outcome.ending.kind is EndingKind.DIED:
        sys.stderr.write(outcome.death.as_text() + "\n")
    _write_line(f"kev: {outcome.ending.verdict}")
    first = "" if outcome.first_output_ms is None else f", first output after {outcome.first_output_ms:.0f} ms"
    sys.stderr.write(
        f"kev: loaded {outcome.pages_loaded:,} of {outcome.ram_pages:,} pages ({outcome.image_pages:,} in the image){first}, "
        f"ended after {outcome.run_ms:.0f} ms\n"
    )
    if outcome.unanswered is not None:
        accesses, pages, ranges = outcome.unanswered.values()
        lowest = ranges[0].partition("-")[0]
        what = f"{counted(accesses, 'access', 'accesses')} to {counted(pages, 'page', 'pages')}"
        sys.stderr.write(
            f"kev: {what} without memory or a device, the lowest at {lowest}: "
            "they read ones, and wrote nothing; --strict-memory ends the run there\n"
        )
    if "missed" in outcome.paging:
        sys.stderr.write(f"kev: {outcome.paging['missed']:,} of them were not in the recorded working set\n")
