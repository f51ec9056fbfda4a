"""How machines outlive a service: they are put away when it ends, and taken up when one begins in the same state directory."""

import os
from pathlib import Path
from typing import Final

import trio

from kev import log
from kev.errors import KevError
from kev.machine.snapshots import of_snapshot
from kev.service.errors import ServiceError
from kev.service.home import Status
from kev.service.machines.console import Console
from kev.service.machines.machine import ServedMachine
from kev.service.machines.record import SHAPE, MachineRecord
from kev.service.machines.registry import Plan, Registry
from kev.service.machines.state_directory import MachineFiles, read_file, read_record, records, remove, write_file
from kev.spec.machine_spec import MachineSpec

_AT_ONCE: Final = 4
"""Machines that are saved at the same time."""


async def put_away(registry: Registry, seconds: float) -> None:
    """Saves or stops every machine, as it wants, and gives its home back. What is not saved after `seconds` is listed as lost."""
    registry.close()
    places = trio.CapacityLimiter(_AT_ONCE)
    seen: set[str] = set()
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            while True:
                for machine in registry.living:
                    if machine.id not in seen:
                        seen.add(machine.id)
                        nursery.start_soon(_put_away, registry, machine, places)
                # Those that are just being made, too: their clients are told that they are there.
                if not await registry.until_opened():
                    break
    with trio.CancelScope(shield=True):
        for machine in registry.living:
            if not machine.is_put_away:
                await _lose(registry, machine, f"the service ended, and did not save it within {seconds:g} s")


async def _put_away(registry: Registry, machine: ServedMachine, places: trio.CapacityLimiter) -> None:
    async with places:
        try:
            if machine.state == "created":
                await machine.put_away()
            elif machine.identity.on_shutdown == "stop":
                await machine.stop()
                await registry.record(machine)
            else:
                await _save(registry, machine)
        except KevError as error:
            if machine.is_over:  # it has ended meanwhile
                await machine.concluded.wait()
                await registry.record_if_possible(machine)
            else:
                await _lose(registry, machine, f"the service ended, and could not save it: {error}")


async def _save(registry: Registry, machine: ServedMachine) -> None:
    files, state = registry.files_of(machine.id), machine.state
    home = machine.home_to_save()
    if state == "running":
        await machine.pause()
    await home.snapshot(files.snapshot)
    piece = machine.console.read(machine.console.start, registry.limits.console)
    await trio.to_thread.run_sync(write_file, files.console, piece.data)
    await registry.record(machine, state=state, saved=True)
    await machine.put_away()
    log.info("machine", id=machine.id, name=machine.name, state="saved")


async def _lose(registry: Registry, machine: ServedMachine, why: str) -> None:
    log.warning("machine lost", id=machine.id, name=machine.name, why=why)
    machine.lose(why)
    await machine.concluded.wait()
    await registry.record_if_possible(machine)


async def take_up(registry: Registry) -> None:
    """Goes on with what a service has put away there. What it has not is listed as lost."""
    found = []
    for file in records(registry.directory.machines):
        try:
            found.append(MachineRecord.read(read_record(file, SHAPE), file.name))
        except ServiceError as error:
            log.warning("a record is left out", file=str(file), why=str(error))
            file.rename(file.with_suffix(".damaged"))
    for record in sorted(found, key=lambda record: record.identity.created):
        files = registry.files_of(record.identity.id)
        if record.is_over:
            machine = await trio.to_thread.run_sync(record.finished, record.status, files, registry.limits.console)
            registry.add(machine)
            continue
        try:
            await _go_on(registry, record, files)
        except KevError as error:
            await _list_as_lost(registry, record, str(error))
        remove(files.snapshot, files.console)


async def _go_on(registry: Registry, record: MachineRecord, files: MachineFiles) -> None:
    if record.saved:
        source = registry.snapshots.new_file()
        plan = await trio.to_thread.run_sync(_plan_of_saved, record, files, source)
        data = await trio.to_thread.run_sync(read_file, files.console)
        console = Console(registry.limits.console, record.console_end - len(data), data)
        machine = await registry.open(record.identity, plan, source, start=record.status.state == "running", console=console)
    elif record.status.state == "created":
        plan = await trio.to_thread.run_sync(registry.plan_of, record.identity.spec)
        machine = await registry.open(record.identity, plan, None, start=False)
    else:
        raise ServiceError("the service that it ran in came to its end without saving it")
    machine.started = record.started or machine.started


def _plan_of_saved(record: MachineRecord, files: MachineFiles, source: Path) -> Plan:
    os.replace(files.snapshot, source)
    asked = record.identity.spec
    spec = MachineSpec(os.fspath(source), timeout=asked.timeout, timeline=asked.timeline)
    return Plan(spec, of_snapshot(spec), goes_on=True)


async def _list_as_lost(registry: Registry, record: MachineRecord, why: str) -> None:
    log.warning("machine lost", id=record.identity.id, name=record.identity.name, why=why)
    files = registry.files_of(record.identity.id)
    machine = record.finished(Status("lost", None, why), files, registry.limits.console)
    registry.add(machine)
    await registry.record_if_possible(machine)
