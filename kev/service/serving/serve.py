"""`kev serve`: a service, from its sockets to its end."""

import os
import resource
import shlex
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import attrs
import trio
from starlette.types import ASGIApp

from kev import log
from kev.machine.ungrouped import ungrouped
from kev.service.api.access import Guarded, Trusted, is_host_name
from kev.service.api.app import application, open_paths
from kev.service.api.service import Service
from kev.service.api.watched import Watched
from kev.service.errors import Invalid
from kev.service.home import Homes
from kev.service.in_process import in_process_homes
from kev.service.jobs.jobs import Jobs
from kev.service.machines.files import HostFiles
from kev.service.machines.limits import Limits
from kev.service.machines.machine import OnShutdown
from kev.service.machines.outliving import put_away, take_up
from kev.service.machines.registry import LOCAL, Registry
from kev.service.machines.state_directory import StateDirectory
from kev.service.parking.homes import AFTER as PARK_AFTER
from kev.service.parking.homes import parked_homes
from kev.service.serving.http import HttpServer
from kev.service.serving.sockets import Listener, default_address, listen, passed_by_systemd
from kev.service.serving.systemd import keep_watchdog, notify
from kev.service.serving.token import Token, read_token
from kev.service.workers.homes import worker_homes
from kev.service.workers.used import Reuse
from kev.work.stopping import heeded

_REUSED: Final = 16
"""Workers of local clients that wait for another machine."""


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
    shutdown_seconds: float = 60.0
    """That machines have to be put away."""
    in_process: bool = False
    reuse_workers: int | None = None
    """How many workers wait for another machine like their last; if nothing is said, those of local clients do."""
    park_after: float = PARK_AFTER
    """Seconds until a paused machine that nobody needs becomes a file."""


def run_service(options: ServeOptions, tell: Callable[[str], object]) -> None:
    """Until a signal ends it. `tell` is given a line about each address. KevError if it cannot begin."""
    _check_host_names(options.hosts)
    files = HostFiles.within(options.images)
    listeners = passed_by_systemd() or listen(options.listen or [default_address()])
    try:
        token = _token(options, listeners)
        directory = StateDirectory(options.state_directory)
        try:
            _raise_descriptor_limit()
            trio.run(_Serving(options, files, listeners, token, directory, tell).run, strict_exception_groups=True)
        finally:
            directory.close()
    finally:
        for listener in listeners:
            listener.close()


class _Serving:
    """One run of a service."""

    def __init__(
        self,
        options: ServeOptions,
        files: HostFiles,
        listeners: Sequence[Listener],
        token: Token | None,
        directory: StateDirectory,
        tell: Callable[[str], object],
    ) -> None:
        self._options: Final = options
        self._files: Final = files
        self._listeners: Final = listeners
        self._token: Final = token
        self._directory: Final = directory
        self._tell: Final = tell
        self._over: Final = trio.Event()
        """The servers end."""

    async def run(self) -> None:
        options = self._options
        with trio.open_signal_receiver(signal.SIGTERM, *heeded((signal.SIGINT, signal.SIGHUP))) as signals, ungrouped():
            async with _homes(self._directory.parked, options) as homes, trio.open_nursery() as nursery:
                registry = Registry(homes, self._directory, nursery, options.limits, self._files, options.on_shutdown)
                await take_up(registry)
                jobs = Jobs(nursery, options.limits, self._files, self._directory.races, self._directory.jobs)
                service = Service(registry, jobs)
                nursery.start_soon(service.watch)
                nursery.start_soon(keep_watchdog)
                async with trio.open_nursery() as servers:
                    await self._serve(service, servers)
                    await self._until_signal(signals)
                    await self._end(service, signals)
                nursery.cancel_scope.cancel()

    async def _serve(self, service: Service, servers: trio.Nursery) -> None:
        for listener in self._listeners:
            app = Watched(self._allowed(listener, application(service)), service, listener.address)
            await servers.start(HttpServer(app, listener).serve, self._over)
            self._tell(f"kev: listening on {listener.address}")
            if not listener.is_local and self._options.token_file is not None:
                self._tell(f'kev: in a browser: "http://{listener.address}/?token=$(cat {shlex.quote(self._options.token_file)})"')
        log.info("service", state="ready", process=os.getpid())
        notify("READY=1")

    def _allowed(self, listener: Listener, app: ASGIApp) -> ASGIApp:
        if listener.is_local:
            return Trusted(app)
        assert self._token is not None
        return Guarded(app, self._token, self._options.hosts, open_paths())

    async def _until_signal(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            log.info("service", state="ending", signal=signal.Signals(number).name)
            notify("STOPPING=1")
            return

    async def _end(self, service: Service, signals: AsyncIterator[int]) -> None:
        """A second signal ends it at once."""
        async with trio.open_nursery() as nursery:

            async def hurry() -> None:
                await self._until_signal(signals)
                nursery.cancel_scope.cancel()

            nursery.start_soon(hurry)
            service.jobs.close()
            await put_away(service.registry, self._options.shutdown_seconds)
            nursery.cancel_scope.cancel()
        service.stopping.set()
        self._over.set()


@asynccontextmanager
async def _homes(parked: Path, options: ServeOptions) -> AsyncIterator[Homes]:
    """`parked`: the folder for machines that nobody needs."""
    if options.in_process:
        async with in_process_homes() as homes:
            yield homes
    else:
        async with (
            worker_homes(reuse=_reuse(options.reuse_workers)) as workers,
            parked_homes(workers, parked, after=options.park_after) as homes,
        ):
            yield homes


def _reuse(most: int | None) -> Reuse:
    """Who is at the unix socket may do all that the service may: a guest of theirs has nothing to find in the next one of the same
    files. Those who share a token may be strangers to each other."""
    return Reuse(_REUSED, frozenset([LOCAL])) if most is None else Reuse(most)


def _token(options: ServeOptions, listeners: Sequence[Listener]) -> Token | None:
    remote = [listener for listener in listeners if not listener.is_local]
    if options.token_file is not None:
        return read_token(options.token_file)
    if remote:
        problem = "over TCP, clients must say a token: --token-file FILE, which is made if it is not there"
        raise Invalid(f"--listen: {remote[0].address!r}: {problem}")
    return None


def _check_host_names(hosts: Sequence[str]) -> None:
    for host in hosts:
        if not is_host_name(host):
            raise Invalid(f"--host-name: {host!r}: it must be a name of letters, digits, '.', '-' and '_', without a port")


def _raise_descriptor_limit() -> None:
    """Every client and every worker takes some (getrlimit(2))."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
