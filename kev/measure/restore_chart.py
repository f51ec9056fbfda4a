"""A picture of the results of `kev bench restore`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kev.measure.chart import COLOURS, OTHER, by_policy, draw_panels, from_zero, grouped, line, ranked
from kev.measure.result import BenchResult, CaseResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FIRST: Final = "first_instruction_ms"
_LINE: Final = "line_ms"
_WAYS: Final = {"restore": COLOURS["lazy"], "kev run SNAPSHOT": COLOURS["lazy"], "fork": COLOURS["around=16"]}
"""By what was done: the others are boots, and QEMU's."""


def draw(result: BenchResult, file: Path) -> None:
    """Writes a picture with a panel for each scenario, or with one of machines that were named, as `draw_panels` does."""
    panels = {"ways": _ways, "source": _source, "image": _image, "touched": _touched}
    draw_panels(result, file, "Restores", {"machine": _machines} if result.scenario("machine") else panels)


def _ways(axes: "Axes", cases: Sequence[CaseResult]) -> None:
    axes.set_title("gKeOS until its last line: booted, or saved", loc="left")
    names = [", ".join(filter(None, (case.parameters["what"], case.parameters["saved"]))) for case in cases]
    colours = [_WAYS.get(case.parameters["what"], OTHER) for case in cases]
    axes.set_xscale("log")
    ranked(axes, names, [case.metrics[_LINE] for case in cases], colours)


def _source(axes: "Axes", cases: Sequence[CaseResult]) -> None:
    latency = cases[-1].parameters["latency"]
    axes.set_title(f"gKeOS until its last line, {latency.replace('ms', ' ms')} from its source", loc="left")
    grouped(axes, [case for case in cases if case.parameters["latency"] == latency], "what", _LINE)


def _image(axes: "Axes", cases: Sequence[CaseResult]) -> None:
    axes.set_title("First instruction by size of the image", loc="left")
    sizes = list(dict.fromkeys(case.parameters["image"] for case in cases))
    by_policy(axes, cases, sizes, _FIRST)
    from_zero(axes, sizes)
    axes.legend(frameon=False)


def _touched(axes: "Axes", cases: Sequence[CaseResult]) -> None:
    axes.set_title("First instruction by RAM that was touched", loc="left")
    line(axes, range(len(cases)), [case.metrics[_FIRST] for case in cases], "lazy")
    from_zero(axes, [case.parameters["touched"] for case in cases])


def _machines(axes: "Axes", cases: Sequence[CaseResult]) -> None:
    axes.set_title("Until the line", loc="left")
    names = [" ".join(filter(None, case.parameters.values())) for case in cases]
    colours = [COLOURS.get(case.parameters["policy"], OTHER) for case in cases]
    ranked(axes, names, [case.metrics[_LINE] for case in cases], colours)
