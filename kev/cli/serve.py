"""`kev serve`: machines over HTTP."""

import os
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from kev.cli.counts import Count
from kev.cli.durations import Duration
from kev.cli.sizes import Size
from kev.errors import KevError
from kev.log import LEVELS
from kev.spec.errors import SpecError

_OF_FIRECRACKER: Final = frozenset(("api_sock", "instance", "config_file", "no_api"))
"""Parameters."""
_DEFAULT_SOCKET: Final = "/run/firecracker.socket"
_NEEDED: Final = ("starlette", "hypercorn", "prometheus_client")


class ExtraMissing(KevError):
    """What the service needs besides kev is not installed."""


def _default_state() -> Path:
    """`kev/service` among the user's state (XDG Base Directory Specification 0.8: XDG_STATE_HOME)."""
    state = os.environ.get("XDG_STATE_HOME", "")
    return (Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state") / "kev" / "service"


@click.command
@click.option(
    "--listen",
    "listen",
    multiple=True,
    metavar="unix:PATH|HOST:PORT",
    help="Where clients reach the service.  [default: unix:$XDG_RUNTIME_DIR/kev.sock]",
)
@click.option("--token-file", metavar="FILE", help="The token that clients over TCP must say; the file is made if it is not there.")
@click.option("--host-name", "hosts", multiple=True, metavar="NAME", help="A name that leads to the service, besides localhost.")
@click.option(
    "--images",
    multiple=True,
    metavar="DIR",
    help="A folder of images that clients over TCP may name; over the unix socket, every file can be named.",
)
@click.option("--in-process", is_flag=True, help="Machines live in the service's own process: for guests that are trusted.")
@click.option(
    "--reuse-workers",
    type=Count(0),
    metavar="N",
    help="Let so many processes whose machine is over wait for another one of the same client and the same files.  [default: 16 of"
    " clients of the unix socket, none of others]",
)
@click.option(
    "--park-after",
    type=Duration(),
    default=5.0,
    show_default="5 s",
    metavar="TIME",
    help="When a paused machine that nobody needs becomes a file.",
)
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where machines and snapshots outlive the service.  [default: kev/service in $XDG_STATE_HOME]",
)
@click.option(
    "--on-shutdown",
    type=click.Choice(["snapshot", "stop"]),
    default="snapshot",
    show_default=True,
    help="What becomes of machines that do not say it themselves.",
)
@click.option(
    "--shutdown-time",
    type=Duration(),
    default=60.0,
    show_default="60 s",
    metavar="TIME",
    help="How long machines have to be saved or stopped.",
)
@click.option("--max-machines", "machines", type=Count(1), metavar="N", help="Machines that have not ended.")
@click.option("--max-running", "running", type=Count(1), metavar="N", help="Machines that run at once.")
@click.option("--max-memory", "memory", type=Size(), metavar="SIZE", help="RAM of one machine.")
@click.option("--max-total-memory", "total_memory", type=Size(), metavar="SIZE", help="RAM of all machines.")
@click.option("--max-vcpus", "vcpus", type=Count(1), metavar="N", help="vCPUs of one machine.")
@click.option("--max-run-time", "run_time", type=Duration(), metavar="TIME", help="How long a machine may run.")
@click.option("--max-output", "output", type=Size(), metavar="SIZE", help="How much a machine may print.")
@click.option("--max-snapshots", "snapshots", type=Size(), metavar="SIZE", help="Size of all snapshots.")
@click.option("--console-size", "console", type=Size(), metavar="SIZE", help="How much of each machine's output is kept.")
@click.option("--max-jobs", "jobs", type=Count(1), metavar="N", help="Races and benchmarks that run at once.")
@click.option("--max-requests", "requests", type=Count(1), metavar="N", help="Requests and streams at once.")
@click.option("--keep-ended", "ended", type=Count(0), metavar="N", help="Ended machines whose reports are kept.")
@click.option("--keep-ended-for", "ended_for", type=Duration(), metavar="TIME", help="How long they are kept.")
@click.option(
    "--log-level", type=click.Choice(LEVELS), default="info", show_default=True, help="Events that are written to stderr."
)
@click.option("--log-json", is_flag=True, help="Write events as JSON.")
@click.option("--firecracker", is_flag=True, help="Serve one machine, by Firecracker's API.")
@click.option("--api-sock", metavar="PATH", help="With --firecracker: the socket of its API.  [default: /run/firecracker.socket]")
@click.option("--id", "instance", metavar="ID", help="With --firecracker: what the machine is called.")
@click.option("--config-file", metavar="FILE", help="With --firecracker: configure the machine by this file, and start it.")
@click.option("--no-api", is_flag=True, help="With --firecracker and --config-file: without an API.")
@click.pass_context
def command(
    context: click.Context,
    /,
    *,
    listen: tuple[str, ...],
    token_file: str | None,
    hosts: tuple[str, ...],
    images: tuple[str, ...],
    in_process: bool,
    reuse_workers: int | None,
    park_after: float,
    state_dir: Path | None,
    on_shutdown: Any,
    shutdown_time: float,
    log_level: str,
    log_json: bool,
    firecracker: bool,
    api_sock: str | None,
    instance: str | None,
    config_file: str | None,
    no_api: bool,
    **limits: Any,
) -> None:
    """Serve machines over HTTP: made, started, watched, typed to, saved and forked by any number of clients.

    docs/service.md says how, and /openapi.json describes it. SIGTERM or Ctrl-C ends the service: machines are saved or stopped.

    With --firecracker it is one machine, whose serial line is standard input and output, and the service ends with it
    (docs/firecracker.md).
    """
    try:
        import hypercorn  # noqa: F401
        import prometheus_client  # noqa: F401
        import starlette  # noqa: F401
    except ModuleNotFoundError as error:
        raise ExtraMissing(f"{error.name} is not installed: pip install 'kev-hypervisor[service]'") from error
    if firecracker:
        _refuse_others(context, {*_OF_FIRECRACKER, "firecracker", "in_process"}, "it has no meaning with --firecracker")
        context.exit(
            _serve_firecracker(None if no_api else api_sock or _DEFAULT_SOCKET, instance, config_file, in_process=in_process)
        )
    _refuse_others(context, context.params.keys() - _OF_FIRECRACKER, "it is for --firecracker")
    from kev import log
    from kev.service.machines.limits import Limits
    from kev.service.serving.serve import ServeOptions, run_service

    log.configure(log_level, as_json=log_json)
    options = ServeOptions(
        state_directory=state_dir or _default_state(),
        listen=listen,
        token_file=token_file,
        hosts=hosts,
        images=images,
        limits=Limits(**{name: value for name, value in limits.items() if value is not None}),
        on_shutdown=on_shutdown,
        shutdown_seconds=shutdown_time,
        in_process=in_process,
        reuse_workers=reuse_workers,
        park_after=park_after,
    )
    run_service(options, _say)


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _serve_firecracker(socket: str | None, instance: str | None, config_file: str | None, *, in_process: bool) -> int:
    from kev.service.firecracker.serve import DEFAULT_ID, Settings, serve_firecracker

    return serve_firecracker(Settings(socket, instance or DEFAULT_ID, config_file, in_process), _say)


def _refuse_others(context: click.Context, known: Collection[str], why: str) -> None:
    """SpecError if an option was given that is not among the parameters that are `known`."""
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        if given and parameter.name not in known:
            raise SpecError(f"{parameter.opts[0]}: {why}")
