"""`kev serve`: a service, from its sockets to its end."""

import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import trio

from kev import log
from kev.service.api.access import Guarded, Trusted
from kev.service.api.app import OPERATIONS, application
from kev.service.api.events import Events
from kev.service.api.service import Service
from kev.service.errors import Invalid
from kev.service.home import Homes
from kev.service.in_process import InProcessHomes
from kev.service.machines.files import HostFiles
from kev.service.machines.limits import Limits
from kev.service.machines.machine import OnShutdown
from kev.service.machines.registry import Registry
from kev.service.machines.state_directory import StateDirectory
from kev.service.serving.http import serve_http
from kev.service.serving.sockets import Listener, default_address, listen, passed_by_systemd
from kev.service.serving.token import Token, read_token

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@attrs.frozen
class ServeOptions:
    """What a service is like."""

    state_directory: Path
    listen: Sequence[str] = ()
    token_file: str | None = None
    hosts: Sequence[str] = ()
    images: Sequence[str] = ()
    limits: Limits = attrs.field(factory=Limits)
    on_shutdown: OnShutdown = "snapshot"
    in_process: bool = False


def run_service(options: ServeOptions, tell: Callable[[str], object]) -> None:
    """Until a signal ends it. `tell` is given a line about each address. KevError if it cannot begin."""
    listeners = passed_by_systemd() or listen(options.listen or [default_address()])
    try:
        token = _token(options, listeners)
        directory = StateDirectory(options.state_directory)
        try:
            trio.run(partial(_serve, options, listeners, token, directory, tell), strict_exception_groups=True)
        finally:
            directory.close()
    finally:
        for listener in listeners:
            listener.close()


def _token(options: ServeOptions, listeners: Sequence[Listener]) -> Token | None:
    remote = [listener for listener in listeners if not listener.is_local]
    if options.token_file is not None:
        return read_token(options.token_file)
    if remote:
        problem = "over TCP, clients must say a token: --token-file FILE, which is made if it is not there"
        raise Invalid(f"--listen: {remote[0].address!r}: {problem}")
    return None


async def _serve(
    options: ServeOptions,
    listeners: Sequence[Listener],
    token: Token | None,
    directory: StateDirectory,
    tell: Callable[[str], object],
) -> None:
    files = HostFiles.within(options.images)
    with trio.open_signal_receiver(*_SIGNALS) as signals:
        async with trio.open_nursery() as machines:
            homes: Homes = InProcessHomes(machines)
            registry = Registry(homes, directory, machines, options.limits, files, options.on_shutdown)
            service = Service(registry, Events())
            async with trio.open_nursery() as servers:
                over = trio.Event()
                for listener in listeners:
                    app = application(service)
                    guarded = (
                        Trusted(app) if token is None or listener.is_local else Guarded(app, token, options.hosts, _open_paths())
                    )
                    await servers.start(partial(serve_http, guarded, listener, over.wait))
                    tell(f"kev: listening on {listener.address}")
                async for number in signals:
                    log.info("service", state="ending", signal=signal.Signals(number).name)
                    break
                registry.closing = True
                service.stopping.set()
                over.set()
            machines.cancel_scope.cancel()


def _open_paths() -> list[str]:
    return [operation.path for operation in OPERATIONS if not operation.needs_token]
