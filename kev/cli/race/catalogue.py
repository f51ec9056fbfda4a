"""`kev race explore --all`: every broken pager of the catalogue is caught, and kev's own survives."""

import json
from typing import Any

import click

from kev.cli.numbers import counted
from kev.cli.race.printing import EXIT_CODE_FAILED
from kev.cli.race.progress import ProgressLine, per_second
from kev.cli.signals import say_stopped
from kev.race.catalogue import Catalogue
from kev.race.verify import HealthyReport, MutantReport, check_healthy, check_mutants
from kev.work.base import Place
from kev.work.stopping import Stopped


def check_catalogue(module: str, runs: int, seed: int, place: Place, *, as_json: bool) -> int:
    """The exit code."""
    catalogue = Catalogue.load(module)
    line = ProgressLine()
    mutants = []
    try:
        for mutant in check_mutants(catalogue, seed, place):
            mutants.append(mutant)
            line.note(f"{len(mutants)} of {len(catalogue.mutants)} broken pagers, {mutant.name}")
    except Stopped as stopped:
        line.clear()
        for mutant in mutants:
            click.echo(_describe_mutant(mutant), err=as_json)
        return say_stopped(stopped.signal, f"{len(mutants)} of {len(catalogue.mutants)} broken pagers were tried")
    healthy = check_healthy([mutant.program for mutant in catalogue.mutants], runs, seed, place, line.survived)
    line.clear()
    ok = healthy.survived and all(mutant.caught for mutant in mutants)
    if as_json:
        click.echo(json.dumps(_as_dict(ok, seed, mutants, healthy), indent=2))
    else:
        for mutant in mutants:
            click.echo(_describe_mutant(mutant))
        click.echo(_describe_healthy(healthy))
    return _exit_code(healthy, ok=ok)


def check_pager(runs: int, seed: int, place: Place, *, as_json: bool) -> int:
    """The exit code."""
    line = ProgressLine()
    healthy = check_healthy((), runs, seed, place, line.survived)
    line.clear()
    click.echo(json.dumps(healthy.as_dict(), indent=2) if as_json else _describe_healthy(healthy))
    return _exit_code(healthy, ok=healthy.survived)


def _exit_code(healthy: HealthyReport, *, ok: bool) -> int:
    if healthy.stopped is not None:
        return say_stopped(healthy.stopped, f"{healthy.runs:,} of {healthy.wanted:,} runs were made")
    return 0 if ok else EXIT_CODE_FAILED


def _as_dict(ok: bool, seed: int, mutants: list[MutantReport], healthy: HealthyReport) -> dict[str, Any]:
    return {
        "ok": ok,
        "seed": seed,
        "caught": sum(mutant.caught for mutant in mutants),
        "of": len(mutants),
        "healthy": healthy.as_dict(),
        "mutants": [mutant.as_dict() for mutant in mutants],
    }


def _describe_mutant(mutant: MutantReport) -> str:
    runs = ", ".join(f"{catch.strategy} {catch.runs if catch.shrunk else 'never'}" for catch in mutant.catches)
    switches = counted(mutant.switches, "switch", "switches")
    verdict = "caught" if mutant.caught else "MISSED"
    return f"{verdict}  {mutant.name:<30}  after runs: {runs}; shrunk to {switches}"


def _describe_healthy(report: HealthyReport) -> str:
    rate = report.runs / report.seconds if report.seconds else 0
    runs = f"{counted(report.runs, 'run', 'runs')} of {counted(report.programs, 'program', 'programs')}"
    lines = [
        f"kev's own pager: {runs}, {report.schedules:,} distinct schedules, {report.interleavings:,} interleavings, "
        f"{counted(len(report.failures), 'failure', 'failures')}, {per_second(rate)}"
    ]
    lines += [f"FAILED  {failure}" for failure in report.failures]
    lines += [f"NOT DETERMINISTIC  {difference}" for difference in report.nondeterminism]
    return "\n".join(lines)
