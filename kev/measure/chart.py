"""A picture of the results of `kev bench boot`, and what pictures of others are drawn with."""

import os
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from kev.measure.errors import BenchError
from kev.measure.result import BenchResult, CaseResult
from kev.measure.summary import Summary, values_outside
from kev.measure.table import rounds_text
from kev.observe.output import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Panel: TypeAlias = Callable[["Axes", Sequence[CaseResult]], None]
"""Draws the cases of one scenario."""

COLOURS: Final = {"lazy": "#0072b2", "eager": "#d55e00", "around=16": "#009e73", "prefetch": "#cc79a7"}
"""By policy; distinguishable without seeing red and green."""
OTHER: Final = "#7f7f7f"
_FIRST: Final = "first_output_ms"


def draw(result: BenchResult, file: Path) -> None:
    """Writes a picture with a panel for each scenario, or with one of a machine that was named, as `draw_panels` does."""
    panels = {"launch": _launch, "image": _image, "memory": _memory, "source": _source}
    draw_panels(result, file, "Boot latency", {"machine": _machine} if result.scenario("machine") else panels)


def check_picture(file: str | os.PathLike[str]) -> None:
    """BenchError if matplotlib is not installed: better before the first round than after the last."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise BenchError(f"{os.fspath(file)}: a picture needs matplotlib: `pip install kev-hypervisor[bench]`") from error


def draw_panels(result: BenchResult, file: Path, title: str, panels: Mapping[str, Panel]) -> None:
    """Writes a panel, or four, by scenario: SVG if the name ends with .svg, else PNG.

    BenchError as from `check_picture`, and if no panel has anything to show; OutputError.
    """
    if not any(map(result.scenario, panels)):
        raise BenchError(f"{file}: nothing to draw: there are pictures of {', '.join(panels)}")
    check_picture(file)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 8.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    side = 1 if len(panels) == 1 else 2
    for (scenario, panel), axes in zip(panels.items(), figure.subplots(side, side, squeeze=False).flat, strict=True):
        cases = result.scenario(scenario)
        if cases:
            panel(axes, cases)
        else:
            axes.set_visible(False)
    bars = "too few for 95 % intervals" if values_outside(result.rounds) is None else "and their 95 % intervals"
    figure.suptitle(f"{title} of kev {result.environment['kev']}: medians of {rounds_text(result.rounds)}, {bars}")
    picture = BytesIO()
    if file.suffix == ".svg":
        figure.savefig(picture, format="svg", metadata={"Date": None})
    else:
        figure.savefig(picture, format="png")
    write_bytes(file, picture.getvalue())


def _machine(axes: "Axes", cases: Sequence[CaseResult]) -> None:
    axes.set_title(f"{cases[0].parameters['image']} until its first output", loc="left")
    names = [" ".join(filter(None, (value for name, value in case.parameters.items() if name != "image"))) for case in cases]
    colours = [COLOURS.get(case.parameters["policy"], OTHER) for case in cases]
    ranked(axes, names, [case.metrics[_FIRST] for case in cases], colours)


def _launch(axes: "Axes", cases: Sequence[CaseResult]) -> None:
    axes.set_title("gKeOS until the first byte of its banner", loc="left")
    names = [str(case.parameters["what"]) for case in cases]
    ranked(axes, names, [case.metrics[_FIRST] for case in cases], [OTHER if name == "QEMU" else COLOURS["lazy"] for name in names])


def _image(axes: "Axes", cases: Sequence[CaseResult]) -> None:
    axes.set_title("First output by size of the image", loc="left")
    latency = cases[0].parameters["latency"]
    cases = [case for case in cases if case.parameters["latency"] == latency]
    sizes = list(dict.fromkeys(case.parameters["image"] for case in cases))
    by_policy(axes, cases, sizes, _FIRST)
    by_size(axes, sizes)
    axes.legend(frameon=False)


def _memory(axes: "Axes", cases: Sequence[CaseResult]) -> None:
    axes.set_title("First output by size of RAM", loc="left")
    sizes = [case.parameters["memory"] for case in cases]
    line(axes, range(len(sizes)), [case.metrics[_FIRST] for case in cases], "lazy")
    from_zero(axes, sizes)


def _source(axes: "Axes", cases: Sequence[CaseResult]) -> None:
    axes.set_title("gKeOS until its end, by latency of the source", loc="left")
    latencies = list(dict.fromkeys(case.parameters["latency"] for case in cases))
    grouped(axes, cases, "latency", "end_ms")
    axes.set_xticks(range(len(latencies)), [latency.replace("ms", " ms") for latency in latencies])


def by_policy(axes: "Axes", cases: Sequence[CaseResult], sizes: Sequence[str], metric: str) -> None:
    """A line for each policy, by the size of the image."""
    for policy in dict.fromkeys(case.parameters["policy"] for case in cases):
        found = [case for case in cases if case.parameters["policy"] == policy]
        line(axes, [sizes.index(case.parameters["image"]) for case in found], [case.metrics[metric] for case in found], policy)


def from_zero(axes: "Axes", sizes: Sequence[str]) -> None:
    """`by_size`, with milliseconds from 0 on."""
    by_size(axes, sizes)
    axes.set_yscale("linear")
    axes.set_ylim(bottom=0)


def ranked(axes: "Axes", names: Sequence[str], summaries: Sequence[Summary], colours: Sequence[str]) -> None:
    """A bar for each name, one below the other."""
    bars = axes.barh(names, [summary.median for summary in summaries], xerr=errors(summaries), color=colours, capsize=3)
    axes.bar_label(bars, [f"{summary.median:.3g} ms" for summary in summaries], padding=6)
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds")
    axes.margins(x=0.15)
    plain(axes)


def grouped(axes: "Axes", cases: Sequence[CaseResult], group: str, metric: str) -> None:
    """Groups of cases by a parameter, at 0, 1, ...; in each, a bar for each policy, with its waits above it."""
    groups = list(dict.fromkeys(case.parameters[group] for case in cases))
    policies = list(dict.fromkeys(case.parameters["policy"] for case in cases))
    width = 0.8 / max(len(policies), 1)
    for number, policy in enumerate(policies):
        found = [case for case in cases if case.parameters["policy"] == policy]
        summaries = [case.metrics[metric] for case in found]
        places = [groups.index(case.parameters[group]) + (number - (len(policies) - 1) / 2) * width for case in found]
        medians = [summary.median for summary in summaries]
        bars = axes.bar(
            places, medians, width * 0.92, yerr=errors(summaries), label=policy, color=COLOURS.get(policy, OTHER), capsize=2
        )
        axes.bar_label(bars, [_waits(case) for case in found], padding=2, fontsize="small")
    axes.set_xticks(range(len(groups)), groups)
    axes.set_ylabel("milliseconds; above the bars, waits for a page")
    axes.set_yscale("log")
    axes.margins(y=0.3)
    axes.legend(frameon=False, ncols=3, loc="upper center")
    plain(axes)


def _waits(case: CaseResult) -> str:
    return f"{case.metrics['page_waits'].median:.0f}"


def line(axes: "Axes", places: Sequence[int], summaries: Sequence[Summary], policy: str) -> None:
    """A curve in the colour of its policy."""
    medians = [summary.median for summary in summaries]
    axes.errorbar(places, medians, errors(summaries), label=policy, color=COLOURS.get(policy, OTHER), marker="o", capsize=3)


def by_size(axes: "Axes", sizes: Sequence[str]) -> None:
    """The axes of curves over sizes, at 0, 1, ..."""
    axes.set_xticks(range(len(sizes)), [f"{size[:-1]} {size[-1:]}iB" for size in sizes])
    axes.set_ylabel("milliseconds")
    axes.set_yscale("log")
    plain(axes)


def errors(summaries: Sequence[Summary]) -> list[list[float]] | None:
    """The distances to the ends of the intervals, as matplotlib wants them: 0 where there are none, None if none are there."""
    if all(summary.low is None and summary.high is None for summary in summaries):
        return None
    lows = [0.0 if summary.low is None else summary.median - summary.low for summary in summaries]
    return [lows, [0.0 if summary.high is None else summary.high - summary.median for summary in summaries]]


def plain(axes: Any) -> None:
    """No more lines than are needed."""
    axes.spines[["top", "right"]].set_visible(False)
    for axis, scale in ((axes.xaxis, axes.get_xscale()), (axes.yaxis, axes.get_yscale())):
        if scale == "log":
            axis.set_major_formatter("{x:g}")
    axes.set_axisbelow(True)
    axes.grid(axis="x" if axes.get_xlabel() else "y", color="#e5e5e5")
