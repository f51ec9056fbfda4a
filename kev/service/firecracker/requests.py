"""What each request does, by its method and path."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from kev.service.firecracker.bodies import Kind, bad_body, each, flag, parse_body, record, text, variant
from kev.service.firecracker.faults import Fault, NotSupported
from kev.service.firecracker.microvm import Microvm
from kev.service.firecracker.resources import (
    BOOT_SOURCE,
    DRIVE,
    LOGGER,
    MACHINE_CONFIG,
    MACHINE_CONFIG_UPDATE,
    METRICS,
    RATE_LIMITER,
    SERIAL,
    BootSource,
    Drive,
    Logger,
    Metrics,
    Serial,
)
from kev.version import __version__

API_VERSION: Final = "1.14.0"
"""Of Firecracker, whose API this is."""
VMM_VERSION: Final = f"{API_VERSION}+kev.{__version__}"


class Reply(NamedTuple):
    """What a request is answered with, if it is carried out."""

    body: Any = None
    """None if there is nothing to say."""
    is_deprecated: bool = False
    """The request says something in a way that is going away."""


_Handler: TypeAlias = Callable[[Microvm, Any], Awaitable[Reply]]
"""Is given the machine, and the body as its kind has made it."""


class _Request(NamedTuple):
    handle: _Handler
    kind: Kind | None = None
    """Of its body; None if it has none."""


async def carry_out(microvm: Microvm, method: str, path: str, body: bytes) -> Reply:
    """Does what a request asks for. Fault."""
    if method == "GET" and body:
        raise Fault("GET request cannot have a body.")
    if method in ("PUT", "PATCH") and not body:
        raise Fault(f"Empty {method} request.")
    path = path.strip("/")
    resource, _, rest = path.partition("/")
    if resource in NOT_SUPPORTED and method in ("GET", "PUT", "PATCH"):
        raise NotSupported(NOT_SUPPORTED[resource])
    request = _REQUESTS.get((method, "drives/ID" if resource == "drives" else path))
    if request is None:
        raise Fault(f"Invalid request method and/or path: {method} {resource}.")
    if resource == "drives":
        _check_id(rest)
    given: Any = None if request.kind is None else parse_body(body, request.kind)
    if resource == "drives" and given["drive_id"] != rest:
        raise Fault("The id from the path does not match the id from the body!")
    return await request.handle(microvm, given)


def _check_id(name: str) -> None:
    if not name:
        raise Fault("The ID cannot be empty.")
    if not all(character == "_" or character.isalnum() for character in name):
        raise Fault("API Resource IDs can only contain alphanumeric characters and underscores.")


# What is asked.


async def _describe_instance(microvm: Microvm, _given: None) -> Reply:
    info = {"id": microvm.instance, "state": microvm.state, "vmm_version": VMM_VERSION, "app_name": "Firecracker"}
    return Reply(info)


async def _version(_microvm: Microvm, _given: None) -> Reply:
    return Reply({"firecracker_version": API_VERSION})


async def _full_configuration(microvm: Microvm, _given: None) -> Reply:
    return Reply(microvm.resources.as_dict())


async def _machine_configuration(microvm: Microvm, _given: None) -> Reply:
    return Reply(microvm.resources.as_dict()["machine-config"])


# What is to be before the start.


async def _put_boot_source(microvm: Microvm, source: BootSource) -> Reply:
    microvm.configure_boot_source(source)
    return Reply()


async def _put_machine_configuration(microvm: Microvm, given: dict[str, Any]) -> Reply:
    microvm.configure_machine(given)
    return Reply(is_deprecated="cpu_template" in given)


async def _patch_machine_configuration(microvm: Microvm, given: dict[str, Any]) -> Reply:
    if not given:
        raise Fault("Empty PATCH request.")
    microvm.update_machine(given)
    return Reply(is_deprecated="cpu_template" in given)


async def _put_drive(microvm: Microvm, given: dict[str, Any]) -> Reply:
    microvm.insert_drive(Drive(**given))
    return Reply()


async def _put_logger(microvm: Microvm, logger: Logger) -> Reply:
    microvm.configure_logger(logger)
    return Reply()


async def _put_metrics(microvm: Microvm, metrics: Metrics) -> Reply:
    microvm.configure_metrics(metrics)
    return Reply()


async def _put_serial(microvm: Microvm, serial: Serial) -> Reply:
    microvm.configure_serial(serial)
    return Reply()


# What is to happen.


async def _put_action(microvm: Microvm, given: dict[str, Any]) -> Reply:
    match given["action_type"]:
        case "InstanceStart":
            await microvm.start()
        case "SendCtrlAltDel":
            await microvm.press_ctrl_alt_delete()
        case _:
            await microvm.flush_metrics()
    return Reply()


async def _patch_vm(microvm: Microvm, given: dict[str, Any]) -> Reply:
    await (microvm.pause() if given["state"] == "Paused" else microvm.resume())
    return Reply()


async def _patch_drive(microvm: Microvm, given: dict[str, Any]) -> Reply:
    microvm.update_drive(given["drive_id"], given.get("path_on_host"), given.get("rate_limiter"))
    return Reply()


async def _create_snapshot(microvm: Microvm, given: dict[str, Any]) -> Reply:
    is_full = given.get("snapshot_type", "Full") == "Full"
    await microvm.create_snapshot(given["snapshot_path"], given["mem_file_path"], is_full=is_full)
    return Reply()


async def _load_snapshot(microvm: Microvm, given: dict[str, Any]) -> Reply:
    backend, file = given.get("mem_backend"), given.get("mem_file_path")
    if None not in (backend, file):
        raise bad_body("too many fields: either `mem_backend` or `mem_file_path` exclusively is required")
    memory = file if backend is None else backend["backend_path"]
    if memory is None:
        raise bad_body("missing field: either `mem_backend` or `mem_file_path` is required")
    if backend is not None and backend["backend_type"] != "File":
        raise NotSupported(f"backend_type {backend['backend_type']}: guest memory comes from a file")
    for name in ("network_overrides", "vsock_override", "clock_realtime"):
        if given.get(name):
            raise NotSupported(name)
    await microvm.load_snapshot(given["snapshot_path"], memory, resume=given.get("resume_vm", False))
    return Reply(is_deprecated=file is not None or "enable_diff_snapshots" in given)


NOT_SUPPORTED: Final[Mapping[str, str]] = {
    "balloon": "balloon: guest memory is loaded when it is touched, and never given back",
    "cpu-config": "cpu-config: there is one model of the CPU",
    "entropy": "entropy: there is no such device; RDRAND draws random numbers",
    "hotplug": "hotplug: memory cannot be added to a machine",
    "mmds": "mmds: machines have no network",
    "network-interfaces": "network-interfaces: machines have no network",
    "pmem": "pmem: there is no such device",
    "vsock": "vsock: there is no such device",
}
"""By resource: what kev says of it."""
_UPDATE_DRIVE: Final = record("BlockDeviceUpdateConfig", {"drive_id": text}, {"path_on_host": text, "rate_limiter": RATE_LIMITER})
_MEMORY_BACKEND: Final = record("MemBackendConfig", {"backend_path": text, "backend_type": variant("File", "Uffd")})
_OVERRIDE: Final = record("NetworkOverride", {"iface_id": text, "host_dev_name": text})
_LOAD_SNAPSHOT: Final = record(
    "LoadSnapshotConfig",
    {"snapshot_path": text},
    {
        "mem_file_path": text,
        "mem_backend": _MEMORY_BACKEND,
        "enable_diff_snapshots": flag,
        "track_dirty_pages": flag,
        "resume_vm": flag,
        "network_overrides": each(_OVERRIDE),
        "vsock_override": record("VsockOverride", {"uds_path": text}),
        "clock_realtime": flag,
    },
)
_CREATE_SNAPSHOT: Final = record(
    "CreateSnapshotParams", {"snapshot_path": text, "mem_file_path": text}, {"snapshot_type": variant("Diff", "Full")}
)
_ACTION: Final = record("ActionBody", {"action_type": variant("FlushMetrics", "InstanceStart", "SendCtrlAltDel")})

_REQUESTS: Final[Mapping[tuple[str, str], _Request]] = {
    ("GET", ""): _Request(_describe_instance),
    ("GET", "machine-config"): _Request(_machine_configuration),
    ("GET", "version"): _Request(_version),
    ("GET", "vm/config"): _Request(_full_configuration),
    ("PUT", "actions"): _Request(_put_action, _ACTION),
    ("PUT", "boot-source"): _Request(_put_boot_source, BOOT_SOURCE),
    ("PUT", "drives/ID"): _Request(_put_drive, DRIVE),
    ("PATCH", "drives/ID"): _Request(_patch_drive, _UPDATE_DRIVE),
    ("PUT", "logger"): _Request(_put_logger, LOGGER),
    ("PUT", "machine-config"): _Request(_put_machine_configuration, MACHINE_CONFIG),
    ("PATCH", "machine-config"): _Request(_patch_machine_configuration, MACHINE_CONFIG_UPDATE),
    ("PUT", "metrics"): _Request(_put_metrics, METRICS),
    ("PUT", "serial"): _Request(_put_serial, SERIAL),
    ("PUT", "snapshot/create"): _Request(_create_snapshot, _CREATE_SNAPSHOT),
    ("PUT", "snapshot/load"): _Request(_load_snapshot, _LOAD_SNAPSHOT),
    ("PATCH", "vm"): _Request(_patch_vm, record("Vm", {"state": variant("Paused", "Resumed")})),
}
