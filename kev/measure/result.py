"""The results of a benchmark, and the file they are kept in.

The file is JSON: `format`, `environment`, `rounds`, and `cases`, each with `scenario`, `parameters`, `command` (of a process) and
`metrics`: by name the values of all rounds, their median, the ends of its 95 % interval (null if there are too few rounds for one),
and of times those of all single runs, by round.
"""

import os
import platform
import sys
from importlib.metadata import version
from typing import Any, Final, Self

import attrs

from kev.addressing import MIB
from kev.measure.case import Rounds
from kev.measure.errors import BenchError
from kev.measure.summary import Summary, summarize
from kev.user_files import read_user_file
from kev.user_json import constant, each, integer, named, number, parse_user_json, record, scalar, text
from kev.version import __version__

FORMAT: Final = "kev bench 1"
LARGEST_FILE: Final = 64 * MIB
"""In bytes."""
_LARGEST_VALUE: Final = 1e15
_VALUE: Final = number(0, _LARGEST_VALUE)
_SHAPE: Final = record(
    {
        "format": constant(FORMAT),
        "environment": named(text),
        "rounds": integer(1),
        "cases": each(
            record(
                {
                    "scenario": text,
                    "parameters": named(scalar),
                    "metrics": named(record({"values": each(_VALUE, least=1)}, {"runs": each(each(_VALUE))})),
                    "command": each(text),
                }
            )
        ),
    }
)


@attrs.frozen(slots=True)
class CaseResult:
    """What one case came to."""

    scenario: str
    parameters: dict[str, Any]
    metrics: dict[str, Summary]
    command: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return " ".join([self.scenario, *(f"{key}={value}" for key, value in self.parameters.items())])


@attrs.frozen(slots=True)
class BenchResult:
    """What all cases came to, and where."""

    environment: dict[str, str]
    rounds: int
    cases: tuple[CaseResult, ...]

    @classmethod
    def of(cls, rounds: Rounds, peers: dict[str, str]) -> Self:
        """`peers` are the versions of other programs that were measured."""
        results = (
            CaseResult(
                case.scenario,
                case.parameters,
                {name: summarize(found, runs.get(name, ())) for name, found in metrics.items()},
                case.command,
            )
            for case, metrics, runs in zip(rounds.cases, rounds.values, rounds.runs, strict=True)
        )
        return cls(_environment() | peers, rounds.done, tuple(results))

    def scenario(self, name: str, **parameters: Any) -> list[CaseResult]:
        """The cases of a scenario whose parameters are these, whatever the others."""
        return [
            case
            for case in self.cases
            if case.scenario == name and all(case.parameters.get(key) == value for key, value in parameters.items())
        ]

    def median(self, metric: str, scenario: str, **parameters: Any) -> float | None:
        """The median of a metric of the one case with these parameters; None if it was not measured."""
        found = self.scenario(scenario, **parameters)
        return found[0].metrics[metric].median if len(found) == 1 and metric in found[0].metrics else None

    def least(self, metric: str, scenario: str, **parameters: Any) -> float | None:
        """The same for the least of all rounds."""
        found = self.scenario(scenario, **parameters)
        return min(found[0].metrics[metric].values) if len(found) == 1 and metric in found[0].metrics else None

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **attrs.asdict(self)}

    @classmethod
    def from_json(cls, text: str | bytes, name: str) -> Self:
        """BenchError, which calls the file `name`, if `text` is anything else."""
        fields = parse_user_json(text, name, BenchError, "a file of results", _SHAPE)
        return cls(fields["environment"], fields["rounds"], tuple(map(_case, fields["cases"])))

    @classmethod
    def read(cls, file: str) -> Self:
        """The one in a file; a FIFO and standard input are waited for. BenchError if it is none, or larger than `LARGEST_FILE`."""
        return cls.from_json(read_user_file(file, LARGEST_FILE, BenchError, waits=True), file)


def _case(fields: dict[str, Any]) -> CaseResult:
    metrics = {name: summarize(summary["values"], summary.get("runs", ())) for name, summary in fields["metrics"].items()}
    return CaseResult(fields["scenario"], fields["parameters"], metrics, tuple(fields["command"]))


def _environment() -> dict[str, str]:
    return {
        "kev": __version__,
        "python": platform.python_version(),
        "unicorn": version("unicorn"),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": _processor(),
        "processors": str(os.cpu_count()),
    }


def _processor() -> str:
    if sys.platform == "linux":
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    return platform.processor()
